"""XML-RPC as xmlrpc-c reads and writes it, and the HTTP of its Abyss server."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat
from xml.sax.saxutils import escape

from .failures import PARSE, TYPE, Fault

_ABYSS = (
    '<p><HR><b><i><a href="http://xmlrpc-c.sourceforge.net">ABYSS Web Server for XML-RPC For C/C++</a></i></b> version 1.51.0<br></p></BODY></HTML>'
)
UNKNOWN_PATH = (
    "This XML-RPC For C/C++ Abyss XML-RPC server responds to only one URI path.  I don't know what URI path that is, but it's not the one you"
    " requested: '{path}'.  (Typically, it's '/RPC2')."
)
ONLY_POST = "POST is the only HTTP method this server understands"
EMPTY = "According to your content-length HTTP header, your request is empty (zero length)"
_BEGIN = '<?xml version="1.0" encoding="UTF-8"?>\r\n<methodResponse>\r\n'


def page(status: int, text: str) -> bytes:
    """What Abyss says in HTML."""
    return f"<HTML><HEAD><TITLE>Error {status}</TITLE></HEAD><BODY><H1>Error {status}</H1><P>{text}</P>{_ABYSS}".encode()


class _Long(int):
    """An <i8>: no integer where oned wants one."""


def read_call(body: bytes) -> tuple[str, list[Any]]:
    """Method and parameters. Raises Fault -503."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        text = body.decode("utf-8", "replace")
        why = f"Invalid XML \"content\".  Problem with token at '{text[:_SHOWN]}...': {expat.ErrorString(error.code)}"
        raise _improper(f"Call is not valid XML.  {why}") from error
    if root.tag != "methodCall":
        raise _improper(f"XML-RPC call should be a <methodCall> element.  Instead, we have a <{root.tag}> element.")
    name = root.findtext("methodName")
    if name is None:
        raise _improper("Expected <methodCall> to have child <methodName>.")
    return name, [_read(value) for value in root.iterfind("params/param/value")]


_SHOWN = 40


def _improper(why: str) -> Fault:
    return Fault(PARSE, f"Call XML not a proper XML-RPC call.  {why}")


def _read(value: ElementTree.Element) -> Any:
    if not len(value):
        return value.text or ""
    inner = value[0]
    text = inner.text or ""
    try:
        match inner.tag:
            case "i4" | "int":
                return _int(text)
            case "i8":
                return _Long(text)
            case "boolean":
                return {"0": False, "1": True}[text.strip()]
            case "string":
                return text
            case "double":
                return float(text)
            case "array":
                return [_read(item) for item in inner.iterfind("data/value")]
            case "struct":
                return {member.findtext("name"): _read(found) for member in inner if (found := member.find("value")) is not None}
    except (ValueError, KeyError) as error:
        raise _improper(f"Invalid value for <{inner.tag}>: '{text}'") from error
    raise _improper(f"Unknown value type -- XML element is named <{inner.tag}>")


def _int(text: str) -> int:
    number = int(text)
    if not -(2**31) <= number < 2**31:
        raise ValueError(text)
    return number


def write_answer(value: Any) -> bytes:
    return f"{_BEGIN}<params>\r\n<param>{_write(value)}</param>\r\n</params>\r\n</methodResponse>\r\n".encode()


def write_fault(fault: Fault) -> bytes:
    member = "<member><name>{}</name>\r\n{}</member>\r\n"
    code, text = member.format("faultCode", _write(fault.code)), member.format("faultString", _write(fault.message))
    return f"{_BEGIN}<fault>\r\n<value><struct>\r\n{code}{text}</struct></value>\r\n</fault>\r\n</methodResponse>\r\n".encode()


def _write(value: Any) -> str:
    match value:
        case bool():
            return f"<value><boolean>{int(value)}</boolean></value>"
        case int():
            return f"<value><i4>{value}</i4></value>"
        case str():
            return f"<value><string>{escape(value, {chr(13): '&#x0d;'})}</string></value>"
        case list():
            return f"<value><array><data>\r\n{''.join(_write(item) + chr(13) + chr(10) for item in value)}</data></array></value>"
    raise Fault(TYPE, f"cannot write {type(value).__name__}")

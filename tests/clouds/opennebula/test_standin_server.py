"""The stand-in as a program: its wire, its faults, what it tells wrong, and what is left after kill -9."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers.expat import ExpatError

import pyone
import pytest

from support.opennebula import PASSWORD, TESTS, Setting, standing_in


@pytest.fixture(scope="module")
def one() -> Iterator[Setting]:
    with standing_in() as setting:
        yield setting


@pytest.fixture(autouse=True)
def truthful(one: Setting) -> Iterator[None]:
    yield
    assert one.standin is not None
    one.standin.truth()


def post(setting: Setting, body: bytes, path: str = "/RPC2") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*setting.endpoint.split("/")[2].split(":"))
    connection.request("POST", path, body)
    answer = connection.getresponse()
    found = (answer.status, answer.read())
    connection.close()
    return found


def fault(setting: Setting, *given: Any, method: str = "one.image.info") -> tuple[int, str]:
    with pytest.raises(xmlrpc.client.Fault) as raised:
        setting.answer(method, *given)
    return raised.value.faultCode, raised.value.faultString


def made(setting: Setting, name: str) -> int:
    oid: int = setting.call("one.image.allocate", f'NAME="{setting.prefix}{name}"\nPATH="/x"', 101)
    return oid


@pytest.mark.parametrize("given", ["100", True, 1.0, [1]])
def test_an_integer_is_nothing_else(one: Setting, given: object) -> None:
    assert fault(one, given) == (-501, "Parameter that is supposed to be integer is not")


def test_a_long_integer_is_none(one: Setting) -> None:
    call = "<methodCall><methodName>one.image.info</methodName><params>{}</params></methodCall>"
    params = f"<param><value>oneadmin:{PASSWORD}</value></param><param><value><i8>1</i8></value></param>"
    assert b"supposed to be integer" in post(one, call.format(params).encode())[1]


@pytest.mark.parametrize("body", [b"<a>", b"plain", b"<methodCall/>", b"<methodCall><methodName>x", b"\xff\xfe"])
def test_what_is_no_call_is_a_fault(one: Setting, body: bytes) -> None:
    status, said = post(one, body)
    assert status == 200
    assert b"<i4>-503</i4>" in said


def test_other_paths_are_not_found(one: Setting) -> None:
    status, said = post(one, b"<a/>", "/other")
    assert (status, b"responds to only one URI path" in said) == (404, True)


def test_a_connection_ends_after_thirty_requests(one: Setting) -> None:
    connection = http.client.HTTPConnection(*one.endpoint.split("/")[2].split(":"))
    call = xmlrpc.client.dumps((f"oneadmin:{PASSWORD}",), "one.system.version").encode()
    ends = []
    for _ in range(30):
        connection.request("POST", "/RPC2", call)
        answer = connection.getresponse()
        answer.read()
        ends.append(answer.will_close)
    connection.close()
    assert ends == [False] * 29 + [True]


def test_pyone_reads_what_it_says(one: Setting) -> None:
    client = pyone.OneServer(one.endpoint, session=f"{one.user}:{one.password}")
    oid = client.image.allocate({"TEMPLATE": {"NAME": f"{one.prefix}pyone", "PATH": "/x", "K": "\"'<>&\né"}}, 101)
    assert one.standin is not None
    one.standin.settle()
    image = client.image.info(oid)
    assert (image.STATE, image.SIZE, image.LOCK, image.TEMPLATE["K"]) == (1, 1024, None, "\"'<>&\né")
    assert oid == client.imagepool.info(-2, 0, -2).IMAGE[0].ID
    assert client.imagepool.info(3, -1, -1).IMAGE == []
    for pool in (client.datastorepool.info().DATASTORE, client.userpool.info().USER, client.grouppool.info().GROUP, client.hostpool.info().HOST):
        assert pool
    assert one.network == client.vnpool.info(-2, -1, -1).VNET[0].NAME
    with pytest.raises(pyone.OneNoExistsException):
        client.image.info(9999)
    assert client.image.delete(oid) == oid


@pytest.mark.parametrize("broken", ["drop-before", "drop-after", "half"])
def test_a_connection_that_breaks(one: Setting, broken: str) -> None:
    assert one.standin is not None
    # xmlrpc.client asks once more by itself where a connection ends without an answer
    one.standin.lie(broken, method="one.image.allocate", count=2)
    with pytest.raises((OSError, http.client.HTTPException, ExpatError)):
        made(one, broken)
    one.standin.truth()
    names = [body.findtext("NAME") for body in one.xml("one.imagepool.info", -2, -1, -1)]
    assert (f"{one.prefix}{broken}" in names) == (broken != "drop-before")


def test_a_server_that_cannot_answer(one: Setting) -> None:
    assert one.standin is not None
    one.standin.lie("http-503", skip=1)
    assert one.call("one.system.version") == "6.10.0.1"
    with pytest.raises(xmlrpc.client.ProtocolError) as raised:
        one.call("one.system.version")
    assert raised.value.errcode == 503
    assert one.call("one.system.version") == "6.10.0.1"


def test_an_answer_that_comes_late_comes(one: Setting) -> None:
    assert one.standin is not None
    one.standin.lie("hang", method="one.system.version", seconds=0.05)
    assert one.call("one.system.version") == "6.10.0.1"


def test_calls_are_counted(one: Setting) -> None:
    assert one.standin is not None
    one.standin.forget_calls()
    one.call("one.system.version")
    one.call("one.imagepool.info", -2, -1, -1)
    assert one.standin.calls() == ["one.system.version", "one.imagepool.info"]


def test_an_object_is_changed_behind_everybodys_back(one: Setting) -> None:
    assert one.standin is not None
    oid = made(one, "tampered")
    one.standin.settle()
    one.standin.tamper("image", oid, state=5, name="other")
    assert [one.xml("one.image.info", oid).findtext(name) for name in ("STATE", "NAME")] == ["5", "other"]


def test_all_is_there_after_kill_9(one: Setting) -> None:
    assert one.standin is not None
    ready = made(one, "ready")
    one.standin.settle()
    one.standin.hold()
    locked, deleted = made(one, "locked"), ready
    one.call("one.image.delete", deleted)
    pools = ("one.imagepool.info", -2, -1, -1), ("one.userpool.info",), ("one.datastorepool.info",), ("one.vnpool.info", -2, -1, -1)
    before = [one.call(*pool) for pool in pools]
    one.standin.kill()
    one.standin.start()
    assert [one.call(*pool) for pool in pools] == before
    # what the drivers were about to do is never done: an image stays locked, or in deletion, until it is deleted once more
    one.standin.settle()
    assert [one.xml("one.image.info", oid).findtext("STATE") for oid in (locked, deleted)] == ["4", "7"]
    assert one.answer("one.image.delete", locked)[2] == 8192
    one.call("one.image.delete", locked, True)
    one.call("one.image.delete", deleted)
    one.standin.settle()
    assert [one.answer("one.image.info", oid)[2] for oid in (locked, deleted)] == [1024, 1024]


def test_it_is_a_program() -> None:
    command = [sys.executable, "-m", "tests.servers.opennebula", "--version", "7.4.0", "--bare"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=TESTS.parent) as process:
        assert process.stdout is not None
        endpoint, session = process.stdout.readline().split()
        name, _, password = session.partition(":")
        setting = Setting(endpoint, name, password, ())
        assert setting.call("one.system.version") == "7.4.0"
        assert [body.findtext("NAME") for body in setting.xml("one.datastorepool.info")] == ["files", "default", "system"]
        process.terminate()
    assert process.returncode == 0


def test_a_version_is_what_it_says() -> None:
    with standing_in("7.4.0") as setting:
        assert setting.call("one.system.version") == "7.4.0"
        made(setting, "a")
        assert "<MODTIME>" in setting.call("one.image.info", 0)


@pytest.mark.parametrize("spoilt", ["cut-value", "no-value", "bare-value", "html"])
def test_an_answer_that_makes_no_sense(one: Setting, spoilt: str) -> None:
    assert one.standin is not None
    one.standin.lie(spoilt, method="one.userpool.info")
    with pytest.raises((ElementTree.ParseError, ExpatError, ValueError, RuntimeError, xmlrpc.client.Error)):
        one.xml("one.userpool.info")
    assert one.xml("one.userpool.info").find("USER") is not None


def test_it_ends_with_who_started_it(tmp_path: Path) -> None:
    code = "import sys, time; from support.opennebula import StandIn; from pathlib import Path; one = StandIn(Path(sys.argv[1])); print(one.endpoint, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=TESTS) as process:
        assert process.stdout is not None
        setting = Setting(process.stdout.readline().strip(), "oneadmin", PASSWORD, ())
        assert setting.call("one.system.version") == "6.10.0.1"
        process.kill()
    for _ in range(600):
        try:
            setting.call("one.system.version")
        except OSError:
            return
        time.sleep(0.05)
    raise AssertionError("it goes on")

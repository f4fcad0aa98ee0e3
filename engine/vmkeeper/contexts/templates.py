"""Templates that strangers wrote, filled with plain values (rule R28). Runs in the child that `contexts.child` is.

Refused: an undefined name, any attribute of an object (a map's keys and a loop's counters are all there is), calls of
anything but `range` and the template's own macros, other templates, and control or bidirectional characters anywhere.
Time and memory are not counted here: Jinja2's sandbox stops escapes and not exhaustion, so the process has limits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

from jinja2 import StrictUndefined, Undefined
from jinja2.exceptions import TemplateError
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range

from vmkeeper.errors import Refused
from vmkeeper.values import visible

MAX_TEMPLATE = 256 << 10
MAX_OUTPUT = 1 << 20
MAX_DEPTH = 8
_FILTERS = frozenset(
    "abs batch capitalize center count d default dictsort first float indent int items join last length list lower map max min reject rejectattr"  # noqa: SIM905 - forty lines else
    " replace reverse round select selectattr sort string sum title trim truncate unique upper".split()
)
_COUNTERS = frozenset(("index", "index0", "revindex", "revindex0", "first", "last", "length", "depth", "depth0"))
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_WHITE = {ord(char): " " for char in "\n\t"}


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox with less: no methods, no attributes."""

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, autoescape=False, optimized=False, keep_trailing_newline=True, finalize=_printable)
        self.globals = {"range": safe_range}
        self.filters = {name: function for name, function in self.filters.items() if name in _FILTERS} | {"quoted": quoted}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A map's value, or a loop's counter."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        if isinstance(obj, LoopContext) and attribute in _COUNTERS:
            return getattr(obj, attribute)
        return self._nothing(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An item of a map, list or text."""
        try:
            return obj[argument] if isinstance(obj, dict | list | tuple | str) else self._nothing(obj, argument)
        except (LookupError, TypeError):
            return self._nothing(obj, argument)

    def is_safe_callable(self, obj: Any) -> bool:
        """Only what a template defines itself, and range."""
        return obj is safe_range or isinstance(obj, Macro)

    def _nothing(self, obj: Any, argument: Any) -> Undefined:
        return self.undefined(obj=obj, name=str(argument)[:80])


def render(text: str, values: Mapping[str, Any], max_output: int = MAX_OUTPUT) -> str:
    """The text with values filled in; raises Refused R28 for everything that does not go well."""
    check_template(text)
    check_values(values)
    parts: list[str] = []
    size = 0
    try:
        for part in _Sandbox().from_string(text).generate(dict(values)):
            size += len(part)
            if size > max_output:
                raise Refused("R28", f"the template makes more than {max_output} characters")
            parts.append(part)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise Refused("R28", "the template cannot be rendered", where=f"line {line}" if line else "", why=_said(error)) from None
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError, MemoryError, SyntaxError) as error:
        raise Refused("R28", "the template cannot be rendered", why=_said(error)) from None
    made = "".join(parts)
    if not is_plain(made):
        raise Refused("R28", "the template makes control or bidirectional characters")
    return made


def check_template(text: str) -> None:
    """Raises Refused R28 for a template that is too long or has characters that cannot be seen."""
    if len(text) > MAX_TEMPLATE:
        raise Refused("R28", f"the template has {len(text)} characters, at most {MAX_TEMPLATE} are read")
    if not is_plain(text):
        raise Refused("R28", "the template holds control or bidirectional characters")


def check_values(values: Mapping[str, Any]) -> None:
    """Raises Refused R28 for values that are no plain data or whose texts hold characters that cannot be seen."""
    for name, value in values.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise Refused("R28", f"{name!r} is no name for a template's value", hint="use letters, digits and _")
        _check_value(value, name, 0)


def is_plain(text: str) -> bool:
    """Whether a text has, besides line feeds and tabs, only characters that can be seen."""
    spaced = text.translate(_WHITE)
    return visible(spaced) == spaced


def quoted(value: Any) -> str:
    """The filter `quoted`: a text between double quotes on one line, with the backslash escapes that JSON and OpenNebula's templates read."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def _printable(value: Any) -> Any:
    """What a template may print: an object's text would show what it is inside."""
    if not isinstance(value, str | int | float | list | tuple | dict | Undefined):
        raise TypeError(f"a {type(value).__name__} is printed, not plain data")
    return value


def _check_value(value: Any, name: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Refused("R28", f"the value of {name} is nested more than {MAX_DEPTH} deep")
    match value:
        case str():
            if not is_plain(value):
                raise Refused("R28", f"the value of {name} holds control or bidirectional characters")
        case float() if not isfinite(value):
            raise Refused("R28", f"the value of {name} is no number that can be written")
        case None | bool() | int() | float():
            pass
        case list() | tuple():
            for item in value:
                _check_value(item, name, depth + 1)
        case dict():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise Refused("R28", f"the value of {name} is a map with a key that is no text")
                _check_value(key, name, depth)
                _check_value(item, name, depth + 1)
        case _:
            raise Refused("R28", f"the value of {name} is a {type(value).__name__}, not plain data")


def _said(error: BaseException) -> str:
    return visible(f"{type(error).__name__}: {error}")[:300]

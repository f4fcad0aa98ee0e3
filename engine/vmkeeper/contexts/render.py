"""A context as cloud-init's user-data: parameters checked, references filled in, one byte form for one meaning. Pure.

A reference is `${param.x}`, `${self.address}`, `${service.NAME.address}` or `${secret.x}`; `$${…}` is a literal one.
One that cannot be filled in is an error before anything starts. A shell's own `${VARIABLE}` has no dot and is left
alone. Form: cloud-init's documentation, "Cloud config data"; cloud-init reads YAML 1.1.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from io import StringIO
from typing import Any, Protocol

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from vmkeeper.contexts.inherit import path_of
from vmkeeper.errors import Place, Problem, Problems, Refused
from vmkeeper.model.context import Context, Parameter

Value = str | int | bool | tuple[str, ...]
HEADER = "#cloud-config\n"
ADDRESSES = re.compile(r"(self|service)\..*")
"""References whose values are known only when machines have their addresses."""

MAX_REFERENCES = 10_000
"""References that are filled in for one machine."""
MAX_TEXT = 512 << 10
"""Characters of all texts of one machine's cloud-config (rule R28); clouds take 16 to 64 KiB."""

_REFERENCE = re.compile(r"(\$?)\$\{([a-z][A-Za-z0-9_-]*\.[^{}\s]*)\}")
_PLAIN_KEY = re.compile(r"[a-z_][a-z0-9_-]*")
_NOT_PLAIN = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def parameters(name: str, context: Context, given: Mapping[str, Value]) -> dict[str, Value]:
    """The values of a context's parameters: what is given, else defaults. Raises Problems with all that is wrong."""
    problems: list[Problem] = []
    values: dict[str, Value] = {}
    place = Place(path_of(name), field="parameters")
    for extra in sorted(set(given) - set(context.parameters)):
        known = ", ".join(context.parameters) or "none"
        problems.append(Problem(place, f"there is no parameter {extra}", f"parameters are {known}"))
    for key, parameter in context.parameters.items():
        value = given.get(key, parameter.default)
        if value is None:
            problems.append(
                Problem(place, f"the parameter {key} is not given", f"give it under with:, or give it a default; it is a {parameter.type}")
            )
        elif (wrong := _wrong(parameter, value)) is not None:
            problems.append(Problem(place, f"the parameter {key} {wrong}", f"it is a {parameter.type}"))
        else:
            values[key] = value
    if problems:
        raise Problems(problems)
    return values


def _wrong(parameter: Parameter, value: Value) -> str | None:
    match parameter.type:
        case "integer":
            fits = isinstance(value, int) and not isinstance(value, bool)
        case "boolean":
            fits = isinstance(value, bool)
        case "list":
            fits = isinstance(value, tuple)
        case "address":
            return None if isinstance(value, str) and (_REFERENCE.fullmatch(value) or _is_address(value)) else f"is not an IP address: {value!r}"
        case "string":
            fits = isinstance(value, str)
    return None if fits else f"must not be {value!r}"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def fill(name: str, context: Context, given: Mapping[str, Value], facts: Mapping[str, str], *, keep_addresses: bool = False) -> dict[str, Any]:
    """The context's cloud-config with references filled in.

    given: parameters, which may hold references to addresses, not to one another. facts: `self.address`, `service.NAME.address`, `secret.x`.
    keep_addresses: leave references to addresses as they are, for what does not depend on them. Raises Problems with
    every reference that has no value, Refused R28 where the result grows beyond all measure.
    """
    if context.abstract:
        raise Problems([Problem(Place(path_of(name), field="abstract"), f"the context {name} is abstract", "use one that extends it")])
    filler = _Filler(facts, keep_addresses)
    given = {key: filler.fill(value, f"with.{key}") if isinstance(value, str) else value for key, value in parameters(name, context, given).items()}
    filler.known = {**facts, **{f"param.{key}": value for key, value in given.items()}}
    filled = filler.fill(context.cloud_init, "cloud_init")
    if filler.unknown:
        raise Problems(_unresolved(name, context, filler.unknown))
    assert isinstance(filled, dict)
    return filled


def both(name: str, context: Context, given: Mapping[str, Value], facts: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The context filled in, and its structure, in which addresses are left out. Raises as `fill` does."""
    return fill(name, context, given, facts), fill(name, context, given, facts, keep_addresses=True)


class Both(Protocol):
    """What renders a context: `both` here, or the same in a process of its own."""

    def __call__(self, name: str, context: Context, given: Mapping[str, Value], facts: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The context filled in, and its structure."""


class _Filler:
    """Replaces references in plain data within limits; collects those without a value."""

    def __init__(self, known: Mapping[str, Value], keep_addresses: bool) -> None:
        self.known = known
        self.keep_addresses = keep_addresses
        self.unknown: list[tuple[str, str]] = []
        self.references = 0
        self.size = 0

    def fill(self, value: Any, field: str) -> Any:
        match value:
            case dict():
                return {self._text(key, field): self.fill(item, f"{field}.{key}") for key, item in value.items()}
            case list() | tuple():
                return [self.fill(item, f"{field}[{number}]") for number, item in enumerate(value)]
            case str():
                whole = _REFERENCE.fullmatch(value)
                return self._lookup(whole[2], field) if whole and not whole[1] else self._text(value, field)
        return value

    def _text(self, text: str, field: str) -> str:
        self._grow(len(text), field)
        return _REFERENCE.sub(lambda found: f"${{{found[2]}}}" if found[1] else self._value(found[2], field), text)

    def _value(self, reference: str, field: str) -> str:
        text = _as_text(self._lookup(reference, field))
        self._grow(len(text), field)
        return text

    def _grow(self, size: int, field: str) -> None:
        self.size += size
        if self.size > MAX_TEXT:
            raise Refused("R28", f"filled in, the texts have more than {MAX_TEXT} characters", where=field, hint="use fewer or shorter values")

    def _lookup(self, reference: str, field: str) -> Any:
        self.references += 1
        if self.references > MAX_REFERENCES:
            raise Refused("R28", f"more than {MAX_REFERENCES} references are to be filled in", where=field, hint="use fewer")
        if self.keep_addresses and ADDRESSES.fullmatch(reference):
            return f"${{{reference}}}"
        if reference not in self.known:
            self.unknown.append((reference, field))
            return ""
        value = self.known[reference]
        self._grow(sum(map(len, value)) if isinstance(value, tuple) else len(value) if isinstance(value, str) else 20, field)
        return list(value) if isinstance(value, tuple) else value


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _unresolved(name: str, context: Context, unknown: list[tuple[str, str]]) -> Iterator[Problem]:
    for reference, field in unknown:
        kind, _, rest = reference.partition(".")
        hint = {
            "param": "a parameter's value may not refer to another parameter"
            if field.startswith("with.")
            else f"parameters are {', '.join(context.parameters) or 'none'}",
            "self": "this machine's address is not known before it starts here" if rest == "address" else "there is self.address",
            "service": "that service has no address that is known before it starts here"
            if rest.endswith(".address")
            else "write service.NAME.address",
            "secret": f"secrets are {', '.join(context.secrets) or 'none'}, and none is filled in here",
        }.get(kind, f"there are param., self., service. and secret.; for the text itself write $${{{reference}}}")
        yield Problem(Place(path_of(name), field=field), f"${{{reference}}} has no value", hint)


def to_text(config: Mapping[str, Any]) -> str:
    """The user-data of a cloud-config: YAML that means the same in 1.1 and 1.2, every text quoted or literal."""
    yaml, out = YAML(typ="rt", pure=True), StringIO()
    yaml.default_flow_style = False
    yaml.width = 1 << 20
    yaml.allow_unicode = True
    yaml.dump(_quoted(dict(config)), out)
    return HEADER + out.getvalue()


def _quoted(value: Any) -> Any:
    match value:
        case dict():
            return {_key(key): _quoted(item) for key, item in value.items()}
        case list() | tuple():
            return [_quoted(item) for item in value]
        case str():
            return LiteralScalarString(value) if _literal(value) else DoubleQuotedScalarString(value)
    return value


def _key(key: Any) -> Any:
    if isinstance(key, str) and not (_PLAIN_KEY.fullmatch(key) and key not in _NOT_PLAIN):
        return DoubleQuotedScalarString(key)
    return key


def _literal(text: str) -> bool:
    """Whether a block scalar shows it well and exactly: several lines of printable characters, the first one not indented."""
    lines = text.split("\n")
    return (
        len(lines) > 1
        and text.endswith("\n")
        and not text.endswith("\n\n")
        and bool(lines[0])
        and not lines[0][0].isspace()
        and all(line.isprintable() and line == line.rstrip() for line in lines)
    )

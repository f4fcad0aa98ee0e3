"""Sizes, durations, versions, digests, names and times: the values that documents are made of.

Sizes are bytes in code and `4GiB` in files; durations are seconds in code and `14d` in files; times
are UTC, to the second, `YYYY-MM-DDTHH:MM:SSZ` (the only form that every HEPiX consumer reads).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import total_ordering
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, GetCoreSchemaHandler, PlainSerializer, StringConstraints, WithJsonSchema
from pydantic_core import core_schema

NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$"
UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

_NAME_CONSTRAINT = StringConstraints(pattern=NAME_PATTERN)


def _fits_a_ref(name: str) -> str:
    if ".." in name or name.endswith(".lock"):
        raise ValueError(f"{name!r} cannot be part of a tag's name: write one without .. and without .lock at its end")
    return name


Name = Annotated[str, _NAME_CONSTRAINT, AfterValidator(_fits_a_ref)]
"""A name we own: 1 to 64 of `a-z 0-9 . _ -`, starting and ending with a letter or digit (rule R23).

Names are part of tag names, so what git refuses there (`..`, `.lock` at the end: git-check-ref-format) is refused too.
"""

Uuid = Annotated[str, StringConstraints(pattern=UUID_PATTERN)]
"""A UUID in lower case with dashes; it identifies an appliance or list for ever."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Sha512 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
CommitId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]

_SIZE_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_LONGEST = 100 * 366 * 86400
_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Scalar:
    """Lets a class with `parse` be a pydantic field that reads from and writes to a string."""

    _pattern = ""
    _examples: tuple[str, ...] = ()

    @classmethod
    def parse(cls, value: Any) -> Self:
        """The value that a file gives; raises ValueError with the form that is wanted."""
        raise TypeError(f"{cls.__name__} has no parser for {value!r}")

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema())
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": cls._pattern, "examples": list(cls._examples)}

    @classmethod
    def pattern(cls) -> str:
        """The form of the text as a regular expression."""
        return cls._pattern


class Size(Scalar, int):
    """A number of bytes; `4GiB`, `512MiB` or a plain number of bytes in files."""

    _pattern = r"^[0-9]{1,20} *(B|KiB|MiB|GiB|TiB)?$"
    _examples = ("4GiB", "512MiB")

    @classmethod
    def parse(cls, value: Any) -> Size:
        """Read `4GiB` or a count of bytes; raises ValueError naming the units."""
        count = value if isinstance(value, int) and not isinstance(value, bool) else -1
        match = re.fullmatch(r"([0-9]{1,20}) *([A-Za-z]*)", value) if isinstance(value, str) else None
        if match is not None and match[2] in _SIZE_UNITS:
            count = int(match[1]) * _SIZE_UNITS[match[2]]
        if count < 0:
            raise ValueError(f"{value!r} is not a size: write a whole number and one of {', '.join(u for u in _SIZE_UNITS if u)}, such as 4GiB")
        if count >= 2**63:
            raise ValueError("a size of 8 EiB or more fits in no file: write a smaller size")
        return cls(count)

    def __str__(self) -> str:
        for unit, factor in reversed(_SIZE_UNITS.items()):
            if factor > 1 and self >= factor and self % factor == 0:
                return f"{int(self) // factor}{unit}"
        return f"{int(self)}B"

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {**super().__get_pydantic_json_schema__(schema, handler), "type": ["string", "integer"], "minimum": 0}

    def __repr__(self) -> str:
        return f"Size('{self}')"

    @property
    def human(self) -> str:
        """Rounded for people: `430.2 MiB`."""
        for unit, factor in reversed(_SIZE_UNITS.items()):
            if factor > 1 and self >= factor:
                return f"{int(self) / factor:.1f} {unit}"
        return f"{int(self)} B"


class Duration(Scalar, int):
    """A number of seconds; `90s`, `15m`, `12h`, `14d` or `2w` in files, also joined as `1d12h`."""

    _pattern = r"^([0-9]{1,9}[smhdw])+$"
    _examples = ("14d", "15m")

    @classmethod
    def parse(cls, value: Any) -> Duration:
        """Read `14d`; raises ValueError naming the units. A bare number is refused: its unit is a guess."""
        if isinstance(value, Duration):
            return value
        if not isinstance(value, str) or not re.fullmatch(r"(?:[0-9]{1,9}[smhdw])+", value):
            raise ValueError(f"{value!r} is not a duration: write whole numbers with s, m, h, d or w, such as 14d or 15m")
        seconds = sum(int(n) * _DURATION_UNITS[u] for n, u in re.findall(r"([0-9]+)([smhdw])", value))
        if seconds > _LONGEST:
            raise ValueError(f"{value[:40]!r} is longer than 100 years: write a shorter duration")
        return cls(seconds)

    def __str__(self) -> str:
        rest, parts = int(self), []
        for unit, factor in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
            count, rest = divmod(rest, factor)
            if count:
                parts.append(f"{count}{unit}")
        return "".join(parts) or "0s"

    def __repr__(self) -> str:
        return f"Duration('{self}')"


@total_ordering
class Version(Scalar):
    """Numbers joined by dots, compared as numbers: `2026.11.20.7`; trailing zeros do not count."""

    _pattern = r"^[0-9]{1,18}(\.[0-9]{1,18}){0,7}$"
    _examples = ("2026.11.20.7",)
    __slots__ = ("_key", "text")

    def __init__(self, text: str) -> None:
        if not re.fullmatch(r"[0-9]{1,18}(?:\.[0-9]{1,18}){0,7}", text):
            raise ValueError(f"{text!r} is not a version: write numbers joined by dots, such as 2026.11.20.7")
        self.text = text
        numbers = [int(part) for part in text.split(".")]
        while len(numbers) > 1 and numbers[-1] == 0:
            numbers.pop()
        self._key = tuple(numbers)

    @classmethod
    def parse(cls, value: Any) -> Version:
        """Read text such as `2026.11`; a number is refused, for it has lost its zeros."""
        if isinstance(value, Version):
            return value
        if not isinstance(value, str):
            raise ValueError(f'{value!r} is not a version: put it in quotes, such as "2026.11"')
        return cls(value)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version as numbers, without trailing zeros."""
        return self._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key == other._key

    def __lt__(self, other: Version) -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Version('{self.text}')"


_COMPARE: dict[str, Callable[[Version, Version], bool]] = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}


class VersionConstraint(Scalar):
    """Comparisons joined by commas, all of which must hold: `>=2026.10, <2027`; `*` is any version."""

    _pattern = r"^(\*|\s*(>=|<=|==|!=|>|<)\s*[0-9.]+\s*(,\s*(>=|<=|==|!=|>|<)\s*[0-9.]+\s*)*)$"
    _examples = (">=2026.10", ">=2026.10, <2027", "*")
    __slots__ = ("_terms", "text")

    def __init__(self, text: str) -> None:
        terms = []
        for part in text.split(",") if text.strip() != "*" else []:
            match = re.fullmatch(r"\s*(>=|<=|==|!=|>|<)\s*([0-9.]+)\s*", part)
            if match is None:
                raise ValueError(f"{text!r} is not a version constraint: write *, or comparisons such as >=2026.10 joined by commas")
            terms.append((match[1], Version(match[2])))
        self.text = text
        self._terms = tuple(terms)

    @classmethod
    def parse(cls, value: Any) -> VersionConstraint:
        """Read text such as `>=2026.10, <2027`; a number is refused."""
        if isinstance(value, VersionConstraint):
            return value
        if not isinstance(value, str):
            raise ValueError(f'{value!r} is not a version constraint: put it in quotes, such as ">=2026.10"')
        return cls(value)

    def __contains__(self, version: Version) -> bool:
        return all(_COMPARE[operator](version, bound) for operator, bound in self._terms)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VersionConstraint) and self._terms == other._terms

    def __hash__(self) -> int:
        return hash(self._terms)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"VersionConstraint('{self.text}')"


def parse_time(text: str) -> datetime:
    """Read `YYYY-MM-DDTHH:MM:SSZ`, UTC; raises ValueError for every other form."""
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", text):
            raise ValueError
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (ValueError, TypeError):
        raise ValueError(f"{text!r} is not a time: write it in UTC as 2026-11-20T10:30:00Z") from None


def format_time(moment: datetime) -> str:
    """Write a time as `YYYY-MM-DDTHH:MM:SSZ`; raises ValueError for one without a zone."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def _time(value: Any) -> datetime:
    return value if isinstance(value, datetime) and value.tzinfo is not None else parse_time(value)


Time = Annotated[
    datetime,
    BeforeValidator(_time),
    AfterValidator(lambda moment: moment.astimezone(UTC).replace(microsecond=0)),
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-20T10:30:00Z"]}),
]
"""A moment in UTC, to the second."""


def canonical_json(value: Any) -> bytes:
    """The one byte form of a JSON value: sorted keys, no spaces, UTF-8, no NaN.

    Digests and signatures are taken over this form. Floats are refused: their text differs between writers.
    """

    def no_floats(item: Any) -> None:
        if isinstance(item, float):
            raise ValueError(f"a float ({item!r}) has no canonical form")
        for child in item.values() if isinstance(item, dict) else item if isinstance(item, list | tuple) else ():
            no_floats(child)

    no_floats(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256_hex(data: bytes) -> str:
    """SHA-256 of the bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha512_hex(data: bytes) -> str:
    """SHA-512 of the bytes, 128 hex digits."""
    return hashlib.sha512(data).hexdigest()


def visible(text: str) -> str:
    """Escape C0, C1, bidirectional and other invisible control characters (rule R29); newlines and lone surrogates are escaped too."""
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]")

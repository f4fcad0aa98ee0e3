"""Names and fields of others in the forms that documents take; where one does not fit, None: what becomes of it is the caller's to tell."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from functools import cache
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from vmkeeper.lists.dn import readings
from vmkeeper.lists.imports.outcome import printable
from vmkeeper.model.appliance import Architecture, Archive, Format
from vmkeeper.model.imagelist import HttpUrl
from vmkeeper.values import Name

_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "x86-64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_CODENAMES = {"7": "wheezy", "8": "jessie", "9": "stretch", "10": "buster", "11": "bullseye", "12": "bookworm", "13": "trixie"}
_ON_MIRRORS = ("bullseye", "bookworm", "trixie")
_PLACEHOLDER_OF_TITLES = re.compile(r"^image for +|\s*\[[^\]]*\]\s*$", re.IGNORECASE)
_LONGEST = 64


def slug(text: str) -> str:
    """A text as a document's name: `Debian 12 (bookworm)` is debian-12-bookworm. Empty where nothing of it can be kept."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    made = re.sub(r"\.{2,}", ".", re.sub(r"[^a-z0-9._]+", "-", plain))[:_LONGEST].strip("-._")
    return made.removesuffix(".lock") if fits(Name, made) is None else made


def free_name(titles: Collection[str], identifier: str, taken: Collection[str]) -> str:
    """The first of `titles` that gives a name not taken, else one with the beginning of the identifier."""
    made = [name for title in titles if (name := slug(title))]
    for name in made:
        if name not in taken:
            return name
    return f"{(made[-1] if made else 'image')[: _LONGEST - 9]}-{identifier[:8]}"


def short_title(title: str) -> str:
    """What AppDB's `Image for NAME [OS/VERSION/HYPERVISOR]` is about."""
    return _PLACEHOLDER_OF_TITLES.sub("", title)


def ascii_text(text: str, longest: int = 500) -> str:
    """Text without letters outside ASCII: accents go, what is left becomes `?`."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", printable(text)) if not unicodedata.combining(char))
    return plain.encode("ascii", "replace").decode()[:longest]


def one_line_name(text: str) -> str | None:
    """A distinguished name in one-line form."""
    try:
        return str(readings(text)[0])
    except ValueError:
        return None


def architecture(text: str | None) -> Architecture | None:
    """The architecture that lists call by several names."""
    found = _ARCHITECTURES.get((text or "").strip().lower())
    return next((one for one in get_args(Architecture) if one == found), None)


def image_format(text: str | None) -> Format | None:
    """A format by its name in any case."""
    return next((one for one in get_args(Format) if one == (text or "").strip().lower()), None)


def codename(version: str) -> str | None:
    """Debian's codename of a version such as 12 or 12.5."""
    return _CODENAMES.get(version.partition(".")[0].strip())


def debian_archives(release: str | None) -> tuple[Archive, ...]:
    """The archives of a release that Debian's mirrors still hold."""
    if release not in _ON_MIRRORS:
        return ()
    mirror = "http://deb.debian.org/debian"
    places = {"debian": (mirror, release), "updates": (mirror, f"{release}-updates"), "security": (f"{mirror}-security", f"{release}-security")}
    return tuple(Archive(name=name, uri=uri, suite=suite) for name, (uri, suite) in places.items())


def web_address(text: str | None) -> str | None:
    """A web address as documents hold it."""
    return None if fits(HttpUrl, text) is None else text


def fits(kind: Any, value: Any) -> Any:
    """`value` where the field's type takes it, else None."""
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError:
        return None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)

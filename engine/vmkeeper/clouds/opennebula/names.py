"""What images and templates are called at oned, where a name is taken once for each user. Pure.

Of several candidates the first that is free is taken, so that everybody who makes the same thing tries for the same name.
"""

from __future__ import annotations

import hashlib

from vmkeeper.clouds.interface import ImageSpec

LONGEST = 128
"""Bytes; our names are ASCII."""
RETIRED = "(retired)"


def place_of(owner: str) -> str:
    """The place in an owner's mark, or ""."""
    return owner.partition("/")[2]


def image_names(owner: str, spec: ImageSpec, *, hidden: bool = False) -> tuple[str, ...]:
    """`NAME`, else with the version, else with a digest. Where a site has several places, the place comes with it."""
    digest = hashlib.sha256(f"{owner}\n{spec.key}".encode()).hexdigest()[:8]
    place = place_of(owner)
    ends = ("", f"({spec.version})", f"({digest})")
    return tuple(dict.fromkeys(_fitting(spec.name, place and f"({place})", end, RETIRED if hidden else "") for end in ends))


def alias_names(owner: str, alias: str) -> tuple[str, ...]:
    """`ALIAS`, else with a digest of the owner."""
    place = place_of(owner)
    digest = hashlib.sha256(owner.encode()).hexdigest()[:8]
    return tuple(_fitting(alias, place and f"({place})", end) for end in ("", f"({digest})"))


def _fitting(name: str, *ends: str) -> str:
    end = "".join(f" {part}" for part in ends if part)
    return f"{name[: LONGEST - len(end)].rstrip()}{end}"

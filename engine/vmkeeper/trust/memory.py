"""What a site remembers of what it has trusted, so that nothing goes backwards: times (R13), lists (R15), tags (R8).

Pure: each step takes a memory and gives the next one or refuses. It is written whole or not at all (R30) before
anything is done on the strength of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import Field, ValidationError

from vmkeeper.errors import Refused, UserError
from vmkeeper.model.base import Document
from vmkeeper.values import Duration, Sha512, Time, Uuid, format_time


class SeenList(Document):
    """The newest version of an image list that was trusted."""

    version: str
    """hv:version."""
    sha512: Sha512
    """Of the list's content."""
    expires: Time


class Memory(Document):
    """What was seen and trusted."""

    format: Literal[1] = 1
    newest: Time | None = None
    """The highest time seen."""
    lists: dict[Uuid, SeenList] = Field(default_factory=dict)
    tags: dict[str, Sha512] = Field(default_factory=dict)
    """Tag name → SHA-512 of the tag object, of every tag that was accepted."""


def read_memory(data: bytes, where: str) -> Memory:
    """The memory in a file; raises UserError where it is damaged. A lost memory is never taken for an empty one."""
    try:
        return Memory.model_validate_json(data)
    except ValidationError as error:
        hint = "restore it from a backup; without one, pin the site again in a new folder: vmkeeper site init"
        raise UserError("the site's trust memory cannot be read", where=where, why=error.errors()[0]["msg"], hint=hint) from None


def write_memory(memory: Memory) -> bytes:
    """The bytes of a memory's file."""
    return memory.model_dump_json(indent=1).encode() + b"\n"


def at(memory: Memory, now: datetime, skew: Duration) -> Memory:
    """The memory at a time. Raises Refused R13 where the clock stands more than `skew` before the highest time seen."""
    if memory.newest is not None and now < memory.newest - timedelta(seconds=skew):
        why = f"it is {format_time(now)} here, and {format_time(memory.newest)} was seen before"
        hint = "set the clock; if it was wrong when that time was seen, correct `newest` in the site's memory.json"
        raise Refused("R13", "the clock went backwards", why=why, hint=hint)
    return memory.model_copy(update={"newest": max(now, memory.newest or now)})


def with_list(memory: Memory, uuid: str, seen: SeenList, order: Callable[[str], Any]) -> Memory:
    """The memory with a verified list; `order` gives what its versions are compared by.

    Raises Refused R15 for an older one and for the same version with other content.
    """
    before = memory.lists.get(uuid)
    if before is not None:
        if order(seen.version) < order(before.version):
            raise Refused("R15", "the list went back to an older version", why=f"{seen.version}, and {before.version} was seen before", where=uuid)
        if order(seen.version) == order(before.version) and seen.sha512 != before.sha512:
            hint = "its publisher must give every change a higher hv:version"
            raise Refused("R15", f"version {seen.version} of the list has other content than it had before", where=uuid, hint=hint)
    return memory.model_copy(update={"lists": {**memory.lists, uuid: seen}})


def with_tags(memory: Memory, accepted: Mapping[str, str], present: Mapping[str, str]) -> Memory:
    """The memory with accepted tags. All three are by tag name; digests are SHA-512 of the tag objects.

    accepted: tags with a good verdict; present: every tag that is there. Raises Refused R8 where a tag that was
    accepted before is gone or has become another object.
    """
    for name, digest in sorted(memory.tags.items()):
        if name not in present:
            raise Refused(
                "R8",
                "a signed tag that was trusted before is gone",
                where=name,
                hint="fetch the repository again, with all its tags, from its source",
            )
        if present[name] != digest:
            raise Refused(
                "R8", "a signed tag that was trusted before is another one now", where=name, hint="a statement is taken back by vmkeeper withdraw"
            )
    return memory.model_copy(update={"tags": dict(sorted({**memory.tags, **accepted}.items()))})

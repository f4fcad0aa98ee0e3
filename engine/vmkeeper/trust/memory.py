"""What a site remembers of what it has trusted, so that nothing goes backwards: times (R13), heads (R2),
policies (R3), lists (R15), tags (R8).

Pure: each step takes a memory and gives the next one or refuses. It is written whole or not at all (R30) before
anything is done on the strength of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import Field, ValidationError

from vmkeeper.documents.json_guard import read_json
from vmkeeper.errors import Problems, Refused, UserError
from vmkeeper.model.base import Document, FirstFormat
from vmkeeper.trust.history import History
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.said import PolicyMark
from vmkeeper.values import CommitId, Duration, Name, Sha256, Sha512, Time, Uuid, format_time

_LARGEST = 256 << 20
_HIGHEST = 10**15
"""A version beyond it would leave no higher one for its publisher (R16): dates to the second have 14 digits."""


class SeenList(Document):
    """The newest version of an image list that was trusted."""

    version: str
    """hv:version."""
    sha512: Sha512
    """Of the list's content."""
    expires: Time


class SeenTag(Document):
    """A tag whose signature was verified, and by which key."""

    sha512: Sha512
    """Of the tag object."""
    held: Sha256
    """Of the key it was verified with, as its holder has it."""
    key: str
    material: str
    made: Time | None = None
    valid_until: Time | None = None
    record: Sha256 | None = None
    """Under what its release record and provenance were found to agree with it (`verify.grounds`); None where they were not looked at."""


class SeenForeign(Document):
    """A list of another organisation as it was first seen, and what its images are called here for good."""

    url: str
    signer: str
    """Subject and issuer of who may sign it, as the site's file says."""
    uuid: Uuid
    """The list's."""
    names: dict[Uuid, Name] = Field(default_factory=dict)
    """By the image's UUID, in the order in which they were first seen."""


class Memory(Document):
    """What was seen and trusted."""

    format: FirstFormat = 1
    newest: Time | None = None
    """The highest time seen."""
    head: CommitId | None = None
    """The last trusted head of the followed branch."""
    policy: PolicyMark | None = None
    """The highest policy."""
    fresh: Time | None = None
    """When the newest freshness statement was issued."""
    fresh_until: Time | None = None
    """When it expires."""
    lists: dict[Uuid, SeenList] = Field(default_factory=dict)
    foreign: dict[Name, SeenForeign] = Field(default_factory=dict)
    """Lists of other organisations, by what the site calls them."""
    tags: dict[str, SeenTag] = Field(default_factory=dict)
    """Every tag that was accepted, by name."""


def read_memory(data: bytes, where: str) -> Memory:
    """The memory in a file; raises UserError where it is damaged. A lost memory is never taken for an empty one."""
    try:
        if len(data) > _LARGEST or not _has_one_reading(data):
            read_json(data, where, limit=_LARGEST)  # says where
        return Memory.model_validate_json(data)
    except (Problems, ValidationError) as error:
        why = str(error.problems[0]) if isinstance(error, Problems) else error.errors()[0]["msg"]
    hint = "restore it from a backup; without one, pin the site again in a new folder: vmkeeper site init"
    raise UserError("the site's trust memory cannot be read", where=where, why=why, hint=hint)


def _has_one_reading(data: bytes) -> bool:
    """Whether no key is there twice (R22): what `read_json` finds out, without places and at a tenth of the cost."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise ValueError
        return made

    def constant(text: str) -> Any:
        raise ValueError(text)

    try:
        json.loads(data.decode(), object_pairs_hook=once, parse_constant=constant)
    except (ValueError, RecursionError):
        return False
    return True


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
    if any(int(number) > _HIGHEST for number in re.findall(r"[0-9]+", seen.version)):
        hint = "its publisher must give it a lower hv:version, and sites that took it must pin it again"
        raise Refused("R16", "the list's version is higher than any count or date", where=uuid, why=seen.version, hint=hint)
    before = memory.lists.get(uuid)
    if before is not None:
        if order(seen.version) < order(before.version):
            raise Refused("R15", "the list went back to an older version", why=f"{seen.version}, and {before.version} was seen before", where=uuid)
        if order(seen.version) == order(before.version) and seen.sha512 != before.sha512:
            hint = "its publisher must give every change a higher hv:version"
            raise Refused("R15", f"version {seen.version} of the list has other content than it had before", where=uuid, hint=hint)
    return memory.model_copy(update={"lists": {**memory.lists, uuid: seen}})


def with_head(memory: Memory, history: History) -> Memory:
    """The memory with the head. Raises Refused R2 where it does not come after the last trusted one."""
    if memory.head is not None and not history.precedes(memory.head, history.head):
        why = f"{history.head} does not come after {memory.head}"
        raise Refused("R2", "the branch went back or was forked", why=why, hint="fetch it from its source; ask its maintainers what happened to it")
    return memory.model_copy(update={"head": history.head})


def with_policy(memory: Memory, marks: Sequence[PolicyMark]) -> Memory:
    """The memory with the policy in force. marks: of every policy since the pinned one, the one in force last.

    Raises Refused R3 for a lower number than before, and where the policy that was in force before is another one now.
    """
    before, current = memory.policy, marks[-1]
    if before is not None and (current.number < before.number or any(one.number == before.number and one != before for one in marks)):
        why = f"policy {current.number} is in force here, and policy {before.number} was before"
        raise Refused("R3", "the policy went back", why=why, hint="fetch all tags from the repository's source")
    return memory.model_copy(update={"policy": current})


def lost(memory: Memory, present: Mapping[str, str]) -> Iterator[Refusal]:
    """R8: tags that were trusted before and are gone or another object now. `present`: SHA-512 of every tag object by name."""
    for name, seen in sorted(memory.tags.items()):
        if name not in present:
            hint = "fetch the repository again, with all its tags, from its source"
            yield Refusal("R8", "a signed tag that was trusted before is gone", name, hint)
        elif present[name] != seen.sha512:
            yield Refusal("R8", "a signed tag that was trusted before is another one now", name, "a statement is taken back by vmkeeper withdraw")


def with_tags(memory: Memory, accepted: Mapping[str, SeenTag]) -> Memory:
    """The memory with accepted tags."""
    return memory.model_copy(update={"tags": dict(sorted({**memory.tags, **accepted}.items()))})

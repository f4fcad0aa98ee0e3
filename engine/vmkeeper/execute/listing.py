"""Verify one fetched image list against who may sign it, before anything in it is read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from vmkeeper.errors import Problems, Refused
from vmkeeper.lists import hepix, smime
from vmkeeper.lists.hepix import HepixList, OddImage
from vmkeeper.plan.publication_actions import LIST_FILE
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.keys.names import DistinguishedName
from vmkeeper.trust.keys.x509 import Purpose
from vmkeeper.trust.memory import Memory, SeenList, with_list
from vmkeeper.trust.pins import PinnedImageList
from vmkeeper.values import Duration, format_time, sha512_hex

LIMIT = 24 << 20
"""Bytes of a signed list."""


def list_url(base: str, name: str) -> str:
    """Where a published list lies below its base address."""
    return f"{base.rstrip('/')}/{name}/{LIST_FILE}"


@dataclass(frozen=True, slots=True)
class Expected:
    """Which list is meant and who may sign it. A name may be written in a way that has two readings; one must fit.

    uuid: None where any list of this signer is meant. purpose: what the signer's certificate must be for. sha1: whether a
    signature made with SHA-1 is taken. hint: what to do where another one signed it.
    """

    name: str
    signer: tuple[DistinguishedName, ...]
    ca: tuple[DistinguishedName, ...]
    uuid: str | None = None
    purpose: Purpose = "smimesign"
    sha1: bool = False
    hint: str = "if the publisher has another certificate now, pin the site again: vmkeeper site init"

    @classmethod
    def pinned(cls, pin: PinnedImageList) -> Expected:
        """What a site pinned."""
        return cls(pin.name, (DistinguishedName.parse(pin.signer),), (DistinguishedName.parse(pin.ca),), pin.uuid)


@dataclass(frozen=True, slots=True)
class Read:
    """A list that is signed by who may sign it. odd: images that were left out, because they cannot be read."""

    list: HepixList
    sha512: str
    """Of the signed content."""
    odd: tuple[OddImage, ...] = ()

    def remembered(self, memory: Memory) -> Memory:
        """The memory with the list. Raises Refused: R15 (older, or the same version with other content), R16."""
        seen = SeenList(version=self.list.version, sha512=self.sha512, expires=self.list.expires)
        return with_list(memory, self.list.uuid, seen, hepix.version_key)


def judge_list(
    message: bytes, expected: Expected, authorities: Authorities, memory: Memory, now: datetime, skew: Duration
) -> tuple[HepixList, Memory]:
    """Judge a list: signature, signer, UUID, version (R11, R13, R15 to R19). Gives it and the memory with it.

    An expired list is still a verified one; what follows from its expiry is the plan's matter. Raises Refused, Problems.
    """
    read = read_list(message, expected, authorities, now, skew)
    if read.odd:
        raise Problems(problem for image in read.odd for problem in image.problems)
    return read.list, read.remembered(memory)


def read_list(message: bytes, expected: Expected, authorities: Authorities, now: datetime, skew: Duration) -> Read:
    """A list by its signature, signer and UUID, whatever was seen before; images that cannot be read are left out.

    Raises Refused (R11, R13, R15, R17 to R19, R22), Problems (the list itself lacks what it must say).
    """
    signed = smime.verify(message, authorities, now, purpose=expected.purpose, sha1=expected.sha1)
    for what, found, wanted in (("signer", signed.subject, expected.signer), ("signer's issuer", signed.issuer, expected.ca)):
        if found not in wanted:
            raise Refused("R15", f"the {what} is not the pinned one", where=expected.name, why=f"{found}, not {wanted[0]}", hint=expected.hint)
    found_list, odd = hepix.read_usable(signed.content)
    if expected.uuid not in (None, found_list.uuid):
        raise Refused("R15", "this is another list than the pinned one", where=expected.name, why=f"{found_list.uuid}, not {expected.uuid}")
    if found_list.created > now + timedelta(seconds=skew):
        raise Refused(
            "R13",
            "the list was made in the future",
            where=expected.name,
            why=format_time(found_list.created),
            hint="check the clock here, with: date -u",
        )
    return Read(found_list, sha512_hex(signed.content), odd)

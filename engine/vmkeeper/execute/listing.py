"""Fetch one image list and verify it against what the site pinned, before anything in it is read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from vmkeeper.errors import Refused
from vmkeeper.lists import hepix, smime
from vmkeeper.lists.hepix import HepixList
from vmkeeper.plan.publication import LIST_FILE
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
    signature made with SHA-1 is taken.
    """

    name: str
    signer: tuple[DistinguishedName, ...]
    ca: tuple[DistinguishedName, ...]
    uuid: str | None = None
    purpose: Purpose = "smimesign"
    sha1: bool = False

    @classmethod
    def pinned(cls, pin: PinnedImageList) -> Expected:
        """What a site pinned."""
        return cls(pin.name, (DistinguishedName.parse(pin.signer),), (DistinguishedName.parse(pin.ca),), pin.uuid)


def verified_list(
    message: bytes, pin: PinnedImageList, authorities: Authorities, memory: Memory, now: datetime, skew: Duration
) -> tuple[HepixList, Memory]:
    """Judge a fetched list against what the site pinned; see `judge_list`."""
    return judge_list(message, Expected.pinned(pin), authorities, memory, now, skew)


def judge_list(
    message: bytes, expected: Expected, authorities: Authorities, memory: Memory, now: datetime, skew: Duration
) -> tuple[HepixList, Memory]:
    """Judge a list: signature, signer, UUID, version (R11, R13, R15 to R19). Gives it and the memory with it.

    An expired list is still a verified one; what follows from its expiry is the plan's matter. Raises Refused, Problems.
    """
    signed = smime.verify(message, authorities, now, purpose=expected.purpose, sha1=expected.sha1)
    for what, found, wanted in (("signer", signed.subject, expected.signer), ("signer's issuer", signed.issuer, expected.ca)):
        if found not in wanted:
            hint = "if the publisher has another certificate now, pin the site again: vmkeeper site init"
            raise Refused("R15", f"the {what} is not the pinned one", where=expected.name, why=f"{found}, not {wanted[0]}", hint=hint)
    found_list = hepix.read(signed.content)
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
    seen = SeenList(version=found_list.version, sha512=sha512_hex(signed.content), expires=found_list.expires)
    return found_list, with_list(memory, found_list.uuid, seen, hepix.version_key)

"""Fetch one image list and verify it against what the site pinned, before anything in it is read."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from vmkeeper.errors import Refused
from vmkeeper.lists import hepix, smime
from vmkeeper.lists.hepix import HepixList
from vmkeeper.lists.names import DistinguishedName
from vmkeeper.plan.publication import LIST_FILE
from vmkeeper.trust.memory import Memory, SeenList, with_list
from vmkeeper.trust.pins import PinnedImageList
from vmkeeper.values import Duration, format_time, sha512_hex

LIMIT = 24 << 20
"""Bytes of a signed list."""


def list_url(base: str, name: str) -> str:
    """Where a published list lies below its base address."""
    return f"{base.rstrip('/')}/{name}/{LIST_FILE}"


def verified_list(message: bytes, pin: PinnedImageList, authorities: Path, memory: Memory, now: datetime, skew: Duration) -> tuple[HepixList, Memory]:
    """Judge a fetched list: signature, signer, UUID, version (R11, R13, R15, R17, R19). Gives it and the memory with it.

    An expired list is still a verified one; what follows from its expiry is the plan's matter.
    """
    signed = smime.verify(message, authorities, now)
    for what, found, pinned in (("signer", signed.subject, pin.signer), ("signer's issuer", signed.issuer, pin.ca)):
        if found != DistinguishedName.parse(pinned):
            hint = "if the publisher has another certificate now, pin the site again: vmkeeper site init"
            raise Refused("R15", f"the {what} is not the pinned one", where=pin.name, why=f"{found}, not {pinned}", hint=hint)
    found_list = hepix.read(signed.content)
    if found_list.uuid != pin.uuid:
        raise Refused("R15", "this is another list than the pinned one", where=pin.name, why=f"{found_list.uuid}, not {pin.uuid}")
    if found_list.created > now + timedelta(seconds=skew):
        raise Refused(
            "R13", "the list was made in the future", where=pin.name, why=format_time(found_list.created), hint="check the clock here, with: date -u"
        )
    seen = SeenList(version=found_list.version, sha512=sha512_hex(signed.content), expires=found_list.expires)
    return found_list, with_list(memory, pin.uuid, seen, hepix.version_key)

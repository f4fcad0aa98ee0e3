"""Judge one signed image list by itself, offline, as a site does that pinned its signer."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from vmkeeper.errors import Refused, UserError
from vmkeeper.execute.home import read_ca_folder
from vmkeeper.execute.listing import LIMIT, Expected, judge_list
from vmkeeper.execute.single import read_file
from vmkeeper.images.files import write_file
from vmkeeper.lists.dn import readings
from vmkeeper.lists.hepix import HepixList
from vmkeeper.trust.keys.certificates import Crls
from vmkeeper.trust.keys.names import DistinguishedName
from vmkeeper.trust.memory import Memory, at, read_memory, write_memory
from vmkeeper.values import Duration, format_time

SKEW = Duration.parse("5m")


@dataclass(frozen=True, slots=True)
class ListTerms:
    """On whose word a list counts. Names in any form that `lists.dn` reads."""

    ca_dir: Path
    endorser_dn: str
    endorser_ca: str
    uuid: str | None = None
    crls: Crls = "when-there"
    allow_sha1: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """A list that counts, and whether it is one that is signed with SHA-1."""

    list: HepixList
    sha1: bool = False


def single_list(file: Path, terms: ListTerms, now: datetime, memory: Path | None = None) -> Accepted:
    """Judge a signed list of anybody's, as a site does that pinned its signer; what is accepted goes into the memory.

    memory: a file that keeps what was seen between calls; one that is not there is begun. Raises Refused, Problems, UserError.
    """
    if not terms.ca_dir.is_dir():
        raise UserError("the folder of authorities is not there", where=str(terms.ca_dir), hint="give a folder in IGTF layout: HASH.0, HASH.r0")
    signer, ca = _names(terms.endorser_dn, "--endorser-dn"), _names(terms.endorser_ca, "--endorser-ca")
    expected = Expected(file.name, signer, ca, _uuid(terms.uuid), purpose="any")
    before = at(_remembered(memory), now, SKEW)
    accepted, after = _judged(read_file(file, LIMIT, links=True), expected, terms, before, now)
    if accepted.list.expires <= now:
        raise Refused("R13", "the list has expired", why=f"on {format_time(accepted.list.expires)}", hint="its publisher must issue it anew")
    if memory is not None and after != before:
        write_file(memory, write_memory(after), mode=0o600)
    return accepted


def _judged(message: bytes, expected: Expected, terms: ListTerms, before: Memory, now: datetime) -> tuple[Accepted, Memory]:
    authorities = read_ca_folder(terms.ca_dir, terms.crls)
    try:
        found, after = judge_list(message, expected, authorities, before, now, SKEW)
    except Refused as error:
        if error.rule != "R11" or not terms.allow_sha1:
            raise
        found, after = judge_list(message, replace(expected, sha1=True), authorities, before, now, SKEW)
        return Accepted(found, sha1=True), after
    return Accepted(found), after


def list_report(accepted: Accepted, now: datetime) -> dict[str, Any]:
    """What a list holds, as JSON."""
    found = accepted.list
    images = [
        {
            "uuid": image.uuid,
            "version": image.version,
            "format": image.format,
            "size": int(image.size),
            "sha512": image.sha512,
            "uri": image.uri,
            "expires": format_time(image.expires) if image.expires else None,
            "expired": image.expires is not None and image.expires <= now,
            "title": image.title,
            "mpuri": image.mpuri,
        }
        for image in found.images
    ]
    names = {"endorser": {"dn": found.endorser.dn, "ca": found.endorser.ca}, "vo": found.vo}
    return {
        "uuid": found.uuid,
        "version": found.version,
        "expires": format_time(found.expires),
        "title": found.title,
        **names,
        "sha1": accepted.sha1,
        "images": images,
    }


def _names(text: str, option: str) -> tuple[DistinguishedName, ...]:
    try:
        return readings(text)
    except ValueError as error:
        raise UserError(str(error), where=option) from None


def _uuid(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        raise UserError(f"{text[:80]!r} is not a UUID", where="--uuid")
    return text.lower() if text else None


def _remembered(file: Path | None) -> Memory:
    """The memory in a file. Raises Refused R30 where it is damaged: a lost memory is never taken for an empty one."""
    if file is None or not (file.exists() or file.is_symlink()):
        return Memory()
    try:
        return read_memory(read_file(file, LIMIT, links=True), str(file))
    except UserError as error:
        raise Refused("R30", error.what, where=str(file), why=error.why, hint="restore it from a backup") from None

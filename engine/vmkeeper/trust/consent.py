"""Which sites/NAME.yaml is in force where a site shares a repository: the newest one that its administrators signed.

A maintainer who merges another file changes nothing at the site.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from vmkeeper.errors import Refused
from vmkeeper.model.keys import Compromise
from vmkeeper.trust.people import Holder
from vmkeeper.trust.pins import PinnedSite
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.revocation import Voids, marks
from vmkeeper.trust.said import SiteApproval
from vmkeeper.trust.signature import Authenticator, Read
from vmkeeper.trust.statement import TagName
from vmkeeper.values import sha512_hex


@dataclass(frozen=True, slots=True)
class Consent:
    """A site's file in force."""

    said: SiteApproval
    data: bytes
    signatures: tuple[Read, ...]


def consent(
    tags: Mapping[str, bytes | None], pinned: PinnedSite, reader: Authenticator, void: Voids
) -> tuple[tuple[Consent, ...], tuple[Refusal, ...]]:
    """Every approval that came into force, the one in force last, and why later tags do not count. tags: all below approve/SITE/.

    None counts where fewer are good than were seen before: what a revocation takes away does not bring back an older file.
    """
    made, refusals = _approvals(tags, pinned, reader, void)
    before = max((TagName.parse(name).number for name in reader.seen if name.startswith(f"approve/{pinned.name}/")), default=0)
    if len(made) < before:
        hint = f"the administrators approve the file again: vmkeeper approve {pinned.name}"
        return (), (
            Refusal("R20", f"approval {before} was in force, and is not any more", f"approval {len(made)} is the last good one", hint),
            *refusals,
        )
    return made, refusals


def _approvals(
    tags: Mapping[str, bytes | None], pinned: PinnedSite, reader: Authenticator, void: Voids
) -> tuple[tuple[Consent, ...], tuple[Refusal, ...]]:
    by_number: defaultdict[int, dict[str, bytes | None]] = defaultdict(dict)
    for name, raw in tags.items():
        try:
            by_number[TagName.parse(name).number][name] = raw
        except Refused:
            continue
    made: list[Consent] = []
    while (number := len(made) + 1) in by_number:
        step = _step(by_number.pop(number), pinned, made[-1] if made else None, reader, void)
        if not isinstance(step, Consent):
            return tuple(made), step
        made.append(step)
    ahead = [
        Refusal("R16", f"approval {number} is not the one after {len(made)}", ", ".join(sorted(by_number[number]))) for number in sorted(by_number)
    ]
    return tuple(made), tuple(ahead)


def _step(
    tags: Mapping[str, bytes | None], pinned: PinnedSite, before: Consent | None, reader: Authenticator, void: Voids
) -> Consent | tuple[Refusal, ...]:
    known = {one.name: one for one in pinned.administrators}

    def find(name: TagName) -> Holder | Refusal:
        return known.get(name.signer) or Refusal("R20", f"{name.signer} is not an administrator of {pinned.name}", name.text)

    reads = reader.read(dict(sorted(tags.items())), find)
    by_content: defaultdict[str, list[tuple[Read, SiteApproval]]] = defaultdict(list)
    for one in reads:
        if one.good and isinstance(one.said, SiteApproval) and not _spoilt(one, one.said, reader, void):
            by_content[one.said.content].append((one, one.said))
    enough = [group for group in by_content.values() if len({one.signed_by.material for one, _ in group if one.signed_by}) >= pinned.quorum]
    if len(enough) != 1:
        what = f"{pinned.quorum} of {len(pinned.administrators)} administrators must approve one file"
        return (Refusal("R5", what, ", ".join(sorted(tags))), *(refusal for one in reads for refusal in one.refusals))
    said = enough[0][0][1]
    if said.previous != (before.said.content if before else None):
        return (Refusal("R9", "the approval does not follow the one before", said.ref),)
    try:
        data = reader.history.files(said.commit, "sites").get(f"{pinned.name}.yaml")
    except Refused as error:
        return (Refusal.of(error),)
    if data is None or sha512_hex(data) != said.file:
        return (Refusal("R14", f"sites/{pinned.name}.yaml in the tagged commit is not the file that was approved", said.commit),)
    return Consent(said, data, tuple(one for one, _ in enough[0]))


def _spoilt(read: Read, said: SiteApproval, reader: Authenticator, void: Voids) -> bool:
    """Whether the key was not the administrator's alone, or had expired. A mark in an endorser's chain leaves what was seen before."""

    def stands(mark: Compromise) -> bool:
        return said.number <= mark.serial if mark.sha512 is None else read.tag in reader.seen

    return read.late or not all(map(stands, marks(read, void)))

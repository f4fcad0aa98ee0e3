"""Which release of an appliance stands on an image list, and which do not, with the reasons. Pure.

A release is listed only with a quorum of endorsements that nobody took back, the newest such one of each appliance. What
is listed does not just disappear: see `nothing_lost`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from vmkeeper.errors import Refused, UserError
from vmkeeper.lists.hepix import HepixImage, HepixList, version_key
from vmkeeper.model.appliance import Appliance, Format
from vmkeeper.model.imagelist import ImageList, Listed
from vmkeeper.trust.approval import Decision, endorsed
from vmkeeper.trust.people import TrustedEndorsers
from vmkeeper.trust.said import Endorsement, SignedFile
from vmkeeper.trust.statement import TagName
from vmkeeper.trust.verify import Accepted, Verdict
from vmkeeper.values import Version, format_time

PREFERENCE: tuple[Format, ...] = ("qcow2", "raw", "vmdk", "vdi", "vhd", "ova")
"""Which file of a release is listed: the first of these that it has."""


@dataclass(frozen=True, slots=True)
class Desired:
    """One list as the repository has it, with what trust decided about the releases of its appliances."""

    name: str
    spec: ImageList
    endorsers: TrustedEndorsers
    appliances: Mapping[str, Appliance]
    """Resolved, by name."""
    decisions: Sequence[Decision] = ()
    """Under the list's endorser list, with every version approved (see `decisions`); also of appliances that are not listed."""
    ancestors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of what an appliance inherits from, the parent first."""

    @property
    def base(self) -> str:
        """The public folder's address."""
        return self.spec.url.rstrip("/")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An appliance of a list that is not published, or a version newer than the one that is, and why."""

    image_list: str
    appliance: str
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The release that stands for an appliance."""

    listed: Listed
    version: Version
    file: SignedFile
    expires: datetime
    decision: Decision

    @property
    def name(self) -> str:
        """The appliance's name."""
        return self.listed.appliance


def decisions(verdicts: Iterable[Verdict], endorsers: TrustedEndorsers, endorser: str | None) -> tuple[TrustedEndorsers, tuple[Decision, ...]]:
    """What is endorsed under an endorser list, and the list as it decided. endorser: whose endorsements alone count, without a quorum.

    A withdrawal counts whoever of the list made it. Raises UserError where there is no such endorser on it.
    """
    if endorser is not None:
        one = endorsers.endorser(endorser)
        if one is None:
            known = ", ".join(person.name for person in endorsers.endorsers) or "nobody"
            raise UserError(f"{endorser} is not an endorser of {endorsers.name}", where=f"endorsers/{endorsers.name}.yaml", hint=f"there is {known}")
        verdicts = [verdict for verdict in verdicts if _counts(verdict, endorser)]
        endorsers = endorsers.model_copy(update={"quorum": 1, "rebuilds": min(endorsers.rebuilds, 1)})
    return endorsers, endorsed(verdicts, endorsers=endorsers)


def _counts(verdict: Verdict, endorser: str) -> bool:
    if isinstance(verdict, Accepted):
        return not isinstance(verdict.statement, Endorsement) or verdict.statement.endorser == endorser
    try:
        return TagName.parse(verdict.tag).signer == endorser
    except Refused:
        return False


def choose(desired: Desired, now: datetime) -> tuple[tuple[Choice, ...], tuple[LeftOut, ...]]:
    """The newest endorsed release of each appliance of a list, and why others are not on it."""
    chosen: list[Choice] = []
    left_out: list[LeftOut] = []
    listed_once = {listed.appliance: listed for listed in reversed(desired.spec.appliances)}
    for listed in reversed(listed_once.values()):
        choice, reasons = _newest(desired, listed, now)
        chosen += [choice] if choice else []
        left_out += [LeftOut(desired.name, listed.appliance, reason) for reason in reasons]
    return tuple(chosen), tuple(left_out)


def _newest(desired: Desired, listed: Listed, now: datetime) -> tuple[Choice | None, list[str]]:
    """The release to list, or None, and why newer ones are not listed."""
    appliance = desired.appliances.get(listed.appliance)
    if appliance is None:
        return None, ["there is no such appliance"]
    if appliance.abstract:
        return None, ["it is abstract"]
    reasons: list[str] = []
    for decision in releases(desired, listed.appliance):
        if not decision.accepted:
            reasons.append(f"{decision.version}: {'; '.join(refusal.why for refusal in decision.refusals)}")
        elif decision.statement.uuid != appliance.uuid:
            reasons.append(f"{decision.version}: it was endorsed under another UUID, {decision.statement.uuid}")
        elif (expires := _expires(decision, desired.endorsers.quorum)) <= now:
            reasons.append(f"{decision.version}: its endorsement expired on {format_time(expires)}")
        else:
            file = min(decision.statement.files, key=lambda file: PREFERENCE.index(file.format))
            return Choice(listed, decision.version, file, expires, decision), reasons
    return None, reasons or ["no release of it is endorsed"]


def releases(desired: Desired, appliance: str) -> list[Decision]:
    """What was decided about an appliance's versions, the newest first."""
    return sorted((one for one in desired.decisions if one.appliance == appliance), key=lambda one: one.version, reverse=True)


def architecture_of(appliance: Appliance) -> str:
    """Its processor architecture."""
    return appliance.architecture or "x86_64"


def as_published(desired: Desired, image: HepixImage) -> Choice | None:
    """The release that a published image is, where its endorsements are still known and its appliance still listed."""
    for listed in desired.spec.appliances:
        appliance = desired.appliances.get(listed.appliance)
        for decision in releases(desired, listed.appliance) if appliance and appliance.uuid == image.uuid else ():
            files = decision.statement.files if decision.endorsements else ()
            for file in files:
                if file.sha512 == image.sha512 and str(decision.version) == image.version:
                    return Choice(listed, decision.version, file, image.expires or _expires(decision, 1), decision)
    return None


def _expires(decision: Decision, quorum: int) -> datetime:
    """When the quorum ends: the latest time at which that many endorsements are still valid."""
    ends = sorted((said.statement.expires for said in decision.endorsements if isinstance(said.statement, Endorsement)), reverse=True)
    return ends[quorum - 1]


def nothing_lost(desired: Desired, chosen: Sequence[Choice], published: HepixList | None, now: datetime) -> None:
    """Rule R8, with the published list as memory: the tags that endorsed a listed image do not just disappear.

    A clone without tags would otherwise take every image off the list. Raises Refused.
    """
    newest = {choice.name: choice.version for choice in chosen}
    known = {(decision.appliance, str(decision.version)) for decision in desired.decisions}
    names = {
        desired.appliances[listed.appliance].uuid: listed.appliance for listed in desired.spec.appliances if listed.appliance in desired.appliances
    }
    for image in published.images if published else ():
        name = names.get(image.uuid)
        if name is None or (name, image.version) in known or (image.expires and image.expires <= now):
            continue
        if name not in newest or version_key(str(newest[name])) < version_key(image.version):
            hint = "fetch all tags (git fetch --tags); to take it off the list, withdraw it or take the appliance out of the list's file"
            raise Refused("R8", f"{image.version} is listed, and the tags that endorsed it are gone", where=f"{desired.name}/{name}", hint=hint)


def same_bytes(desired: Desired, chosen: Sequence[Choice], published: HepixList | None) -> None:
    """Rule R14: a version that is listed does not get other bytes. Raises Refused."""
    before = {image.uuid: image for image in published.images} if published else {}
    for choice in chosen:
        image = before.get(desired.appliances[choice.name].uuid)
        if image and image.version == str(choice.version) and image.format == choice.file.format and image.sha512 != choice.file.sha512:
            hint = "build a new version of it; what an address holds never changes"
            raise Refused("R14", f"{choice.version} was published before with other bytes", where=choice.name, hint=hint)

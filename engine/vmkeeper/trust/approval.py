"""Rule R20: a release runs at a site only if it is endorsed ∧ approved ∧ not blocked ∧ not withdrawn ∧ not expired.

Adding trust takes the list's quorum; taking it away takes one endorser. One approval that means the release suffices, one block
is too much; which release an entry means is in `trust.selection`. Pure: adding a block never allows anything, adding an approval
never takes anything away.
"""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby

from vmkeeper.errors import Refused
from vmkeeper.model.decision import Approval, Block
from vmkeeper.trust.people import TrustedEndorsers
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.said import Endorsement, Withdrawal
from vmkeeper.trust.selection import LATER, About, Lacking, Part, Vouched, described, fits, lacks, names, only
from vmkeeper.trust.statement import TagName
from vmkeeper.trust.verify import Accepted, Rejected, Verdict
from vmkeeper.values import Version, format_time

RULE = "R20"
HOW = "add it under approve: in the site's file"
_SOME = 5
"""Entries of a site's file that a refusal names."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a site may run one version of an appliance. With no refusals it may; `endorsements` are those that count."""

    appliance: str
    version: Version
    refusals: tuple[Refusal, ...]
    endorsements: tuple[Accepted, ...] = ()
    nearest: Version | None = None
    """For a refused one: the version closest to it that may run, the newer one of two."""
    list: str = ""
    """The image list that it was decided for; `""` where none was looked at."""
    blocked: bool = False
    """Whether the site blocks it."""
    lapsed: bool = False
    """Whether the site approved it for a time that is over."""
    undecided: bool = False
    """Whether all that it lacks is the site's decision: nothing else speaks against it, and no entry of the site's file is about it."""
    digests: tuple[str, ...] = ()
    """SHA-512 of the files that are vouched for, sorted."""
    community: str = ""
    """That the endorser list speaks for."""
    since: datetime | None = None
    """When enough had vouched for it."""

    @property
    def accepted(self) -> bool:
        """Whether the release may run."""
        return not self.refusals

    @property
    def statement(self) -> Endorsement:
        """What the quorum signed; only for what is endorsed."""
        said = self.endorsements[0].statement
        assert isinstance(said, Endorsement)
        return said

    def about(self, image_list: str) -> About:
        """The endorsed release as an image list offers it."""
        vouched = tuple(Vouched(one.statement.signer, one.tag) for one in self.endorsements)
        return About(self.appliance, self.version, image_list, self.community, vouched, frozenset(self.digests))

    def as_json(self) -> dict[str, object]:
        """`{"appliance", "version", "accepted", "refusals": [{"rule", "why", "evidence"}]}`, and `nearest` and `list` where there are any."""
        return {
            "appliance": self.appliance,
            "version": str(self.version),
            "accepted": self.accepted,
            "refusals": [refusal.as_json() for refusal in self.refusals],
            **({"nearest": str(self.nearest)} if self.nearest else {}),
            **({"list": self.list} if self.list else {}),
        }


@dataclass(slots=True)
class _Case:
    """All tags about one version of one appliance."""

    accepted: list[tuple[Accepted, Endorsement]] = field(default_factory=list)
    withdrawn: list[tuple[Accepted, Withdrawal]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stance:
    """What a site says of the releases of one image list, at a time.

    list: the image list's name at the site; `""` for none, and then no entry that names a list counts. The entries are those of
    one of the site's places (`Site.at`); of a site as a whole, an approval that names places approves nothing, and a block that does
    blocks: what may run then may run at every place.
    """

    approve: Sequence[Approval]
    block: Sequence[Block]
    now: datetime
    list: str = ""


EVERYTHING = Stance((Approval(appliance="*"),), (), datetime.max.replace(tzinfo=UTC))
"""Where no site is asked."""


def endorsed(verdicts: Iterable[Verdict], *, endorsers: TrustedEndorsers, releases: Iterable[tuple[str, Version]] = ()) -> tuple[Decision, ...]:
    """What `decide` says where everything is approved at any time: whether a release is endorsed, and nothing of any site."""
    return decide(verdicts, endorsers=endorsers, site=EVERYTHING, releases=releases)


def decide(
    verdicts: Iterable[Verdict], *, endorsers: TrustedEndorsers, site: Stance, releases: Iterable[tuple[str, Version]] = ()
) -> tuple[Decision, ...]:
    """Decide about every version of every appliance that the tags or `releases` name, sorted by both.

    verdicts: of all tags under the endorser list in force, as `verify` gave them (expiry is judged there). Endorsements that
    a withdrawal takes back are those of the same version; an endorser who endorses it again afterwards (a higher
    serial) has ended their own withdrawal.

    An entry of the site's file that names an endorser, a tag or a digest is held against the endorsements that make up the quorum
    (all that those endorsers said of the same content), one that names a community against the endorser list's.
    """
    cases = _cases(verdicts)
    for appliance, version in releases:
        cases.setdefault((appliance, version), _Case())
    decisions = [_decide(appliance, version, case, endorsers, site) for (appliance, version), case in sorted(cases.items())]
    result: list[Decision] = []
    for _, group in groupby(decisions, key=lambda decision: decision.appliance):
        result += _with_nearest(list(group))
    return tuple(result)


def _cases(verdicts: Iterable[Verdict]) -> dict[tuple[str, Version], _Case]:
    cases: defaultdict[tuple[str, Version], _Case] = defaultdict(_Case)
    for verdict in verdicts:
        if isinstance(verdict, Rejected):
            try:
                name = TagName.parse(verdict.tag)
            except Refused:
                continue
            cases[name.appliance, Version(name.version)].rejected.append(verdict)
        elif isinstance(verdict.statement, Endorsement):
            cases[verdict.statement.appliance, Version(verdict.statement.version)].accepted.append((verdict, verdict.statement))
        else:
            cases[verdict.statement.appliance, Version(verdict.statement.version)].withdrawn.append((verdict, verdict.statement))
    return cases


def _decide(appliance: str, version: Version, case: _Case, endorsers: TrustedEndorsers, site: Stance) -> Decision:
    counted, refusals = _endorsed(version, case, endorsers)
    about = _about(appliance, version, _vouching(case, counted), endorsers, site)
    blocks = [blocked(about, one) for one in site.block if fits(one, about, site.now)]
    against = [*blocks, *_withdrawn(case)]
    near = [(one, tuple(lacks(one, about, site.now))) for one in site.approve if names(one, about)]
    approval = _approved(about, near)
    undecided = bool(approval) and not refusals and not against and not any(_parts(missing) <= LATER for _, missing in near)
    return Decision(
        appliance,
        version,
        (*refusals, *approval, *against),
        tuple(verdict for verdict, _ in counted),
        list=site.list,
        blocked=bool(blocks),
        lapsed=bool(approval) and any(lapsed(missing) for _, missing in near),
        undecided=undecided,
        digests=tuple(sorted(about.digests)),
        community=endorsers.community,
        since=max((said.issued for _, said in counted), default=None),
    )


def _vouching(case: _Case, counted: list[tuple[Accepted, Endorsement]]) -> list[tuple[Accepted, Endorsement]]:
    """Whose words entries of the site's file are held against: those of the quorum; without one, whoever says something."""
    if not counted:
        return case.accepted
    content, people = counted[0][1].content, {said.endorser for _, said in counted}
    return [(verdict, said) for verdict, said in case.accepted if said.endorser in people and said.content == content]


def _about(appliance: str, version: Version, vouching: Iterable[tuple[Accepted, Endorsement]], endorsers: TrustedEndorsers, site: Stance) -> About:
    said = list(vouching)
    return About(
        appliance,
        version,
        site.list,
        endorsers.community,
        tuple(Vouched(one.endorser, verdict.tag) for verdict, one in said),
        frozenset(file.sha512 for _, one in said for file in one.files),
    )


def _endorsed(version: Version, case: _Case, endorsers: TrustedEndorsers) -> tuple[list[tuple[Accepted, Endorsement]], list[Refusal]]:
    """The endorsements that count, one an endorser, and why they do not suffice."""
    latest: dict[str, tuple[Accepted, Endorsement]] = {}
    for verdict, said in sorted(case.accepted, key=lambda item: item[1].serial):
        latest[said.endorser] = (verdict, said)
    by_content: defaultdict[tuple[object, ...], list[tuple[Accepted, Endorsement]]] = defaultdict(list)
    for _, (verdict, said) in sorted(latest.items()):
        by_content[said.content].append((verdict, said))
    enough = [group for group in by_content.values() if _pairs(group) >= endorsers.quorum]
    if len(enough) == 1:
        return enough[0], _rebuilt(enough[0], endorsers)
    tags = ", ".join(verdict.tag for verdict, _ in latest.values())
    if enough:
        return [], [Refusal("R14", f"different images are endorsed as version {version}", tags, "the endorsers have to withdraw one of them")]
    most = max(map(_pairs, by_content.values()), default=0)
    refusals = [
        Refusal(
            RULE,
            f"{most} of {endorsers.quorum} endorsers of {endorsers.name} endorse it",
            tags or "no tag that counts",
            "ask an endorser for: vmkeeper endorse",
        )
    ]
    if any(len(group) > _pairs(group) for group in by_content.values()):
        refusals.append(
            Refusal("R5", "endorsers with different names signed with one key pair, which counts once", tags, "each signs with a key of their own")
        )
    for rejected in case.rejected:
        refusals += [Refusal(one.rule, f"{rejected.tag}: {one.why}", one.evidence, one.hint) for one in rejected.refusals]
    return [], refusals


def _pairs(group: Iterable[tuple[Accepted, Endorsement]]) -> int:
    """How many count for a quorum (R5): endorsers, each once, and none twice under two names."""
    return len({verdict.signed_by.material for verdict, _ in group})


def _rebuilt(group: list[tuple[Accepted, Endorsement]], endorsers: TrustedEndorsers) -> list[Refusal]:
    """R31: enough of them have built the release again and found the same bytes."""
    count = _pairs((verdict, said) for verdict, said in group if said.rebuilt)
    if count >= endorsers.rebuilds:
        return []
    why = f"{count} of {endorsers.rebuilds} endorsers of {endorsers.name} have built it again"
    return [Refusal("R31", why, ", ".join(verdict.tag for verdict, _ in group), "ask for: vmkeeper endorse --rebuild")]


def blocked(about: About, one: Block) -> Refusal:
    """That a site blocks a release."""
    return Refusal(
        RULE,
        f"the site blocks {about.appliance} {about.version}",
        f"block {described(one)}: {one.reason}",
        "take the block out of the site's file",
    )


def unmet(about: About, missing: Sequence[Sequence[Lacking]]) -> Refusal:
    """That approvals are there for a version of an appliance, and what each of them lacks to mean this release now."""
    parts = {part for one in missing for part, _ in one}
    people = ", ".join(sorted({one.endorser for one in about.vouched})) or "nobody"
    evidence = [f"endorsed by {people}"] if "endorser" in parts else []
    evidence += [f"it is on the list {about.list or 'of nobody'}"] if "list" in parts else []
    evidence += [f"its community is {about.community or 'not said'}"] if "community" in parts else []
    what = ", or ".join(dict.fromkeys(only(one) for one in missing[:_SOME]))
    more = f", or by {len(missing) - _SOME} more approvals" if len(missing) > _SOME else ""
    return Refusal(RULE, f"the site approves {about.appliance} {about.version} only {what}{more}", "; ".join(evidence))


def lapsed(missing: Sequence[Lacking]) -> bool:
    """Whether all that an approval lacks is that its time is over."""
    return _parts(missing) == {"until"}


def _parts(missing: Sequence[Lacking]) -> set[Part]:
    return {part for part, _ in missing}


def _approved(about: About, near: Sequence[tuple[Approval, Sequence[Lacking]]]) -> list[Refusal]:
    """Why none of the approvals of an appliance approves its release; nothing where one does."""
    if any(not missing for _, missing in near):
        return []
    if fitting := [missing for _, missing in near if "version" not in _parts(missing)]:
        return [unmet(about, fitting)]
    named = "; ".join(described(one) for one, _ in near)
    return [Refusal(RULE, f"the site does not approve {about.appliance} {about.version}", named or "no approval names it", HOW)]


def _withdrawn(case: _Case) -> list[Refusal]:
    """Withdrawals in force: those after which the same endorser has not endorsed the version again."""
    again: dict[str, int] = {}
    for _, said in case.accepted:
        again[said.endorser] = max(again.get(said.endorser, 0), said.serial)
    return [
        Refusal(RULE, f"{said.endorser} has withdrawn it: {said.reason}", f"{verdict.tag}, {format_time(said.issued)}", "use another version")
        for verdict, said in case.withdrawn
        if again.get(said.endorser, 0) <= said.serial
    ]


def _with_nearest(decisions: list[Decision]) -> list[Decision]:
    """Decisions about one appliance, sorted by version, each refused one with the nearest that is accepted, the newer one of two."""
    good = [number for number, decision in enumerate(decisions) if decision.accepted]
    result = []
    for number, decision in enumerate(decisions):
        at = bisect(good, number)
        if not decision.accepted and good:
            nearest = min(good[max(at - 1, 0) : at + 1], key=lambda other: (abs(other - number), -other))
            decision = replace(decision, nearest=decisions[nearest].version)
        result.append(decision)
    return result

"""Rule R20: a release runs at a site only if it is endorsed ∧ approved ∧ not blocked ∧ not withdrawn ∧ not expired.

Adding trust takes the list's quorum; taking it away takes one endorser. Pure.
"""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from vmkeeper.errors import Refused
from vmkeeper.model.decision import Approval, Block
from vmkeeper.trust.people import TrustedEndorsers, matches
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.said import Endorsement, Withdrawal
from vmkeeper.trust.statement import TagName
from vmkeeper.trust.verify import Accepted, Rejected, Verdict
from vmkeeper.values import Version, format_time

RULE = "R20"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a site may run one version of an appliance. With no refusals it may; `endorsements` are those that count."""

    appliance: str
    version: Version
    refusals: tuple[Refusal, ...]
    endorsements: tuple[Accepted, ...] = ()
    nearest: Version | None = None
    """For a refused one: the version closest to it that may run, the newer one of two."""

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

    def as_json(self) -> dict[str, object]:
        """`{"appliance", "version", "accepted", "refusals": [{"rule", "why", "evidence"}]}`."""
        return {
            "appliance": self.appliance,
            "version": str(self.version),
            "accepted": self.accepted,
            "refusals": [refusal.as_json() for refusal in self.refusals],
            **({"nearest": str(self.nearest)} if self.nearest else {}),
        }


@dataclass(slots=True)
class _Case:
    """All tags about one version of one appliance."""

    accepted: list[tuple[Accepted, Endorsement]] = field(default_factory=list)
    withdrawn: list[tuple[Accepted, Withdrawal]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


def decide(
    verdicts: Iterable[Verdict],
    *,
    endorsers: TrustedEndorsers,
    approve: Sequence[Approval],
    block: Sequence[Block],
    releases: Iterable[tuple[str, Version]] = (),
) -> tuple[Decision, ...]:
    """Decide about every version of every appliance that the tags or `releases` name, sorted by both.

    verdicts: of all tags under the endorser list in force, as `verify` gave them (expiry is judged there). Endorsements that
    a withdrawal takes back are those of the same version; an endorser who endorses it again afterwards (a higher
    serial) has ended their own withdrawal.
    """
    cases = _cases(verdicts)
    for appliance, version in releases:
        cases.setdefault((appliance, version), _Case())
    decisions = [_decide(appliance, version, case, endorsers, approve, block) for (appliance, version), case in sorted(cases.items())]
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


def _decide(
    appliance: str, version: Version, case: _Case, endorsers: TrustedEndorsers, approve: Sequence[Approval], block: Sequence[Block]
) -> Decision:
    counted, refusals = _endorsed(version, case, endorsers)
    names = {said.endorser for _, said in counted or case.accepted}
    refusals += _approved(appliance, version, approve, names)
    refusals += [
        Refusal(
            RULE,
            f"the site blocks {appliance} {version}",
            f"block {one.appliance} {one.version}: {one.reason}",
            "take the block out of the site's file",
        )
        for one in block
        if matches(one.appliance, appliance) and version in one.version
    ]
    refusals += _withdrawn(case)
    return Decision(appliance, version, tuple(refusals), tuple(verdict for verdict, _ in counted))


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


def _approved(appliance: str, version: Version, approve: Sequence[Approval], endorsers: set[str]) -> list[Refusal]:
    fitting = [one for one in approve if matches(one.appliance, appliance) and version in one.version]
    if any(one.endorser is None or one.endorser in endorsers for one in fitting):
        return []
    if fitting:
        wanted = ", ".join(str(one.endorser) for one in fitting)
        return [
            Refusal(
                RULE,
                f"the site approves {appliance} {version} only if endorsed by {wanted}",
                f"endorsed by {', '.join(sorted(endorsers)) or 'nobody'}",
            )
        ]
    near = "; ".join(f"{one.appliance} {one.version}" for one in approve if matches(one.appliance, appliance))
    return [
        Refusal(RULE, f"the site does not approve {appliance} {version}", near or "no approval names it", "add it under approve: in the site's file")
    ]


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

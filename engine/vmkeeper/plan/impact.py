"""What a change of trust brings about once it is signed: images that lists no longer name, sites hide, clusters lose.

Pure: decisions about releases before and after the change, and the documents of those who use them, go in; actions in
somebody else's hands come out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from vmkeeper.model.cluster import Cluster
from vmkeeper.model.imagelist import ImageList
from vmkeeper.model.policy import Policy
from vmkeeper.model.site import Site
from vmkeeper.plan.actions import Action, Cause
from vmkeeper.plan.forecast import BreakCluster, EnactPolicy, HideImage, PublishList, RegisterImage, ReplaceMachines, WithdrawFromList
from vmkeeper.plan.trustchange import TrustChange
from vmkeeper.trust.approval import Decision
from vmkeeper.trust.selection import About, fits
from vmkeeper.values import Name, Version

Decisions = Mapping[Name, Iterable[Decision]]
"""By endorser list: about every release, with every version approved."""
_MOST = 3
"""Changes that one reason names."""


@dataclass(frozen=True, slots=True)
class Users:
    """Documents of those who use releases, by name."""

    image_lists: Mapping[Name, ImageList]
    sites: Mapping[Name, Site]
    clusters: Mapping[Name, Cluster]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of trust: what was decided before, what would be after, which sentences of endorsers/ differ, and who changed a file."""

    before: Mapping[Name, Mapping[str, Mapping[Version, Decision]]]
    after: Mapping[Name, Mapping[str, Mapping[Version, Decision]]]
    sentences: tuple[TrustChange, ...]
    cause: Callable[[str], Cause | None]

    @classmethod
    def of(cls, before: Decisions, after: Decisions, sentences: Iterable[TrustChange], cause: Callable[[str], Cause | None]) -> Change:
        """From decisions as they come."""
        return cls(_sorted(before), _sorted(after), tuple(sentences), cause)

    def why(self, source: Name, appliance: str, version: Version) -> tuple[str, Cause | None]:
        """Why a version of an appliance does not count on an endorser list any more, and the change that did it."""
        was = self.before[source][appliance][version]
        names = {one.statement.endorser for one in was.endorsements}
        keys = {one.signed_by.key for one in was.endorsements}
        fitting = [
            one
            for one in self.sentences
            if one.takes and one.list in ("", source) and (not one.name or not one.list or one.name in names) and (not one.key or one.key in keys)
        ]
        own = [one for one in fitting if one.list] or fitting
        refused = self.after.get(source, {}).get(appliance, {}).get(version)
        told = [one.what for one in own[:_MOST]] or [str(one) for one in refused.refusals[:_MOST]] if refused else [one.what for one in own[:_MOST]]
        return "; ".join(told) or "nothing vouches for it any more", self.cause(own[0].path if own else "endorsers")


def signatures(old: Policy | None, new: Policy | None, cause: Cause | None, sentences: Sequence[TrustChange] = (), problem: str = "") -> EnactPolicy:
    """Who has to sign before a changed endorsers/ counts. `problem` says why it can never be signed as it is."""
    more = f"; and {len(sentences) - _MOST} more changes" if len(sentences) > _MOST else ""
    changed = "".join(f"{one.what}; " for one in sentences[:_MOST])[:-2] + more
    if problem or new is None:
        says = f"this cannot be signed: {problem or 'there is no endorsers/policy.yaml'}"
    else:
        asked = " and ".join(dict.fromkeys(f"by {_quorum(each)}" for each in (old, new) if each is not None))
        says = f"this counts once it is signed {asked}"
    return EnactPolicy(subject="policy", reason=f"{changed or 'endorsers/ changes'}: {says}", cause=cause)


def _quorum(policy: Policy) -> str:
    return f"{policy.quorum} of {', '.join(one.name for one in policy.principals)}"


def impact(change: Change, users: Users, now: datetime, needs: tuple[str, ...] = ()) -> tuple[Action, ...]:
    """What follows for lists, sites and clusters, in this order; `needs` are the ids of what must happen before.

    now: when sites' approvals and blocks are looked at. A site has what it would have at any one of its places.
    """
    found: list[Action] = []
    for name, listed in users.image_lists.items():
        for entry in listed.appliances:
            found += _image_list(change, name, listed.endorsed_by, entry.appliance, needs)
    wanted = {name: (_wanted(site, users, change.before, now), _wanted(site, users, change.after, now)) for name, site in users.sites.items()}
    for name, (before, after) in wanted.items():
        for appliance in sorted({*before, *after}):
            found += _site(change, name, appliance, before.get(appliance, {}), after.get(appliance, {}), users.sites[name].keep, needs)
    for name, cluster in users.clusters.items():
        for placement in cluster.placement:
            if placement.site in wanted:
                found += _cluster(change, name, cluster, placement.site, *wanted[placement.site], users.sites[placement.site].keep, needs)
    return tuple(found)


def _sorted(decisions: Decisions) -> dict[Name, dict[str, dict[Version, Decision]]]:
    """By endorser list, appliance and version."""
    found: dict[Name, dict[str, dict[Version, Decision]]] = {}
    for name, some in decisions.items():
        for one in some:
            found.setdefault(name, {}).setdefault(one.appliance, {})[one.version] = one
    return found


def _newest(decisions: Mapping[Version, Decision]) -> Version | None:
    return max((version for version, one in decisions.items() if one.accepted), default=None)


def _image_list(change: Change, name: Name, source: Name, appliance: str, needs: tuple[str, ...]) -> list[Action]:
    """A list names the newest version that counts."""
    old, new = (_newest(each.get(source, {}).get(appliance, {})) for each in (change.before, change.after))
    found: list[Action] = []
    if old is not None and old not in _accepted(change.after, source, appliance):
        why, cause = change.why(source, appliance, old)
        instead = f"it will name {new}" if new else f"it will name no {appliance}"
        found.append(WithdrawFromList(subject=f"{name}/{appliance} {old}", reason=f"{why}; {instead}", cause=cause, needs=needs))
    if new is not None and new != old:
        found.append(PublishList(subject=f"{name}/{appliance} {new}", reason=f"it is the newest that counts on {source} then", needs=needs))
    return found


def _accepted(decisions: Mapping[Name, Mapping[str, Mapping[Version, Decision]]], source: Name, appliance: str) -> set[Version]:
    return {version for version, one in decisions.get(source, {}).get(appliance, {}).items() if one.accepted}


_Wanted = dict[str, dict[Version, Name]]
"""By appliance: every version that a site may run, with the endorser list that it counts on."""


def _wanted(site: Site, users: Users, decisions: Mapping[Name, Mapping[str, Mapping[Version, Decision]]], now: datetime) -> _Wanted:
    found: _Wanted = {}
    everywhere = site.everywhere()
    for subscription in site.subscribe:
        listed = users.image_lists.get(subscription.list)
        for entry in listed.appliances if listed else ():
            assert listed is not None
            if any(fnmatchcase(entry.appliance, pattern) for pattern in subscription.appliances):
                for version, one in decisions.get(listed.endorsed_by, {}).get(entry.appliance, {}).items():
                    if one.accepted and any(_approved(here, one.about(subscription.list), now) for here in everywhere):
                        found.setdefault(entry.appliance, {}).setdefault(version, listed.endorsed_by)
    return found


def _approved(here: Site, about: About, now: datetime) -> bool:
    return any(fits(one, about, now) for one in here.approve) and not any(fits(one, about, now) for one in here.block)


def _kept(versions: Iterable[Version], keep: int) -> list[Version]:
    """What a site keeps usable: the newest ones."""
    return sorted(versions, reverse=True)[:keep]


def _left(change: Change, appliance: str, before: Mapping[Version, Name], after: Mapping[Version, Name], keep: int) -> list[Version]:
    """What a site will have, newest first: what it has now and may go on, and what a list will name."""
    there = _kept(before, keep)
    return _kept((each for each, source in after.items() if each in there or each == _newest(change.after[source][appliance])), keep)


def nearest(version: Version, others: Iterable[Version]) -> Version | None:
    """The one of `others` that stands closest to a version, the newer one of two; None without any."""
    line = sorted({version, *others})
    here = line.index(version)
    found = [(abs(number - here), -number, other) for number, other in enumerate(line) if other != version]
    return min(found)[2] if found else None


def _site(
    change: Change, name: Name, appliance: str, before: Mapping[Version, Name], after: Mapping[Version, Name], keep: int, needs: tuple[str, ...]
) -> list[Action]:
    found: list[Action] = []
    left = _left(change, appliance, before, after, keep)
    for version in _kept(before, keep):
        if version not in after:
            why, cause = change.why(before[version], appliance, version)
            other = nearest(version, left)
            instead = f"the nearest that still may run there is {other}" if other else f"no other {appliance} may run there"
            found.append(HideImage(subject=f"{name}/{appliance} {version}", reason=f"{why}; {instead}", cause=cause, needs=needs))
    for version in left:
        if version not in _kept(before, keep):
            reason = f"it counts on {after[version]} then" if version not in before else "it takes the place of one that no longer may run"
            found.append(RegisterImage(subject=f"{name}/{appliance} {version}", reason=reason, needs=needs))
    return found


def _cluster(
    change: Change, name: Name, cluster: Cluster, site: Name, before: _Wanted, after: _Wanted, keep: int, needs: tuple[str, ...]
) -> list[Action]:
    """A service runs the newest version that its site keeps and that it takes."""
    found: list[Action] = []
    for service_name, service in cluster.services.items():
        appliance = service.appliance.name
        was, will = before.get(appliance, {}), after.get(appliance, {})
        there, left = _kept(was, keep), _left(change, appliance, was, will, keep)
        old, new = (next((each for each in versions if each in service.appliance.version), None) for versions in (there, left))
        if old is None or old in will:
            continue
        why, cause = change.why(was[old], appliance, old)
        subject = f"{name}/{service_name} at {site}"
        if new is None:
            found.append(BreakCluster(subject=subject, reason=f"{why}; no {appliance} is left that the service takes", cause=cause, needs=needs))
        else:
            found.append(ReplaceMachines(subject=subject, reason=f"{why}; it rolls from {old} to {new}", cause=cause, needs=needs))
    return found

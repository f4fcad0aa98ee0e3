"""What a change of endorsers/ says, sentence by sentence: who comes and goes, which keys, which thresholds. Pure: two states of documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from vmkeeper.model.endorser import Endorser, EndorserList
from vmkeeper.model.keys import Key, Person, X509Key, identity
from vmkeeper.model.policy import Builder, Policy
from vmkeeper.trust.derived import covered
from vmkeeper.trust.people import key_id
from vmkeeper.values import Name, format_time

POLICY = "endorsers/policy.yaml"


@dataclass(frozen=True, slots=True)
class Trust:
    """The documents of endorsers/ at one commit. `policy` is None where there is none."""

    policy: Policy | None
    lists: Mapping[Name, EndorserList]


@dataclass(frozen=True, slots=True)
class TrustChange:
    """One difference: the file, what it says, the list ("" for the policy), whose it is ("": everybody's) and which key ("": any).

    `takes`: whether it can take trust away.
    """

    path: str
    what: str
    takes: bool
    list: str = ""
    name: str = ""
    key: str = ""


def trust_changes(old: Trust, new: Trust) -> tuple[TrustChange, ...]:
    """All differences that matter to trust, the policy's first, then each list's by name."""
    found = [*_policy(old.policy, new.policy)]
    for name in sorted({*old.lists, *new.lists}):
        before, after, path = old.lists.get(name), new.lists.get(name), f"endorsers/{name}.yaml"
        if before is None or after is None:
            what = f"the endorser list {name} is {'new' if before is None else 'removed'}"
            found.append(TrustChange(path, what, before is not None, name))
        else:
            found += _list(name, path, before, after)
    return tuple(found)


def _policy(old: Policy | None, new: Policy | None) -> Iterator[TrustChange]:
    if old is None or new is None:
        if old is not new:
            yield TrustChange(POLICY, f"the policy is {'new' if old is None else 'removed'}", old is not None)
        return
    if old.quorum != new.quorum:
        yield TrustChange(POLICY, f"{new.quorum} principals must sign a policy, not {old.quorum}", takes=False)
    yield from _come_and_go(old.principals, new.principals, POLICY, "", "the principals")
    yield from _come_and_go(old.builders, new.builders, POLICY, "", "the builders")
    if new.builders and not old.builders:
        yield TrustChange(POLICY, "every release needs provenance signed by a builder", takes=True)
    if old.freshness != new.freshness:
        what = f"by {', '.join(new.freshness.signers)} every {new.freshness.maximum_validity}" if new.freshness else "by nobody"
        yield TrustChange(POLICY, f"statements of freshness are made {what}", takes=new.freshness is not None)


def _list(name: Name, path: str, old: EndorserList, new: EndorserList) -> Iterator[TrustChange]:
    if old.community != new.community:
        yield TrustChange(path, f"{name} speaks for {new.community}, not {old.community}", True, name)
    if old.criteria != new.criteria:
        yield TrustChange(path, f"the criteria of {name} are others", False, name)
    if (old.based_on and old.based_on.list) != (new.based_on and new.based_on.list):
        yield TrustChange(path, f"{name} is based on {new.based_on.list if new.based_on else 'no other list'}", new.based_on is not None, name)
    for what, before, after in (("quorum", old.quorum, new.quorum), ("rebuilds", old.rebuilds, new.rebuilds)):
        if before != after:
            yield TrustChange(path, f"{name} asks for {what} {after}, not {before}", after > before, name)
    if old.maximum_lifetime != new.maximum_lifetime:
        what = f"an endorsement on {name} may last {new.maximum_lifetime}, not {old.maximum_lifetime}"
        yield TrustChange(path, what, new.maximum_lifetime < old.maximum_lifetime, name)
    yield from _come_and_go(old.endorsers, new.endorsers, path, name, name)


def _come_and_go(old: Iterable[Person | Builder], new: Iterable[Person | Builder], path: str, listed: str, where: str) -> Iterator[TrustChange]:
    before, after = {one.name: one for one in old}, {one.name: one for one in new}
    for name in before:
        if name not in after:
            yield TrustChange(path, f"{name} leaves {where}", True, listed, name)
    for name, one in after.items():
        if name not in before:
            yield TrustChange(path, f"{name} joins {where}", False, listed, name)
        else:
            yield from _keys(before[name], one, path, listed)
            if isinstance(one, Endorser) and isinstance(there := before[name], Endorser):
                yield from _office(there, one, path, listed)


def _keys(old: Person | Builder, new: Person | Builder, path: str, listed: str) -> Iterator[TrustChange]:
    before, after = {identity(key): key for key in old.keys}, {identity(key): key for key in new.keys}
    for one, key in before.items():
        if one not in after:
            yield TrustChange(path, f"{new.name} has the key {key_id(key)} no longer", True, listed, new.name, _signs_as(key))
    for one, key in after.items():
        was = before.get(one)
        if was is None:
            yield TrustChange(path, f"{new.name} has the key {key_id(key)} too", False, listed, new.name, _signs_as(key))
            continue
        if key.compromised_since != was.compromised_since:
            mark = key.compromised_since
            what = (
                f"the key {key_id(key)} of {new.name} was stolen after serial {mark.serial}"
                if mark
                else f"the key {key_id(key)} of {new.name} was not stolen"
            )
            yield TrustChange(path, what, mark is not None, listed, new.name, _signs_as(key))
        if key.retired != was.retired:
            what = f"retires the key {key_id(key)} at {format_time(key.retired)}" if key.retired else f"uses the key {key_id(key)} again"
            yield TrustChange(path, f"{new.name} {what}", key.retired is not None, listed, new.name, _signs_as(key))
        if isinstance(key, X509Key) and isinstance(was, X509Key) and key.certificate != was.certificate:
            what = f"{new.name} signs with {f'the certificate {key.certificate}' if key.certificate else 'any certificate of their name'}"
            yield TrustChange(path, what, key.certificate is not None, listed, new.name)


def _office(old: Endorser, new: Endorser, path: str, listed: str) -> Iterator[TrustChange]:
    for what, before, after in (
        ("", old.scope.appliances, new.scope.appliances),
        ("the communities ", old.scope.communities, new.scope.communities),
    ):
        if before != after:
            narrower = not all(covered(pattern, after) for pattern in before)
            yield TrustChange(path, f"{new.name} may answer for {what}{', '.join(after)}, not {', '.join(before)}", narrower, listed, new.name)
    if old.not_before != new.not_before:
        since = f"since {format_time(new.not_before)}" if new.not_before else "from the beginning"
        yield TrustChange(path, f"{new.name} is an endorser {since}", new.not_before is not None, listed, new.name)
    if old.expires != new.expires:
        until = f"until {format_time(new.expires)}" if new.expires else "without an end"
        yield TrustChange(path, f"{new.name} is an endorser {until}", new.expires is not None, listed, new.name)


def _signs_as(key: Key) -> str:
    """How signatures by the key name it; "" where only a certificate that is not listed could tell."""
    return "" if isinstance(key, X509Key) and key.certificate is None else key_id(key)

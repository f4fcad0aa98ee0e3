"""Keys and terms that end, are retired, stolen, revoked (R12), and authorities with their revocation lists (R18, R19)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from conformance.trust.case import Case
from conformance.trust.cases_repository_keys import grid, listing, signs
from conformance.trust.certificates import crl, issue
from conformance.trust.forge import World, person, utc
from conformance.trust.signers import ISSUED, NOW, Signer, openpgp, revoked, ssh
from conformance.trust.worlds import ALICE, ANNA, BASE, MALLORY, V1, V2, V3, W1, Change, accepts, new, people, refuses, remembers, then

HOUR = timedelta(hours=1)


def ends(name: str, expect: str, key: Any, rule: str = "R12", **fields: object) -> Case:
    """Gina endorses with a key, or a term, that is at its end or not."""
    start = listing(key, **fields)
    return accepts(name, rule, signs(), start=start) if expect == "accept" else refuses(name, rule, signs(), start=start, release=V3, stands=BASE)


def _mark(serial: int, *, digest: bool = True) -> Change:
    """Policy 2 says that others may have alice's key since after that serial of hers."""

    def change(world: World) -> None:
        at = {"serial": serial, **({"sha512": world.chains["alice"][serial - 1]} if digest and serial else {})}
        (alice,) = (one for one in world.documents["science"]["endorsers"] if one["name"] == "alice")
        alice["keys"] = [ALICE.marked(compromised_since=at).listed]
        world.next_policy("anna", "dora")

    return change


def _thief(issued: datetime = ISSUED, **fields: Any) -> Change:
    """Alice's key signs once more."""
    return lambda world: world.endorse("alice", new(world), issued=utc(issued), not_before=utc(issued), **fields)


def _fork_by_thief(world: World) -> None:
    """Another serial 2 with alice's key, backdated: she stands by the true one."""
    truth = list(world.chains["alice"])
    world.chains["alice"] = truth[:1]
    world.endorse("alice", new(world), issued=utc(ISSUED - 10 * HOUR), not_before=utc(ISSUED - 10 * HOUR))
    world.chains["alice"] = truth


def _revoke(serial: int, by: str = "anna", signer: Signer | None = None, **fields: Any) -> Change:
    """Alice's key is revoked after that serial of hers."""

    def change(world: World) -> None:
        at = {"serial": serial, "sha512": world.chains["alice"][serial - 1] if serial else None}
        world.revoke("alice", ALICE.id, by, signer, since=at, **fields)

    return change


def _erin_revokes_alice(world: World) -> None:
    world.revoke("alice", ALICE.id, "erin")


def _listed_anew(world: World) -> None:
    """A later policy lists the revoked key as if nothing had happened."""
    world.next_policy("anna", "dora")


def _principal_s_key(serial: int) -> Change:
    """Anna's key is revoked; policies up to that number were hers."""
    return lambda world: world.revoke("anna", ANNA.id, "dora", since={"serial": serial, "sha512": None})


def _policy_two_with_mallory(world: World) -> None:
    people(world, mallory=MALLORY)
    world.documents["science"]["endorsers"].append(person("mallory", MALLORY))
    world.next_policy("anna", "dora")
    world.endorse("mallory", new(world))


def _withdrawn_by_revoked(world: World) -> None:
    """Who has erin's revoked key withdraws what she endorsed before."""
    world.revoke("erin", world.signers["erin"].id, "anna", since={"serial": 1, "sha512": world.chains["erin"][0]})
    world.withdraw("erin", world.line[4], "alma-9")


def _bob_endorses(world: World) -> None:
    world.endorse("bob", new(world))


def _revoked_in_its_file(world: World) -> None:
    """Policy 2 has bob's key file with his own revocation certificate."""
    _bob_endorses(world)
    people(world, bob=revoked("bob"))
    world.next_policy("anna", "dora")


def crls(asked: str, *files: Callable[[], dict[str, bytes]]) -> Change:
    """Gina has a certificate; the CA folder holds these revocation lists besides."""

    def start(world: World) -> None:
        listing(grid())(world)
        world.pins["crls"] = asked
        for each in files:
            world.ca.update(each())

    return start


def list_of(*revoked_names: str, **how: Any) -> Callable[[], dict[str, bytes]]:
    """The authority's revocation list; `by` names who signs it."""

    def make() -> dict[str, bytes]:
        by = how.pop("by", None)
        authority = issue("Authority")
        found = [issue(one, authority) for one in revoked_names]
        return {"authority.r0": crl(authority, *found, by=issue(by) if by else None, **how)}

    return make


def under(name: str, rule: str, start: Change) -> Case:
    return refuses(name, rule, signs(), start=start, release=V3, stands=BASE)


def _only(**files: Callable[[], bytes]) -> Change:
    """Gina has a certificate; the CA folder holds just these files."""

    def start(world: World) -> None:
        listing(grid())(world)
        world.ca = {name.replace("_", "."): make() for name, make in files.items()}

    return start


CASES: list[Case] = [
    ends("a-key-that-expires-later", "accept", lambda: openpgp("gina", expires="2026-12-31")),
    ends("within-a-term", "accept", ssh("gina"), not_before=utc(ISSUED - HOUR), expires=utc(NOW + HOUR)),
    ends("an-expired-openpgp-key", "refuse", lambda: openpgp("gina", expires="151d")),
    ends("an-expired-certificate", "refuse", grid(days=151, key="Gina ends")),
    ends("a-term-that-has-ended", "refuse", ssh("gina"), expires=utc(NOW)),
    ends("a-term-that-has-not-begun", "refuse", ssh("gina"), not_before=utc(NOW + HOUR)),
    ends("a-key-that-its-owner-revoked", "refuse", lambda: revoked("gina")),
    refuses("revoked-after-it-signed", "R12", _revoked_in_its_file, release=V3, stands=BASE),
    # Stolen keys
    accepts("what-came-before-a-theft-stays", "R12", _mark(2)),
    accepts("what-came-before-a-revocation-stays", "R12", _revoke(2)),
    accepts("a-key-is-revoked-by-itself", "R12", _revoke(2, "alice")),
    accepts("a-stranger-revokes-nothing", "R12", _revoke(0, "mallory", MALLORY)),
    accepts("another-endorser-revokes-nothing", "R12", _erin_revokes_alice),
    accepts("a-stranger-in-a-principal-s-name-revokes-nothing", "R12", _revoke(0, "anna", MALLORY)),
    accepts("a-principal-s-key-is-revoked-after-its-last-policy", "R12", _principal_s_key(1)),
    refuses("backdated-after-a-theft", "R12", then(_mark(2), _thief(ISSUED - 100 * HOUR, policy=1)), release=V3, stands=BASE),
    refuses("signed-after-a-theft", "R12", then(_mark(2), _thief()), release=V3, stands=BASE),
    refuses("a-fork-in-the-place-of-what-the-owner-stands-by", "R12", then(_fork_by_thief, _mark(2)), release=V3, stands=BASE),
    refuses("after-the-serial-that-the-owner-stands-by", "R12", _mark(1), release=V2, stands=(V1, W1)),
    refuses("nothing-that-the-key-signed-counts", "R12", _mark(0), release=V1, stands=(W1,)),
    refuses("a-mark-without-a-digest-stands-by-nothing", "R12", _mark(2, digest=False), release=V2, stands=(W1,)),
    refuses("revoked-by-one-principal", "R12", _revoke(0), release=V2, stands=(W1,)),
    refuses("revoked-by-its-owner", "R12", _revoke(0, "alice"), release=V2, stands=(W1,)),
    refuses("signed-after-a-revocation", "R12", then(_revoke(2), _thief()), release=V3, stands=BASE),
    refuses("backdated-after-a-revocation", "R12", then(_revoke(2), _thief(ISSUED - 100 * HOUR)), release=V3, stands=BASE),
    refuses("of-two-revocations-the-one-that-leaves-least", "R12", then(_revoke(2), _revoke(1, number=2)), release=V2, stands=(V1, W1)),
    refuses("a-later-policy-does-not-undo-a-revocation", "R12", then(_revoke(0), _listed_anew), release=V2, stands=(W1,)),
    refuses("a-policy-signed-with-a-revoked-key", "R12", then(_principal_s_key(1), _policy_two_with_mallory), release=V3),
    accepts("the-pinned-policy-was-accepted-by-its-content", "R12", _principal_s_key(0)),
    accepts("a-revoked-key-withdraws-nothing", "R12", _withdrawn_by_revoked),
    remembers("a-key-is-revoked-between-two-looks", "R12", "refuse", _revoke(0), release=V2, stands=(W1,)),
    remembers(
        "a-certificate-is-revoked-between-two-looks",
        "R12",
        "refuse",
        signs(),
        lambda world: world.ca.update(list_of("Gina")()),
        start=listing(grid()),
        release=V3,
        stands=BASE,
    ),
    remembers(
        "an-openpgp-key-expires-between-two-looks",
        "R12",
        "refuse",
        signs(),
        lambda _: None,
        start=listing(lambda: openpgp("gina", expires="152d")),
        moments=(NOW, NOW, NOW + 20 * HOUR),
        release=V3,
        stands=BASE,
    ),
    # R18
    accepts("no-list-where-none-is-asked-for", "R18", signs(), start=crls("when-there")),
    accepts("a-fresh-list-where-one-is-required", "R18", signs(), start=crls("required", list_of())),
    accepts("a-list-that-names-others", "R18", signs(), start=crls("required", list_of("Carol"))),
    accepts("a-stale-list-where-lists-are-ignored", "R18", signs(), start=crls("ignored", list_of(until=NOW - HOUR))),
    under("no-list-where-one-is-required", "R18", crls("required")),
    under("a-stale-list", "R18", crls("when-there", list_of(until=NOW - HOUR))),
    under("a-list-from-the-future", "R18", crls("required", list_of(made=NOW + HOUR))),
    under("a-list-that-another-authority-signed", "R18", crls("required", list_of(by="Other Authority"))),
    under("a-list-that-cannot-be-read", "R18", crls("when-there", lambda: {"authority.r0": b"-----BEGIN X509 CRL-----\nxx\n"})),
    under("on-the-revocation-list", "R12", crls("when-there", list_of("Gina"))),
    # R19
    accepts("an-authority-of-the-folder", "R19", signs(), start=listing(grid())),
    accepts(
        "an-authority-among-others", "R19", signs(), start=_only(a_pem=lambda: issue("Authority").pem, b_pem=lambda: issue("Other Authority").pem)
    ),
    under("an-authority-that-is-not-in-the-folder", "R19", listing(grid(authority="Other Authority"))),
    under("an-empty-folder", "R19", _only()),
    under("an-authority-with-the-same-name-and-another-key", "R19", _only(a_pem=lambda: issue("Authority", key="Impostor").pem)),
    under("the-person-s-own-certificate-in-the-folder", "R19", _only(a_pem=lambda: issue("Gina", issue("Authority")).pem)),
]

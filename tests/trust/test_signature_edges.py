"""What reading a tag answers besides its rules: which tag it was, the last moment that is no future, the key among several."""

from __future__ import annotations

from datetime import timedelta

import pytest

from support.keys import NOW, GpgHome, SecurityKey
from support.trust import SSH, World, first_world, person, release
from vmkeeper.errors import Refused
from vmkeeper.trust.keys.interface import Claim, SignedBy
from vmkeeper.trust.keys.openpgp import GpgVerifier
from vmkeeper.trust.people import Holder
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.signature import FRESHNESS, Authenticator, Read, Verifiers
from vmkeeper.trust.statement import TagName
from vmkeeper.values import Duration, sha512_hex

A, ALICE = SecurityKey().plain_signer(), SecurityKey().plain_signer()
HOLDER = Holder(name="alice", keys=(ALICE.key,))


@pytest.fixture(scope="module")
def made() -> World:
    world = first_world(A, person("alice", ALICE))
    world.record_release(release("1"))
    return world


def read(world: World, name: str, raw: bytes | None, holder: Holder | Refusal = HOLDER, verifiers: Verifiers = SSH) -> Read:
    reader = Authenticator(world.line[0], world, verifiers, NOW, Duration.parse("5m"))
    (found,) = reader.read({name: raw}, lambda _name: holder)
    return found


class Refuses:
    """A verifier that takes nothing."""

    def prepare(self, claims: object, now: object) -> None:
        """Nothing to do."""

    def verify(self, claim: Claim, now: object) -> SignedBy:
        raise Refused("R10", "no")


def test_a_refused_tag_is_named_with_its_digest(made: World) -> None:
    name = made.endorse(ALICE, made.head)
    raw = made.tags[name]
    assert raw is not None
    for found in (
        read(made, name, raw, verifiers={"ssh": Refuses()}),
        read(made, name, raw, Refusal("R3", "nobody")),
        read(made, name, raw, Holder(name="alice", keys=(A.key,))),
    ):
        assert (found.tag, found.sha512, len(found.refusals)) == (name, sha512_hex(raw), 1)
    assert (read(made, "v1", b"x").tag, read(made, "v1", b"x").sha512) == ("v1", sha512_hex(b"x"))


def test_the_freshness_statement_is_asked_for_by_its_own_name(made: World) -> None:
    made.vouch(ALICE)
    asked: list[TagName] = []

    def holder(name: TagName) -> Holder:
        asked.append(name)
        return HOLDER

    (found,) = Authenticator(made.line[0], made, SSH, NOW, Duration.parse("5m")).read({"freshness": made.fresh}, holder)
    assert (asked, found.good) == ([FRESHNESS], True)


def test_r13_the_last_moment_of_the_skew_is_no_future(made: World, gpg_home: GpgHome, openpgp: GpgVerifier) -> None:
    fingerprint = gpg_home.make("punctual")
    for seconds, good in ((0, True), (1, False)):
        signer = gpg_home.signer(fingerprint, at=NOW + timedelta(minutes=5, seconds=seconds))
        name = made.endorse(signer, made.head)
        assert read(made, name, made.tags[name], Holder(name="alice", keys=(signer.key,)), {"openpgp": openpgp}).good == good


def test_the_key_that_signed_is_found_among_others(made: World, gpg_home: GpgHome, openpgp: GpgVerifier) -> None:
    other, signer = (gpg_home.signer(gpg_home.make(name)) for name in ("among1", "among2"))
    name = made.endorse(signer, made.head)
    holder = Holder(name="alice", keys=(ALICE.key, other.key, signer.key))
    found = read(made, name, made.tags[name], holder, {"openpgp": openpgp})
    assert (found.good, found.held) == (True, signer.key)

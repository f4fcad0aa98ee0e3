"""Whatever happens to the bytes of a valid tag, it is refused with a reason and nothing escapes."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.keys import NOW, SecurityKey, Signer, ssh_key, ssh_signer
from support.trust import LIST, World, first_world, key_files, person, release
from vmkeeper.errors import Refused
from vmkeeper.trust import tagobject
from vmkeeper.trust.keys.armour import armour, dearmour
from vmkeeper.trust.keys.openpgp import GpgVerifier
from vmkeeper.trust.keys.ssh import SSHVerifier
from vmkeeper.trust.policy import read_policy
from vmkeeper.trust.signature import Authenticator, Verifiers
from vmkeeper.trust.verify import Accepted, Rejected
from vmkeeper.values import Duration, visible

KNOWN_RULES = {"R1", "R6", "R7", "R9", "R10", "R11", "R12", "R13", "R14", "R22", "R32"}


class Target:
    """A valid tag and the question whether a changed one is accepted."""

    def __init__(self, signer: Signer, openpgp: GpgVerifier) -> None:
        self.world = first_world(SecurityKey().plain_signer(), person("alice", signer), keys=key_files(signer))
        self.name = self.world.endorse(signer, self.world.record_release(release()))
        raw = self.world.tags[self.name]
        assert raw
        self.raw = raw
        self.kind = tagobject.parse(raw).kind
        self.verifiers: Verifiers = {"openpgp": openpgp, "ssh": SSHVerifier()}
        self.reader = Authenticator(self.world.line[0], self.world, self.verifiers, NOW, Duration.parse("5m"))
        self.alice = self.world.judge(self.verifiers).enactments.current.policy.lists[LIST].endorsers[0]
        assert self.accepts(raw)
        assert self.reads(raw)

    def reads(self, raw: bytes | None, name: str = "") -> bool:
        """Whether the tag can be read: all but what its place among others decides."""
        (read,) = self.reader.read({name or self.name: raw}, lambda _name: self.alice)
        assert {refusal.rule for refusal in read.refusals} <= KNOWN_RULES
        assert all(visible(str(refusal)) == str(refusal) for refusal in read.refusals)
        return read.good

    def accepts(self, raw: bytes | None, name: str = "") -> bool:
        """Whether the whole judgement accepts it."""
        world = World(self.world.principals, self.world.commits, self.world.parents, self.world.line)
        world.line.pop()  # what World makes by itself
        world.tags = {**self.world.tags, self.name: None, f"endorse/{name}" if name else self.name: raw}
        verdicts = world.verdicts(self.verifiers, pins=self.world.pins())
        for verdict in verdicts.values():
            if isinstance(verdict, Rejected):
                assert verdict.refusals
                assert {refusal.rule for refusal in verdict.refusals} <= KNOWN_RULES
                assert all(visible(str(refusal)) == str(refusal) for refusal in verdict.refusals)
        return any(isinstance(verdict, Accepted) for verdict in verdicts.values())


@pytest.fixture(scope="module", params=["ed25519", "ecdsa", "sk", "pgp"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, openpgp: GpgVerifier) -> Target:
    makers: dict[str, Callable[[], Signer]] = {
        "ed25519": lambda: ssh_signer(ssh_key(tmp_path_factory.mktemp("ssh"))),
        "ecdsa": lambda: ssh_signer(ssh_key(tmp_path_factory.mktemp("ssh"), "ecdsa", 256)),
        "sk": lambda: SecurityKey().signer(),
        "pgp": lambda: request.getfixturevalue("pgp"),
    }
    return Target(makers[request.param](), openpgp)


def test_no_changed_byte_is_accepted(target: Target) -> None:
    chance = random.Random(7)
    for at in range(len(target.raw)):
        changed = bytearray(target.raw)
        changed[at] ^= 1 << chance.randrange(8)
        assert not target.reads(bytes(changed)), (at, target.raw[at : at + 1])


def test_no_inserted_or_dropped_byte_is_accepted(target: Target) -> None:
    chance = random.Random(8)
    for _ in range(700):
        at = chance.randrange(len(target.raw) + 1)
        assert not target.reads(target.raw[:at] + bytes([chance.choice(b"\n A0\0=\r-{}")]) + target.raw[at:]), at
        if at < len(target.raw):
            assert not target.reads(target.raw[:at] + target.raw[at + 1 :]), at


def test_no_changed_byte_inside_the_signature_is_accepted_under_good_armour(target: Target) -> None:
    parsed = tagobject.parse(target.raw)
    packet = dearmour(target.kind, parsed.signature)
    for at in range(len(packet)):
        for bit in (0, at % 7 + 1):
            changed = bytearray(packet)
            changed[at] ^= 1 << bit
            assert not target.reads(parsed.signed + armour(target.kind, bytes(changed)).encode()), at


def test_no_truncated_or_repeated_tag_is_accepted(target: Target) -> None:
    for at in range(0, len(target.raw), 7):
        assert not target.reads(target.raw[:at])
    for changed in (target.raw * 2, target.raw + tagobject.parse(target.raw).signature.encode(), b"", None):
        assert not target.reads(changed)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_spliced_tag_is_accepted(target: Target, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(target.raw)))
    stop = data.draw(st.integers(start, len(target.raw)))
    piece = data.draw(st.binary(max_size=40) | st.just(target.raw[stop : stop + 50]) | st.text(max_size=20).map(lambda text: text.encode()))
    changed = target.raw[:start] + piece + target.raw[stop:]
    assert target.reads(changed) == (changed == target.raw)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.text(max_size=50), raw=st.binary(max_size=400) | st.none())
def test_any_name_and_any_bytes_get_a_verdict(target: Target, name: str, raw: bytes | None) -> None:
    assert not target.reads(raw, name or "x")
    assert not target.reads(target.raw, name or "x")
    assert not target.accepts(raw, name or "x")
    assert not target.accepts(target.raw, name or "x")


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(packet=st.binary(max_size=200), kind=st.sampled_from(["PGP", "SSH"]))
def test_any_signature_gets_a_verdict(target: Target, packet: bytes, kind: str) -> None:
    signed = tagobject.parse(target.raw).signed
    assert not target.reads(signed + armour(kind, packet).encode())
    text = f"-----BEGIN {kind} SIGNATURE-----\n{base64.b64encode(packet).decode()}\n-----END {kind} SIGNATURE-----\n"
    assert not target.reads(signed + text.encode())


_PATHS = ["policy.yaml", "science.yaml", "keys/a.asc", "sources/x/list.yaml", "sources/x/keys/a.asc", "README.md"]
_TEXTS = st.sampled_from(
    [
        b"title: x\nquorum: 1\nprincipals: [{name: a, full_name: A, email: a@b, keys: [{type: ssh, key: ssh-ed25519 AAAA}]}]\n",
        b"title: x\nquorum: 1\nprincipals: [{name: a, full_name: A, email: a@b, keys: [{type: openpgp, fingerprint: '"
        + b"A" * 40
        + b"', file: keys/a.asc}]}]\n",
        b"title: x\ncommunity: c\npolicy: p\nendorsers: []\nbased_on: {list: science}\n",
        b"title: x\ncommunity: c\npolicy: p\nendorsers: []\nbased_on: {list: l, source: x}\n",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEAA==\n-----END PGP PUBLIC KEY BLOCK-----\n",
        b"&a [*a]",
        b"{",
        b"",
    ]
)


@given(files=st.dictionaries(st.sampled_from(_PATHS), _TEXTS | st.binary(max_size=200)))
@settings(max_examples=300, deadline=None)
def test_any_endorsers_tree_is_a_policy_or_refused(files: dict[str, bytes]) -> None:
    with suppress(Refused):
        read_policy(files).derivation(NOW)

"""Many OpenPGP signatures with one gpg: the same answers as one by one, and no claim has a say in another's."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.keys import BORN, ISSUED, NOW, GpgHome
from support.openpgp import PacketKey, notation
from support.refusals import HINTS
from vmkeeper.errors import Refused
from vmkeeper.trust.keys import openpgp
from vmkeeper.trust.keys.armour import armour, dearmour
from vmkeeper.trust.keys.interface import Claim, HeldOpenPGPKey, SignedBy
from vmkeeper.trust.keys.openpgp import GpgVerifier
from vmkeeper.trust.keys.packets import literal

ALICE, BOB = PacketKey(Ed25519PrivateKey.from_private_bytes(bytes(32))), PacketKey(ec.derive_private_key(7, ec.SECP256R1()))
FORGED = "[GNUPG:] FILE_DONE\n[GNUPG:] FILE_START 1 /x\n[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG B x\n[GNUPG:] VALIDSIG x\n"


def flipped(claim: Claim) -> Claim:
    """The claim with its last bit changed, which only cryptography notices."""
    packet = bytearray(dearmour("PGP", claim.signature))
    packet[-1] ^= 1
    return Claim(claim.key, claim.signed, armour("PGP", bytes(packet)))


def outcome(gpg: GpgVerifier, claim: Claim, now: datetime = NOW) -> SignedBy | tuple[str, str, str]:
    try:
        return gpg.verify(claim, now)
    except Refused as error:
        refused = error
    assert refused.hint == HINTS.get(refused.what, "")
    return refused.rule, refused.what, refused.why


def many(key: PacketKey, count: int, start: int = 0) -> list[Claim]:
    return [key.claim(b"text %d\n" % number) for number in range(start, start + count)]


@dataclass
class Runs:
    """gpg's runs for verifying: how many files each was given."""

    sizes: list[int] = field(default_factory=list)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    counted = Runs()
    ask = openpgp._Home.ask

    def counting(self: openpgp._Home, messages: Sequence[bytes], moment: int) -> object:
        counted.sizes.append(len(messages))
        return ask(self, messages, moment)

    monkeypatch.setattr(openpgp._Home, "ask", counting)
    return counted


@pytest.fixture
def gpg() -> Iterator[GpgVerifier]:
    with GpgVerifier() as made:
        yield made


def test_many_good_signatures_take_one_gpg_a_certificate(gpg: GpgVerifier, runs: Runs) -> None:
    claims = [*many(ALICE, 30), *many(BOB, 20), *many(ALICE, 30)]
    gpg.prepare(claims, NOW)
    assert sorted(runs.sizes) == [20, 30]
    assert {gpg.verify(claim, NOW).key for claim in claims[:30]} == {f"openpgp:{ALICE.fingerprint}"}
    assert {gpg.verify(claim, NOW).key for claim in claims[30:50]} == {f"openpgp:{BOB.fingerprint}"}
    gpg.prepare(claims, NOW)
    assert sorted(runs.sizes) == [20, 30]


def test_a_later_question_is_asked_anew(gpg: GpgVerifier, runs: Runs) -> None:
    claim = ALICE.claim(b"x")
    for now in (NOW, NOW, NOW + timedelta(seconds=1), NOW):
        assert gpg.verify(claim, now).made == ISSUED
    assert runs.sizes == [1, 1]


def test_one_bad_signature_among_many_is_the_only_one_refused(gpg: GpgVerifier, runs: Runs) -> None:
    claims = many(ALICE, 9)
    for place in (0, 4, 8):
        claims[place] = flipped(claims[place])
    gpg.prepare(claims, NOW)
    assert runs.sizes == [9, 6]
    for place, claim in enumerate(claims):
        bad = ("R10", "gpg does not call the signature good", "BADSIG NEWSIG")
        assert (outcome(gpg, claim) == bad) == (place in (0, 4, 8))
    assert runs.sizes == [9, 6]


def test_bad_signatures_only_are_asked_once(gpg: GpgVerifier, runs: Runs) -> None:
    claims = [flipped(claim) for claim in many(ALICE, 5)]
    gpg.prepare(claims, NOW)
    assert {outcome(gpg, claim) for claim in claims} == {("R10", "gpg does not call the signature good", "BADSIG NEWSIG")}
    assert runs.sizes == [5]


def test_long_batches_are_cut(gpg: GpgVerifier, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openpgp, "_AT_ONCE", 4)
    claims = many(ALICE, 9)
    gpg.prepare(claims, NOW)
    assert runs.sizes == [4, 4, 1]
    assert all(isinstance(outcome(gpg, claim), SignedBy) for claim in claims)
    assert runs.sizes == [4, 4, 1]


def test_claims_that_our_own_reading_refuses_never_reach_gpg(gpg: GpgVerifier, runs: Runs) -> None:
    good = ALICE.claim(b"x")
    lying = good.key.model_copy(update={"fingerprint": "A" * 40})
    weak = PacketKey(rsa.generate_private_key(65537, 1024))
    refused = [
        (Claim(good.key, b"y", good.signature), "R10"),
        (Claim(BOB.plain, b"x", good.signature), "R10"),
        (Claim(good.key, b"x", ALICE.sign(b"x", digest=2)), "R11"),
        (Claim(lying, b"x", good.signature), "R10"),
        (Claim(good.key, b"x", ""), "R10"),
        (weak.claim(b"x"), "R11"),
    ]
    gpg.prepare([*[claim for claim, _ in refused], good], NOW)
    assert runs.sizes == [1]
    for claim, rule in refused:
        with pytest.raises(Refused) as caught:
            gpg.verify(claim, NOW)
        assert caught.value.rule == rule
    assert isinstance(outcome(gpg, good), SignedBy)
    assert runs.sizes == [1]


def test_signatures_from_the_future_are_left_to_be_asked_alone(gpg: GpgVerifier, runs: Runs) -> None:
    ahead = NOW + timedelta(hours=1)
    claims = [ALICE.claim(b"1"), ALICE.claim(b"2", at=ahead), ALICE.claim(b"3", at=NOW)]
    gpg.prepare(claims, NOW)
    assert runs.sizes == [2]
    assert [gpg.verify(claim, NOW).made for claim in claims] == [ISSUED, ahead, NOW]
    assert runs.sizes == [2, 1]


def test_one_certificate_never_vouches_for_another(gpg: GpgVerifier) -> None:
    """Bob's certificate binds Alice's primary key as his subkey: her signatures are his under that one, and hers under hers."""
    his = BOB.certificate(subkeys=[ALICE])
    signature = ALICE.sign(b"x")
    claims = [Claim(ALICE.plain, b"x", signature), Claim(his, b"x", signature), Claim(BOB.plain, b"x", signature)]
    gpg.prepare(claims, NOW)
    first, second, third = (outcome(gpg, claim) for claim in claims)
    assert isinstance(first, SignedBy)
    assert isinstance(second, SignedBy)
    assert (first.key, second.key) == (f"openpgp:{ALICE.fingerprint}", f"openpgp:{BOB.fingerprint}")
    assert first.material == second.material
    assert third == ("R10", "the signature is by a key that is not pinned", ALICE.fingerprint)


@pytest.mark.parametrize("digest", [8, 9, 10])
@pytest.mark.parametrize("key", [ALICE, BOB, PacketKey(rsa.generate_private_key(65537, 2048))], ids=["ed25519", "ecdsa", "rsa"])
def test_gpg_and_we_name_every_hash_alike(gpg: GpgVerifier, key: PacketKey, digest: int) -> None:
    claim = Claim(key.plain, b"x", key.sign(b"x", digest=digest))
    gpg.prepare([claim], NOW)
    assert gpg.verify(claim, NOW).key == f"openpgp:{key.fingerprint}"


def test_a_key_that_did_not_consent_to_be_a_subkey_is_none(gpg: GpgVerifier) -> None:
    claim = Claim(BOB.certificate(subkeys=[ALICE], consent=False), b"x", ALICE.sign(b"x"))
    gpg.prepare([claim], NOW)
    found = outcome(gpg, claim)
    assert not isinstance(found, SignedBy)
    assert found[:2] == ("R10", "gpg does not call the signature good")


def test_r11_a_certificate_made_with_sha1_is_not_taken(gpg: GpgVerifier) -> None:
    claim = Claim(BOB.certificate(digest=2), b"x", BOB.sign(b"x"))
    gpg.prepare([claim], NOW)
    assert outcome(gpg, claim) == ("R10", "gpg does not take the pinned key", BOB.fingerprint)


def test_the_end_that_a_key_gives_itself_is_told(gpg: GpgVerifier) -> None:
    """Subpacket 9: seconds after the key was made."""
    key = BOB.certificate(parts=[(9, (160 * 86400).to_bytes(4, "big"))])
    claim = Claim(key, b"x", BOB.sign(b"x"))
    end = BORN + timedelta(days=160)
    for now in (NOW, end, end + timedelta(seconds=1), end + timedelta(days=1000)):
        gpg.prepare([claim], now)
        found = outcome(gpg, claim, now)
        assert isinstance(found, SignedBy)
        assert found.valid_until == end


@pytest.mark.parametrize("lifetime", [[], [(9, (160 * 86400).to_bytes(4, "big"))]])
@pytest.mark.parametrize("now", [NOW, BORN + timedelta(days=161)])
def test_r12_a_revoked_key_is_refused_even_after_it_expired(gpg: GpgVerifier, lifetime: list[tuple[int, bytes]], now: datetime) -> None:
    """gpg calls a key that was revoked and has expired since only expired."""
    primary = Claim(BOB.certificate(parts=lifetime, revoked=[BOB]), b"x", BOB.sign(b"x"))
    subkey = Claim(BOB.certificate(parts=lifetime, subkeys=[ALICE], revoked=[ALICE]), b"x", ALICE.sign(b"x"))
    untouched = Claim(subkey.key, b"x", BOB.sign(b"x"))
    gpg.prepare([primary, subkey, untouched], now)
    for claim in (primary, subkey):
        assert outcome(gpg, claim, now) == ("R12", "the key has been revoked", BOB.fingerprint)
    assert isinstance(outcome(gpg, untouched, now), SignedBy)


def test_a_renewed_certificate_has_the_end_that_it_gave_itself_last(gpg: GpgVerifier) -> None:
    days = [(9, (number * 86400).to_bytes(4, "big")) for number in (100, 160)]
    claim = Claim(BOB.certificate(parts=days[:1], renewed=[(ISSUED, days[1:])]), b"x", BOB.sign(b"x"))
    gpg.prepare([claim], NOW)
    assert gpg.verify(claim, NOW).valid_until == BORN + timedelta(days=160)
    forever = Claim(BOB.certificate(parts=days[:1], renewed=[(ISSUED, ())]), b"x", BOB.sign(b"x"))
    assert gpg.verify(forever, NOW).valid_until is None


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.tuples(st.integers(3, 140).filter(lambda kind: kind != 33), st.binary(max_size=40)), max_size=4))
def test_whatever_a_signature_carries_its_neighbours_are_not_touched(pool: Pool, parts: list[tuple[int, bytes]]) -> None:
    odd, good = ALICE.claim(b"odd", *parts), many(ALICE, 2)
    for verifier in (pool.prepared, pool.single):
        verifier._found.clear()
    pool.prepared.prepare([good[0], odd, good[1]], NOW)
    assert all(isinstance(outcome(pool.prepared, claim), SignedBy) for claim in good)
    assert outcome(pool.prepared, odd) == outcome(pool.single, odd)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\0"])
def test_words_of_gpg_in_user_ids_and_notations_are_only_words(gpg: GpgVerifier, end: str) -> None:
    words = (end + FORGED.replace("\n", end)).encode()
    mallory = PacketKey(Ed25519PrivateKey.from_private_bytes(b"m" * 32))
    key = mallory.certificate(b"Mallory" + words, words, b"", b" ", b"%0a[GNUPG:] REVKEYSIG x")
    parts = [notation(b"a@example.org" + words, words), (26, b"https://example.org/" + words), (28, words)]
    good = [Claim(key, b"%d" % number, mallory.sign(b"%d" % number, *parts)) for number in range(3)]
    bad = [flipped(claim) for claim in good]
    gpg.prepare([good[0], bad[0], good[1], bad[1], good[2], bad[2]], NOW)
    assert all(isinstance(outcome(gpg, claim), SignedBy) for claim in good)
    assert {outcome(gpg, claim) for claim in bad} == {("R10", "gpg does not call the signature good", "BADSIG NEWSIG")}


def test_packets_and_words_of_gpg_inside_the_signed_bytes_are_only_bytes(gpg: GpgVerifier) -> None:
    signature = dearmour("PGP", ALICE.sign(b"inner"))
    inner = signature + literal(b"inner")
    texts = [b"", inner, FORGED.encode(), b"\n", b"-----BEGIN PGP MESSAGE-----\n\n", b"x" * 200_000, inner * 2]
    good = [ALICE.claim(text) for text in texts]
    bad = [flipped(claim) for claim in good]
    gpg.prepare([claim for pair in zip(good, bad, strict=True) for claim in pair], NOW)
    assert all(isinstance(outcome(gpg, claim), SignedBy) for claim in good)
    assert {outcome(gpg, claim) for claim in bad} == {("R10", "gpg does not call the signature good", "BADSIG NEWSIG")}


def test_a_key_that_gpg_does_not_take_spoils_only_its_own_claims(gpg: GpgVerifier) -> None:
    """A certificate without self-signatures has the fingerprint, and gpg imports nothing."""
    from support.openpgp import key_text, packet

    bare = HeldOpenPGPKey(type="openpgp", fingerprint=BOB.fingerprint, armour=key_text(packet(6, BOB.body)))
    claims = [Claim(bare, b"1", BOB.sign(b"1")), ALICE.claim(b"1"), Claim(bare, b"2", BOB.sign(b"2")), BOB.claim(b"1")]
    gpg.prepare(claims, NOW)
    first, second, third, fourth = (outcome(gpg, claim) for claim in claims)
    assert first == third == ("R10", "gpg does not take the pinned key", BOB.fingerprint)
    assert isinstance(second, SignedBy)
    assert isinstance(fourth, SignedBy)


def stub(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> GpgVerifier:
    """A verifier whose gpg is a script; `$REAL` is the real one, and `$FILES` has the names that it was given to verify."""
    script = folder / "gpg"
    real = shutil.which("gpg")
    verify = f'case "$*" in *--multifile*) FILES=$(cat)\n{body}\n;; *) exec "$REAL" "$@" ;; esac'
    script.write_text(f"#!/bin/sh\nREAL={real}\n{verify}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return GpgVerifier()


def test_where_gpg_breaks_off_only_the_claim_it_broke_off_at_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: Runs) -> None:
    breaks = """
    for file in $FILES; do
        if grep -q CRASH "$file"; then echo "[GNUPG:] FILE_START 1 $file" >&2; exit 2; fi
        echo "$file" | "$REAL" "$@" > /dev/null || status=$?
    done
    exit ${status:-0}"""
    claims = many(ALICE, 5)
    claims[1], claims[3] = ALICE.claim(b"CRASH 1"), ALICE.claim(b"CRASH 2")
    with stub(tmp_path, monkeypatch, breaks) as gpg:
        gpg.prepare(claims, NOW)
        assert sorted(runs.sizes) == [1, 1, 1, 1, 1, 3, 5]
        found = [outcome(gpg, claim) for claim in claims]
    assert [isinstance(one, SignedBy) for one in found] == [True, False, True, False, True]
    assert found[1] == found[3] == ("R10", "gpg does not call the signature good", "it ended with status 2")
    assert sorted(runs.sizes) == [1, 1, 1, 1, 1, 3, 5]


@pytest.mark.parametrize(
    ("body", "sizes", "why"),
    [
        ('echo "$FILES" | "$REAL" "$@"; exit 2', [1, 1, 1, 3], "it ended with status 2"),
        ("exit 0", [1, 1, 1, 2, 3], "it ended with status 0"),
        ("exit 7", [1, 1, 1, 2, 3], "it ended with status 7"),
        ('echo "[GNUPG:] FILE_DONE" >&2; exit 0', [1, 1, 1, 2, 3], "it ended with status 0"),
    ],
)
def test_a_gpg_that_contradicts_itself_accepts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: Runs, body: str, sizes: list[int], why: str
) -> None:
    claims = many(ALICE, 3)
    with stub(tmp_path, monkeypatch, body) as gpg:
        gpg.prepare(claims, NOW)
        assert {outcome(gpg, claim) for claim in claims} == {("R10", "gpg does not call the signature good", why)}
    assert sorted(runs.sizes) == sizes


def test_an_odd_temporary_folder_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "a b%0a\u2028ü"
    odd.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(odd))
    monkeypatch.setattr(openpgp, "_SOCKET_PATH", 1000)
    with GpgVerifier() as gpg:
        gpg.prepare(many(ALICE, 3), NOW)
        assert len(list(odd.iterdir())) == 1
        assert all(isinstance(outcome(gpg, claim), SignedBy) for claim in many(ALICE, 3))
    assert list(odd.iterdir()) == []


def test_nothing_is_left_behind(gpg: GpgVerifier) -> None:
    gpg.prepare(many(ALICE, 3), NOW)
    (home,) = gpg._homes.values()
    assert not [file for file in home.folder.iterdir() if file.is_dir() and file.name.startswith("tmp")]
    gpg.close()
    assert not home.folder.exists()
    assert gpg._homes == {}


@dataclass(frozen=True)
class Pool:
    """Claims of every kind, and two verifiers: one is prepared, one is not."""

    claims: tuple[Claim, ...]
    prepared: GpgVerifier
    single: GpgVerifier


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    home = GpgHome()
    expiring = home.signer(home.make("expiring", "ed25519", "sign", "160d"))
    short_lived = home.signer(home.fingerprint("expiring"), "--default-sig-expire", "1d")
    claims = [Claim(signer.key, b"%d" % number, signer.sign(b"%d" % number)) for signer in (expiring, short_lived) for number in range(3)]
    revoked = home.make("revoked", "ed25519", "sign", "160d")
    signatures = [home.signer(revoked).sign(b"%d" % number) for number in range(3)]
    certificate = (home.path / "openpgp-revocs.d" / f"{revoked}.rev").read_text().replace(":-----BEGIN", "-----BEGIN")
    home.run("--import", data=certificate.encode(), at=ISSUED)
    claims += [Claim(home.signer(revoked).key, b"%d" % number, signature) for number, signature in enumerate(signatures)]
    claims += [*many(ALICE, 3), *many(BOB, 3), ALICE.claim(b"future", at=NOW + timedelta(days=2))]
    claims += [flipped(claim) for claim in claims[::2]]
    claims += [Claim(ALICE.plain, b"other", claims[0].signature), Claim(BOB.certificate(subkeys=[ALICE]), b"x", ALICE.sign(b"x"))]
    claims += [Claim(ALICE.plain, b"x", BOB.sign(b"x")), Claim(ALICE.plain, b"x", "x")]
    with GpgVerifier() as prepared, GpgVerifier() as single:
        yield Pool(tuple(claims), prepared, single)
    home.close()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), now=st.sampled_from([BORN - timedelta(days=1), ISSUED, NOW, NOW + timedelta(days=20)]))
def test_both_ways_give_the_same_answers(pool: Pool, data: st.DataObject, now: datetime) -> None:
    claims = data.draw(st.lists(st.sampled_from(pool.claims), max_size=14))
    pool.prepared._found.clear()
    pool.single._found.clear()
    pool.prepared.prepare(claims, now)
    assert [outcome(pool.prepared, claim, now) for claim in claims] == [outcome(pool.single, claim, now) for claim in claims]


def test_the_pool_holds_every_kind_of_answer(pool: Pool) -> None:
    pool.prepared.prepare(pool.claims, NOW + timedelta(days=20))
    found = [outcome(pool.prepared, claim, NOW + timedelta(days=20)) for claim in pool.claims]
    good = [one for one in found if isinstance(one, SignedBy)]
    assert {one.valid_until for one in good} == {None, BORN + timedelta(days=160)}
    assert {(one[0], one[2]) for one in found if not isinstance(one, SignedBy)} >= {("R10", "BADSIG NEWSIG"), ("R10", "EXPSIG NEWSIG VALIDSIG")}
    assert [one[0] for one in found if not isinstance(one, SignedBy)].count("R12") == 5

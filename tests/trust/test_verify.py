"""Each rule with a case that passes and three or more that are refused, asked of the verifier as a site asks it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.keys import BORN, ISSUED, NOW, GpgHome, SecurityKey, Signer, ssh_key, ssh_signer
from support.trust import (
    APPLIANCE,
    LIST,
    World,
    changed,
    endorser_list,
    key_files,
    policy,
    principal,
    release,
    resigned,
    rules,
    said_in,
    tag,
)
from support.trust import person as listed_person
from vmkeeper.documents.dump import dump
from vmkeeper.errors import Place, Problem, Problems, Refused
from vmkeeper.model.endorser import Endorser, EndorserList
from vmkeeper.trust import tagobject
from vmkeeper.trust.judge import Judgement
from vmkeeper.trust.keys.interface import HeldOpenPGPKey
from vmkeeper.trust.keys.openpgp import GpgVerifier
from vmkeeper.trust.keys.ssh import SSHVerifier
from vmkeeper.trust.said import OfEndorser, Said
from vmkeeper.trust.statement import encode
from vmkeeper.trust.verify import Accepted, Rejected, Verdict
from vmkeeper.values import Version, canonical_json, sha512_hex

ROOT = SecurityKey().plain_signer()


@dataclass(frozen=True)
class People:
    """An endorser list and the key files that it names."""

    list: EndorserList
    keys: dict[str, bytes]


def person(name: str, *signers: Signer, **fields: Any) -> tuple[Endorser, dict[str, bytes]]:
    return listed_person(name, *signers, **fields), key_files(*signers)


def pinned(*people: tuple[Endorser, dict[str, bytes]], **fields: Any) -> People:
    return People(endorser_list(*(one for one, _ in people), **fields), {path: data for _, keys in people for path, data in keys.items()})


def judged(world: World, people: People, openpgp: GpgVerifier, now: datetime = NOW, **fields: Any) -> Judgement:
    """The world judged with these people on its one endorser list, by policy 1."""
    world.principals = {"root": ROOT}
    world.tags = {name: raw for name, raw in world.tags.items() if not name.startswith("policy/1/")}
    world.enact(world.propose(policy(principal("root", ROOT), **fields), {LIST: people.list}, people.keys))
    return world.judge({"openpgp": openpgp, "ssh": SSHVerifier()}, now=now)


def verdicts_of(world: World, people: People, openpgp: GpgVerifier, now: datetime = NOW) -> dict[str, Verdict]:
    return {verdict.tag: verdict for verdict in judged(world, people, openpgp, now).verdicts[LIST]}


def verdict_on(world: World, name: str, people: People, openpgp: GpgVerifier, now: datetime = NOW) -> Verdict:
    return verdicts_of(world, people, openpgp, now)[name]


def put(world: World, said: Said, raw: bytes) -> str:
    world.tags[said.ref] = raw
    return said.ref


def assert_refused(verdict: Verdict, *expected: str) -> None:
    assert isinstance(verdict, Rejected)
    assert rules(verdict) == set(expected)
    for refusal in verdict.refusals:
        assert refusal.why
        assert (refusal.why + refusal.evidence + refusal.hint).isprintable()


# -- what passes


@pytest.mark.parametrize("kind", ["pgp", "ssh"])
def test_an_endorsement_by_a_pinned_key_is_accepted(world: World, kind: str, request: pytest.FixtureRequest, openpgp: GpgVerifier) -> None:
    signer = request.getfixturevalue(kind)
    verdict = verdict_on(world, world.endorse(signer, world.record_release(release())), pinned(person("alice", signer)), openpgp)
    assert isinstance(verdict, Accepted)
    assert verdict.signed_by.key == signer.id


def test_one_endorser_may_have_keys_of_both_kinds(world: World, pgp: Signer, ssh: Signer, openpgp: GpgVerifier) -> None:
    commit = world.record_release(release())
    for signer in (pgp, ssh, pgp):
        world.endorse(signer, commit)
    assert all(isinstance(verdict, Accepted) for verdict in verdicts_of(world, pinned(person("alice", pgp, ssh)), openpgp).values())


def test_a_withdrawal_is_accepted(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    commit = world.record_release(release())
    world.endorse(ssh, commit)
    assert isinstance(verdict_on(world, world.withdraw(ssh, commit), pinned(person("alice", ssh)), openpgp), Accepted)


# -- R1


def test_r1_an_endorsement_for_another_repository_is_refused_and_breaks_no_chain(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    commit = world.record_release(release())
    good = world.endorse(ssh, commit)
    foreign = world.statement(ssh, commit, serial=1, previous=None, appliance=APPLIANCE, version="9", repository="2" * 40)
    put(world, foreign, tag(foreign, ssh))
    verdicts = verdicts_of(world, pinned(person("alice", ssh)), openpgp)
    assert isinstance(verdicts[good], Accepted)
    assert rules(verdicts[f"endorse/{APPLIANCE}/9/alice/1"]) == {"R1", "R14"}


# -- R6


@pytest.mark.parametrize(
    "moved",
    [
        f"endorse/{APPLIANCE}/9/alice/1",
        "endorse/debian-13/2026.5.1.7/alice/1",
        f"endorse/{APPLIANCE}/2026.5.1.7/alice/2",
        f"withdraw/{APPLIANCE}/2026.5.1.7/alice/1",
        f"endorse/{APPLIANCE}/2026.5.1.7.0/alice/1",
    ],
)
def test_r6_a_tag_under_another_name_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier, moved: str) -> None:
    good = world.endorse(ssh, world.record_release(release()))
    world.tags[moved] = world.tags[good]
    verdicts = verdicts_of(world, pinned(person("alice", ssh)), openpgp)
    assert isinstance(verdicts[good], Accepted)
    assert_refused(verdicts[moved], "R6")


def test_r6_a_tag_moved_to_another_endorser_is_refused(world: World, ssh: Signer, other_ssh: Signer, openpgp: GpgVerifier) -> None:
    good = world.endorse(ssh, world.record_release(release()))
    moved = good.replace("alice", "bob")
    world.tags[moved] = world.tags[good]
    assert_refused(verdict_on(world, moved, pinned(person("alice", ssh), person("bob", other_ssh)), openpgp), "R10")


def test_r6_a_header_that_names_another_tag_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    said = world.statement(ssh, world.record_release(release()))
    name = put(world, said, tag(said, ssh, name="v1"))
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), "R6")


def test_r6_a_payload_that_names_another_version_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    commit = world.record_release(release())
    said = world.statement(ssh, commit)
    name = f"endorse/{APPLIANCE}/9/alice/1"
    world.tags[name] = tag(said, ssh, name=name)
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), "R6")


@pytest.mark.parametrize(
    "name",
    [
        "endorse/a/1/alice",
        "endorse/a/1/alice/0",
        "endorse/a/1/alice/01",
        "endorse/a/v1/alice/1",
        "endorse/A/1/alice/1",
        "endorse/a/1/al\x1bice/1",
        "endorse/a/1/alice/1/x",
        "endorse/",
        "endorse/policy/1/alice",
        "endorse/-rf/1/alice/1",
        "endorse/a/1/alice/99999999999999999",
        "endorse/a/1\n/alice/1",
    ],
)
def test_r6_a_name_that_is_not_ours_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier, name: str) -> None:
    good = world.endorse(ssh, world.record_release(release()))
    world.tags[name] = world.tags[good]
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), "R6")


# -- R7


def test_r7_a_commit_on_a_side_branch_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    name = world.endorse(ssh, world.record_release(release(), merged=False))
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), "R7", "R14")


@pytest.mark.parametrize("kind", ["tag", "tree", "blob", "none"])
def test_r7_a_tag_of_anything_but_a_commit_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier, kind: str) -> None:
    name = world.endorse(ssh, world.record_release(release()))
    raw = world.tags[name]
    assert raw
    world.tags[name] = resigned(raw, ssh, lambda body: body.replace(b"\ntype commit\n", f"\ntype {kind}\n".encode()))
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), "R7")


def test_r7_a_lightweight_tag_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    name = world.endorse(ssh, world.record_release(release()))
    world.tags[name] = None
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), "R7")


def test_r7_a_tag_that_speaks_of_another_commit_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    first, second = world.record_release(release()), world.record_release(release())
    said = world.statement(ssh, first)
    name = put(world, said, tag(said, ssh, commit=second))
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), "R7")


def test_r7_a_withdrawal_on_a_side_branch_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    commit = world.record_release(release())
    world.endorse(ssh, commit)
    name = world.withdraw(ssh, world.record_release(release(), merged=False))
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), "R7")


# -- R9


def _three(world: World, signer: Signer) -> list[str]:
    return [world.endorse(signer, world.record_release(release(version))) for version in ("1", "2", "3")]


def test_r9_an_unbroken_chain_is_accepted(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    _three(world, ssh)
    assert all(isinstance(verdict, Accepted) for verdict in verdicts_of(world, pinned(person("alice", ssh)), openpgp).values())


@pytest.mark.parametrize(("dropped", "broken"), [(0, {1, 2}), (1, {0, 2}), (2, set())])
def test_r9_around_a_dropped_tag_nothing_is_accepted(world: World, ssh: Signer, openpgp: GpgVerifier, dropped: int, broken: set[int]) -> None:
    names = _three(world, ssh)
    del world.tags[names[dropped]]
    verdicts = verdicts_of(world, pinned(person("alice", ssh)), openpgp)
    for number, name in enumerate(names):
        if number != dropped:
            assert rules(verdicts[name]) == ({"R9"} if number in broken else set())


def test_r9_two_tags_with_one_serial_are_both_refused(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    names = _three(world, ssh)
    commit = world.record_release(release("4"))
    fork = world.statement(ssh, commit, serial=2, previous=_previous(world, names[1]))
    other = put(world, fork, tag(fork, ssh))
    verdicts = verdicts_of(world, pinned(person("alice", ssh)), openpgp)
    assert_refused(verdicts[names[1]], "R9")
    assert_refused(verdicts[other], "R9")


def test_r9_a_link_to_the_wrong_tag_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    names = _three(world, ssh)
    said = world.statement(ssh, world.record_release(release("4")), serial=4, previous=_previous(world, names[1]))
    name = put(world, said, tag(said, ssh))
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), "R9")


def test_r9_a_link_to_another_endorsers_tag_is_refused(world: World, ssh: Signer, other_ssh: Signer, openpgp: GpgVerifier) -> None:
    commit = world.record_release(release())
    world.endorse(other_ssh, commit, "bob")
    bobs = world.next("bob")[1]
    said = world.statement(ssh, commit, serial=2, previous=bobs)
    name = put(world, said, tag(said, ssh))
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh), person("bob", other_ssh)), openpgp), "R9")


def test_r9_a_link_to_something_that_is_no_statement_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    world.tags["endorse/x/1/alice/1"] = b"not a tag"
    said = world.statement(ssh, world.record_release(release()), serial=2, previous=sha512_hex(b"not a tag"), expires=NOW)
    name = put(world, said, tag(said, ssh))
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), "R9", "R13")


def test_r9_a_strangers_tag_breaks_nobodys_chain(world: World, ssh: Signer, other_ssh: Signer, openpgp: GpgVerifier) -> None:
    names = _three(world, ssh)
    forged = world.statement(other_ssh, world.record_release(release("4")), serial=2, previous="e" * 128)
    bad = put(world, forged, tag(forged, other_ssh))
    verdicts = verdicts_of(world, pinned(person("alice", ssh)), openpgp)
    assert_refused(verdicts[bad], "R10")
    assert all(isinstance(verdicts[name], Accepted) for name in names)


def test_r9_a_withdrawal_counts_although_tags_before_it_were_dropped(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    names = _three(world, ssh)
    name = world.withdraw(ssh, world.record_release(release("1")))
    del world.tags[names[1]]
    assert isinstance(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), Accepted)


def _previous(world: World, name: str) -> str | None:
    said = said_in(world.tags[name])
    assert isinstance(said, OfEndorser)
    return said.previous


# -- R10


def test_r10_a_key_that_is_not_pinned_is_refused(world: World, ssh: Signer, other_ssh: Signer, pgp: Signer, openpgp: GpgVerifier) -> None:
    commit = world.record_release(release())
    for signer, people in ((other_ssh, person("alice", ssh)), (other_ssh, person("alice", pgp)), (pgp, person("alice", ssh))):
        world.tags.clear()
        assert_refused(verdict_on(world, world.endorse(signer, commit), pinned(people), openpgp), "R10")


def test_r10_a_person_who_is_not_on_the_list_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    name = world.endorse(ssh, world.record_release(release()), "mallory")
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), "R10")


def test_r10_a_look_alike_user_id_is_refused(world: World, pgp: Signer, openpgp: GpgVerifier) -> None:
    home = GpgHome()
    try:
        twin = home.signer(home.make("alice"))
        name = world.endorse(twin, world.record_release(release()), key=pgp.id)
    finally:
        home.close()
    assert_refused(verdict_on(world, name, pinned(person("alice", pgp)), openpgp), "R10")


@pytest.mark.parametrize("order", ["same twice", "ssh then pgp", "pgp then ssh", "stranger last"])
def test_r10_a_second_signature_is_refused(world: World, pgp: Signer, ssh: Signer, other_ssh: Signer, openpgp: GpgVerifier, order: str) -> None:
    first, second = {"same twice": (pgp, pgp), "ssh then pgp": (ssh, pgp), "pgp then ssh": (pgp, ssh), "stranger last": (ssh, other_ssh)}[order]
    name = world.endorse(first, world.record_release(release()))
    raw = world.tags[name]
    assert raw
    for signed in (raw, tagobject.parse(raw).signed):
        world.tags[name] = raw + second.sign(signed).encode()
        assert_refused(verdict_on(world, name, pinned(person("alice", pgp, ssh)), openpgp), "R10")


def test_r10_two_signature_packets_in_one_block_are_refused(world: World, pgp: Signer, openpgp: GpgVerifier) -> None:
    from vmkeeper.trust.keys.armour import armour, dearmour

    name = world.endorse(pgp, world.record_release(release()))
    raw = world.tags[name]
    assert raw
    parsed = tagobject.parse(raw)
    packet = dearmour("PGP", parsed.signature)
    world.tags[name] = parsed.signed + armour("PGP", packet + packet).encode()
    assert_refused(verdict_on(world, name, pinned(person("alice", pgp)), openpgp), "R10")


def test_r10_no_signature_is_refused(world: World, pgp: Signer, openpgp: GpgVerifier) -> None:
    name = world.endorse(pgp, world.record_release(release()))
    raw = world.tags[name]
    assert raw
    world.tags[name] = tagobject.parse(raw).signed
    assert_refused(verdict_on(world, name, pinned(person("alice", pgp)), openpgp), "R10")


@pytest.mark.parametrize("extra", ["Comment: hello\n\n", "Version: GnuPG v2\n\n", "\n\n"])
def test_r10_armour_with_anything_extra_is_refused(world: World, pgp: Signer, openpgp: GpgVerifier, extra: str) -> None:
    name = world.endorse(pgp, world.record_release(release()))
    raw = world.tags[name]
    assert raw
    world.tags[name] = raw.replace(b"SIGNATURE-----\n\n", f"SIGNATURE-----\n{extra}".encode(), 1)
    assert_refused(verdict_on(world, name, pinned(person("alice", pgp)), openpgp), "R10")


def test_r10_bytes_after_the_signature_are_refused(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    name = world.endorse(ssh, world.record_release(release()))
    raw = world.tags[name]
    assert raw
    for extra in (b"\n", b" ", b"x", b"hello\n"):
        world.tags[name] = raw + extra
        assert_refused(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), "R10")


def test_r10_an_appliance_out_of_scope_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    name = world.endorse(ssh, world.record_release(release()))
    for scope, expected in ((["*"], set()), (["debian-*"], set()), (["debian"], {"R10"}), (["slurm-*"], {"R10"}), (["*-13"], {"R10"})):
        people = pinned(person("alice", ssh, scope={"appliances": scope}))
        assert rules(verdict_on(world, name, people, openpgp)) == expected


def test_r10_a_statement_that_names_another_key_is_refused(world: World, ssh: Signer, other_ssh: Signer, openpgp: GpgVerifier) -> None:
    name = world.endorse(ssh, world.record_release(release()), key=other_ssh.id)
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh, other_ssh)), openpgp), "R10")


def test_r10_an_ssh_signature_for_another_purpose_is_refused(world: World, tmp_path_factory: pytest.TempPathFactory, openpgp: GpgVerifier) -> None:
    file = ssh_key(tmp_path_factory.mktemp("ssh"))
    for namespace in ("file", "git2", "Git"):
        world.tags.clear()
        name = world.endorse(ssh_signer(file, namespace=namespace), world.record_release(release()))
        assert_refused(verdict_on(world, name, pinned(person("alice", ssh_signer(file))), openpgp), "R10")


def test_r10_a_security_key_is_not_taken_for_a_plain_key(world: World, security_key: SecurityKey, openpgp: GpgVerifier) -> None:
    token, plain = security_key.signer(), security_key.plain_signer()
    commit = world.record_release(release())
    assert isinstance(verdict_on(world, world.endorse(token, commit), pinned(person("alice", token)), openpgp), Accepted)
    world.tags.clear()
    assert_refused(verdict_on(world, world.endorse(plain, commit), pinned(person("alice", token)), openpgp), "R10")
    world.tags.clear()
    assert_refused(verdict_on(world, world.endorse(token, commit), pinned(person("alice", plain)), openpgp), "R10")


@pytest.mark.parametrize("flags", [0, 4, 0x80])
def test_r10_a_security_key_that_nobody_touched_is_refused(world: World, security_key: SecurityKey, openpgp: GpgVerifier, flags: int) -> None:
    name = world.endorse(security_key.signer(flags), world.record_release(release()))
    assert_refused(verdict_on(world, name, pinned(person("alice", security_key.signer())), openpgp), "R10")


# -- R11


@pytest.mark.parametrize("algorithm", ["SHA256", "SHA384", "SHA512"])
def test_r11_strong_hashes_are_accepted(world: World, gpg_home: GpgHome, pgp: Signer, openpgp: GpgVerifier, algorithm: str) -> None:
    assert isinstance(pgp.key, HeldOpenPGPKey)
    signer = gpg_home.signer(pgp.key.fingerprint, "--digest-algo", algorithm)
    assert isinstance(verdict_on(world, world.endorse(signer, world.record_release(release())), pinned(person("alice", signer)), openpgp), Accepted)


@pytest.mark.parametrize(
    "options",
    [
        ("--digest-algo", "SHA1", "--allow-weak-digest-algos"),
        ("--digest-algo", "RIPEMD160"),
        ("--digest-algo", "SHA224"),
        ("--digest-algo", "SHA512", "--textmode"),
    ],
)
def test_r11_weak_hashes_and_text_signatures_are_refused(world: World, gpg_home: GpgHome, openpgp: GpgVerifier, options: tuple[str, ...]) -> None:
    rsa = gpg_home.fingerprint("rsa2048") if b"rsa2048@" in gpg_home.run("--list-keys") else gpg_home.make("rsa2048", "rsa2048")
    signer = gpg_home.signer(rsa, *options)
    good = gpg_home.signer(rsa)
    commit = world.record_release(release())
    assert isinstance(verdict_on(world, world.endorse(good, commit), pinned(person("alice", good)), openpgp), Accepted)
    world.tags.clear()
    assert_refused(verdict_on(world, world.endorse(signer, commit), pinned(person("alice", signer)), openpgp), "R11")


def test_r11_an_rsa_key_of_1024_bits_is_refused(world: World, gpg_home: GpgHome, openpgp: GpgVerifier) -> None:
    signer = gpg_home.signer(gpg_home.make("rsa1024", "rsa1024"))
    assert_refused(verdict_on(world, world.endorse(signer, world.record_release(release())), pinned(person("alice", signer)), openpgp), "R11")


def test_r11_a_weak_signing_subkey_below_a_strong_key_is_refused(world: World, gpg_home: GpgHome, openpgp: GpgVerifier) -> None:
    primary = gpg_home.make("subkeyed", "rsa2048", "cert")
    gpg_home.run("--passphrase", "", "--pinentry-mode", "loopback", "--quick-add-key", primary, "rsa1024", "sign", "0")
    weak = gpg_home.signer(primary)
    assert_refused(verdict_on(world, world.endorse(weak, world.record_release(release())), pinned(person("alice", weak)), openpgp), "R11")
    gpg_home.run("--passphrase", "", "--pinentry-mode", "loopback", "--quick-add-key", primary, "ed25519", "sign", "0", at=BORN + timedelta(days=1))
    world.tags.clear()
    strong = gpg_home.signer(primary)
    verdict = verdict_on(world, world.endorse(strong, world.record_release(release())), pinned(person("alice", strong)), openpgp)
    assert isinstance(verdict, Accepted)
    assert verdict.signed_by.key == f"openpgp:{primary}"


def test_r11_a_dsa_key_is_refused(world: World, gpg_home: GpgHome, openpgp: GpgVerifier) -> None:
    signer = gpg_home.signer(gpg_home.make("dsa", "dsa2048"))
    assert_refused(verdict_on(world, world.endorse(signer, world.record_release(release())), pinned(person("alice", signer)), openpgp), "R11")


@pytest.mark.parametrize(("bits", "expected"), [(1024, {"R11"}), (2048, set())])
def test_r11_short_ssh_rsa_keys_are_refused(
    world: World, tmp_path_factory: pytest.TempPathFactory, openpgp: GpgVerifier, bits: int, expected: set[str]
) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    file = tmp_path_factory.mktemp("ssh") / "rsa"
    key = rsa.generate_private_key(65537, bits)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    file.chmod(0o600)
    file.with_suffix(".pub").write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    signer = ssh_signer(file) if bits >= 2048 else Signer(ssh_signer(file).key, _short_rsa(key))
    verdict = verdict_on(world, world.endorse(signer, world.record_release(release())), pinned(person("alice", signer)), openpgp)
    assert rules(verdict) == expected


def _short_rsa(key: Any) -> Callable[[bytes], str]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from support.keys import sshsig, to_sign
    from vmkeeper.trust.keys.ssh import read_public_key

    public = read_public_key(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())

    def sign(data: bytes) -> str:
        raw = key.sign(to_sign(data), padding.PKCS1v15(), hashes.SHA512())
        return sshsig(public.blob, b"\0\0\0\x0crsa-sha2-512" + len(raw).to_bytes(4, "big") + raw)

    return sign


# -- R12


def test_r12_an_expired_key_is_refused_and_its_withdrawal_is_not(world: World, gpg_home: GpgHome, openpgp: GpgVerifier) -> None:
    signer = gpg_home.signer(gpg_home.make("brief", "ed25519", "sign", "160d"))
    commit = world.record_release(release())
    endorsed, withdrawn = world.endorse(signer, commit), world.withdraw(signer, commit)
    people = pinned(person("alice", signer))
    assert isinstance(verdict_on(world, endorsed, people, openpgp), Accepted)
    later = BORN + timedelta(days=161)
    assert_refused(verdict_on(world, endorsed, people, openpgp, later), "R12")
    assert isinstance(verdict_on(world, withdrawn, people, openpgp, later), Accepted)


def test_r12_an_expired_signing_subkey_is_refused(world: World, gpg_home: GpgHome, openpgp: GpgVerifier) -> None:
    primary = gpg_home.make("briefsub", "ed25519", "cert")
    gpg_home.run("--passphrase", "", "--pinentry-mode", "loopback", "--quick-add-key", primary, "ed25519", "sign", "160d")
    signer = gpg_home.signer(primary)
    name = world.endorse(signer, world.record_release(release()))
    people = pinned(person("alice", signer))
    assert isinstance(verdict_on(world, name, people, openpgp), Accepted)
    assert_refused(verdict_on(world, name, people, openpgp, BORN + timedelta(days=161)), "R12")


def test_r12_a_revoked_key_is_refused_even_for_a_withdrawal(world: World, gpg_home: GpgHome, openpgp: GpgVerifier) -> None:
    fingerprint = gpg_home.make("revoked")
    before = gpg_home.signer(fingerprint)
    commit = world.record_release(release())
    names = [world.endorse(before, commit), world.withdraw(before, commit)]
    certificate = (gpg_home.path / "openpgp-revocs.d" / f"{fingerprint}.rev").read_text().replace(":-----BEGIN", "-----BEGIN")
    gpg_home.run("--import", data=certificate.encode(), at=NOW - timedelta(hours=1))
    revoked = person("alice", gpg_home.signer(fingerprint))
    assert isinstance(verdict_on(world, names[0], pinned(person("alice", before)), openpgp), Accepted)
    for name in names:
        assert_refused(verdict_on(world, name, pinned(revoked), openpgp), "R12")


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ({}, set()),
        ({"not_before": BORN, "expires": NOW + timedelta(seconds=1)}, set()),
        ({"expires": NOW}, {"R12"}),
        ({"expires": BORN}, {"R12"}),
        ({"not_before": NOW + timedelta(seconds=1)}, {"R12"}),
    ],
)
def test_r12_an_endorser_out_of_office_is_refused(
    world: World, ssh: Signer, openpgp: GpgVerifier, term: dict[str, datetime], expected: set[str]
) -> None:
    name = world.endorse(ssh, world.record_release(release()))
    assert rules(verdict_on(world, name, pinned(person("alice", ssh, **term)), openpgp)) == expected


def test_r12_a_backdated_tagger_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    said = world.statement(ssh, world.record_release(release()))
    name = put(world, said, tag(said, ssh, time=int((ISSUED - timedelta(days=10)).timestamp())))
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), "R13")


# -- R13


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ({}, set()),
        ({"expires": NOW + timedelta(seconds=1)}, set()),
        ({"expires": ISSUED + timedelta(days=90)}, set()),
        ({"not_before": NOW + timedelta(minutes=5)}, set()),
        ({"issued": NOW + timedelta(minutes=5), "not_before": NOW + timedelta(minutes=5)}, set()),
        ({"expires": NOW}, {"R13"}),
        ({"expires": NOW - timedelta(seconds=1)}, {"R13"}),
        ({"expires": ISSUED + timedelta(days=90, seconds=1)}, {"R13"}),
        ({"expires": datetime(9999, 1, 1, tzinfo=UTC)}, {"R13"}),
        ({"not_before": NOW + timedelta(minutes=5, seconds=1)}, {"R13"}),
        ({"not_before": ISSUED - timedelta(seconds=1)}, {"R13"}),
        ({"issued": NOW + timedelta(minutes=6), "not_before": NOW + timedelta(minutes=6)}, {"R13"}),
        ({"expires": BORN}, {"R13"}),
    ],
)
def test_r13_only_what_is_in_date_is_accepted(
    world: World, ssh: Signer, openpgp: GpgVerifier, dates: dict[str, datetime], expected: set[str]
) -> None:
    name = world.endorse(ssh, world.record_release(release()), **dates)
    assert rules(verdict_on(world, name, pinned(person("alice", ssh)), openpgp)) == expected


@pytest.mark.parametrize(
    ("ahead", "expected"), [(timedelta(minutes=5), set()), (timedelta(minutes=5, seconds=1), {"R13"}), (timedelta(days=999), {"R13"})]
)
def test_r13_a_signature_from_the_future_is_refused(
    world: World, gpg_home: GpgHome, pgp: Signer, openpgp: GpgVerifier, ahead: timedelta, expected: set[str]
) -> None:
    assert isinstance(pgp.key, HeldOpenPGPKey)
    signer = gpg_home.signer(pgp.key.fingerprint, at=NOW + ahead)
    assert rules(verdict_on(world, world.endorse(signer, world.record_release(release())), pinned(person("alice", signer)), openpgp)) == expected


def test_a_withdrawal_counts_whatever_the_clock_here_says(world: World, ssh: Signer, gpg_home: GpgHome, pgp: Signer, openpgp: GpgVerifier) -> None:
    commit = world.record_release(release())
    assert isinstance(pgp.key, HeldOpenPGPKey)
    future = NOW + timedelta(days=400)
    late = gpg_home.signer(pgp.key.fingerprint, at=future)
    for signer in (ssh, late):
        world.tags.clear()
        name = world.withdraw(signer, commit, issued=future)
        assert isinstance(verdict_on(world, name, pinned(person("alice", signer)), openpgp), Accepted)


# -- R14


@pytest.mark.parametrize(
    "lie",
    [
        {"recipe": "9" * 64},
        {"manifest": "9" * 128},
        {"uuid": "3f0c5a44-6c8a-4f0e-9d70-6f2f0f7f2c12"},
        {"release": "9" * 128},
        {"files": ({"format": "raw", "size": 1, "virtual_size": 1, "sha512": "9" * 128},)},
    ],
)
def test_r14_a_statement_that_differs_from_the_release_record_is_refused(
    world: World, ssh: Signer, openpgp: GpgVerifier, lie: dict[str, Any]
) -> None:
    name = world.endorse(ssh, world.record_release(release()), **lie)
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), "R14")


def test_r14_two_valid_halves_of_two_versions_are_refused(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    old, new = world.record_release(release("1")), world.record_release(release("2"))
    files = world.statement(ssh, old).files
    name = world.endorse(ssh, new, files=files)
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), "R14")


@pytest.mark.parametrize("size", [2047, 2049, 0])
def test_r14_another_size_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier, size: int) -> None:
    commit = world.record_release(release())
    files = [file.model_copy(update={"size": size}) if file.format == "qcow2" else file for file in world.statement(ssh, commit).files]
    assert_refused(verdict_on(world, world.endorse(ssh, commit, files=tuple(files)), pinned(person("alice", ssh)), openpgp), "R14")


def test_r14_a_commit_without_or_with_a_broken_record_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    commit = world.record_release(release())
    name = world.endorse(ssh, commit)
    people = pinned(person("alice", ssh))
    path = f"appliances/{APPLIANCE}/release.yaml"
    good = world.commits[commit][path]
    del world.commits[commit][path]
    assert_refused(verdict_on(world, name, people, openpgp), "R14")
    world.commits[commit][path] = good + b"# nothing more\n"
    assert_refused(verdict_on(world, name, people, openpgp), "R14")
    world.commits[commit][path] = dump(release(appliance="debian-13"))
    assert_refused(verdict_on(world, name, people, openpgp), "R14")
    for broken, expected in (
        (Problems([Problem(Place(path, 3), "bad \x1b[31m")]), "R14"),
        (Refused("R23", "a link"), "R23"),
    ):
        world.broken[commit, APPLIANCE] = broken
        assert_refused(verdict_on(world, name, people, openpgp), expected)


# -- R22 and R32: one reading


def _with_payload(world: World, signer: Signer, payload: bytes) -> str:
    said = world.statement(signer, world.record_release(release()))
    return put(world, said, tag(said, signer, payload=payload))


def _said(world: World, signer: Signer) -> bytes:
    return encode(world.statement(signer, world.record_release(release())))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"serial":1', '"serial":1,"serial":1'),
        lambda text: text.replace('"serial":1', '"serial":NaN'),
        lambda text: text.replace('"serial":1', '"serial":' + "9" * 5000),
        lambda text: text.replace('"serial":1', '"serial":Infinity'),
        lambda text: text.replace('"serial":1', '"serial":"\\ud800"'),
        lambda text: text.replace('"serial":1', '"serial":0'),
        lambda text: text.replace('"serial":1', '"serial":null'),
        lambda text: text.replace('"expires":', '"evil":1,"expires":'),
        lambda text: text.replace('"serial":1,', ""),
        lambda text: text.replace('"previous":null', '"previous":"' + "0" * 128 + '"'),
        lambda text: text.replace("endorsement/v1", "endorsement/v2"),
        lambda text: text.replace('"action":"endorse"', '"action":"withdraw"'),
        lambda text: text.replace("appliances/debian-12", "appliances/debian-13"),
        lambda text: "[" * 30000,
        lambda text: "null",
        lambda text: "{}",
        lambda text: '{"predicateType":["x"]}',
        lambda text: '{"predicateType":"https://vmkeeper.org/endorsement/v1"}',
        lambda text: "",
        lambda text: "\ufeff" + text,
    ],
)
def test_r22_a_message_with_two_readings_or_other_fields_is_refused(
    world: World, ssh: Signer, openpgp: GpgVerifier, change: Callable[[str], str]
) -> None:
    good = _said(world, ssh).decode()
    assert change(good) != good
    name = _with_payload(world, ssh, change(good).encode())
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), "R22")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + " ",
        lambda text: " " + text,
        lambda text: json.dumps(json.loads(text), sort_keys=True),
        lambda text: canonical_json(dict(reversed(list(json.loads(text).items())))).decode().replace('"_type"', '"\\u005ftype"'),
        lambda text: json.dumps(json.loads(text), separators=(",", ":"), sort_keys=False)[:-1] + ',"z":1}',
        lambda text: text.replace('"serial":1', '"serial":"1"'),
        lambda text: text.replace('"serial":1', '"serial":1.0'),
        lambda text: text.replace('"serial":1', '"serial":1e0'),
        lambda text: text.replace('"serial":1', '"serial":true'),
        lambda text: text.replace("00Z", "00.000Z"),
        lambda text: text.replace("in-toto.io/Statement/v1", "in-toto.io/Statement/v0.1"),
        lambda text: text.replace("release.yaml", "release.yml"),
    ],
)
def test_r32_another_byte_form_of_a_statement_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier, change: Callable[[str], str]) -> None:
    good = _said(world, ssh).decode()
    assert change(good) != good
    verdict = verdict_on(world, _with_payload(world, ssh, change(good).encode()), pinned(person("alice", ssh)), openpgp)
    assert isinstance(verdict, Rejected)
    assert rules(verdict) <= {"R22", "R32"}


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.replace(b"\ntagger ", b"\nencoding UTF-8\ntagger ", 1),
        lambda body: body.replace(b"\n\n", b"\ngpgsig x\n\n", 1),
        lambda body: body.replace(b"\ntype commit", b"\ntype commit\ntype commit", 1),
        lambda body: body.replace(b"\ntagger", b"\n tagger", 1),
        lambda body: body.replace(b"object ", b"object  ", 1),
        lambda body: body.replace(b" +0000\n", b" +0100\n", 1),
        lambda body: body.replace(b" +0000\n", b"\n", 1),
        lambda body: body.replace(b"\n\n", b"\n\n\n", 1),
        lambda body: body.replace(b"\n\n", b"\n\nhello\n", 1),
        lambda body: body[:-1] + b"\0\n",
        lambda body: body.replace(b"Alice", b"Al\xff", 1),
        lambda body: body.replace(b"\n", b"\r\n"),
        lambda body: body + b"\n",
        lambda body: body + b"x" * 70000,
        lambda body: body.replace(b"tagger Alice <alice@example.org>", b"tagger  <>", 1),
    ],
)
def test_r32_another_form_of_a_tag_object_is_refused(world: World, ssh: Signer, openpgp: GpgVerifier, change: Callable[[bytes], bytes]) -> None:
    name = world.endorse(ssh, world.record_release(release()))
    raw = world.tags[name]
    assert raw
    world.tags[name] = resigned_unparsed(raw, ssh, change)
    verdict = verdict_on(world, name, pinned(person("alice", ssh)), openpgp)
    assert isinstance(verdict, Rejected)
    assert rules(verdict) <= {"R32", "R7"}


def resigned_unparsed(raw: bytes, signer: Signer, change: Callable[[bytes], bytes]) -> bytes:
    body = change(tagobject.parse(raw).signed)
    assert body != tagobject.parse(raw).signed
    return body + signer.sign(body).encode()


# -- R29


def test_r29_whatever_a_stranger_writes_verdicts_are_printable(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    hostile = "\x1b[31m\u202e\x9b\u2066"
    name = f"endorse/{hostile}/1/alice/1"
    world.tags[name] = b"x"
    good = world.endorse(ssh, world.record_release(release()))
    raw = world.tags[good]
    assert raw
    world.tags[good] = resigned_unparsed(raw, ssh, lambda body: body.replace(b"\ntype commit", f"\ntype {hostile}".encode()))
    for verdict in verdicts_of(world, pinned(person("alice", ssh)), openpgp).values():
        assert isinstance(verdict, Rejected)
        for refusal in verdict.refusals:
            assert str(refusal).isprintable()
            assert json.dumps(refusal.as_json(), ensure_ascii=False).isprintable()


def test_versions_in_tag_names_are_those_of_the_record(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    commit = world.record_release(release("2026.5.0"))
    name = world.endorse(ssh, commit, version="2026.5")
    assert Version("2026.5.0") == Version("2026.5")
    assert_refused(verdict_on(world, name, pinned(person("alice", ssh)), openpgp), "R14")


def test_changed_statements_are_not_equal(world: World, ssh: Signer) -> None:
    said = world.statement(ssh, world.record_release(release()))
    assert changed(said, serial=2) != said

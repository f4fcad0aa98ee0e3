"""What the memory holds is not compared again, unless something that the comparison depends on has changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from support.keys import SecurityKey, Signer
from support.trust import LIST, builder, endorser_list, first_world, key_files, person, policy, principal, release, rules
from vmkeeper.trust.keys.interface import KeyVerifier
from vmkeeper.trust.keys.openpgp import GpgVerifier
from vmkeeper.trust.keys.ssh import SSHVerifier
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.verify import Accepted, Context, grounds, provenance_rule, verify
from vmkeeper.values import canonical_json, sha256_hex


@pytest.fixture
def verifiers(openpgp: GpgVerifier) -> Mapping[str, KeyVerifier]:
    return {"ssh": SSHVerifier(), "openpgp": openpgp}


@pytest.fixture
def world(ssh: Signer, other_ssh: Signer):
    made = first_world(other_ssh, person("alice", ssh))
    made.endorse(ssh, made.record_release(release()))
    return made


def readings(world, verifiers, memory: Memory) -> int:
    before = world.readings
    assert isinstance(world.judge(verifiers, memory=memory).verdicts[LIST][0], Accepted)
    return world.readings - before


def test_a_record_is_read_once(world, verifiers: Mapping[str, KeyVerifier]) -> None:
    assert readings(world, verifiers, Memory()) == 1
    memory = world.judge(verifiers).memory
    assert readings(world, verifiers, memory) == 0
    assert world.judge(verifiers, memory=memory).memory == memory


def test_other_bytes_under_the_same_commit_are_read_and_refused(world, verifiers: Mapping[str, KeyVerifier]) -> None:
    memory = world.judge(verifiers).memory
    commit = world.line[-1]
    path = "appliances/debian-12/release.yaml"
    world.commits[commit] = {**world.commits[commit], path: world.commits[commit][path] + b"# more\n"}
    (verdict,) = world.judge(verifiers, memory=memory).verdicts[LIST]
    assert rules(verdict) == {"R14"}
    world.commits[commit] = {name: data for name, data in world.commits[commit].items() if name != path}
    (verdict,) = world.judge(verifiers, memory=memory).verdicts[LIST]
    assert rules(verdict) == {"R14"}


def test_a_record_is_read_again_under_another_policy(world, ssh: Signer, other_ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    memory = world.judge(verifiers).memory
    head = world.propose(policy(principal("root", other_ssh)), {LIST: endorser_list(person("alice", ssh), quorum=1, criteria=("more",))})
    world.enact(head)
    assert readings(world, verifiers, memory) == 1
    assert readings(world, verifiers, world.judge(verifiers, memory=memory).memory) == 0


def test_a_record_is_read_again_when_a_key_became_void(world, ssh: Signer, other_ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    memory = world.judge(verifiers).memory
    world.revoke(other_ssh, "root", other_ssh.id, "root", serial=1)
    assert readings(world, verifiers, memory) == 1


def test_builders_whose_keys_end_by_themselves_are_asked_about_again(
    ssh: Signer, other_ssh: Signer, pgp: Signer, verifiers: Mapping[str, KeyVerifier]
) -> None:
    made = first_world(other_ssh, person("alice", ssh), keys=key_files(pgp), builders=(builder("ci", pgp),))
    made.endorse(ssh, made.record_release(release()))
    judged = made.judge(verifiers)
    assert rules(judged.verdicts[LIST][0]) == {"R31"}
    again = judged.memory
    before = made.readings
    made.judge(verifiers, memory=again)
    assert made.readings == before + 1


def test_a_tag_that_was_refused_is_compared_again(world, ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    world.endorse(ssh, world.record_release(release("2026.5.2.8")), recipe="0" * 64)
    memory = world.judge(verifiers).memory
    assert list(memory.tags) == ["endorse/debian-12/2026.5.1.7/alice/1", "policy/1/root"]
    before = world.readings
    assert [rules(one) for one in world.judge(verifiers, memory=memory).verdicts[LIST]] == [set(), {"R14"}]
    assert world.readings == before + 1


def test_what_a_record_was_compared_under_is_the_policy_and_every_place_that_is_void(
    world, ssh: Signer, other_ssh: Signer, verifiers: Mapping[str, KeyVerifier]
) -> None:
    name = "endorse/debian-12/2026.5.1.7/alice/1"
    judged = world.judge(verifiers)
    policy_in_force = judged.enactments.current.said.content
    assert judged.memory.tags[name].record == sha256_hex(canonical_json({"policy": policy_in_force, "void": []}))
    stranger = SecurityKey().plain_signer()
    world.revoke(other_ssh, "zoe", stranger.id, "root", serial=3, sha512="7" * 128)
    world.revoke(other_ssh, "zoe", stranger.id, "root", serial=0, number=2)
    again = world.judge(verifiers)
    assert set(again.void) == {stranger.id}
    void = [[stranger.id, [[3, "7" * 128], [0, ""]]]]
    assert again.memory.tags[name].record == sha256_hex(canonical_json({"policy": policy_in_force, "void": void}))


def test_with_a_builder_whose_key_has_no_end_a_record_is_read_once(ssh: Signer, other_ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    made = first_world(other_ssh, person("alice", ssh), builders=(builder("ci", SecurityKey().plain_signer()),))
    assert grounds(made.judge(verifiers).enactments, {}) is not None


def test_with_a_builder_whose_key_ends_by_itself_no_record_is_remembered(
    ssh: Signer, other_ssh: Signer, pgp: Signer, verifiers: Mapping[str, KeyVerifier]
) -> None:
    builders = (builder("ci", SecurityKey().plain_signer()), builder("old", pgp))
    made = first_world(other_ssh, person("alice", ssh), keys=key_files(pgp), builders=builders)
    assert grounds(made.judge(verifiers).enactments, {}) is None


def test_what_was_found_about_another_object_of_the_same_name_counts_for_nothing(world, verifiers: Mapping[str, KeyVerifier]) -> None:
    memory = world.judge(verifiers).memory
    judged = world.judge(verifiers, memory=memory)
    (read,) = judged.reads
    seen = memory.tags[read.tag]
    rule, ground = provenance_rule(judged.enactments, judged.reader, judged.void), seen.record
    for digest, readings in ((seen.sha512, 0), ("0" * 128, 1)):
        reader = replace(judged.reader, seen={read.tag: seen.model_copy(update={"sha512": digest})})
        lists = judged.enactments.current.policy.lists
        before = world.readings
        (verdict,) = verify([read], Context(lists[LIST], judged.enactments, judged.void, reader, judged.objects, rule, ground))
        assert isinstance(verdict, Accepted)
        assert world.readings == before + readings

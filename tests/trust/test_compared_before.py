"""What the memory holds is not compared again, unless something that the comparison depends on has changed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from support.keys import Signer
from support.trust import LIST, builder, endorser_list, first_world, person, policy, principal, release, rules
from vmkeeper.trust.keys.interface import KeyVerifier
from vmkeeper.trust.keys.openpgp import GpgVerifier
from vmkeeper.trust.keys.ssh import SSHVerifier
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.verify import Accepted


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
    from support.trust import key_files

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

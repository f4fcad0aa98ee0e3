"""Each rule with a case that passes and three or more that are refused, asked of the verifier as a site asks it."""

from __future__ import annotations

from support.trust import Signer, World, person, pinned, release, rules
from vmkeeper.trust.keys.openpgp import GpgVerifier
from vmkeeper.trust.verify import Accepted


def test_an_endorsement_by_an_openpgp_key_is_accepted(world: World, pgp: Signer, openpgp: GpgVerifier) -> None:
    name = world.endorse(pgp, world.commit(release()))
    verdict = world.verdicts(pinned(person("alice", pgp)), openpgp)[name]
    assert rules(verdict) == set()
    assert isinstance(verdict, Accepted)
    assert verdict.signed_by.key == pgp.id


def test_an_endorsement_by_an_ssh_key_is_accepted(world: World, ssh: Signer, openpgp: GpgVerifier) -> None:
    name = world.endorse(ssh, world.commit(release()))
    verdict = world.verdicts(pinned(person("alice", ssh)), openpgp)[name]
    assert rules(verdict) == set()
    assert isinstance(verdict, Accepted)
    assert verdict.signed_by.key == ssh.id

"""Keys, made once a session because that is slow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.keys import GpgHome, SecurityKey, Signer, ssh_key, ssh_signer
from support.trust import World
from vmkeeper.trust.keys.openpgp import GpgVerifier


@pytest.fixture(scope="session")
def gpg_home() -> Iterator[GpgHome]:
    home = GpgHome()
    yield home
    home.close()


@pytest.fixture(scope="session")
def openpgp() -> Iterator[GpgVerifier]:
    with GpgVerifier() as verifier:
        yield verifier


@pytest.fixture(scope="session")
def pgp(gpg_home: GpgHome) -> Signer:
    """An ed25519 key in gpg."""
    return gpg_home.signer(gpg_home.make("alice"))


@pytest.fixture(scope="session")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """An ssh-ed25519 key file."""
    return ssh_signer(ssh_key(tmp_path_factory.mktemp("ssh")))


@pytest.fixture(scope="session")
def other_ssh(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return ssh_signer(ssh_key(tmp_path_factory.mktemp("ssh")))


@pytest.fixture(scope="session")
def security_key() -> SecurityKey:
    return SecurityKey()


@pytest.fixture
def world() -> World:
    return World()

"""The first policy of a new repository names its maker's own key, of whatever kind git signs with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.keys import GpgHome, ssh_key, ssh_public
from support.repo import Repo
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.check import check
from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import load
from vmkeeper.errors import UserError
from vmkeeper.execute.firstpolicy import first_policy
from vmkeeper.model.keys import OpenPGPKey, SSHKey
from vmkeeper.model.policy import Policy


@pytest.fixture(scope="module")
def gpg_home() -> Iterator[GpgHome]:
    home = GpgHome()
    yield home
    home.close()


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo(tmp_path / "repo")
    for name in ("user.name", "user.email", "user.signingKey", "gpg.format"):
        made.git.config[name] = ""
    return made


def set_up(repo: Repo, **values: str) -> None:
    for name, value in values.items():
        repo.git.config[name.replace("__", ".")] = value


def policy(files: dict[str, bytes]) -> Policy:
    found = load(KINDS["policy"], files["endorsers/policy.yaml"], "endorsers/policy.yaml")
    assert isinstance(found, Policy)
    return found


def sound(repo: Repo, files: dict[str, bytes]) -> None:
    repo.commit(files)
    assert check(Catalogue.at(repo.repository, repo.repository.head())) == ()


def test_an_ssh_key(repo: Repo, tmp_path: Path) -> None:
    key = ssh_key(tmp_path)
    set_up(repo, user__name="Jane Q. Doe", user__email="jane@example.org", gpg__format="ssh", user__signingKey=str(key))
    files = first_policy(repo.repository)
    made = policy(files)
    assert set(files) == {"endorsers/policy.yaml"}
    assert files["endorsers/policy.yaml"].startswith(b"# Who decides")
    (person,) = made.principals
    assert (person.name, person.full_name, person.email, made.quorum) == ("jane-q-doe", "Jane Q. Doe", "jane@example.org", 1)
    assert person.keys == (SSHKey(type="ssh", key=ssh_public(key)),)
    sound(repo, files)


def test_an_openpgp_key_with_its_file(repo: Repo, gpg_home: GpgHome, monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprint = gpg_home.make("jane")
    monkeypatch.setenv("GNUPGHOME", str(gpg_home.path))
    set_up(repo, user__name="Jane Doe", user__email="no address", user__signingKey=fingerprint)
    files = first_policy(repo.repository)
    (person,) = policy(files).principals
    assert person.keys == (OpenPGPKey(type="openpgp", fingerprint=fingerprint, file="keys/jane-doe.asc"),)
    assert person.email == "jane-doe@localhost"
    assert files["endorsers/keys/jane-doe.asc"].startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")
    sound(repo, files)


@pytest.mark.parametrize(
    ("full_name", "name"), [("", "principal"), ("Ää", "principal"), ("-- x --", "x"), ("a" * 40, "a" * 32), (f"{'a' * 31}-b", "a" * 31)]
)
def test_whatever_somebody_is_called_there_is_a_name(repo: Repo, tmp_path: Path, full_name: str, name: str) -> None:
    set_up(repo, user__name=full_name, user__email="jane@example.org", gpg__format="ssh", user__signingKey=str(ssh_key(tmp_path)))
    (person,) = policy(first_policy(repo.repository)).principals
    assert (person.name, person.full_name) == (name, full_name or name)


def test_without_a_key_there_is_no_policy(repo: Repo) -> None:
    assert first_policy(repo.repository) == {}


def test_a_key_that_is_not_there_is_an_error(repo: Repo, tmp_path: Path) -> None:
    set_up(repo, gpg__format="ssh", user__signingKey=str(tmp_path / "none"))
    with pytest.raises(UserError, match="no SSH key file"):
        first_policy(repo.repository)


@pytest.mark.parametrize(("key", "said", "there"), [
    ("key", "endorsers/policy.yaml names your own key", True),
    ("none", "Wrote no endorsers/policy.yaml: ", False),
    ("", "Wrote no endorsers/policy.yaml: git's user.signingKey names no key of yours", False),
])  # fmt: skip
def test_a_new_repository_says_what_became_of_it(tmp_path: Path, key: str, said: str, there: bool) -> None:
    home = tmp_path / "home"
    home.mkdir()
    named = {"key": str(ssh_key(home)), "none": str(home / "none"), "": ""}[key]
    signing = f"\tsigningKey = {named}\n" if named else ""
    (home / ".gitconfig").write_text(f"[user]\n\tname = Jane Doe\n\temail = jane@example.org\n{signing}[gpg]\n\tformat = ssh\n")
    environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-m", "vmkeeper", "init", str(tmp_path / "new")], env=environment, capture_output=True, text=True, check=True
    )
    assert said in done.stdout
    assert (tmp_path / "new/endorsers/policy.yaml").exists() is there

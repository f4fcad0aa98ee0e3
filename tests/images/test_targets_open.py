"""Which address means which target, and what is said about one that cannot be opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from fsspec import AbstractFileSystem, register_implementation

from vmkeeper.errors import EnvironmentLacks, UserError
from vmkeeper.execute.publictarget import open_public
from vmkeeper.images.targets_files import FilesTarget
from vmkeeper.images.targets_folder import FolderTarget
from vmkeeper.images.targets_http import HttpTarget
from vmkeeper.images.targets_open import open_target


@pytest.mark.parametrize("address", ["public", "{tmp}/public", "file://{tmp}/public"])
def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.chdir(tmp_path)
    target = open_target(address.format(tmp=tmp_path))
    assert isinstance(target, FolderTarget)
    assert target.folder == tmp_path / "public"


def test_web_and_others() -> None:
    target = open_target("https://images.example.org/a/?x=1", {"token": "secret"})
    assert isinstance(target, HttpTarget)
    assert target.name == "https://images.example.org/a/"
    target.close()
    assert isinstance(open_target("memory://public"), FilesTarget)


@pytest.mark.parametrize(
    ("address", "options", "what"),
    [
        ("https://me:secret@images.example.org/", {}, "do not belong in an address"),
        ("sftp://me:secret@images.example.org/", {}, "do not belong in an address"),
        ("https://images.example.org/", {"key": "secret"}, "key is not known"),
        ("sftp://images.example.org/", {"token": "secret"}, "token is not known"),
        ("https://images.example.org/", {"method": "PATCH"}, "not sent with PATCH"),
        ("https://images.example.org/", {"ca": "/none"}, "cannot be read"),
        ("https://images.example.org/", {"certificate": "/none"}, "cannot be read"),
        ("nothing://images.example.org/", {}, "nothing can be published"),
    ],
)
def test_what_cannot_be_opened(address: str, options: dict[str, str], what: str) -> None:
    with pytest.raises(UserError, match=what) as caught:
        open_target(address, options)
    assert "secret" not in str(caught.value) + caught.value.hint


class Half(AbstractFileSystem):
    protocol = "half"


def test_a_kind_where_half_a_file_could_have_its_name() -> None:
    register_implementation("half", Half, clobber=True)
    with pytest.raises(EnvironmentLacks, match="nothing can be published") as caught:
        open_target("half://somewhere/")
    assert "half a file" in caught.value.why


def test_a_kind_that_fsspec_does_not_know() -> None:
    with pytest.raises(EnvironmentLacks):
        open_target("nothing://x/")


def test_credentials_come_from_a_file_that_is_ours_alone(tmp_path: Path) -> None:
    file = tmp_path / "credentials.yaml"
    file.write_text("username: me\npassword:\n  environment: UPLOAD_PASSWORD\n")
    file.chmod(0o644)
    with pytest.raises(UserError, match="others can read"):
        open_public("https://images.example.org/", file, {})
    file.chmod(0o600)
    with pytest.raises(UserError, match="UPLOAD_PASSWORD, which is not set"):
        open_public("https://images.example.org/", file, {})
    target = open_public("https://images.example.org/", file, {"UPLOAD_PASSWORD": "secret"})
    assert isinstance(target, HttpTarget)
    assert target._client.auth is not None
    target.close()
    with pytest.raises(UserError, match="could not read"):
        open_public("https://images.example.org/", tmp_path / "none", {})
    file.write_text("- list\n")
    with pytest.raises(UserError, match="not a YAML mapping"):
        open_public("https://images.example.org/", file, {})

"""The whole loop by pushes to a plain bare repository: Debian packages, a real image that boots, a real list."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.forge import MAIN, Forge, outside_git, set_up, vmkeeper
from support.images import lacks, shared_folder
from vmkeeper.cli.demo_setup import BUILDER, ENDORSER, PRINCIPAL, list_signer, new_ssh_key, tailor
from vmkeeper.documents.dump import dump
from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import load
from vmkeeper.images.files import hash_file
from vmkeeper.lists import hepix
from vmkeeper.lists.smime import load_signer, verify
from vmkeeper.model.imagelist import ImageList
from vmkeeper.model.release import Release

ROOT = Path(__file__).parents[2]
URL = "https://images.example.org"
NAME = "debian-12"
KEPT = ("appliances/debian-tools", f"appliances/{NAME}", "endorsers", "imagelists")
HOUR = 3600.0


@pytest.fixture
def forge(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Forge:
    if missing := lacks():
        pytest.skip("; ".join(missing))
    monkeypatch.setenv("VMKEEPER_STORE", str(shared_folder(tmp_path_factory, "store")))
    monkeypatch.setenv("VMKEEPER_CACHE", str(shared_folder(tmp_path_factory, "cache")))
    folder = tmp_path / "forge.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch", "main", str(folder)], env=outside_git(), check=True)
    made = set_up(folder, tmp_path / "clone")
    made.git("switch", "--quiet", "--orphan", "main")
    list_signer(tmp_path)
    for name, path in {"public": "public", "certificate": "list.pem", "key": "list.key"}.items():
        made.repository.git.config[f"vmkeeper.{name}"] = str(tmp_path / path)
    return made


def lay_out(forge: Forge, keys: Path) -> None:
    """The repository's own base image, one list with it, people of ours, whose policy is signed."""
    for path in KEPT:
        shutil.copytree(ROOT / path, forge.clone / path, ignore=shutil.ignore_patterns("release.yaml"))
    tailor(forge.clone, {name: new_ssh_key(keys / name) for name in (PRINCIPAL, BUILDER, ENDORSER)}, URL)
    path = "imagelists/science.yaml"
    listed = load(KINDS["imagelist"], (forge.clone / path).read_bytes(), path)
    assert isinstance(listed, ImageList)
    kept = tuple(entry for entry in listed.appliances if entry.appliance == NAME)
    (forge.clone / path).write_bytes(dump(listed.model_copy(update={"appliances": kept})))


@pytest.mark.machine
@pytest.mark.network
def test_pushes_take_an_image_from_a_commit_to_a_signed_list(forge: Forge, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    lay_out(forge, keys)
    forge.repository.git.config["vmkeeper.builderKey"] = str(keys / BUILDER)
    forge.commit("README.md", "Ours.\n")
    refreshed = vmkeeper(forge.clone, "refresh", "--commit", patience=HOUR)
    assert refreshed.returncode == 0, refreshed.stderr
    head = forge.git("rev-parse", "HEAD").stdout.strip()

    signed = vmkeeper(forge.clone, "policy", "sign", "--key", str(keys / PRINCIPAL), "--yes")
    assert signed.returncode == 0, signed.stderr

    said = forge.push("main", f"refs/tags/policy/1/{PRINCIPAL}", patience=HOUR)
    assert f"remote: done     release {NAME}: version" in said
    assert "remote: done     test" in said
    assert "FAILED" not in said

    forge.git("pull", "--quiet", "--ff-only", "origin", "main")
    path = f"appliances/{NAME}/release.yaml"
    release = load(KINDS["release"], (forge.clone / path).read_bytes(), path)
    assert isinstance(release, Release)
    assert release.commit == head != forge.ref(MAIN)
    assert forge.applied() == forge.ref(MAIN)
    assert release.tests is not None
    assert {result.outcome for result in release.tests.results} == {"passed"}
    assert forge.git("log", "-1", "--format=%an", "--", path).stdout.strip() == "vmkeeper"

    forge.git("config", "gpg.format", "ssh")
    forge.git("config", "user.signingKey", str(keys / ENDORSER))
    endorsed = vmkeeper(forge.clone, "endorse", NAME, "--valid", "30d", "--yes")
    assert endorsed.returncode == 0, endorsed.stderr
    tag = forge.git("tag", "--list", f"endorse/{NAME}/*").stdout.strip()
    said = forge.push(f"refs/tags/{tag}", patience=HOUR)
    assert "remote: vmkeeper publish" in said
    assert "FAILED" not in said

    public, signer = tmp_path / "public", load_signer(tmp_path / "list.pem", tmp_path / "list.key")
    content = verify((public / "science/imagelist.signed").read_bytes(), [signer.certificate], datetime.now(UTC), anchor="any").content
    (image,) = hepix.read(content).images
    file = public / image.uri.removeprefix(f"{URL}/")
    (qcow2,) = release.files
    assert hash_file(file).sha512 == image.sha512 == qcow2.sha512
    assert list(json.loads((public / "imagelists.json").read_bytes())["imagelists"]) == ["science"]

    before = file.stat(), (public / "science/imagelist.signed").read_bytes()
    forge.commit("README.md", "Ours, and nobody else's.\n")
    said = forge.push()
    assert "remote: Nothing to do." in said
    assert "remote: Nothing to publish: every list says what is endorsed." in said
    assert (file.stat(), (public / "science/imagelist.signed").read_bytes()) == before

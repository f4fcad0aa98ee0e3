"""Changing a root file system while it is a tar."""

from __future__ import annotations

import io
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkeeper.builders.debian.tar import NewFile, RootTar

DATE = datetime(2026, 11, 1, tzinfo=UTC)


def gnu_tar(folder: Path, files: dict[str, str]) -> Path:
    tree = folder / "tree"
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    path = folder / "root.tar"
    subprocess.run(["tar", "-c", "--format=posix", "--sort=name", "-C", str(tree), "-f", str(path), "."], check=True)
    return path


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path, "r:") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}  # type: ignore[union-attr]


def test_files_are_replaced_and_added_and_the_rest_stays(tmp_path: Path) -> None:
    source = RootTar(gnu_tar(tmp_path, {"etc/fstab": "old", "etc/passwd": "root", "x" * 120 + "/" + "y" * 120: "long"}))
    source.write_with(tmp_path / "new.tar", [NewFile("etc/fstab", b"new"), NewFile("etc/vmkeeper/about", b"me", mode=0o600)], DATE)
    assert contents(tmp_path / "new.tar") == {
        "./etc/fstab": b"new",
        "./etc/passwd": b"root",
        "./" + "x" * 120 + "/" + "y" * 120: b"long",
        "./etc/vmkeeper/about": b"me",
    }
    with tarfile.open(tmp_path / "new.tar") as tar:
        names = tar.getnames()
        about = tar.getmember("./etc/vmkeeper/about")
        folder = tar.getmember("./etc/vmkeeper")
    assert names.count("./etc/fstab") == 1
    assert names.index("./etc/vmkeeper") < names.index("./etc/vmkeeper/about")
    assert (about.mode, about.uid, about.gid, about.mtime) == (0o600, 0, 0, DATE.timestamp())
    assert folder.isdir()
    assert folder.mode == 0o755


def test_reading_a_file_that_is_not_there(tmp_path: Path) -> None:
    source = RootTar(gnu_tar(tmp_path, {"etc/fstab": "x"}))
    assert source.read("etc/fstab") == b"x"
    assert "etc/fstab" in source
    assert "etc/shadow" not in source
    with pytest.raises(KeyError):
        source.read("etc/shadow")


def test_a_capability_of_a_file_survives(tmp_path: Path) -> None:
    path = tmp_path / "root.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("./usr/bin/ping")
        info.size, info.pax_headers = 3, {"SCHILY.xattr.security.capability": "cap"}
        tar.addfile(info, io.BytesIO(b"elf"))
    RootTar(path).write_with(tmp_path / "new.tar", [NewFile("etc/fstab", b"")], DATE)
    with tarfile.open(tmp_path / "new.tar") as tar:
        assert tar.getmember("./usr/bin/ping").pax_headers["SCHILY.xattr.security.capability"] == "cap"


NAMES = st.sampled_from(["etc/a", "etc/b", "usr/c", "d", "var/lib/e"])


@settings(max_examples=25, deadline=None)
@given(old=st.dictionaries(NAMES, st.binary(max_size=2000)), new=st.dictionaries(NAMES, st.binary(max_size=2000)))
def test_result_is_the_old_files_with_the_new_ones(tmp_path_factory: pytest.TempPathFactory, old: dict[str, bytes], new: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("tar")
    with tarfile.open(folder / "root.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in old.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    RootTar(folder / "root.tar").write_with(folder / "new.tar", [NewFile(*item) for item in new.items()], DATE)
    assert contents(folder / "new.tar") == {f"./{name}": data for name, data in {**old, **new}.items()}

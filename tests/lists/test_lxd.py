"""What LXD and Incus get beside a disk: the same bytes for the same image, whatever is said of it meanwhile."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest
from ruamel.yaml import YAML

from support.shelves import content, image
from vmkeeper.lists.lxd import digests, metadata, metadata_path


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_the_metadata_is_one_file_of_nobody(architecture: str) -> None:
    with tarfile.open(fileobj=io.BytesIO(metadata(architecture))) as archive:
        (entry,) = archive.getmembers()
        assert (entry.name, entry.uid, entry.gid, entry.mtime, entry.uname) == ("metadata.yaml", 0, 0, 0, "")
        file = archive.extractfile(entry)
        assert file is not None
        assert YAML(typ="safe", pure=True).load(file.read()) == {"architecture": architecture, "creation_date": 1}


def test_it_is_these_bytes_for_ever() -> None:
    """Fingerprints of images that LXD and Incus hold were taken over them: a change needs another metadata_path."""
    assert hashlib.sha256(metadata("x86_64")).hexdigest() == "da34bec0696053df2ad3a211ac001d07c7d4c7d377864e00546c3d315d6b62be"
    assert hashlib.sha256(metadata("aarch64")).hexdigest() == "c22bd98dd4aa73c1aba1550e09c5fcb40b86734f578b0c5a85392d13016a9e02"
    assert metadata_path("x86_64") == "streams/lxd/metadata-1-x86_64.tar"


@pytest.mark.parametrize("block", [1, 7, 100_000])
def test_the_digests_are_of_the_file_and_the_fingerprint_of_metadata_and_file(block: int) -> None:
    one = image()
    data = content(one.path)
    found = digests(one, (data[at : at + block] for at in range(0, len(data), block)))
    assert found.md5 == hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert found.fingerprint == hashlib.sha256(metadata(one.architecture) + data).hexdigest()


def test_another_file_is_not_taken_for_the_image() -> None:
    with pytest.raises(ValueError, match="is not the image"):
        digests(image(), [b"other"])

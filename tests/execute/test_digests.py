"""Further digests: from a public folder each time, from the store once in an image's life."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.shelves import content, folder, image, shelf
from vmkeeper.errors import UserError
from vmkeeper.execute.digests import known_digests, public_digests, store_digests
from vmkeeper.images.store import Store
from vmkeeper.lists.lxd import digests


def test_folder_and_store_give_the_same(tmp_path: Path) -> None:
    made = shelf("science", image(), image("worker", format="raw"))
    folder(tmp_path / "public", made)
    store = Store(tmp_path / "store")
    for one in made.images:
        store.put_bytes(content(one.path))
    found = public_digests(tmp_path / "public", [made])
    assert found == {one.sha512: store_digests(store, one.sha512, one.architecture) for one in made.images}
    assert found == {one.sha512: digests(one, [content(one.path)]) for one in made.images}


def test_the_store_remembers_and_knows_nothing_that_was_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, store = image(), Store(tmp_path / "store")
    store.put_bytes(content(one.path))
    assert known_digests(store, one.sha512, one.architecture) is None
    first = store_digests(store, one.sha512, one.architecture)
    monkeypatch.setattr(Store, "open", lambda self, sha512: pytest.fail("read again"))
    assert known_digests(store, one.sha512, one.architecture) == first
    assert known_digests(store, one.sha512, "aarch64") is None


def test_an_image_that_the_store_does_not_hold_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not have"):
        store_digests(Store(tmp_path / "store"), image().sha512, image().architecture)


def test_a_file_that_is_missing_or_another_one_is_told(tmp_path: Path) -> None:
    made = shelf("science", image())
    with pytest.raises(UserError, match="cannot be read"):
        public_digests(tmp_path, [made])
    folder(tmp_path, made)
    (tmp_path / image().path).write_bytes(b"other")
    with pytest.raises(UserError, match="cannot be read") as caught:
        public_digests(tmp_path, [made])
    assert "is not the image" in caught.value.why

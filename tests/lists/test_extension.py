"""`vk:supply` in a list: what is written is read, what cannot be read is ignored with a reason, and readers of lists never mind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.lists import IMAGES, JSON, NOW, image, image_list
from vmkeeper.lists import hepix
from vmkeeper.lists.extension import KEY, MOST, Ways, read, written
from vmkeeper.lists.shelf import CompressedFile, PublishedPatch, ShelvedImage
from vmkeeper.plan.supply import SuppliedFile, SuppliedPatch

BASE = "https://images.example.org/"
SHA, OTHER = "cd" * 64, "ef" * 64

SIZES = st.integers(1, (430 << 20) - 1)
DIGESTS = st.binary(min_size=64, max_size=64).map(bytes.hex)
PATHS = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}(/[a-z0-9][a-z0-9._-]{0,20}){0,3}", fullmatch=True)
PATCHES = st.builds(
    PublishedPatch,
    path=PATHS,
    size=SIZES,
    sha512=DIGESTS,
    base_sha512=DIGESTS,
    base_size=st.integers(1, 1 << 40),
    base_version=st.just("1"),
    base_appliance=st.just("debian-12"),
    memory=st.integers(1, 1 << 40),
)
WHOLE = st.builds(CompressedFile, path=PATHS, size=SIZES, sha512=DIGESTS)


def shelved(patches: tuple[PublishedPatch, ...] = (), compressed: CompressedFile | None = None) -> ShelvedImage:
    return ShelvedImage(
        appliance="debian-12",
        uuid="11111111-2222-4333-8444-555555555555",
        version="1",
        title="Debian 12",
        description="",
        path="science/images/x/1/debian-12-1.qcow2",
        uri=f"{BASE}science/images/x/1/debian-12-1.qcow2",
        format="qcow2",
        size=430 << 20,
        virtual_size=2 << 30,
        sha512="ab" * 64,
        architecture="x86_64",
        os="Linux",
        osname="Debian",
        osversion="12",
        release="bookworm",
        memory=None,
        cpus=None,
        commit="0" * 40,
        recipe="0" * 64,
        endorsers=("alice",),
        endorsed=NOW,
        expires=NOW,
        group="General group",
        mpuri="https://images.example.org/x/",
        patches=patches,
        compressed=compressed,
    )


def patch_fields(**changes: Any) -> dict[str, Any]:
    return {
        "uri": f"{BASE}p.zst",
        "size": 1000,
        "sha512": SHA,
        "base:sha512": OTHER,
        "base:size": 400 << 20,
        "memory": 900 << 20,
        **changes,
    }


def said(value: Any) -> Ways:
    return read(image(extra={KEY: value}))


@given(st.lists(PATCHES, max_size=MOST), st.none() | WHOLE)
def test_what_is_written_is_read(patches: list[PublishedPatch], compressed: CompressedFile | None) -> None:
    extra = written(shelved(tuple(patches), compressed), BASE)
    (found,) = hepix.read(hepix.write(image_list(image(extra=extra))).encode()).images
    ways = read(found)
    assert ways.ignored == ()
    for one, way in zip(patches, ways.patches, strict=True):
        supplied = SuppliedPatch(**way)
        assert (supplied.uri, supplied.size, supplied.sha512) == (f"{BASE}{one.path}", one.size, one.sha512)
        assert (supplied.base_sha512, supplied.base_size, supplied.memory) == (one.base_sha512, one.base_size, one.memory)
    if compressed is None:
        assert ways.compressed is None
    else:
        assert ways.compressed is not None
        whole = SuppliedFile(**ways.compressed)
        assert (whole.uri, whole.size, whole.sha512) == (f"{BASE}{compressed.path}", compressed.size, compressed.sha512)


def test_nothing_beside_the_image_writes_nothing() -> None:
    assert written(shelved(), BASE) == {}
    assert read(image()) == Ways()


@given(IMAGES, st.lists(PATCHES, min_size=1, max_size=3), JSON)
def test_mirrored_list_keeps_it(mirrored: hepix.HepixImage, patches: list[PublishedPatch], later: Any) -> None:
    """A site that passes a list on passes this on, with what later versions of it may say."""
    extra = written(shelved(tuple(patches)), BASE)
    extra[KEY]["later"] = later
    original = image_list(replace(mirrored, extra=extra))
    passed_on = hepix.read(hepix.write(original).encode())
    assert passed_on == original
    assert read(passed_on.images[0]) == read(original.images[0])


@given(JSON)
def test_any_value_is_read_or_ignored(value: Any) -> None:
    for place in (value, {"patches": value}, {"patches": [value]}, {"compressed": value}, {"patches": [patch_fields(uri=value)]}):
        ways = said(place)
        assert isinstance(ways, Ways)
        assert not ways.patches or ways.patches[0]["uri"] == value


MALFORMED: dict[str, Any] = {
    "uri": ["", None, 5, "p.zst", "/p.zst", "ftp://x/p", "file:///etc/passwd", "https://u:p@x.org/p", "https://x.org/p#a", "https://x.org/a b"],
    "size": [0, -1, 1.5, None, True, "many", 10**18, 430 << 20],
    "sha512": ["", None, "ab", "g" * 128, 5],
    "base:sha512": ["", None, "ab", "ab" * 64],
    "base:size": [0, -1, None, "x"],
    "memory": [0, -1, None, "x", 10**30],
}


MALFORMED["uri"] += ["https://x.org/\x1b[31m", "javascript:alert(1)", "https://", "https://x.org/" + "a" * 2000, ["https://x.org/p"]]


@pytest.mark.parametrize("field", MALFORMED)
def test_malformed_field_ignores_its_patch_and_no_other(field: str) -> None:
    for value in MALFORMED[field]:
        ways = said({"patches": [patch_fields(**{field: value}), patch_fields()]})
        assert len(ways.patches) == len(ways.ignored) == 1, value
        assert ways.ignored[0].startswith(f"{KEY}.patches[0]"), value
        assert field in ways.ignored[0] or "image" in ways.ignored[0], value


@pytest.mark.parametrize("field", ["uri", "size", "sha512"])
def test_malformed_field_ignores_the_compressed_file(field: str) -> None:
    for value in MALFORMED[field]:
        whole = {"uri": f"{BASE}w.zst", "size": 5000, "sha512": SHA}
        ways = said({"compressed": {**whole, field: value}, "patches": [patch_fields()]})
        assert ways.compressed is None, value
        assert len(ways.patches) == len(ways.ignored) == 1, value


@pytest.mark.parametrize("value", [[], "x", 5, True, [patch_fields()]])
def test_what_is_no_object_is_ignored(value: Any) -> None:
    assert said(value) == Ways(ignored=(f"{KEY} must be an object",))
    assert said({"patches": {"0": value}}).ignored == (f"{KEY}.patches must be an array",)
    assert said({"compressed": value}).ignored == (f"{KEY}.compressed must be an object",)


def test_number_of_patches_is_bounded() -> None:
    ways = said({"patches": [patch_fields(size=n + 1) for n in range(100_000)]})
    assert [patch["size"] for patch in ways.patches] == list(range(1, MOST + 1))
    assert ways.ignored == (f"{KEY}.patches holds 100000, the first {MOST} are read",)


def test_reasons_are_bounded() -> None:
    assert len(said({"patches": [None] * 100_000}).ignored) == MOST + 1


def test_digests_are_compared_in_lower_case() -> None:
    (patch,) = said({"patches": [patch_fields(sha512=SHA.upper(), **{"base:sha512": OTHER.upper()})]}).patches
    assert (patch["sha512"], patch["base_sha512"]) == (SHA, OTHER)


def test_list_without_a_valid_extension_is_as_good_as_one_with() -> None:
    plain, odd = image_list(image()), image_list(image(extra={KEY: {"patches": 5, "compressed": []}}))
    assert [replace(one, extra={}) for one in hepix.read(hepix.write(odd).encode()).images] == list(plain.images)

"""Image lists for tests: one of ours with everything, and hypothesis strategies for any."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from vmkeeper.lists.hepix import HepixEndorser, HepixImage, HepixList
from vmkeeper.values import Size

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def image(**changes: Any) -> HepixImage:
    fields = {
        "uuid": "11111111-2222-4333-8444-555555555555",
        "title": "Debian 12",
        "description": "A base image.",
        "expires": NOW + timedelta(days=100),
        "uri": "https://images.example.org/science/images/x/1/debian-12-1.qcow2",
        "version": "2026.11.20.7",
        "format": "qcow2",
        "hypervisor": "KVM",
        "size": Size(430 << 20),
        "sha512": "ab" * 64,
        "arch": "x86_64",
        "os": "Linux",
        "osname": "Debian",
        "osversion": "12",
        "comments": "",
        "ram_minimum": Size(512 << 20),
        "core_minimum": 1,
        "group": "General group",
        "mpuri": "https://images.example.org/science/images/x/",
        "user_fullname": "Image Publisher",
        "user_guid": "9d9dd6cf-b61a-4aaa-b1df-b5731adf717c",
        "user_uri": "https://images.example.org/",
    }
    return HepixImage(**{**fields, **changes})


def image_list(*images: HepixImage, **changes: Any) -> HepixList:
    fields = {
        "uuid": "76fdee70-8119-4d33-aaaa-3c57e1c60df1",
        "title": "Science",
        "description": "Images for science.",
        "source": "example.org",
        "vo": "science.example.org",
        "version": "20261120120000",
        "uri": "https://images.example.org/science/imagelist.signed",
        "created": NOW,
        "expires": NOW + timedelta(days=28),
        "endorser": HepixEndorser(
            dn="/DC=org/CN=Image Publisher", ca="/DC=org/CN=Test Authority", email="images@example.org", creator="Image Publisher"
        ),
        "images": images or (image(),),
    }
    return HepixList(**{**fields, **changes})


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
FILLED = TEXTS.filter(str.strip)
TIMES = st.integers(0, 16_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
RAM = st.integers(0, 1 << 22).map(lambda mib: Size(mib << 20))
VERSIONS = st.text("0123456789.-,/abc", min_size=1, max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
EXTRA = st.dictionaries(TEXTS.map(lambda text: f"x:{text}"), JSON, max_size=3)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


IMAGES = st.builds(
    HepixImage,
    uuid=st.uuids().map(str),
    uri=FILLED,
    version=VERSIONS,
    size=st.integers(1, 1 << 50).map(Size),
    sha512=st.text("0123456789abcdef", min_size=128, max_size=128),
    **{name: maybe(TEXTS) for name in ("title", "description", "hypervisor", "arch", "os", "osname", "osversion", "comments", "group", "mpuri")},
    **{name: maybe(TEXTS) for name in ("user_fullname", "user_guid", "user_uri", "base_mpuri", "appid")},
    format=maybe(FILLED),
    expires=maybe(TIMES),
    ram_minimum=maybe(RAM),
    ram_recommended=maybe(RAM),
    core_minimum=maybe(st.integers(0, 1024)),
    core_recommended=maybe(st.integers(0, 1024)),
    extra=EXTRA,
    beside=EXTRA,
)
LISTS = st.builds(
    HepixList,
    uuid=st.uuids().map(str),
    title=TEXTS,
    description=TEXTS,
    source=TEXTS,
    version=VERSIONS,
    uri=FILLED,
    created=TIMES,
    expires=TIMES,
    endorser=st.builds(HepixEndorser, dn=FILLED, ca=FILLED, email=maybe(TEXTS), creator=maybe(TEXTS), extra=EXTRA, beside=EXTRA),
    vo=maybe(TEXTS),
    images=st.lists(IMAGES, max_size=3, unique_by=lambda one: one.uuid).map(tuple),
    extra=EXTRA,
    beside=EXTRA,
)

"""A foreign list as offers, standings and decisions; all of it pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.lists import NOW, image, image_list
from support.sitescenario import OWNER, site
from vmkeeper.clouds.interface import CloudImage, ImageSpec
from vmkeeper.lists.hepix import HepixList, version_key
from vmkeeper.model.foreign import ForeignList
from vmkeeper.plan.foreign import Claim, Taken, held, take, version_of
from vmkeeper.plan.names import foreign_names
from vmkeeper.plan.site import RegisterImage, plan_site
from vmkeeper.plan.wanted import Allowed, Current, NotAllowed, Subscribed, Unusable, runnable
from vmkeeper.values import Size, Version

ENTRY = {"name": "egi", "url": "https://lists.example.org/egi", "endorser": {"dn": "/CN=a", "ca": "/CN=b"}}
SITE = {"approve": [{"appliance": "egi-*"}]}


def foreign(**changes: Any) -> ForeignList:
    return ForeignList.model_validate({**ENTRY, **changes})


def taken(source: HepixList, entry: ForeignList | None = None, *, marked: tuple[ImageSpec, ...] = (), fields: Any = None, **more: Any) -> Taken:
    entry = entry or foreign()
    names = foreign_names(entry.name, source.images, {}, ())
    return take(source, entry, site(SITE if fields is None else fields), NOW, names=names, marked=marked, **more)


# Versions


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1", "1"),
        ("3.3.0-1", "3.3.0.1"),
        ("2016/10/25", "2016.10.25"),
        ("1,2", "1.2"),
        ("v4.7", "4.7"),
        ("20150618211400", "20150618211400"),
        ("1.0", "1.0"),
    ],
)
def test_versions_are_read_as_vmcatcher_does(written: str, read: str) -> None:
    assert str(version_of(written)) == read


@pytest.mark.parametrize("written", ["", "rc1", "1.0-rc1", "1..2", "1.", "-1", "1_2", "1.2.3.4.5.6.7.8.9", "9" * 19, "v", "vv1", "١"])
def test_a_version_that_cannot_be_compared_is_refused_with_what_would_do(written: str) -> None:
    with pytest.raises(ValueError, match="up to eight numbers with"):
        version_of(written)


NUMBERS = st.lists(st.integers(0, 30), min_size=1, max_size=4)
MARKS = st.lists(st.sampled_from("-,./"), min_size=3, max_size=3)


@given(NUMBERS, NUMBERS, MARKS, MARKS)
def test_order_is_that_of_lists_but_for_zeros_at_the_end(one: list[int], two: list[int], marks: list[str], others: list[str]) -> None:
    def written(numbers: list[int], between: list[str]) -> str:
        return "".join(f"{mark}{number}" for mark, number in zip(["", *between], numbers, strict=False))

    first, second = written(one, marks), written(two, others)
    if one[-1] and two[-1]:
        assert (version_of(first) < version_of(second)) == (version_key(first) < version_key(second))


# Entries


def test_an_entry_becomes_an_offer_that_expires_with_its_list() -> None:
    made = taken(image_list(image(expires=NOW + timedelta(days=100)), expires=NOW + timedelta(days=9)))
    (offer,) = made.offers
    assert offer.spec.expires == NOW + timedelta(days=9)
    assert (offer.spec.name, offer.spec.virtual_size, offer.spec.source) == ("egi-debian-12-2026.11.20.7", 0, None)
    assert offer.supply.max_virtual == Size.parse("256GiB")
    (standing,) = made.standings.values()
    assert standing == Allowed((offer.spec.signed,), NOW + timedelta(days=9))


@pytest.mark.parametrize(
    ("changes", "form", "signed"),
    [
        ({"format": "qcow2"}, "qcow2", "qcow2"),
        ({"format": "OVA"}, "ova", "ova"),
        ({"format": "img.gz"}, "raw", "raw.gz"),
        ({"format": "vhdx"}, "raw", "vhdx"),
        ({"format": None, "uri": "https://a.example.org/b.vmdk"}, "vmdk", "vmdk"),
        ({"format": None, "uri": "https://a.example.org/b.tar.xz"}, "raw", "tar.xz"),
    ],
)
def test_formats_of_entries(changes: dict, form: str, signed: str) -> None:
    (offer,) = taken(image_list(image(**changes)), fields={**SITE, "formats": ["raw"]}).offers
    assert (offer.spec.format, offer.spec.signed.format) == (form, signed)
    assert offer.spec.key.endswith("ab" * 64)


ODD = {
    "a version of words": ({"version": "latest"}, "cannot be compared"),
    "an unknown format": ({"format": "floppy"}, "its format is floppy"),
    "no format, and an address that tells none": ({"format": None, "uri": "https://a.example.org/x"}, "its format is not said"),
    "an unknown architecture": ({"arch": "sparc"}, "its architecture sparc"),
    "an address that is none": ({"uri": "debian.qcow2"}, "neither http nor https"),
    "a local file": ({"uri": "file:///etc/shadow"}, "neither http nor https"),
    "a name that is too long": ({"version": ".".join(["9" * 18] * 8)}, "cannot be taken"),
}


@pytest.mark.parametrize(("changes", "why"), ODD.values(), ids=ODD)
def test_an_odd_entry_is_told_and_the_others_go_on(changes: dict, why: str) -> None:
    made = taken(image_list(image(**changes), image(uuid="22222222-2222-4333-8444-555555555555", title="Good")))
    assert [offer.spec.appliance for offer in made.offers] == ["egi-good"]
    (note,) = made.notes
    assert why in note.why


@pytest.mark.parametrize(
    ("written", "read"), [("x86_64", "x86_64"), ("amd64", "x86_64"), ("X86-64", "x86_64"), ("arm64", "aarch64"), (None, "x86_64"), ("", "x86_64")]
)
def test_architectures_of_entries(written: str | None, read: str) -> None:
    (offer,) = taken(image_list(image(arch=written))).offers
    assert offer.spec.architecture == read


def test_long_texts_are_cut() -> None:
    (offer,) = taken(image_list(image(description="x" * 5000))).offers
    assert offer.spec.properties["dc:description"] == "x" * 1000


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://lists.example.org/images/a", True),
        ("https://lists.example.org:443/images/a", True),
        ("https://LISTS.example.org/images/a", True),
        ("http://lists.example.org/images/a", False),
        ("https://lists.example.org:8443/a", False),
        ("https://lists.example.org.evil.example/a", False),
        ("https://lists.example.org@evil.example/a", False),
        ("https://cdn.example.org/a", False),
        ("https://lists.example.org:x/a", False),
    ],
)
def test_credentials_go_with_an_image_only_where_its_list_is(uri: str, shown: bool) -> None:
    (offer,) = taken(image_list(image(uri=uri)), foreign(credentials="team")).offers
    assert offer.supply.credentials == ("team" if shown else None)


# What the site has


def marked(source: HepixList, **changes: Any) -> ImageSpec:
    (offer,) = taken(source).offers
    return offer.spec.model_copy(update=changes)


def test_what_was_on_the_list_is_good_as_long_as_the_list_said_then() -> None:
    old = marked(image_list(image(version="1")), expires=NOW + timedelta(days=3))
    made = taken(image_list(image(version="2", sha512="cd" * 64)), marked=(old,))
    assert made.standings[old.list, old.uuid, Version("1")] == Allowed((old.signed,), NOW + timedelta(days=3))


def test_an_entry_that_turns_odd_leaves_what_the_site_has() -> None:
    old = marked(image_list(image(version="1")))
    for odd in (image(version="next"), image(version="2", format="floppy"), image(version="2", arch="sparc")):
        made = taken(image_list(odd), marked=(old,))
        assert (old.uuid, Version("1")) in made.others
        assert plan(made, old).plan.actions == ()


def plan(made: Taken, *here: ImageSpec, fields: Any = None) -> Any:
    images = [CloudImage(id=f"i{number}", name=spec.name, owner=OWNER, spec=spec) for number, spec in enumerate(here)]
    uuid = image_list().uuid
    found = Subscribed("egi", uuid, Current(NOW + timedelta(days=28), tuple(made.offers), tuple(made.others)))
    return plan_site(site(SITE if fields is None else fields), [found], made.standings, images, owner=OWNER, now=NOW)


def test_an_image_that_runs_may_be_started_from_and_one_that_waits_may_not() -> None:
    source = image_list()
    uuid, spec = source.uuid, marked(source)
    here = [CloudImage(id="i", name=spec.name, owner=OWNER, spec=spec)]
    for fields, count in ((SITE, 1), ({"approve": []}, 0)):
        made = taken(source, marked=(spec,), fields=fields)
        found = [Subscribed("egi", uuid, Current(source.expires, tuple(made.offers), tuple(made.others)))]
        assert len(runnable(here, found, made.standings, owner=OWNER, now=NOW)) == count
        made = held(uuid, foreign(), site(fields), [spec], NOW)
        away = [Subscribed("egi", uuid, Unusable("away", source.expires))]
        assert len(runnable(here, away, made.standings, owner=OWNER, now=NOW)) == count


def test_a_list_whose_signer_is_lost_holds_nothing() -> None:
    spec = marked(image_list())
    (standing,) = held(spec.list, foreign(), site(SITE), [spec], NOW, lost="its certificate was revoked").standings.values()
    assert isinstance(standing, NotAllowed)
    assert (standing.ground, "revoked" in standing.why) == ("withdrawn", True)


def test_an_expired_image_is_not_asked_about() -> None:
    source = image_list(image(expires=NOW))
    made = taken(source, fields={})
    assert made.notes == []
    assert [str(refusal.rule) for decision in made.decisions for refusal in decision.refusals] == ["R20", "R13"]
    made = taken(source)
    assert [note.why for note in plan(made).notes] == ["it expired at 2026-11-20T12:00:00Z"]


def test_a_claimed_uuid_is_refused_unless_it_is_the_same_image() -> None:
    source = image_list()
    (offer,) = taken(source).offers
    assert taken(source, claims={offer.spec.uuid: Claim("the list x")}).offers == []
    assert len(taken(source, claims={offer.spec.uuid: Claim("the list x", frozenset({offer.spec.key}))}).offers) == 1


# Whatever a list says


TITLES = st.sampled_from(["A", "B", "A b"])
ENTRIES = st.lists(
    st.builds(
        lambda key, changes: image(uuid=f"{key:08d}-2222-4333-8444-555555555555", **changes),
        st.integers(0, 5),
        st.fixed_dictionaries(
            {
                "version": st.sampled_from(["1", "2", "2-1", "next", "v3"]),
                "format": st.sampled_from(["raw", "ova", "qcow2.gz", "floppy", None]),
                "sha512": st.sampled_from(["ab" * 64, "cd" * 64]),
                "expires": st.sampled_from([None, NOW, NOW + timedelta(days=5)]),
                "title": TITLES,
                "size": st.sampled_from([Size(1), Size(1 << 42)]),
            }
        ),
    ),
    max_size=5,
    unique_by=lambda each: each.uuid,
)
FIELDS = st.fixed_dictionaries(
    {
        "approve": st.sampled_from([[], [{"appliance": "egi-*"}], [{"appliance": "egi-a*", "version": ">=2"}]]),
        "block": st.sampled_from([[], [{"appliance": "egi-b", "reason": "no"}]]),
        "keep": st.integers(1, 2),
        "retire": st.just({"limit": "100%"}),
    }
)


@given(ENTRIES, ENTRIES, FIELDS, st.sampled_from(["approve", "ask", "refuse"]))
def test_carried_out_the_plan_is_empty_whatever_the_list_says(before: list, after: list, fields: Any, new: str) -> None:
    entry = foreign(new=new)
    names: dict[str, str] = {}
    here: list[CloudImage] = []
    for images in (before, after, after):
        source = replace(image_list(), images=tuple(images))
        names = foreign_names("egi", images, names, ())
        specs = [one.spec for one in here if one.spec]
        made = take(source, entry, site(fields), NOW, names=names, marked=specs)
        found = Subscribed("egi", source.uuid, Current(source.expires, tuple(made.offers), tuple(made.others)))
        planned = plan_site(site(fields), [found], made.standings, here, owner=OWNER, now=NOW)
        last = planned.plan.actions
        here = carried_out(last, here)
        for one in here:
            if one.state == "active" and one.spec:
                blocked = any(
                    decision.appliance == one.spec.appliance and not decision.accepted and decision.version == one.spec.version
                    for decision in made.decisions
                )
                assert not blocked
    assert last == ()


def carried_out(actions: Any, here: list[CloudImage]) -> list[CloudImage]:
    """What a cloud holds after a plan; a conversion makes other bytes."""
    images = {one.id: one for one in here}
    for number, action in enumerate(actions):
        if isinstance(action, RegisterImage):
            made = {"sha512": "99" * 64, "size": Size(7)} if action.store_as else {}
            spec = action.spec.model_copy(update={"virtual_size": Size(512), **made})
            key = f"i{len(images)}-{number}"
            images[key] = CloudImage(id=key, name=spec.name, owner=OWNER, spec=spec)
        elif action.kind == "delete":
            del images[action.image]
        else:
            state = "hidden" if action.kind == "hide" else "active"
            images[action.image] = replace(images[action.image], spec=action.spec, state=state, hidden_since=NOW if state == "hidden" else None)
    return list(images.values())

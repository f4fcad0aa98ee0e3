"""What is written on AMIs is read back exactly, fits into EC2's limits, and is not believed when somebody changed it."""

from __future__ import annotations

import string
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.setting import EXPIRES, SIGNED, THEN, spec_of
from vmkeeper.clouds.ec2.marks import drift_of, key_of, read_marks, stale_tags, tags_of
from vmkeeper.errors import UserError
from vmkeeper.model.platform import Audience

OWNER = "vmkeeper:here/east"
SPEC = spec_of(b"disk", alias="debian-12", properties={"os_distro": "debian", "ad:mpuri": "https://example.org/x"})
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)
KEYS = st.text(string.ascii_lowercase + "_.:", min_size=1, max_size=60)
AUDIENCES = st.sampled_from([Audience(), Audience(visibility="public"), Audience(visibility="shared", projects=("111122223333",))])


def specs():
    return st.builds(
        lambda name, properties, audience, alias, source, expires: spec_of(b"disk", name=name, properties=properties).model_copy(
            update={"audience": audience, "alias": alias, "source": source, "expires": expires}
        ),
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ._()-]{0,126}", fullmatch=True),
        st.dictionaries(KEYS, WORDS, max_size=12),
        AUDIENCES,
        st.none() | st.just("debian-12"),
        st.none() | st.just(SIGNED),
        st.integers(0, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    )


@given(specs(), st.none() | st.just(THEN))
def test_everything_is_read_back_from_tags_that_fit(spec, since) -> None:
    tags = tags_of(OWNER, spec, since)
    assert len(tags) <= 50
    assert all(0 < len(key) <= 127 and len(value) <= 255 and not key.startswith("aws:") for key, value in tags.items())
    marks = read_marks(tags)
    assert (marks.owner, marks.spec, marks.hidden_since) == (OWNER, spec, since)
    assert drift_of(tags, marks) == ()


def test_more_than_tags_can_hold_is_refused_with_a_way_out() -> None:
    import random

    dice = random.Random(5)
    noise = {f"p{number}": "".join(dice.choices(string.ascii_letters, k=200)) for number in range(60)}
    with pytest.raises(UserError, match="too much to say") as error:
        tags_of(OWNER, spec_of(b"disk", properties=noise))
    assert "properties" in error.value.hint


def test_without_the_owners_tag_an_image_is_nobodys() -> None:
    tags = tags_of(OWNER, SPEC)
    del tags["vmkeeper:owner"]
    assert read_marks(tags).owner is None


@pytest.mark.parametrize("spoil", ["missing", "other", "count", "bomb", "time", "empty"])
def test_a_spec_that_cannot_be_read_leaves_the_owner_and_nothing_else(spoil: str) -> None:
    import base64
    import zlib

    tags = tags_of(OWNER, SPEC, THEN)
    match spoil:
        case "missing":
            del tags["vmkeeper:spec.01"]
        case "other":
            tags["vmkeeper:spec.01"] = tags_of(OWNER, spec_of(b"other"))["vmkeeper:spec.01"]
        case "count":
            tags["vmkeeper:spec.00"] = "03" + tags["vmkeeper:spec.00"][2:]
        case "bomb":
            tags["vmkeeper:spec.00"] = "01:" + base64.urlsafe_b64encode(zlib.compress(b" " * (1 << 24), 9)).decode()
        case "time":
            tags["vmkeeper:hidden-since"] = "yesterday"
        case "empty":
            tags["vmkeeper:spec.00"] = ""
    marks = read_marks(tags)
    assert (marks.owner, marks.spec, marks.hidden_since) == (OWNER, None, None)


@pytest.mark.parametrize("key", ["Name", "vmkeeper:version", "vmkeeper:alias", "vmkeeper:key", "os_distro"])
def test_a_plain_tag_that_somebody_changed_or_took_away_is_drift(key: str) -> None:
    tags = tags_of(OWNER, SPEC)
    for value in ("something else", None):
        changed = {**tags, key: value} if value else {name: tag for name, tag in tags.items() if name != key}
        (word,) = drift_of(changed, read_marks(changed))
        assert key in word


def test_tags_of_others_on_our_image_are_left_and_those_we_said_before_go() -> None:
    there = {**tags_of(OWNER, SPEC, THEN), "team": "blue", "vmkeeper:spec.09": "old"}
    wanted = tags_of(OWNER, SPEC.model_copy(update={"alias": None, "properties": {"os_distro": "debian"}}))
    assert stale_tags(there, wanted) == ("ad:mpuri", "vmkeeper:alias", "vmkeeper:hidden-by", "vmkeeper:hidden-since", "vmkeeper:spec.09")
    assert drift_of(there, read_marks(there)) == ()


def test_a_key_is_one_owners_and_says_nothing_of_what_may_change() -> None:
    changed = SPEC.model_copy(update={"name": "other", "expires": EXPIRES.replace(year=2030), "alias": None})
    assert key_of(OWNER, SPEC) == key_of(OWNER, changed) != key_of("vmkeeper:here", SPEC)

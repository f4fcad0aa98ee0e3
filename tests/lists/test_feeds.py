"""All feeds together: the same bytes for the same shelves, wherever and whenever; golden files; what would be misread is refused."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from support.shelves import BASE, DAY, content, image, shelf, shelves, two_lists
from vmkeeper.errors import UserError
from vmkeeper.lists.feeds import Feed, feeds
from vmkeeper.lists.lxd import digests, metadata_path
from vmkeeper.lists.shelf import Shelf

GOLDEN = Path(__file__).parent / "data" / "feeds"
PATHS = [
    "catalogue.json",
    "empty/SHA512SUMS",
    "science/SHA512SUMS",
    "streams/v1/empty.download.json",
    "streams/v1/index.json",
    "streams/v1/science.download.json",
    "torrents.yaml",
]


def by_path(*shelves: Shelf) -> dict[str, Feed]:
    return {feed.path: feed for feed in feeds(shelves, BASE)}


def test_two_lists_give_these_files() -> None:
    assert [feed.path for feed in feeds(two_lists(), BASE)] == PATHS


@pytest.mark.parametrize("path", PATHS)
def test_the_golden_files_are_what_is_written(path: str) -> None:
    """Where a change is meant: write the new bytes into tests/lists/data/feeds and look at them."""
    assert by_path(*two_lists())[path].content.decode() == (GOLDEN / path).read_text()


def test_no_other_golden_files_are_there() -> None:
    assert sorted(str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*") if path.is_file()) == PATHS


@given(shelves())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_order_of_lists_and_images_changes_nothing_but_the_catalogues_order_of_images(made: tuple[Shelf, ...]) -> None:
    mixed = [replace(one, images=tuple(random.Random(1).sample(one.images, len(one.images)))) for one in reversed(made)]
    assert feeds(tuple(reversed(made)), BASE) == feeds(made, BASE)
    for one, other in zip(feeds(mixed, BASE), feeds(made, BASE), strict=True):
        assert one.path == other.path
        if one.path != "catalogue.json":
            assert one.content == other.content


def test_nothing_is_published_yet() -> None:
    assert [feed.path for feed in feeds((), BASE)] == ["catalogue.json", "streams/v1/index.json", "torrents.yaml"]


@pytest.mark.parametrize(
    ("path", "signature", "where"),
    [
        ("torrents.yaml", "smime", "torrents.yaml.signed"),
        ("catalogue.json", "cms", "catalogue.json.p7s"),
        ("science/SHA512SUMS", "openpgp-detached", "science/SHA512SUMS.gpg"),
        ("streams/v1/index.json", "openpgp-clear", "streams/v1/index.sjson"),
        ("streams/v1/index.json", "openpgp-detached", "streams/v1/index.json.gpg"),
    ],
)
def test_each_signature_has_its_own_file(path: str, signature: str, where: str) -> None:
    feed = by_path(*two_lists())[path]
    assert signature in feed.signatures
    assert feed.signature_path(signature) == where


def test_no_two_files_have_one_path_and_no_signature_falls_on_a_file() -> None:
    made = feeds(two_lists(), BASE)
    paths = [feed.path for feed in made] + [feed.signature_path(one) for feed in made for one in feed.signatures]
    assert len(paths) == len(set(paths))


def test_a_signed_index_names_signed_files_and_nothing_else_differs() -> None:
    index = by_path(*two_lists())["streams/v1/index.json"]
    signed = index.to_sign("openpgp-clear")
    assert b".sjson" in signed
    assert signed.replace(b".sjson", b".json") == index.content
    assert index.to_sign("openpgp-detached") == index.content


def test_a_signed_text_has_only_line_ends_that_every_reader_takes_for_one() -> None:
    odd = image("odd", title="a\u2028b\x85c\x0bd\r\ne", description="- dashed\n- lines")
    for feed in feeds([shelf("science", odd)], BASE):
        if "openpgp-clear" in feed.signatures:
            text = feed.to_sign("openpgp-clear").decode("ascii")
            assert text.splitlines() == text.split("\n")[:-1]
            assert not any(line.startswith("-") for line in text.splitlines())


def test_a_list_renewed_without_change_changes_only_what_tells_its_dates() -> None:
    before, after = by_path(*two_lists()), by_path(*(replace(one, created=one.created + DAY, expires=one.expires + DAY) for one in two_lists()))
    assert [path for path in before if before[path].content == after[path].content] == ["empty/SHA512SUMS", "science/SHA512SUMS"]


def test_with_further_digests_the_archives_for_lxd_come_along() -> None:
    one, raw = image(), image("worker", format="raw")
    made = feeds([shelf("science", one, raw)], BASE, {held.sha512: digests(held, [content(held.path)]) for held in (one, raw)})
    assert [feed.path for feed in made if feed.path.startswith("streams/lxd/")] == [metadata_path("x86_64")]


LONG = "x" * 200_000


@pytest.mark.parametrize(
    "text",
    ["", "\u202e\u0007\x1b[31m", "quotes \" and \\ and '", "line\nline\r\nline\ttab", "日本語 🙂 é", LONG, "-----BEGIN PGP SIGNED MESSAGE-----"],
)
def test_odd_texts_pass_everywhere(text: str) -> None:
    one = image("odd", title=text, description=text, group=text, mpuri=text, os=text, osname=text)
    for feed in feeds([shelf("science", one, title=text, description=text, vo=text, endorser=text)], BASE):
        assert b"\x1b" not in feed.content
        assert "\u202e" not in feed.content.decode()


@pytest.mark.parametrize(
    ("what", "made"),
    [
        ("half a character", lambda: [shelf("science", image(title="\ud800"))]),
        ("a path out of the folder", lambda: [shelf("science", image(path="science/../../etc/passwd"))]),
        ("an absolute path", lambda: [shelf("science", image(path="/etc/passwd"))]),
        ("a path of another list", lambda: [shelf("science", image(path="other/image.qcow2"))]),
        ("a path with a line end", lambda: [shelf("science", image(path="science/a\nb"))]),
        ("a path with a backslash", lambda: [shelf("science", image(path="science/a\\b"))]),
        ("a path with a space", lambda: [shelf("science", image(path="science/a b"))]),
        ("a digest that is none", lambda: [shelf("science", image(sha512="0" * 127))]),
        ("a digest in capitals", lambda: [shelf("science", image(sha512="A" * 128))]),
        ("a negative size", lambda: [shelf("science", image(size=-1))]),
        ("a size that fits nowhere", lambda: [shelf("science", image(size=2**63))]),
        ("a list twice", lambda: [shelf("science"), shelf("science")]),
        ("an image twice", lambda: [shelf("science", image(), image())]),
        ("one path with two digests", lambda: [shelf("science", image(), image("other", path=image().path))]),
        ("a version that is none", lambda: [shelf("science", image(version="1.x"))]),
        ("an appliance with a colon", lambda: [shelf("science", image("debian:12"))]),
        ("endorsers out of order", lambda: [shelf("science", image(endorsers=("bob", "alice")))]),
        ("an address with a line end", lambda: [shelf("science", image(uri="https://x/\ny"))]),
    ],
)
def test_what_would_be_misread_is_not_written(what: str, made) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the sentence differs
        feeds(made(), BASE)
    assert len(str(caught.value)) > 10


@pytest.mark.parametrize("name", ["catalogue.json", "torrents.yaml", "catalogue.json.gpg", "torrents.yaml.signed"])
def test_a_list_cannot_be_called_as_a_file_of_the_folder(name: str) -> None:
    with pytest.raises(UserError) as caught:
        feeds([shelf(name)], BASE)
    assert caught.value.hint == f"give imagelists/{name}.yaml another name"


@pytest.mark.parametrize("name", ["streams", "index", "lxd", "sha512sums", "v1"])
def test_other_names_of_lists_do_no_harm(name: str) -> None:
    paths = [feed.path for feed in feeds([shelf(name, image(listed=name))], BASE)]
    assert len(paths) == len(set(paths)) == 5


def test_the_model_of_a_feed_says_what_is_signed_where_it_is_a_signed_text_of_another_name() -> None:
    feed = Feed("notes.txt", b"x", ("openpgp-clear",))
    assert (feed.signature_path("openpgp-clear"), feed.to_sign("openpgp-clear")) == ("notes.txt.asc", b"x")

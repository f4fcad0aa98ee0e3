"""torrents.yaml: every field from the shelf, YAML that two readers read alike."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from ruamel.yaml import YAML

from support.shelves import BASE, image, shelf, shelves, two_lists
from vmkeeper.documents.guard import read_yaml
from vmkeeper.lists.shelf import Shelf
from vmkeeper.lists.torrent import read, write
from vmkeeper.values import format_time


def test_an_entry_says_which_file_for_whom_and_by_whom() -> None:
    index = read(write(two_lists()))
    one = image()
    assert [entry.name for entry in index.torrents] == [
        "debian-12-2026.11.20.7.qcow2",
        "debian-12-docker-2026.11.20.12.qcow2",
        "worker-2026.11.19.3.raw",
    ]
    entry = index.torrents[0]
    assert (entry.hash, entry.size, entry.cluster, entry.endorser) == (
        one.sha512,
        one.size,
        "science.example.org",
        "/DC=org/DC=example/CN=Image Publisher",
    )
    assert (entry.torrent, entry.webseed) == (f"{one.path}.torrent", f"{BASE}/{one.path}")
    assert (entry.uuid, entry.list, entry.endorsed_by) == (one.uuid, "science", ("alice", "bob"))


@given(shelves())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_two_readers_of_yaml_read_the_same(made: tuple[Shelf, ...]) -> None:
    data = write(made)
    tree = read_yaml(data, "torrents.yaml")
    assert not tree.problems
    assert YAML(typ="safe", pure=True).load(data) == tree.value
    index = read(data)
    entries = [(entry.list, entry.name, entry.hash) for entry in index.torrents]
    assert entries == sorted((one.name, held.path.rpartition("/")[2], held.sha512) for one in made for held in one.images)


def test_a_list_that_is_empty_is_an_index_that_is_empty() -> None:
    assert read(write([shelf("empty")])).torrents == ()
    assert format_time(read(write([shelf("empty")])).updated) == "2026-11-20T12:00:00Z"


def test_no_list_at_all_is_an_index_too() -> None:
    assert read(write([])).torrents == ()


def test_what_cannot_be_seen_is_escaped() -> None:
    entry = read(write([shelf("science", image(title="a\x1b[31m\u202eb\nc"))])).torrents[0]
    assert entry.image == "a\\u001b[31m\\u202eb\\u000ac"

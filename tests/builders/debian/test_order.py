"""The order of a layer's files: what was there stays where it was, what is new follows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from vmkeeper.builders.debian import order
from vmkeeper.builders.debian.order import ordered

PATH = st.lists(st.binary(min_size=1, max_size=3).filter(lambda part: b"/" not in part and b"\0" not in part), min_size=1, max_size=4).map(b"/".join)


def with_folders(paths: set[bytes]) -> set[bytes]:
    return {b"/".join(path.split(b"/")[:depth]) for path in paths for depth in range(1, path.count(b"/") + 2)}


@given(st.sets(PATH).map(with_folders), st.sets(PATH).map(with_folders))
def test_each_path_comes_once_each_folder_before_what_is_in_it(before: set[bytes], now: set[bytes]) -> None:
    first = ordered(before, ())
    found = ordered(now, first)
    assert sorted(found) == sorted(now)
    place = {path: index for index, path in enumerate(found)}
    assert all(place[path.rpartition(b"/")[0]] < place[path] for path in found if b"/" in path)


@given(st.sets(PATH).map(with_folders), st.sets(PATH).map(with_folders))
def test_what_is_added_moves_nothing(before: set[bytes], more: set[bytes]) -> None:
    first = ordered(before, ())
    assert ordered(before | more, first)[: len(first)] == first


def test_program_reads_what_find_and_tar_say(tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.write_bytes(b"./\n./usr/\n./usr/b\n./usr/gone\n./usr/a b\n./usr/odd\nname\n")
    paths = b".\0./usr\0./usr/a b\0./usr/b\0./usr/odd\nname\0./etc\0./etc/new\0"
    found = subprocess.run([sys.executable, "-I", order.__file__, below], input=paths, capture_output=True, check=True).stdout
    assert found.split(b"\0") == [b".", b"./usr", b"./usr/b", b"./usr/a b", b"./etc", b"./etc/new", b"./usr/odd\nname", b""]


def test_program_orders_the_lowest_layer_by_name(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-I", order.__file__, tmp_path / "none"], input=b"./b\0.\0./a-\0./a/c\0./a\0", capture_output=True, check=True
    ).stdout
    assert found.split(b"\0") == [b".", b"./a", b"./a/c", b"./a-", b"./b", b""]

"""Patches and compressed files: the very bytes that were signed for, or a refusal within limits and nothing under the final name."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmkeeper.errors import Refused, UserError
from vmkeeper.images import patch as module
from vmkeeper.images.files import PREFIX, hash_file
from vmkeeper.images.patch import Patch, apply, compress, expand, make, memory_needed
from vmkeeper.images.zstdframe import read_frame
from vmkeeper.model.release import Blob
from vmkeeper.values import Size

pytestmark = pytest.mark.skipif(shutil.which("zstd") is None, reason="the program zstd is not on this machine")

MIB = 1 << 20
PLENTY = Size(1 << 30)
SKIPPABLE = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"1234"


class Pair:
    """Two files of about 2 MiB that share most of what they hold, and the patch between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base, self.new, self.patch, self.target = (folder / name for name in ("base", "new", "patch", "target"))
        noise = Random(7)
        data = noise.randbytes(2 * MIB)
        self.base.write_bytes(data)
        self.new.write_bytes(data[: MIB // 2] + noise.randbytes(3000) + data[MIB // 2 : MIB] + bytes(MIB) + data[MIB:])
        self.wanted = hash_file(self.new)
        made = make(self.base, self.new, self.patch, memory=PLENTY)
        assert made is not None
        self.made: Patch = made

    def apply(self, patch: bytes | None = None, *, base: Path | None = None, wanted: Blob | None = None, memory: int = PLENTY) -> None:
        path = self.patch
        if patch is not None:
            path = self.folder / "hostile"
            path.write_bytes(patch)
        apply(base or self.base, path, self.target, wanted or self.wanted, memory=Size(memory))

    def refused(self, patch: bytes | None = None, **how: object) -> Refused:
        with pytest.raises(Refused) as error:
            self.apply(patch, **how)  # type: ignore[arg-type]
        assert not self.target.exists()
        assert not list(self.folder.glob(f"{PREFIX}*"))
        return error.value


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def pair(shared: Pair) -> Pair:
    shared.target.unlink(missing_ok=True)
    return shared


def zstd(data: bytes, *words: str) -> bytes:
    return subprocess.run(["zstd", "-q", "-c", *words], input=data, check=True, capture_output=True).stdout


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- what serves


def test_patch_gives_the_new_file(pair: Pair) -> None:
    assert pair.made.size == pair.patch.stat().st_size < 8000
    assert pair.made.sha512 == hash_file(pair.patch).sha512
    assert pair.made.memory == memory_needed(pair.base.stat().st_size, pair.new.stat().st_size)
    pair.apply(memory=pair.made.memory)
    assert pair.target.read_bytes() == pair.new.read_bytes()
    assert pair.target.stat().st_mode & 0o777 == 0o644


def test_same_files_give_the_same_patch(pair: Pair) -> None:
    again = pair.folder / "again"
    assert make(pair.base, pair.new, again, memory=PLENTY) == pair.made
    assert again.read_bytes() == pair.patch.read_bytes()


def test_new_file_that_is_shorter_or_the_same(pair: Pair) -> None:
    for new in (pair.base.read_bytes()[MIB // 2 :], pair.base.read_bytes()):
        (pair.folder / "other").write_bytes(new)
        assert make(pair.base, pair.folder / "other", pair.folder / "patch2", memory=PLENTY)
        apply(pair.base, pair.folder / "patch2", pair.folder / "target2", hash_file(pair.folder / "other"), memory=PLENTY)
        assert (pair.folder / "target2").read_bytes() == new


def test_zeros_of_the_result_take_no_room(tmp_path: Path) -> None:
    noise = Random(3).randbytes(MIB)
    (tmp_path / "base").write_bytes(noise)
    (tmp_path / "new").write_bytes(noise + bytes(40 * MIB))
    assert make(tmp_path / "base", tmp_path / "new", tmp_path / "patch", memory=PLENTY)
    apply(tmp_path / "base", tmp_path / "patch", tmp_path / "target", hash_file(tmp_path / "new"), memory=PLENTY)
    assert (tmp_path / "target").stat().st_size == 41 * MIB
    assert (tmp_path / "target").stat().st_blocks * 512 < 4 * MIB


@given(data=st.data(), seed=st.integers(0, 1 << 32))
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_applying_what_was_made_is_the_identity(data: st.DataObject, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    noise = Random(seed)
    old = noise.randbytes(data.draw(st.integers(1, 200_000)))
    new = bytearray(old)
    for _ in range(data.draw(st.integers(0, 8))):
        at = noise.randrange(len(new) + 1)
        new[at : at + data.draw(st.integers(0, 5000))] = noise.choice((noise.randbytes, bytes))(noise.randrange(9000))
    folder = tmp_path_factory.mktemp("property")
    (folder / "base").write_bytes(old)
    (folder / "new").write_bytes(new)
    made = make(folder / "base", folder / "new", folder / "patch", memory=PLENTY)
    if made is None:
        assert not (folder / "patch").exists()
        return
    apply(folder / "base", folder / "patch", folder / "target", hash_file(folder / "new"), memory=Size(made.memory))
    assert (folder / "target").read_bytes() == new
    shutil.rmtree(folder)


def test_where_much_is_new_the_smaller_of_two_patches_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Random(9)
    words = [noise.randbytes(noise.randrange(2, 9)) for _ in range(3000)]
    (tmp_path / "base").write_bytes(noise.randbytes(MIB))
    (tmp_path / "new").write_bytes((tmp_path / "base").read_bytes() + b" ".join(noise.choices(words, k=150_000)))
    quick = make(tmp_path / "base", tmp_path / "new", tmp_path / "quick", memory=PLENTY)
    monkeypatch.setattr(module, "_MUCH", 64 << 10)
    dense = make(tmp_path / "base", tmp_path / "new", tmp_path / "dense", memory=PLENTY)
    assert quick is not None
    assert dense is not None
    assert dense.size < quick.size
    apply(tmp_path / "base", tmp_path / "dense", tmp_path / "target", hash_file(tmp_path / "new"), memory=PLENTY)
    assert names(tmp_path) == ["base", "dense", "new", "quick", "target"]


# -- where none is made


@pytest.mark.parametrize("empty", ["base", "new"])
def test_no_patch_for_an_empty_file(empty: str, tmp_path: Path) -> None:
    for name in ("base", "new"):
        (tmp_path / name).write_bytes(b"" if name == empty else b"something" * 100)
    assert make(tmp_path / "base", tmp_path / "new", tmp_path / "patch", memory=PLENTY) is None
    assert not (tmp_path / "patch").exists()


def test_no_patch_beyond_the_window(pair: Pair, tmp_path: Path) -> None:
    with (tmp_path / "raw").open("wb") as raw:
        raw.truncate(1 << 31)
    for base, new in ((tmp_path / "raw", pair.new), (pair.base, tmp_path / "raw")):
        assert make(base, new, tmp_path / "patch", memory=Size(1 << 40)) is None
    assert names(tmp_path) == ["raw"]


def test_no_patch_that_takes_more_memory_than_sites_give(pair: Pair, tmp_path: Path) -> None:
    assert make(pair.base, pair.new, tmp_path / "patch", memory=Size(pair.made.memory)) is not None
    assert make(pair.base, pair.new, tmp_path / "other", memory=Size(pair.made.memory - 1)) is None


def test_no_patch_between_files_that_share_nothing(tmp_path: Path) -> None:
    for name in ("base", "new"):
        (tmp_path / name).write_bytes(Random(name).randbytes(MIB))
    assert make(tmp_path / "base", tmp_path / "new", tmp_path / "patch", memory=PLENTY) is None
    assert names(tmp_path) == ["base", "new"]


# -- what is hostile or damaged


def test_other_base_is_refused(pair: Pair) -> None:
    other = pair.folder / "other-base"
    data = bytearray(pair.base.read_bytes())
    data[MIB // 4] ^= 1
    other.write_bytes(data)
    assert pair.refused(base=other).rule == "R14"
    other.write_bytes(data[: MIB // 2])
    assert pair.refused(base=other).rule in ("R14", "R25")


def test_other_result_than_the_signed_one_is_refused(pair: Pair) -> None:
    assert pair.refused(wanted=Blob(size=pair.wanted.size, sha512="0" * 128)).rule == "R14"
    for size in (pair.wanted.size - 1, pair.wanted.size + 1):
        assert pair.refused(wanted=Blob(size=Size(size), sha512=pair.wanted.sha512)).rule == "R25"


def test_patch_that_needs_more_memory_than_allowed_is_refused(pair: Pair) -> None:
    assert "memory" in str(pair.refused(memory=pair.made.memory - 1))


def _hostile(good: bytes, noise: bytes) -> dict[str, bytes]:
    single, zeros = good[4] & 0x20, b"\x02\0\x10" + b"\0"  # an RLE block of 128 KiB
    assert single, "this zstd writes another header: look at the cases below"
    sized = b"\x28\xb5\x2f\xfd\xe0"
    return {
        "empty": b"",
        "cut in the header": good[:7],
        "cut in a block": good[: len(good) // 2],
        "last byte missing": good[:-1],
        "a byte follows": good + b"\0",
        "a second frame": good + good,
        "a skippable frame before": SKIPPABLE + good,
        "a skippable frame after": good + SKIPPABLE,
        "an empty frame after": good + zstd(b""),
        "garbage": noise,
        "gzip": b"\x1f\x8b\x08" + noise,
        "xz": b"\xfd7zXZ\0" + noise,
        "wants a dictionary": good[:4] + bytes([good[4] | 1]) + good[5:],
        "reserved bit": good[:4] + bytes([good[4] | 8]) + good[5:],
        "window of 1 TiB": b"\x28\xb5\x2f\xfd\xc0" + bytes([30 << 3]) + good[5:],
        "window of 2 GiB": b"\x28\xb5\x2f\xfd\xc0" + bytes([21 << 3]) + good[5:],
        "says 16 EiB": sized + b"\xff" * 8 + good[5:],
        "bomb that says what it is": sized + (1 << 40).to_bytes(8, "little") + zeros * 1000 + b"\x03\0\x10\0",
        "bomb that says nothing": b"\x28\xb5\x2f\xfd\x00\x78" + zeros * 1000 + b"\x03\0\x10\0",
        "blocks without end": b"\x28\xb5\x2f\xfd\x00\x78" + b"\0\0\0" * 500_000 + b"\x01\0\0",
        "reserved block": b"\x28\xb5\x2f\xfd\x00\x78" + b"\x07\0\0",
        "block larger than may be": b"\x28\xb5\x2f\xfd\x00\x78" + b"\xfb\xff\xff\0",
    }


def test_hostile_patches_are_refused(pair: Pair) -> None:
    good = pair.patch.read_bytes()
    for name, data in _hostile(good, Random(1).randbytes(5000)).items():
        assert pair.refused(data).rule == "R25", name


def test_bomb_of_the_right_size_in_its_header_is_refused(pair: Pair) -> None:
    """What it says fits; what it holds is a hundred times as much."""
    head = b"\x28\xb5\x2f\xfd\xe0" + int(pair.wanted.size).to_bytes(8, "little")
    assert pair.refused(head + b"\x02\0\x10\0" * 3000 + b"\x03\0\x10\0").rule == "R25"
    unsaid = b"\x28\xb5\x2f\xfd\x00\x78"
    assert pair.refused(unsaid + b"\x02\0\x10\0" * 3000 + b"\x03\0\x10\0").rule == "R25"


def test_patch_larger_than_its_image_is_refused_unread(pair: Pair) -> None:
    data = zstd(Random(5).randbytes(pair.wanted.size + 3 * MIB))
    assert "larger than the image" in str(pair.refused(data))


def test_plain_frame_that_gives_the_image_serves(pair: Pair) -> None:
    pair.apply(zstd(pair.new.read_bytes()))
    assert hash_file(pair.target) == pair.wanted


@given(at=st.integers(0, 1 << 20), flip=st.integers(1, 255))
@settings(max_examples=120)
def test_no_changed_byte_gives_a_wrong_file(at: int, flip: int, shared: Pair) -> None:
    shared.target.unlink(missing_ok=True)
    data = bytearray(shared.patch.read_bytes())
    data[at % len(data)] ^= flip
    with suppress(Refused):
        shared.apply(bytes(data))
    assert not shared.target.exists() or hash_file(shared.target) == shared.wanted
    assert not list(shared.folder.glob(f"{PREFIX}*"))


def test_zstd_runs_with_capped_memory(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a header to lie in a way that we do not see, the system holds zstd within its limit."""
    seen: list[int] = []

    def run(command: list[str], **how: object) -> object:
        limits = how["limits"]
        seen.append(limits.memory)  # type: ignore[attr-defined]
        return original(command, **{**how, "limits": module.Limits(memory=3 * MIB)})

    original: Callable[..., object] = module.run
    monkeypatch.setattr(module, "run", run)
    assert pair.refused().rule == "R25"
    assert pair.made.memory < seen[0] < pair.made.memory + 300 * MIB


# -- compressed files


def test_compressed_file_expands_to_the_same(pair: Pair, tmp_path: Path) -> None:
    blob = compress(pair.new, tmp_path / "whole.zst")
    assert blob == hash_file(tmp_path / "whole.zst")
    assert blob.size < pair.wanted.size - MIB // 2
    expand(tmp_path / "whole.zst", tmp_path / "target", pair.wanted)
    assert hash_file(tmp_path / "target") == pair.wanted
    assert compress(pair.new, tmp_path / "again.zst") == blob


def test_window_of_our_compressed_files_is_small(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(300 * MIB)
    compress(tmp_path / "large", tmp_path / "large.zst")
    assert read_frame(tmp_path / "large.zst").window <= 64 * MIB


def test_empty_file_is_compressed_and_expanded(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    compress(tmp_path / "empty", tmp_path / "empty.zst")
    expand(tmp_path / "empty.zst", tmp_path / "target", hash_file(tmp_path / "empty"))
    assert (tmp_path / "target").read_bytes() == b""


def test_hostile_compressed_files_are_refused(pair: Pair, tmp_path: Path) -> None:
    compress(pair.new, tmp_path / "good")
    good = (tmp_path / "good").read_bytes()
    wide = subprocess.run(
        ["zstd", "-q", "-c", "--long=28", "--stream-size=300000000"],
        check=False,
        capture_output=True,
        input=b"1" * 300_000_000,
    )
    cases = {
        "cut": good[:-1],
        "more": good + SKIPPABLE,
        "other content": zstd(b"\1" + pair.new.read_bytes()[1:]),
        "wide window": wide.stdout,
        "garbage": Random(1).randbytes(5000),
    }
    for name, data in cases.items():
        (tmp_path / "hostile").write_bytes(data)
        wanted = Blob(size=Size(300_000_000), sha512=pair.wanted.sha512) if name == "wide window" else pair.wanted
        with pytest.raises(Refused) as error:
            expand(tmp_path / "hostile", tmp_path / "target", wanted)
        assert error.value.rule == ("R14" if name == "other content" else "R25"), name
        assert ("memory" in str(error.value)) == (name == "wide window"), name
        assert names(tmp_path) == ["good", "hostile"], name


# -- the disk and the end of the process


def test_full_disk_is_told_and_leaves_nothing(pair: Pair, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
    try:
        with pytest.raises(UserError, match="could not apply a patch") as error:
            apply(pair.base, pair.patch, tmp_path / "target", pair.wanted, memory=PLENTY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "room" in error.value.hint
    assert names(tmp_path) == []


def test_leaving_early_ends_zstd(pair: Pair) -> None:
    """Output beyond the signed size stops the program, not only the reading of it."""
    before = threading.active_count()
    assert pair.refused(zstd(bytes(900 * MIB), "--no-content-size")).rule == "R25"
    assert threading.active_count() == before


_CHILD = """
import sys
from pathlib import Path
from vmkeeper.images.patch import apply, compress, expand, make
from vmkeeper.model.release import Blob
from vmkeeper.values import Size
verb, size, sha512, *paths = sys.argv[1:]
wanted, paths, memory = Blob(size=Size(int(size)), sha512=sha512), [Path(one) for one in paths], Size(1 << 30)
{"apply": lambda: apply(*paths, wanted, memory=memory), "expand": lambda: expand(*paths, wanted),
 "make": lambda: make(*paths, memory=memory), "compress": lambda: compress(*paths)}[verb]()
"""


def _running(folder: Path) -> bool:
    """Whether a zstd works on files of this folder."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if words and words[0].endswith(b"zstd") and any(str(folder).encode() in word for word in words):
                return True
    return False


@pytest.mark.parametrize("verb", ["apply", "expand", "make", "compress"])
def test_killed_in_the_middle_leaves_nothing_that_counts(verb: str, tmp_path: Path) -> None:
    noise = Random(11).randbytes(24 * MIB)
    files, out = tmp_path / "files", tmp_path / "out"
    files.mkdir()
    base, new, patch, packed, target = files / "base", files / "new", files / "patch", files / "packed", out / "target"
    base.write_bytes(noise)
    new.write_bytes(noise[MIB:] + b"more" + noise[:MIB])
    made = make(base, new, patch, memory=PLENTY)
    wanted, blob = hash_file(new), compress(new, packed)
    assert made is not None
    steps: dict[str, tuple[list[Path], Callable[[], object]]] = {
        "apply": ([base, patch, target], lambda: apply(base, patch, target, wanted, memory=PLENTY)),
        "expand": ([packed, target], lambda: expand(packed, target, wanted)),
        "make": ([base, new, target], lambda: make(base, new, target, memory=PLENTY)),
        "compress": ([new, target], lambda: compress(new, target)),
    }
    paths, again = steps[verb]
    expected = {"make": hash_file(patch), "compress": blob}.get(verb, wanted)
    for least in (0, 1):
        child = subprocess.Popen([sys.executable, "-c", _CHILD, verb, str(int(wanted.size)), wanted.sha512, *paths])
        while child.poll() is None and not any(path.stat().st_size >= least for path in out.glob(f"{PREFIX}*")):
            time.sleep(0.001)
        child.kill()
        child.wait()
        assert not target.exists() or hash_file(target) == expected
        while _running(tmp_path):
            time.sleep(0.01)
    again()
    assert names(out) == ["target"]
    assert hash_file(target) == expected

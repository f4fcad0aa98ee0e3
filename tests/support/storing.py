"""Put into a store, fetch, write a record: killed before every file system call in turn, then done again. Run as a program: FOLDER."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from support.killpoints import in_child, killed_at
from vmkeeper.images.fetch import fetch
from vmkeeper.images.store import Store
from vmkeeper.model.release import Blob
from vmkeeper.values import Size, sha512_hex

DATA = bytes(range(256)) * 5000
DIGEST = sha512_hex(DATA)
BLOB = Blob(size=Size(len(DATA)), sha512=DIGEST)


def source(work: Path) -> Path:
    """The file to put; a killed move has given it away already."""
    path = work / "source"
    if not path.exists() and not Store(work / "store").has(DIGEST):
        raise AssertionError("the file is lost")
    return path


def put(work: Path) -> None:
    Store(work / "store").put(source(work))


def move(work: Path) -> None:
    if source(work).exists():
        Store(work / "store").put(work / "source", move=True)
    else:
        Store(work / "store").put_bytes(DATA)


def record(work: Path) -> None:
    Store(work / "store").set_alias("deb", "ab12", {"size": 1})


def take_out(work: Path) -> None:
    store = Store(work / "store")
    store.put_bytes(DATA)
    store.fetch(DIGEST, work / "out" / "image")


def download(work: Path) -> None:
    if not (work / "source").exists():
        (work / "source").write_bytes(DATA)
    fetch([(work / "source").as_uri()], BLOB, work / "out" / "image", allow=[str(work)])


def state(work: Path) -> str:
    lines = []
    for path in sorted(work.rglob("*")):
        if path.name == "incoming" or (path.is_dir() and not any(path.iterdir())):
            continue
        content = "" if path.is_dir() else sha512_hex(path.read_bytes())
        lines.append(f"{path.relative_to(work)} {path.stat().st_mode:o} {content}")
    return "\n".join(lines)


def every_point(work: Path, does: Callable[[Path], None]) -> tuple[int, int]:
    """How often it was killed, and how many different ends there were."""
    killed, ends = 0, set()
    while True:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        (work / "source").write_bytes(DATA)
        died = killed_at(killed, lambda: does(work))
        for path in (work / "out").glob("image"):
            assert sha512_hex(path.read_bytes()) == DIGEST
        for path in (work / "store" / "sha512").rglob("?" * 128):
            assert sha512_hex(path.read_bytes()) == path.name
        assert in_child(lambda: does(work)) == 0, f"failed after being killed at call {killed}"
        ends.add(state(work))
        if not died:
            return killed, len(ends)
        killed += 1


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    found = {does.__name__: every_point(folder / does.__name__, does) for does in (put, move, record, take_out, download)}
    sys.stdout.write(json.dumps(found))

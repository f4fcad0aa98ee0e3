"""A folder of a commit by content: its SHA-512 and its files. Git's own tree ids are SHA-1, so nothing is pinned by them.

What `Snapshot.problems` names is refused, and so is more than the caps allow; nothing is left out silently.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pygit2 import GitError, Oid
from pygit2.enums import ObjectType

from vmkeeper.errors import Refused
from vmkeeper.repository.inspection import look
from vmkeeper.repository.rawtree import Mode
from vmkeeper.repository.tree import Snapshot
from vmkeeper.values import Sha512, Size, sha512_hex

_POLICY = "endorsers"


@dataclass(frozen=True, slots=True)
class Caps:
    """Most files, most bytes of one file, most bytes of all."""

    files: int
    file: int
    total: int


TREE = Caps(files=100_000, file=256 << 20, total=2 << 30)
FOLDER = Caps(files=2_000, file=4 << 20, total=64 << 20)


def tree_sha512(snapshot: Snapshot, folder: str = "", caps: Caps = TREE) -> Sha512:
    """SHA-512 over one line a file, `MODE SHA512-OF-THE-FILE PATH` and a newline, sorted by the bytes of the path.

    MODE is 100644 or 100755, PATH is relative to `folder`, in UTF-8. Folders count through their files only. Raises
    Refused: R4 where the folder of the policy is missing or holds what is not read, R23 for other folders, R25 over the caps.
    """
    lines = sorted((path.encode(), f"{mode} {sha512_hex(data)} ") for path, mode, data in _contents(snapshot, folder, caps))
    return sha512_hex(b"".join(head.encode() + path + b"\n" for path, head in lines))


def files(snapshot: Snapshot, folder: str, caps: Caps = FOLDER) -> dict[str, bytes]:
    """The bytes of all files below a folder by their path relative to it. Raises what `tree_sha512` raises."""
    return {path: data for path, _, data in sorted(_contents(snapshot, folder, caps))}


def _contents(snapshot: Snapshot, folder: str, caps: Caps) -> Iterator[tuple[str, str, bytes]]:
    """Path, mode and bytes of each file below a folder that has no problems."""
    rule = "R4" if folder.partition("/")[0] == _POLICY else "R23"
    problems = snapshot.problems(folder)
    if problems:
        place, more = problems[0].place, f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise Refused(rule, f"{problems[0].what}{more}", where=place, why=f"in commit {snapshot.commit[:12]}", hint=problems[0].hint)
    tree = snapshot.tree_id(folder) if folder else snapshot.tree
    if not tree:
        raise Refused(rule, "the folder is not there", where=folder, why=f"in commit {snapshot.commit[:12]}", hint="put it back")
    total = 0
    for count, (path, mode, oid) in enumerate(_entries(snapshot, tree, ""), 1):
        size = _size(snapshot, oid, f"{folder}/{path}", rule)
        total += size
        if count > caps.files or size > caps.file or total > caps.total:
            why = f"at most {caps.files} files, {Size(caps.file).human} each and {Size(caps.total).human} together are read"
            raise Refused("R25", "too much to read", where=f"{folder}/{path}".lstrip("/"), why=why)
        yield path, mode, snapshot.read_blob(oid)


def _entries(snapshot: Snapshot, tree: str, path: str) -> Iterator[tuple[str, str, str]]:
    for entry in look(snapshot.git, tree, ours=False).entries:
        here = f"{path}/{entry.name.decode()}" if path else entry.name.decode()
        if entry.mode == Mode.FOLDER:
            yield from _entries(snapshot, entry.oid, here)
        else:
            yield here, entry.mode, entry.oid


def _size(snapshot: Snapshot, oid: str, where: str, rule: str) -> int:
    try:
        kind, size = snapshot.git.odb.read_header(Oid(hex=oid))
    except (KeyError, GitError):
        kind, size = ObjectType.ANY, 0
    if kind != ObjectType.BLOB:
        raise Refused(rule, "the file's object is not there or is not a file", where=where.lstrip("/"), hint="fetch the repository again")
    return size

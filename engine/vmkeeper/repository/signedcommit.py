"""Commit objects with a signature in git's own form (`gpgsig`, gitformat-signature(5)), as bytes. Nothing here says whether one is good."""

from __future__ import annotations

from dataclasses import dataclass

from vmkeeper.errors import Refused

_FIELD = b"gpgsig"
LARGEST = 256 << 10
"""Bytes of a commit object that are read."""


@dataclass(frozen=True, slots=True)
class SignedCommit:
    """A commit object taken apart: what was signed, the armoured signature ("" for none), and the tree's id."""

    payload: bytes
    signature: str
    tree: str


def unsigned(tree: str, parent: str | None, author: str, seconds: int, message: str) -> bytes:
    """A commit object by one author, `NAME <EMAIL>`, at a time in seconds since the epoch, UTC."""
    lines = [f"tree {tree}", *([f"parent {parent}"] if parent else []), f"author {author} {seconds} +0000", f"committer {author} {seconds} +0000"]
    return "\n".join([*lines, "", message.rstrip("\n"), ""]).encode()


def signed(payload: bytes, signature: str) -> bytes:
    """The object with the signature as its last header field."""
    head, blank, body = payload.partition(b"\n\n")
    field = b"\n ".join(signature.rstrip("\n").encode().split(b"\n"))
    return head + b"\n" + _FIELD + b" " + field + blank + body


def parse(raw: bytes) -> SignedCommit:
    """Take a raw commit object apart. Raises Refused (R10) for what git would not have made."""
    if len(raw) > LARGEST:
        raise Refused("R10", "the commit object is too large", why=f"{len(raw)} bytes")
    head, blank, body = raw.partition(b"\n\n")
    kept: list[bytes] = []
    found: list[list[bytes]] = []
    inside = False
    for line in head.split(b"\n"):
        if line.startswith(_FIELD + b" "):
            found.append([line.removeprefix(_FIELD + b" ")])
            inside = True
        elif inside and line.startswith(b" "):
            found[-1].append(line[1:])
        else:
            inside = False
            kept.append(line)
    trees = [line.removeprefix(b"tree ").decode("ascii", "replace") for line in kept if line.startswith(b"tree ")]
    if len(found) > 1 or len(trees) != 1 or not kept[0].startswith(b"tree ") or b"\0" in head:
        raise Refused("R10", "the commit object is not one that git makes")
    signature = b"\n".join(found[0]).decode("ascii", "replace") + "\n" if found else ""
    return SignedCommit(b"\n".join(kept) + blank + body, signature, trees[0])

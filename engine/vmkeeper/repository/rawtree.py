"""Git's tree objects read byte by byte, strictly: what git itself would not have written is a fault, never guessed at (rule R23).

Source of the format: git's gitformat-pack and `git fsck` (tree messages). Pure: bytes come in as an argument.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from vmkeeper.values import visible

_ID = 20
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
"""A file or folder name where we own the names; `.gitkeep` is the one exception."""


class Mode(StrEnum):
    """The modes that git writes."""

    FILE = "100644"
    PROGRAM = "100755"
    FOLDER = "40000"
    LINK = "120000"
    SUBMODULE = "160000"


REGULAR = (Mode.FILE, Mode.PROGRAM)


@dataclass(frozen=True, slots=True)
class RawEntry:
    """One entry as its bytes say it. `mode` is octal text, `oid` 40 hex digits."""

    mode: str
    name: bytes
    oid: str


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a tree. `name` is the entry's, escaped ("" for the whole tree).

    twofold: two readers of this tree may find different things in it, also under names that are in order.
    """

    name: str
    what: str
    hint: str
    twofold: bool = False


def parse(raw: bytes) -> tuple[RawEntry, ...]:
    """The entries of a tree object in the order of its bytes. Raises ValueError where the bytes are no tree."""
    found, at = [], 0
    while at < len(raw):
        space = raw.find(b" ", at, at + 8)
        end = raw.find(b"\0", space)
        if space < 0 or end < 0 or end + 1 + _ID > len(raw):
            raise ValueError("its bytes are cut short or are none of a tree")
        mode = raw[at:space]
        if not mode or mode.strip(b"01234567"):
            raise ValueError("a mode in it is not an octal number")
        found.append(RawEntry(mode.decode(), raw[space + 1 : end], raw[end + 1 : end + 1 + _ID].hex()))
        at = end + 1 + _ID
    return tuple(found)


def faults(entries: tuple[RawEntry, ...], *, ours: bool) -> tuple[Fault, ...]:
    """What is wrong with a tree. ours: names are held to `NAME`; elsewhere to what cannot surprise anybody."""
    found: list[Fault] = []
    seen: set[bytes] = set()
    last = b""
    for entry in entries:
        name, key = visible(entry.name.decode(errors="backslashreplace")), _sort_key(entry)
        if entry.name in seen:
            found.append(Fault(name, "the same name stands twice in one tree", _AGAIN, twofold=True))
        elif key < last:
            found.append(Fault(name, "the tree is not in git's order", _AGAIN, twofold=True))
        seen.add(entry.name)
        last = max(last, key)
        found += _name_faults(entry.name, name, ours)
        found += _mode_faults(entry, name)
    return tuple(found)


_AGAIN = "write the tree again with an ordinary git"
_OUR_NAMES = "use letters, digits, dots, dashes and underscores, not starting with a dot or dash"


def _sort_key(entry: RawEntry) -> bytes:
    """Git sorts a folder as if its name ended with a slash."""
    return entry.name + b"/" if entry.mode == Mode.FOLDER else entry.name


def _name_faults(raw: bytes, shown: str, ours: bool) -> list[Fault]:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        return [Fault(shown, "the name is not UTF-8", _AGAIN)]
    if not name or "/" in name or name in (".", ".."):
        return [Fault(shown, "the name is not allowed here: it would lead elsewhere", _AGAIN)]
    if _is_git_folder(name):
        return [Fault(shown, "the name is not allowed here: some systems take it for git's own folder", _AGAIN)]
    if ours and not NAME.fullmatch(name) and name != ".gitkeep":
        return [Fault(shown, "the name is not allowed here", _OUR_NAMES)]
    if not name.isprintable() or unicodedata.normalize("NFC", name) != name or name[0] in "- " or name[-1] == " " or "\\" in name:
        return [Fault(shown, "the name is not allowed here: it is not what it looks like", "use visible characters, not starting with a dash")]
    return []


def _is_git_folder(name: str) -> bool:
    """`.git` as case-blind file systems, NTFS and HFS+ see it (CVE-2014-9390, CVE-2019-1352)."""
    seen = "".join(char for char in name if unicodedata.category(char) not in ("Cf", "Cc", "Mn"))
    seen = unicodedata.normalize("NFKC", seen).casefold().partition(":")[0].partition("\\")[0].rstrip(". ")
    return seen in (".git", "git~1")


def _mode_faults(entry: RawEntry, shown: str) -> list[Fault]:
    match entry.mode:
        case Mode.FILE | Mode.PROGRAM | Mode.FOLDER:
            return []
        case Mode.LINK:
            return [Fault(shown, "a symbolic link is not read", "put the file itself there")]
        case Mode.SUBMODULE:
            return [Fault(shown, "a submodule is not read", "put the files themselves there")]
    return [Fault(shown, f"the mode {entry.mode} is none that git writes", _AGAIN, twofold=True)]

"""Change values of a document that people wrote and keep the rest of it: comments, order, quotes, indentation. Pure: text to text.

The text must have been read by `documents.load` before; nothing is checked here.
"""

from __future__ import annotations

import re
from datetime import datetime
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from vmkeeper.values import format_time


class Editable:
    """A document's tree of maps and lists, to be changed in place and written again."""

    def __init__(self, data: bytes) -> None:
        text = data.decode()
        self._yaml = YAML(typ="rt", pure=True)
        self._yaml.preserve_quotes = True
        self._yaml.width = 1 << 20
        offset = _offset(text)
        self._yaml.indent(mapping=2, sequence=offset + 2, offset=offset)
        self.tree: CommentedMap = self._yaml.load(text)

    def empty(self, key: str) -> None:
        """Make a list at the top an empty one, without the comments inside it."""
        made = CommentedSeq()
        made.fa.set_flow_style()
        self.tree.ca.items.pop(key, None)
        self.tree[key] = made

    def data(self) -> bytes:
        """The document as it is now."""
        out = StringIO()
        self._yaml.dump(self.tree, out)
        return out.getvalue().encode()


def quoted(value: str) -> str:
    """Text in double quotes: digests and times, which other readers take for something else."""
    made: str = DoubleQuotedScalarString(value)
    return made


def time(moment: datetime) -> str:
    """A time as documents write it."""
    return quoted(format_time(moment))


def in_one_line(values: dict[str, Any]) -> CommentedMap:
    """A map that is written `{key: value, …}`."""
    made = CommentedMap(values)
    made.fa.set_flow_style()
    return made


def _offset(text: str) -> int:
    """How far the items of a list are indented beyond its key."""
    found = re.search(r"^( *)[A-Za-z_]+:[ \t]*(?:#.*)?\n(?:[ \t]*(?:#.*)?\n)*( *)- ", text, re.MULTILINE)
    return len(found[2]) - len(found[1]) if found else 0

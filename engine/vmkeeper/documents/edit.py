"""Change values of a document that people wrote and keep the rest of it: comments, order, quotes, indentation. Pure: text to text.

The text must have been read by `documents.load` before; nothing is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from vmkeeper.documents.dump import in_block, in_flow
from vmkeeper.documents.guard import read_yaml
from vmkeeper.values import format_time

_LONGEST_LINE = 120


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


def with_items(data: bytes, key: str, items: Sequence[Mapping[str, Any]]) -> bytes:
    """A document with items added to the end of a list at its top, which is made at the document's end where it is missing.

    items: maps of plain values. All other bytes stay as they are; where the way the list is written does not allow that, the
    document is written anew with its comments and its order.
    """
    text, value = data.decode(), read_yaml(data, "").value
    assert isinstance(value, dict)
    wanted = {**value, key: [*value.get(key, ()), *items]}
    made = _inserted(text, key, items)
    if made is not None and read_yaml(made.encode(), "").value == wanted:
        return made.encode()
    document = Editable(data)
    if not document.tree.get(key):
        document.empty(key)
        document.tree[key].fa.set_block_style()
    for item in items:
        document.tree[key].append(in_one_line({name: quoted(one) if isinstance(one, str) else one for name, one in item.items()}))
    return document.data()


def _inserted(text: str, key: str, items: Sequence[Mapping[str, Any]]) -> str | None:
    """The text with items in the right place; None where that is nothing for text alone."""
    top = YAML(typ="rt", pure=True).compose(text)
    assert isinstance(top, MappingNode)
    found = next((node for name, node in top.value if name.value == key), None)
    if found is None:
        end = "" if text.endswith("\n") else "\n"
        return f"{text}{end}{key}:\n{_lines(items, _offset(text))}"
    if not isinstance(found, SequenceNode):
        return None
    if not found.flow_style:
        column = found.start_mark.column
        line, lines = _last_line(found.value[-1]), text.split("\n")
        while line + 1 < len(lines) and re.match(rf" {{{column + 1},}}#", lines[line + 1]):  # comments inside the last item
            line += 1
        return _after_line(text, line, _lines(items, column))
    start, end = found.start_mark.index, found.end_mark.index
    if found.value:
        at = found.value[-1].end_mark.index
        return f"{text[:at]}, {', '.join(map(in_flow, items))}{text[at:]}"
    line = found.end_mark.line
    return _after_line(f"{text[:start].rstrip()}{text[end:]}", line, _lines(items, _offset(text)))


def _last_line(node: Node) -> int:
    """The line that a node's last character is on."""
    while isinstance(node, MappingNode | SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    line: int = node.end_mark.line
    return line - 1 if node.end_mark.column == 0 and line > node.start_mark.line else line


def _after_line(text: str, line: int, more: str) -> str:
    lines = text.split("\n")
    lines = [f"{one}\n" for one in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    if not lines[line].endswith("\n"):
        lines[line] += "\n"
    return "".join([*lines[: line + 1], more.replace("\n", "\r\n") if lines[line].endswith("\r\n") else more, *lines[line + 1 :]])


def _lines(items: Iterable[Mapping[str, Any]], indent: int) -> str:
    """Items of a list, each on one line if it is not too long."""
    made = ""
    for item in items:
        line = in_flow(item)
        inner = [line] if len(line) + indent + 2 <= _LONGEST_LINE else list(in_block(item))
        made += "".join(f"{' ' * indent}{'  ' if number else '- '}{one}\n" for number, one in enumerate(inner))
    return made


def _offset(text: str) -> int:
    """How far the items of a list are indented beyond its key."""
    found = re.search(r"^( *)[A-Za-z_]+:[ \t]*(?:#.*)?\n(?:[ \t]*(?:#.*)?\n)*( *)- ", text, re.MULTILINE)
    return len(found[2]) - len(found[1]) if found else 0

"""The reference of all kinds of documents in Markdown, made from the models. Pure: names and texts."""

from __future__ import annotations

import re
from typing import Any

from vmkeeper.documents.examples import EXAMPLES, FURTHER
from vmkeeper.documents.guard import MAX_BYTES, MAX_DEPTH
from vmkeeper.documents.kinds import KINDS, Kind
from vmkeeper.documents.words import Field, Shape, fields, parts, plural
from vmkeeper.model.base import Document

_HEAD = "<!-- Made from the models by `vmkeeper schema --write`; edit those. -->"

_YAML = f"""\
## How YAML is read

Documents are YAML of which every reader understands the same. At most {MAX_BYTES // 1024} KiB and {MAX_DEPTH} lists and maps inside one
another; UTF-8 without a byte order mark; no anchors (`&`), aliases (`*`), tags (`!`), directives (`%`), merge keys (`<<`), duplicate keys,
second documents, control or bidirectional characters. Text that begins with one of these signs goes in quotes: `"*"`.

| written without quotes | is |
|---|---|
| `true`, `false` (also `True`, `TRUE`, …) | true or false |
| `null`, `~`, nothing | no value |
| `12`, `-3` (at most 18 digits, no leading zero) | a whole number |
| `1.5`, `2026.10` | a number; a version in this form needs quotes: `"2026.10"` |
| `yes`, `off`, `0644`, `0x1f`, `1e3`, `12:30:00`, `2026-11-20`, and everything else | text |

Quotes do no harm around text, and are needed where other YAML readers see something else: versions, permissions, times.

Sizes are written `4GiB` (B, KiB, MiB, GiB, TiB), durations `14d` (s, m, h, d, w; also `1d12h`), times `"2026-11-20T10:30:00Z"`
(always UTC), version constraints `">=2026.10, <2027"` or `"*"`.
"""


def reference() -> dict[str, str]:
    """The pages by their path below docs/: `reference/appliance.md`, and `reference/README.md` that leads to them."""
    return {"reference/README.md": _index(), **{f"reference/{kind.name}.md": _page(kind) for kind in KINDS.values()}}


def _index() -> str:
    rows = [f"| [{kind.title}]({kind.name}.md) | `{_path(kind)}` | {_first_line(kind.model)} |" for kind in KINDS.values()]
    lines = [
        _HEAD,
        "# Documents",
        "",
        "These are the kinds of documents, where each lies, and what it is. Their JSON Schemas, for editors, are in [schemas](../schemas).",
        "",
        "| kind | file | what it is |",
        "|---|---|---|",
        *rows,
        "",
        _YAML,
    ]
    return "\n".join(lines)


def _page(kind: Kind) -> str:
    written = f" Written by `{kind.written_by}`." if kind.written_by else ""
    lines = [_HEAD, f"# {kind.title}", "", f"`{_path(kind)}`. {_text(kind.model)}{written}", ""]
    for model in parts(kind.model):
        if model is not kind.model:
            lines += [f"## {_title(model)}", "", _text(model), ""]
        lines += ["| key | takes | default | what it is |", "|---|---|---|---|", *(_row(field) for field in fields(model).values()), ""]
    lines += ["## Example", "", f"`{_path(kind)}`:", "", "```yaml", EXAMPLES[kind.name].rstrip("\n"), "```", ""]
    for title, text in FURTHER.get(kind.name, {}).items():
        lines += [f"{title}:", "", "```yaml", text.rstrip("\n"), "```", ""]
    return "\n".join(lines)


def _row(field: Field) -> str:
    default = "**required**" if field.required else _default(field.default)
    return f"| `{field.key}` | {_takes(field.shape)} | {default} | {_escape(field.description)} |"


def _takes(of: Shape) -> str:
    """A shape in words, with links to the parts it is made of."""
    if of.kind == "model" and of.model is not None:
        return f"[{_title(of.model)}](#{_anchor(of.model)})"
    if of.kind == "union":
        joined = " or ".join(_takes(option) for option in of.options)
        return f"{joined}, by `{of.tag}`" if of.tag else joined
    if of.kind == "list" and of.item is not None:
        least = f" ({of.detail})" if of.detail else ""
        return f"list{least} of {_many(of.item)}"
    if of.kind == "map" and of.key is not None and of.item is not None:
        return f"map of {_many(of.key)} to {_many(of.item)}"
    if of.kind == "choice":
        return ", ".join(f"`{choice}`" for choice in of.choices)
    example = f", such as `{of.example}`" if of.example else ""
    detail = f" ({of.detail})" if of.detail else ""
    return _escape(f"{of.words}{detail}{example}")


def _many(of: Shape) -> str:
    return _escape(f"{plural(of)} ({of.sentence})" if of.sentence else plural(of)) if of.kind == "text" else _takes(of)


def _default(value: Any) -> str:
    if value is None or value in ("", (), {}):
        return ""
    if isinstance(value, Document):
        return "" if not value.model_dump(exclude_defaults=True) else "see there"
    if isinstance(value, tuple):
        return ", ".join(_default(item) for item in value)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{_escape(str(value))}`"


def _path(kind: Kind) -> str:
    return kind.path.replace("*", "NAME")


def _title(model: type[Document]) -> str:
    """A class name as words: `PlacedFile` becomes `Placed file`, `SSHKey` becomes `SSH key`."""
    first, *rest = re.findall(r"OpenPGP|[A-Z]+(?=[A-Z][a-z])|[A-Z][a-z]*", model.__name__)
    return " ".join([first, *(word.lower() for word in rest)])


def _anchor(model: type[Document]) -> str:
    return _title(model).lower().replace(" ", "-")


def _text(model: type[Document]) -> str:
    return " ".join((model.__doc__ or "").split())


def _first_line(model: type[Document]) -> str:
    return _escape((model.__doc__ or "").strip().split("\n")[0])


def _escape(text: str) -> str:
    """Text inside a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")

"""Which lists are published in a folder, for the freshness statement that names them."""

from __future__ import annotations

from pathlib import Path

from vmkeeper.errors import Problems, Refused
from vmkeeper.lists import hepix
from vmkeeper.lists.mime import split
from vmkeeper.plan.publication import LIST_FILE
from vmkeeper.trust.said import ListMark
from vmkeeper.values import sha512_hex

_LIMIT = 24 << 20


def published_marks(public: Path) -> tuple[ListMark, ...]:
    """The lists below a public folder, each by UUID, version and SHA-512 of its signed content; what is no list is passed over.

    Who signed them is for sites to judge: the statement only says that nothing older is to be shown to them.
    """
    found: dict[str, ListMark] = {}
    for path in sorted(public.glob(f"*/{LIST_FILE}")):
        with path.open("rb") as file:
            message = file.read(_LIMIT)
        try:
            content = split(message).content
            read = hepix.read(content)
        except (Refused, Problems):
            continue
        found[read.uuid] = ListMark(uuid=read.uuid, version=read.version, sha512=sha512_hex(content))
    return tuple(found.values())

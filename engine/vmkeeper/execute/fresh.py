"""Which lists are published at a target, for the freshness statement that names them."""

from __future__ import annotations

from vmkeeper.errors import Problems, Refused
from vmkeeper.images.targets import Target
from vmkeeper.lists import hepix
from vmkeeper.lists.mime import split
from vmkeeper.plan.publication_actions import LIST_FILE
from vmkeeper.trust.said import ListMark
from vmkeeper.values import sha512_hex

_LIMIT = 24 << 20


def published_marks(target: Target) -> tuple[ListMark, ...]:
    """The lists at a target, each by UUID, version and SHA-512 of its signed content; what is no list is passed over.

    Who signed them is for sites to judge: the statement only says that nothing older is to be shown to them.
    """
    found: dict[str, ListMark] = {}
    for path in sorted(path for path in target.files() if path.count("/") == 1 and path.endswith(f"/{LIST_FILE}")):
        try:
            content = split(target.read(path, _LIMIT) or b"").content
            read = hepix.read(content)
        except (Refused, Problems):
            continue
        found[read.uuid] = ListMark(uuid=read.uuid, version=read.version, sha512=sha512_hex(content))
    return tuple(found.values())

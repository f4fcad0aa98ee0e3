"""What images of foreign lists are called at a site: LIST-TITLE, each name for one UUID only and for good. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from vmkeeper.lists.hepix import HepixImage

_LONGEST = 64
_MOST = 5000
"""Names that are remembered of one list."""


def foreign_names(list_name: str, images: Iterable[HepixImage], known: Mapping[str, str], others: Collection[str]) -> dict[str, str]:
    """UUID → name: those that are known first, then those of new images, in the order of the list.

    others: names that belong to something else. A title that several new images have, or whose name is taken, gets the
    beginning of the UUID behind it, and where that is taken, all of it. Names of images that left the list stay theirs, as many as fit.
    """
    images = tuple(images)
    names = dict(known)
    new = [image for image in images if image.uuid not in names]
    wanted = {image.uuid: _joined(list_name, _slug(image.title or "") or image.uuid[:8]) for image in new}
    often = Counter(wanted.values())
    taken = {*others, *names.values()}
    for image in new:
        name = wanted[image.uuid]
        choices = (*([name] if often[name] == 1 else []), _suffixed(name, image.uuid[:8]), _suffixed(list_name, image.uuid))
        names[image.uuid] = next((one for one in choices if one not in taken), image.uuid)
        taken.add(names[image.uuid])
    return _bounded(names, {image.uuid for image in images})


def _slug(title: str) -> str:
    """A title as the end of a name: `Ubuntu 22.04 (LTS)` → `ubuntu-22.04-lts`."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"\.(?![0-9])|(?<![0-9])\.", "-", re.sub(r"[^a-z0-9.]+", "-", plain)).strip("-")


def _joined(start: str, end: str) -> str:
    return re.sub(r"-{2,}", "-", f"{start}-{end}")[:_LONGEST].rstrip(".-_")


def _suffixed(name: str, end: str) -> str:
    return f"{name[: _LONGEST - len(end) - 1].rstrip('.-_')}-{end}"


def _bounded(names: dict[str, str], present: Collection[str]) -> dict[str, str]:
    """Names within what is remembered; those that went first are of images that are not on the list, the oldest first."""
    over = len(names) - max(_MOST, len(present))
    gone = [uuid for uuid in names if uuid not in present][: max(over, 0)]
    return {uuid: name for uuid, name in names.items() if uuid not in gone}

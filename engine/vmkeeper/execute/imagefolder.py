"""Image files where vmcatcher's handlers look for them: HOME/images/UUID, and HOME/images/expired/UUID.TIME for what has expired.

They are further names (hard links) of files in the cache, or copies where there can be none. Only files that have such a
name are ever removed; what handlers put beside them is theirs.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from vmkeeper.images.files import PREFIX, remove_leftovers, reported
from vmkeeper.lists.events import Event, EventImage

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_PRESENT = re.compile(_UUID)
_EXPIRED = re.compile(rf"{_UUID}\.[0-9_-]{{19}}")
_NO_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP)

Find = Callable[[str], Path | None]
"""A file that the site has, by the SHA-512 that it should have."""


class ImageFolder:
    """HOME/images. Several processes may work in it: what it does is one rename or link at a time."""

    def __init__(self, folder: Path, find: Find) -> None:
        self.folder = folder
        self._find = find
        self._expired = folder / "expired"
        self._partial = folder / "partial"

    @property
    def variables(self) -> dict[str, str]:
        """vmcatcher's VMCATCHER_CACHE_DIR_…; nothing of ours is ever in the folder of downloads."""
        return {"CACHE": str(self.folder), "DOWNLOAD": str(self._partial), "EXPIRE": str(self._expired)}

    def make(self) -> None:
        """Have the folders that handlers expect."""
        with reported("make folders for handlers", self.folder):
            for folder in (self.folder, self._expired, self._partial):
                folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.folder)

    def has(self, uuid: str) -> bool:
        """Whether the image's file is there; a handler may have moved it away."""
        return (self.folder / uuid).is_file()

    def offer(self, image: EventImage) -> str:
        """Put the image's signed file in place of an older one; gives its name, "" where the site does not have it any more."""
        with reported("offer an image to handlers", self.folder), suppress(FileNotFoundError):  # the cache may just drop it
            source = self._find(image.sha512)
            if source is not None:
                self._link(source, self.folder / image.uuid)
                return image.uuid
        return ""

    def restore(self, event: Event) -> None:
        """Before a handler hears (again) that an image is available: its file is there, unless the site does not have it any more."""
        if event.image is not None and event.type == "AvailablePostfix" and event.image.filename and not self.has(event.image.uuid):
            self.offer(event.image)

    def expire(self, image: EventImage, filename: str) -> None:
        """Move the image's file to the expired ones under this name. Where there is none an empty file says that it expired."""
        target = self._expired / filename
        with reported("move an expired image", target):
            if not target.exists():
                self._expired.mkdir(parents=True, exist_ok=True)
                try:
                    (self.folder / image.uuid).rename(target)
                except FileNotFoundError:
                    target.touch()

    def forget(self, event: Event) -> None:
        """Every handler has heard of it: an expired file can go."""
        if event.type == "ExpirePostfix" and event.image is not None and _EXPIRED.fullmatch(event.image.filename):
            (self._expired / event.image.filename).unlink(missing_ok=True)

    def clear_expired(self) -> None:
        """Nobody waits for an expired file: remove what a crash may have left of them."""
        for path in self._expired.iterdir() if self._expired.is_dir() else ():
            if _EXPIRED.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def keep_only(self, uuids: Collection[str]) -> None:
        """Remove the files of images that are not available any more."""
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if _PRESENT.fullmatch(path.name) and path.name not in uuids and path.is_file():
                path.unlink(missing_ok=True)

    @staticmethod
    def _link(source: Path, target: Path) -> None:
        if target.exists() and target.samefile(source):
            return
        new = target.with_name(f"{PREFIX}{target.name}")
        new.unlink(missing_ok=True)
        try:
            new.hardlink_to(source)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            shutil.copyfile(source, new)
        new.rename(target)


def expired_name(uuid: str, now: datetime) -> str:
    """How vmcatcher calls a file that has expired."""
    return f"{uuid}.{now.astimezone(UTC):%Y-%m-%d_%H-%M-%S}"

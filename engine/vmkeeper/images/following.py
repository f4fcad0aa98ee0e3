"""The digest of a raw disk, worked out while qemu-img still writes it, some way behind.

Without its option -W, qemu-img convert writes from the start to the end, so where there is data further on, what lies well
before it is final. Where the file system does not tell holes from data, nothing is read before the end.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from pathlib import Path

from vmkeeper.images.files import CHUNK
from vmkeeper.model.release import Blob
from vmkeeper.values import Size

_BEHIND = 64 << 20
"""More than qemu-img has in flight at a time: 8 pieces of 2 MiB."""
_LOOK = 0.05
"""Seconds between two looks."""


class FollowingDigest:
    """SHA-512 of a file that is written in order. Entering begins; `finish` gives the digest once the file is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest, self._size = hashlib.sha512(), 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="following", daemon=True)

    def __enter__(self) -> FollowingDigest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def finish(self) -> Blob:
        """The whole file, which nobody writes any more. Raises OSError."""
        self.__exit__()
        with self._path.open("rb") as file:
            file.seek(self._size)
            while chunk := file.read(CHUNK):
                self._take(chunk)
        return Blob(size=Size(self._size), sha512=self._digest.hexdigest())

    def _follow(self) -> None:
        while not self._path.exists():
            if self._over.wait(_LOOK):
                return
        try:
            if not tells_holes(self._path.parent):
                return
            with self._path.open("rb", buffering=0) as file:
                while not self._over.is_set():
                    if not self._final(file.fileno()):
                        self._over.wait(_LOOK)
                        continue
                    file.seek(self._size)
                    for _ in range(_BEHIND // CHUNK // 4):
                        if self._over.is_set() or len(chunk := file.read(CHUNK)) < CHUNK:
                            break
                        self._take(chunk)
        except OSError:
            return  # what was not read now is read at the end, where it is reported

    def _final(self, file: int) -> bool:
        """Whether the next pieces are not written any more: there is data beyond them and what may be in flight."""
        try:
            os.lseek(file, self._size + 2 * _BEHIND, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return False
        return True

    def _take(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self._size += len(chunk)


def tells_holes(folder: Path) -> bool:
    """Whether the file system says of a new file without data that it has none."""
    probe = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    try:
        os.ftruncate(probe, CHUNK)
        os.lseek(probe, 0, os.SEEK_DATA)
    except OSError as error:
        return error.errno == errno.ENXIO
    finally:
        os.close(probe)
    return False

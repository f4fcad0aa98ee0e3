"""What oned's drivers do: look at files and addresses, copy, make, remove; each work in a thread of its own.

Datastores of DS_MAD dummy hold nothing. A work that was under way when the server ended is lost, as with oned: its image stays LOCKED
or DELETE.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from .download import Refused, fetch, head_of, size_of, sniffed, unpacked
from .machines import image_settled
from .objects import DELETE, ERROR, LOCKED_USED, LOCKED_USED_PERS, READY, USED, USED_PERS, Datastore, Image

if TYPE_CHECKING:
    from .oned import Oned

MB = 1024 * 1024
WEB = ("http://", "https://")


class Drivers:
    def __init__(self, oned: Oned) -> None:
        self._oned = oned
        self._busy = 0
        self._changed = threading.Condition()
        self._open = threading.Event()
        self._open.set()

    def hold(self, wanted: bool) -> None:
        """Works wait until they are no longer held."""
        (self._open.clear if wanted else self._open.set)()

    def settle(self, seconds: float = 60) -> bool:
        """Wait until no work is under way."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy, seconds)

    def work(self, run: Callable[[], None], *, delay: float | None = None) -> None:
        """Do it soon, in a thread."""
        wait = self._oned.delay if delay is None else delay

        def working() -> None:
            try:
                if wait:
                    time.sleep(wait)
                self._open.wait()
                run()
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()

        with self._changed:
            self._busy += 1
        threading.Thread(target=working, daemon=True).start()

    def stat(self, place: Datastore, path: str) -> int:
        """MB of what would be registered. Raises Refused with the driver's words. Waits for other servers."""
        if place.ds_mad == "dummy":
            return 1024
        return -(-self._bytes(path) // MB)

    def _bytes(self, path: str) -> int:
        modern = self._oned.modern
        if path.startswith(WEB):
            return head_of(path, modern=modern)
        try:
            return size_of(Path(path))
        except (OSError, EOFError) as error:
            raise Refused(f"cannot access '{path}' (No such file or directory)" if modern else "File not found") from error

    def copy(self, oid: int) -> None:
        """Register what PATH names."""
        self.work(lambda: self._copy(oid))

    def _copy(self, oid: int) -> None:
        oned = self._oned
        with oned.holding():
            if not oned.store.has("image", oid):
                return
            image = oned.store.image(oid)
            place = oned.store.datastore(image.datastore)
            path, checks = image.path, {name: image.template.get(name.upper()) for name in ("md5", "sha1")}
            if place.ds_mad == "dummy" and not oned.lies.pending("error-image"):
                self._ready(image, "dummy_path", "dummy_format")
                return
        target = Path(place.base) / uuid4().hex
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._fetch(place, path, target, checks)
            if 0 < place.total < _megabytes(target.parent):
                raise Refused("No space left on device")
            with target.open("rb") as file:
                kind = sniffed(file.read(8))
        except Refused as refused:
            target.unlink(missing_ok=True)
            self._failed(oid, self._words(path, target, checks, str(refused)))
            return
        with oned.holding():
            if not oned.store.has("image", oid) or oned.store.image(oid).state == DELETE:
                target.unlink()
                return
            self._ready(oned.store.image(oid), str(target), kind)

    def _fetch(self, place: Datastore, path: str, target: Path, checks: dict[str, str]) -> None:
        if self._oned.lies.take("error-image"):
            raise Refused("No space left on device")
        if path.startswith(WEB):
            fetch(path, target, checks)
            return
        safe = [folder for folder in place.template.get("SAFE_DIRS").split() if Path(path).resolve().is_relative_to(Path(folder).resolve())]
        if not safe:
            raise Refused(f"Not allowed to copy image file {path}")
        try:
            with unpacked(Path(path)) as file, target.open("wb") as copy:
                shutil.copyfileobj(file, copy)
        except (OSError, EOFError) as error:
            raise Refused(str(error)) from error
        for name, wanted in checks.items():
            if wanted and hashlib.new(name, Path(path).read_bytes()).hexdigest() != wanted:
                raise Refused("Hash does not match")

    def _words(self, path: str, target: Path, checks: dict[str, str], why: str) -> str:
        begin = f"{time.strftime('%a %b %d %H:%M:%S %Y')} : Error copying image in the datastore: "
        end = f"Error copying {path} to {target}"
        if self._oned.modern:
            return begin + end
        given = f"--md5 {checks['md5']}" if checks["md5"] else f"  --sha1 {checks['sha1']}" if checks["sha1"] else "  "
        command = f"set -e -o pipefail; /var/lib/one/remotes/datastore/fs/../downloader.sh {given} '{path}' '{target}'"
        return f'{begin}INFO: cp: Downloading image {path} to the image repository ERROR: cp: Command "{command}" failed: {why} {end}'

    def make(self, oid: int) -> None:
        """An empty disk."""
        self.work(lambda: self._make(oid))

    def _make(self, oid: int) -> None:
        with self._oned.holding():
            if not self._oned.store.has("image", oid):
                return
            image = self._oned.store.image(oid)
            place = self._oned.store.datastore(image.datastore)
            source = "dummy_path"
            if place.ds_mad != "dummy":
                target = Path(place.base) / uuid4().hex
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    with target.open("wb") as file:
                        file.truncate(max(image.size, 0) * MB)
                except OSError as error:
                    target.unlink()
                    self._failed(oid, f"{time.ctime()} : Error creating datablock: {error.strerror}")
                    return
                source = str(target)
            self._ready(image, source, image.format or "raw")

    def clone(self, oid: int) -> None:
        self.work(lambda: self._clone(oid))

    def _clone(self, oid: int) -> None:
        store = self._oned.store
        with self._oned.holding():
            if not store.has("image", oid):
                return
            image = store.image(oid)
            origin, place = image.cloning, store.datastore(image.datastore)
            source = "dummy_path"
            if place.ds_mad != "dummy" and Path(image.path).is_file():
                target = Path(place.base) / uuid4().hex
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(image.path, target)
                source = str(target)
            image.cloning = -1
            self._ready(image, source, image.format or "raw")
            self.cloned(origin, oid)

    def cloned(self, oid: int, copy: int) -> None:
        """The copy of an image is no longer being made."""
        store = self._oned.store
        if store.has("image", oid):
            image = store.image(oid)
            image.clones = [other for other in image.clones if other != copy]
            if not image.vms and not image.clones:
                image.become(READY)
            store.save(image)

    def remove(self, oid: int) -> None:
        self.work(lambda: self._remove(oid))

    def _remove(self, oid: int) -> None:
        oned = self._oned
        if oned.lies.take("stuck-delete"):
            return
        with oned.holding():
            if not oned.store.has("image", oid):
                return
            image = oned.store.image(oid)
            place = oned.store.datastore(image.datastore)
            file = Path(image.source)
            if place.ds_mad != "dummy" and any(file.is_relative_to(folder) for folder in (place.base, *oned.may_remove)):
                file.unlink(missing_ok=True)
            self.forget(image)

    def forget(self, image: Image) -> None:
        """The image is gone."""
        store = self._oned.store
        place = store.datastore(image.datastore)
        place.images = [oid for oid in place.images if oid != image.id]
        store.drop(image)
        store.save(place)

    def _ready(self, image: Image, source: str, kind: str) -> None:
        image.source, image.format = source, kind
        image.become({LOCKED_USED: USED, LOCKED_USED_PERS: USED_PERS}.get(image.state, READY))
        self._oned.store.save(image)
        image_settled(self._oned, image.id, good=True)

    def _failed(self, oid: int, why: str) -> None:
        with self._oned.holding():
            if self._oned.store.has("image", oid):
                image = self._oned.store.image(oid)
                image.template.replace("ERROR", why)
                image.become(ERROR)
                self._oned.store.save(image)
                image_settled(self._oned, oid, good=False)

    def monitor(self) -> None:
        """Look how full the file datastores are. oned does so now and then: between, its figures are old."""
        for place in self._oned.store.datastores():
            if place.ds_mad == "fs" and place.total:
                place.used = _megabytes(Path(place.base))
                place.free = max(place.total - place.used, 0)
                self._oned.store.save(place)


def _megabytes(folder: Path) -> int:
    """That its files take."""
    return -(-sum(file.stat().st_blocks * 512 for file in folder.glob("*") if file.is_file()) // MB)

"""A cloud on this computer: a folder of images and QEMU virtual machines. Nothing outside the folder is touched.

    images/ID/disk.FORMAT   read-only       images/ID/image.json   whose it is, all that is said about it, since when it is hidden
    machines/NAME/          see boot.machine; the mark is in machine.json
    lock                    held while images or machines appear or go

An image's folder is made aside with its record and bytes and renamed, so that what is there is whole and has its mark.
What has no record is somebody else's and is left alone. One whose disk somebody removed or cut is incomplete.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from vmkeeper.boot import probe
from vmkeeper.boot.folders import aside, clean, discard
from vmkeeper.boot.machine import Machine, NoMachine, machines
from vmkeeper.boot.qemu import MachineConfig
from vmkeeper.boot.seed import seed
from vmkeeper.clouds.interface import CloudImage, CloudMachine, Gone, ImageSpec, ImageState, InUse, MachineSpec, MachineState, NoRoom, NotOurs
from vmkeeper.errors import Refused, UserError, VmkeeperError
from vmkeeper.images.files import copy_hashed, remove_leftovers, reported, sync_folder, write_file
from vmkeeper.model.base import Document
from vmkeeper.model.platform import LocalPlatform
from vmkeeper.values import Size, Time

_STATES: dict[str, MachineState] = {"running": "running", "stopped": "stopped", "crashed": "failed"}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_MODE = 0o444
"""Of disks."""


class ImageRecord(Document):
    """`image.json`."""

    owner: str
    spec: ImageSpec
    hidden_since: Time | None = None


class LocalCloud:
    """One owner's view of a folder. See `clouds.interface.Cloud` for what each method promises."""

    def __init__(self, folder: Path, *, owner: str, platform: LocalPlatform | None = None, grace: float = 60) -> None:
        """`grace`: seconds that a guest gets to shut down before it is switched off."""
        self.owner = owner
        self._platform = platform or LocalPlatform(type="local")
        self._grace = grace
        self._folder = folder
        self._images = folder / "images"
        self._machines = folder / "machines"

    # -- images

    def images(self) -> tuple[CloudImage, ...]:
        """See `Cloud.images`. What killed calls left behind is cleared away on the way."""
        clean(self._images)
        used = self._used()
        with reported("list the images", self._images):
            names = sorted(path.name for path in self._images.iterdir()) if self._images.is_dir() else []
        found = (self._image(name, used) for name in names if not name.startswith("."))
        return tuple(image for image in found if image is not None)

    def upload(self, spec: ImageSpec, file: Path) -> CloudImage:
        """See `Cloud.upload`."""
        id_ = self._id(spec)
        if self._show(id_, spec):
            return self._seen(id_)
        clean(self._images)
        self._check_space(spec)
        with _written(spec.name, self._images), aside(self._images) as new:
            self._copy(spec, file, new / f"disk.{spec.format}")
            self._write(new, ImageRecord(owner=self.owner, spec=spec))
            new.chmod(0o755)
            sync_folder(new)
            with self._locked():
                if (self._images / id_).exists() and self._mode(id_, self._ours(id_).spec) is None:
                    discard(self._images / id_)
                if not (self._images / id_).exists():
                    new.rename(self._images / id_)
                    sync_folder(self._images)
        self._show(id_, spec)
        return self._seen(id_)

    def update(self, id: str, spec: ImageSpec, hidden_since: datetime | None) -> None:  # noqa: A002 - the Protocol's name
        """See `Cloud.update`."""
        with self._locked():
            record = self._ours(id)
            if not record.spec.same_bytes(spec):
                raise ValueError(f"{id} has other bytes")
            self._say(id, record, ImageRecord(owner=self.owner, spec=spec, hidden_since=hidden_since))

    def adopt(self, id: str, spec: ImageSpec) -> None:  # noqa: A002
        """See `Cloud.adopt`. Nothing but vmkeeper makes images here, so there is nothing to take over."""
        with self._locked():
            if not self._ours(id).spec.same_bytes(spec):
                raise Refused("R14", "the bytes are not the ones that were endorsed", where=id)

    def delete(self, id: str) -> None:  # noqa: A002
        """See `Cloud.delete`."""
        with self._locked():
            clean(self._images)
            with suppress(Gone):
                self._ours(id)
                if id in self._used():
                    raise InUse("the image has machines", where=id)
                with reported("delete the image", self._images / id):
                    discard(self._images / id)

    # -- machines

    def machines(self) -> tuple[CloudMachine, ...]:
        """See `Cloud.machines`. What killed calls left behind is cleared away on the way."""
        clean(self._machines)
        return tuple(self._machine(machine) for machine in machines(self._machines))

    def start(self, spec: MachineSpec) -> CloudMachine:
        """See `Cloud.start`. A machine that restarts finds its memory counted anew, too."""
        accelerator = probe.choose(self._platform.accelerator)
        with self._locked():
            clean(self._machines)
            machine = self._there(spec) or self._create(spec)
            if machine.status().state != "running":
                self._check_room(machine.config)
                machine.start(accelerator)
        return self._machine(machine)

    def stop(self, id: str) -> None:  # noqa: A002
        """See `Cloud.stop`."""
        with suppress(NoMachine, Gone):
            machine = Machine.attach(self._inside(self._machines, id))
            if machine.config.labels.get("owner") != self.owner:
                raise NotOurs("the machine is somebody else's", where=id)
            machine.remove(grace=self._grace)
        clean(self._machines)

    def console(self, id: str) -> str:  # noqa: A002
        """See `Cloud.console`."""
        with suppress(NoMachine, Gone):
            return Machine.attach(self._inside(self._machines, id)).console().decode(errors="replace")
        return ""

    # -- inside: images

    def _id(self, spec: ImageSpec) -> str:
        """The same image of the same owner always has the same id."""
        digest = hashlib.sha256(f"{self.owner}\n{spec.key}".encode()).hexdigest()
        return f"{spec.appliance}-{spec.version}-{digest[:12]}"

    def _image(self, name: str, used: frozenset[str]) -> CloudImage | None:
        folder = self._images / name
        record = self._record(folder)
        if record is None:
            return CloudImage(id=name, name=name) if folder.exists() else None
        mode = self._mode(name, record.spec)
        state: ImageState = "incomplete" if mode is None else "active" if record.hidden_since is None else "hidden"
        return CloudImage(
            id=name,
            name=record.spec.name,
            state=state,
            owner=record.owner,
            spec=record.spec,
            hidden_since=record.hidden_since if state == "hidden" else None,
            in_use=record.owner == self.owner and state != "active" and name in used,
            drift=() if mode in (None, _MODE) else (f"its disk's mode is {mode:03o}, not {_MODE:03o}",),
        )

    def _disk(self, id_: str, spec: ImageSpec) -> Path:
        return self._images / id_ / f"disk.{spec.format}"

    def _mode(self, id_: str, spec: ImageSpec) -> int | None:
        """Permissions of an image's disk; None where it is not there whole."""
        try:
            found = self._disk(id_, spec).lstat()
        except FileNotFoundError:
            return None
        return stat.S_IMODE(found.st_mode) if stat.S_ISREG(found.st_mode) and found.st_size == spec.size else None

    def _seen(self, id_: str) -> CloudImage:
        image = self._image(id_, self._used())
        if image is None:
            raise Gone("the image was deleted meanwhile", where=id_)
        return image

    def _record(self, folder: Path) -> ImageRecord | None:
        try:
            return ImageRecord.model_validate_json((folder / "image.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, OSError) as error:
            raise UserError(
                "the image's record cannot be read", where=str(folder / "image.json"), why=str(error), hint="move its folder away"
            ) from None

    def _ours(self, id_: str) -> ImageRecord:
        folder = self._inside(self._images, id_)
        if not folder.exists():
            raise Gone("there is no such image", where=id_)
        record = self._record(folder)
        if record is None or record.owner != self.owner:
            raise NotOurs("the image is somebody else's", where=id_)
        return record

    def _show(self, id_: str, spec: ImageSpec) -> bool:
        """Make an image that is there be as `spec` says, but for its bytes, and active; False where it is not there whole."""
        with suppress(Gone), self._locked():
            record = self._ours(id_)
            if self._mode(id_, record.spec) is None:
                return False
            self._say(id_, record, ImageRecord(owner=self.owner, spec=spec.with_bytes_of(record.spec)))
            return True
        return False

    def _say(self, id_: str, record: ImageRecord, wanted: ImageRecord) -> None:
        with _written(wanted.spec.name, self._images / id_):
            if wanted != record:
                self._write(self._images / id_, wanted)
            if self._mode(id_, record.spec) not in (None, _MODE):
                self._disk(id_, record.spec).chmod(_MODE)

    def _check_space(self, spec: ImageSpec) -> None:
        with reported("look for room", self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._folder).free
        if spec.size > free:
            why = f"it needs {Size(spec.size).human}, {Size(free).human} are free"
            raise NoRoom(f"no room for {spec.name}", where=str(self._images), why=why)

    def _copy(self, spec: ImageSpec, file: Path, target: Path) -> None:
        """Copy and hash in one reading; raises Refused R14, NoRoom, UserError."""
        try:
            with file.open("rb") as source, target.open("xb") as out:
                blob = copy_hashed(source, out, limit=spec.size)
                out.flush()
        except OverflowError:
            blob = None
        except OSError as error:
            if error.errno in _FULL:
                raise NoRoom(f"no room for {spec.name}", where=str(self._images), why=error.strerror or "") from None
            raise UserError("could not copy the image file", where=str(file), why=error.strerror or "") from None
        if blob is None or (blob.size, blob.sha512) != (spec.size, spec.sha512):
            raise Refused(
                "R14",
                "the bytes are not the ones that were endorsed",
                where=str(file),
                why=f"expected {int(spec.size)} bytes with sha512 {spec.sha512[:16]}…",
            )
        target.chmod(_MODE)

    def _write(self, folder: Path, record: ImageRecord) -> None:
        remove_leftovers(folder)
        write_file(folder / "image.json", record.model_dump_json(indent=1).encode())

    # -- inside: machines

    def _used(self) -> frozenset[str]:
        """Ids of the images that machines in the folder run from, whoever made them."""
        paths = (Path(machine.config.image) for machine in machines(self._machines))
        images = self._images.resolve()
        return frozenset(path.relative_to(images).parts[0] for path in paths if path.is_relative_to(images))

    def _there(self, spec: MachineSpec) -> Machine | None:
        try:
            machine = Machine.attach(self._machines / spec.name)
        except NoMachine:
            return None
        if (machine.config.labels.get("owner"), machine.config.labels.get("generation")) != (self.owner, spec.generation):
            raise NotOurs("the name is taken by another machine", where=spec.name)
        return machine

    def _create(self, spec: MachineSpec) -> Machine:
        try:
            record = self._ours(spec.image)
        except NotOurs as error:
            raise Gone("the image is not one of ours", where=spec.image) from error
        if record.hidden_since is not None or self._mode(spec.image, record.spec) is None:
            raise Gone("the image is hidden or incomplete", where=spec.image)
        config = MachineConfig(
            name=spec.name,
            image=str((self._images / spec.image / f"disk.{record.spec.format}").resolve()),
            format=record.spec.format,
            cpus=spec.cpus,
            memory=spec.memory,
            disk=spec.disk,
            firmware="uefi" if record.spec.properties.get("hw_firmware_type") == "uefi" else "bios",
            ports=spec.ports,
            labels={"owner": self.owner, "cluster": spec.cluster, "service": spec.service, "generation": spec.generation, "image": spec.image},
        )
        self._check_room(config)
        data = seed(spec.user_data, name=spec.name, instance=f"{spec.name}-{spec.generation[:16]}")
        return Machine.create(self._machines / spec.name, config, seed=data)

    def _check_room(self, config: MachineConfig) -> None:
        used = sum(machine.config.memory for machine in machines(self._machines) if machine.status().state == "running")
        if used + config.memory > self._platform.memory:
            why = f"it needs {config.memory.human}, {max(0, self._platform.memory - used) // 2**20} MiB of {self._platform.memory.human} are left"
            raise NoRoom(f"no memory for {config.name}", why=why, hint="raise platform.memory of the site or stop a machine")

    def _machine(self, machine: Machine) -> CloudMachine:
        labels, state = machine.config.labels, _STATES[machine.status().state]
        ports: dict[int, tuple[str, int]] = {}
        if state == "running":
            with suppress(VmkeeperError):  # it may end between two looks
                ports = machine.addresses()
        return CloudMachine(
            id=machine.folder.name,
            name=machine.config.name,
            state=state,
            image=labels.get("image", ""),
            owner=labels.get("owner"),
            cluster=labels.get("cluster", ""),
            service=labels.get("service", ""),
            generation=labels.get("generation", ""),
            ports=ports,
        )

    @staticmethod
    def _inside(parent: Path, id_: str) -> Path:
        """The path of an id; raises Gone for what cannot be one."""
        if not id_ or id_.startswith(".") or "/" in id_ or "\0" in id_:
            raise Gone("there is nothing of this id", where=id_)
        return parent / id_

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One change at a time, whoever makes it."""
        with reported("lock the site's folder", self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = (self._folder / "lock").open("ab")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@contextmanager
def _written(name: str, where: Path) -> Iterator[None]:
    """Turn an OSError of what is written about an image into NoRoom or UserError."""
    try:
        yield
    except OSError as error:
        failure = NoRoom if error.errno in _FULL else UserError
        raise failure(f"could not write {name}", where=str(where), why=error.strerror or type(error).__name__) from error

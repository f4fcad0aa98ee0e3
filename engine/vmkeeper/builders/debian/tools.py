"""The tools root: the programs that assemble a disk, from locked packages, run without chroot or privileges.

Each runs through the tools root's own dynamic loader and configuration, so that what it writes does not depend
on the versions that this machine has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vmkeeper.builders.workspace import locked, workspace
from vmkeeper.errors import UserError
from vmkeeper.images.store import Store
from vmkeeper.model.appliance import Architecture
from vmkeeper.model.release import Blob
from vmkeeper.run import Result, program, run
from vmkeeper.values import Sha256

TRIPLETS: Mapping[Architecture, tuple[str, str]] = {
    "x86_64": ("x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
    "aarch64": ("aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
}
"""Library folder and dynamic loader, by architecture."""

_WANTED = ("./etc/mke2fs.conf", "./usr/bin", "./usr/sbin", "./usr/lib")


@dataclass(frozen=True, slots=True)
class Tools:
    """An unpacked tools root."""

    root: Path
    architecture: Architecture

    def run(self, name: str, *words: str | Path, env: Mapping[str, str] | None = None, stdin: bytes | None = None) -> Result:
        """Run one of its programs. Raises UserError where it has none of that name, ProgramFailed."""
        libraries, loader = TRIPLETS[self.architecture]
        path = next((path for folder in ("usr/sbin", "usr/bin") if (path := self.root / folder / name).is_file()), None)
        if path is None:
            raise UserError(f"the tools appliance has no program {name}", hint="add the package that has it to the tools appliance and refresh it")
        folder = self.root / "usr/lib" / libraries
        command = [folder / loader, "--inhibit-cache", "--library-path", folder, path, *words]
        own = {
            "MKE2FS_CONFIG": str(self.root / "etc/mke2fs.conf"),
            "GCONV_PATH": str(folder / "gconv"),
            "MTOOLSRC": "/dev/null",
            "MTOOLS_SKIP_CHECK": "1",
        }
        return run(command, env={**own, **(env or {})}, stdin=stdin, timeout=1800)

    def file(self, path: str) -> Path:
        """A file of the tools root, by its path inside. Raises UserError where it is missing."""
        if not (self.root / path).exists():
            raise UserError(f"the tools appliance has no /{path}", hint="add the package that has it to the tools appliance and refresh it")
        return self.root / path


def unpack_tools(key: Sha256, rootfs: Blob, architecture: Architecture, store: Store, work: Path) -> Tools:
    """The tools root of a layer key, unpacked below `work` at its first use and kept there."""
    root = work / "tools" / key
    with locked(work / "locks" / f"tools-{key}"):
        if not root.is_dir():
            with workspace(work / "builds", "tools") as folder:
                _unpack(rootfs, store, folder)
                root.parent.mkdir(exist_ok=True)
                (folder / "root").rename(root)
    return Tools(root, architecture)


def _unpack(rootfs: Blob, store: Store, folder: Path) -> None:
    (folder / "root").mkdir()
    store.fetch(rootfs.sha512, folder / "tools.tar")
    run([program("tar"), "-x", "--no-same-owner", "--no-same-permissions", "-C", folder / "root", "-f", folder / "tools.tar", *_WANTED])

"""A site's own folder: pins, CA certificates, trust memory, downloads, the local cloud. One run at a time works in it.

Nothing in it is ever taken from a repository that the site follows.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_data_dir

from vmkeeper.errors import Transient, UserError
from vmkeeper.execute.verification import read_pins
from vmkeeper.images.files import remove_leftovers, write_file
from vmkeeper.trust.keys.certificates import Authorities, Crls, read_authorities
from vmkeeper.trust.memory import Memory, read_memory, write_memory
from vmkeeper.trust.pins import Pins

VARIABLE = "VMKEEPER_SITE_HOME"


def read_ca_folder(folder: Path, crls: Crls) -> Authorities:
    """The authorities of a CA folder in IGTF layout; none where there is no folder."""
    names = sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith(".")) if folder.is_dir() else []
    return read_authorities({path.name: path.read_bytes() for path in names}, crls)


class Busy(Transient):
    """Another run is at work at the site."""


class SiteHome:
    """The folder of one site. Reading takes nothing; `locked` is needed for everything that writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.ca = self.folder / "ca"
        """CA certificates that list signers' certificates must lead to."""
        self.cloud = self.folder / "cloud"
        self.cache = self.folder / "cache"
        self.lists = self.folder / "lists"
        """Signed lists as they last counted."""
        self._pins = self.folder / "pins.yaml"
        self._memory = self.folder / "memory.json"
        self._site = self.folder / "site.yaml"

    @classmethod
    def of(cls, site: str, home: Path | None) -> SiteHome:
        """The home named on the command line, by VMKEEPER_SITE_HOME, or the default place of the site."""
        named = home or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
        return cls(named or Path(user_data_dir("vmkeeper")) / "sites" / site)

    def pinned(self) -> bool:
        """Whether the site has pins already."""
        return self._pins.exists()

    def pins(self) -> Pins:
        """What the site pinned. Raises UserError where nothing is, Problems where it cannot be read."""
        if not self.pinned():
            raise UserError("this site has pinned nobody yet", where=str(self._pins), hint="vmkeeper site init NAME --home DIR --ca FILE")
        return read_pins(self._pins.read_bytes(), str(self._pins))

    def authorities(self, pins: Pins) -> Authorities:
        """The authorities that signers' certificates must lead to, with their revocation lists."""
        return read_ca_folder(self.ca, pins.crls)

    def certificates(self) -> tuple[Path, ...]:
        """The CA certificates, by name."""
        return tuple(sorted(path for path in self.ca.glob("*") if path.is_file() and not path.name.startswith(".")))

    def memory(self) -> Memory:
        """What the site remembers; empty before its first run."""
        try:
            return read_memory(self._memory.read_bytes(), str(self._memory))
        except FileNotFoundError:
            return Memory()

    def remember(self, memory: Memory) -> None:
        """Write the memory, whole or not at all; an unchanged one is not written."""
        if memory != self.memory():
            write_file(self._memory, write_memory(memory), mode=0o600)

    def site_file(self) -> bytes | None:
        """The site's file as it was accepted here or was in force at the last run; None before both."""
        return self._site.read_bytes() if self._site.exists() else None

    def keep_site(self, data: bytes) -> None:
        """Keep the site's file that is in force, so that the cloud is known without judging the repository again."""
        if data != self.site_file():
            write_file(self._site, data)

    def pin(self, pins_text: str, certificates: dict[str, bytes], site: bytes | None) -> None:
        """Write CA certificates, the accepted site's file and pins; the pins come last, so that a site is pinned in full or not at all."""
        for name, data in certificates.items():
            write_file(self.ca / name, data)
        if site is not None:
            write_file(self._site, site)
        write_file(self._pins, pins_text.encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One run at a time. Raises Busy while another one works. What a killed run left half-written is removed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy("another run works at this site", where=str(self.folder), hint="wait for it to end") from None
            for folder in (self.folder, self.ca, self.cache, self.lists):
                remove_leftovers(folder)
            with self._temporary_files():
                yield

    @contextmanager
    def _temporary_files(self) -> Iterator[None]:
        """Have temporary files lie in the home, so that those of a killed run are found and removed by the next one."""
        folder, before = self.folder / "tmp", tempfile.tempdir
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        tempfile.tempdir = str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before
            shutil.rmtree(folder, ignore_errors=True)

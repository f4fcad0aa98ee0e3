"""The stand-in for oned within this process: calls without a wire, and drivers that can be held."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from servers.opennebula.furnish import PASSWORD, furnish
from servers.opennebula.oned import Oned

DISK = b"\xeb\xfe" + bytes(1024 * 1024 * 3 - 2)
"""3 MB of a raw disk."""


class Inside:
    """`folder` is one that files may be copied from; datastores are those of servers/opennebula/furnish.py."""

    def __init__(self, folder: Path, version: str = "6.10.0.1", **how: Any) -> None:
        self.folder = folder
        self.oned = Oned(folder / "one", version=version, safe=(str(folder),), **how)
        furnish(self.oned)
        self.settle()

    def close(self) -> None:
        self.oned.drivers.hold(False)
        self.settle()
        self.oned.close()

    def ask(self, method: str, *given: Any, user: str = "oneadmin") -> list[Any]:
        """The whole answer."""
        return self.oned.answer(f"one.{method}", [f"{user}:{PASSWORD}", *given])

    def call(self, method: str, *given: Any, user: str = "oneadmin") -> Any:
        good, value, *_ = self.ask(method, *given, user=user)
        assert good, value
        return value

    def refused(self, method: str, *given: Any, user: str = "oneadmin") -> tuple[int, str]:
        """Code and words, without the method."""
        good, value, *more = self.ask(method, *given, user=user)
        assert not good, value
        return more[0], value.removeprefix(f"[one.{method}] ")

    def settle(self) -> None:
        assert self.oned.drivers.settle()

    def hold(self, wanted: bool = True) -> None:
        self.oned.drivers.hold(wanted)

    def info(self, kind: str, oid: int) -> ElementTree.Element:
        return ElementTree.fromstring(self.call(f"{kind}.info", oid))

    def said(self, kind: str, oid: int, *names: str) -> tuple[str | None, ...]:
        """Texts of elements of an object."""
        body = self.info(kind, oid)
        return tuple(body.findtext(name) for name in names)

    def state(self, kind: str, oid: int) -> str:
        """STATE, for a running machine STATE/LCM_STATE; `gone`."""
        good, value, *_ = self.ask(f"{kind}.info", oid)
        if not good:
            return "gone"
        body = ElementTree.fromstring(value)
        return body.findtext("STATE", "") + (f"/{body.findtext('LCM_STATE')}" if body.findtext("LCM_STATE", "0") != "0" else "")

    def file(self, name: str = "disk.raw", data: bytes = DISK) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def image(self, name: str, *, path: str = "", datastore: int = 1, user: str = "oneadmin", more: str = "", settle: bool = True) -> int:
        oid: int = self.call("image.allocate", f'NAME="{name}"\nPATH="{path or self.file()}"\n{more}', datastore, user=user)
        if settle:
            self.settle()
        return oid

    def template(self, name: str, *, disk: str = "", user: str = "oneadmin", more: str = "") -> int:
        text = f'NAME="{name}"\nCPU="0.5"\nMEMORY="128"\n' + (f"DISK=[{disk}]\n" if disk else "") + more
        oid: int = self.call("template.allocate", text, user=user)
        return oid

    def machine(self, template: int, *, hold: bool = False, user: str = "oneadmin", extra: str = "") -> int:
        oid: int = self.call("template.instantiate", template, "vm", hold, extra, False, user=user)
        return oid

"""A site's clouds at an OpenNebula (`support.opennebula`), and what was made there taken away again."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from conformance.setting import DISK
from support.opennebula import Setting
from vmkeeper.clouds import Account
from vmkeeper.clouds.interface import Cloud
from vmkeeper.clouds.opennebula.account import Patience
from vmkeeper.clouds.opennebula.cloud import places
from vmkeeper.model.platform import LocalPath, OpenNebulaPlace, OpenNebulaPlatform, OwnServer

QUICK = Patience(transfer=60, others=5.0, gone=10, stop=10, allocate=60, poll=0.2)
MARK = "VMKEEPER_OWNER"


def platform_for(one: Setting, transport: str = "path", *names: str, **more: Any) -> OpenNebulaPlatform:
    """A platform with the first datastore, or with places of these names, each in the next datastore."""
    if transport == "path":
        assert one.folder is not None
        way: Any = LocalPath(type="path", folder=str(one.folder))
    elif transport == "http":
        way = OwnServer(type="http", listen="127.0.0.1" if one.standin else "0.0.0.0", address=one.address)
    else:
        way = transport
    stores = [int(store) if store.isdigit() else store for store in one.datastores]
    made = tuple(OpenNebulaPlace(name=name, datastore=stores[at % len(stores)]) for at, name in enumerate(names or ("only",)))
    return OpenNebulaPlatform(type="opennebula", endpoint=one.endpoint, places=made, transport=way, **more)


def account_for(one: Setting, folder: Path, site: str = "conformance", *, user: str | None = None, password: str | None = None) -> Account:
    return Account(site=site, home=folder, folder=folder, login=lambda _name: (user or one.user, password or one.password))


def clouds(
    one: Setting, folder: Path, platform: OpenNebulaPlatform, site: str = "conformance", *, user: str | None = None, patience: Patience = QUICK
) -> Mapping[str, Cloud]:
    return places(platform, account_for(one, folder, site, user=user), patience=patience)


def owned_by(one: Setting, folder: Path, owner: str, transport: str = "path", **more: Any) -> Cloud:
    """One owner's view of the first datastore."""
    site, _, place = owner.removeprefix("vmkeeper:").partition("/")
    if not place:
        return clouds(one, folder, platform_for(one, transport, **more), site)[""]
    both = platform_for(one, transport, place, "another", **more)
    return clouds(one, folder, both.model_copy(update={"places": (both.places[0], *both.places[1:])}), site)[place]


def plant(
    one: Setting, name: str, attributes: Mapping[str, str] = {}, data: bytes = DISK, *, user: str | None = None, store: int | None = None
) -> str:
    """An image as others make it. Where a name is taken it gets a number; what oned does not take in names it loses."""
    name = re.sub(r"[^A-Za-z0-9 ._()-]", "", name)
    assert one.folder is not None
    file = one.folder / f"planted-{time.monotonic_ns()}.raw"
    file.write_bytes(data)
    file.chmod(0o644)
    root = ElementTree.Element("TEMPLATE")
    for key, text in {"PATH": str(file), "TYPE": "OS", **attributes}.items():
        ElementTree.SubElement(root, key).text = text
    called = ElementTree.SubElement(root, "NAME")
    try:
        for number in range(10):
            called.text = f"{name} {number}" if number else name
            with suppress(RuntimeError):
                made = one.call("one.image.allocate", ElementTree.tostring(root, "unicode"), datastore(one) if store is None else store, user=user)
                break
        while one.xml("one.image.info", made).findtext("STATE") == "4":
            time.sleep(0.02)
    finally:
        file.unlink()
    return str(made)


def datastore(one: Setting, at: int = 0) -> int:
    """The ID of one of the datastores."""
    wanted = one.datastores[at]
    return next(int(s.findtext("ID", "")) for s in one.xml("one.datastorepool.info") if wanted in (s.findtext("ID"), s.findtext("NAME")))


def pool(one: Setting, method: str) -> dict[int, ElementTree.Element]:
    more = (-1,) if method.startswith("one.vmpool") else ()
    return {int(thing.findtext("ID", "")): thing for thing in one.xml(method, -2, -1, -1, *more)}


def templates(one: Setting) -> dict[int, ElementTree.Element]:
    return pool(one, "one.templatepool.info")


def bearers(one: Setting, alias: str) -> set[str]:
    """The images that templates of this name point to, whoever's they are."""
    named = [one_ for one_ in templates(one).values() if (one_.findtext("NAME") or "").partition(" (")[0] == alias]
    return {one_.findtext("TEMPLATE/DISK/IMAGE_ID", "") for one_ in named}


@contextmanager
def tidy(one: Setting) -> Iterator[None]:
    """Afterwards all machines, templates and images are gone that were not there before and are of tests."""
    kinds = {"vm": "one.vmpool.infoextended", "template": "one.templatepool.info", "image": "one.imagepool.info"}
    before = {kind: set(pool(one, method)) for kind, method in kinds.items()}
    try:
        yield
    finally:
        for kind, method in kinds.items():
            new = [number for number in pool(one, method) if number not in before[kind]]
            for number in new if one.standin else [n for n in new if _ours(pool(one, method).get(n))]:
                _remove(one, kind, number)


def _ours(thing: ElementTree.Element | None) -> bool:
    return thing is not None and any(thing.find(f"{part}/{MARK}") is not None for part in ("TEMPLATE", "USER_TEMPLATE"))


def _remove(one: Setting, kind: str, number: int) -> None:
    for _ in range(200):
        with suppress(RuntimeError):
            one.call(f"one.{kind}.unlock", number)
        answer = one.answer("one.vm.action", "terminate-hard", number) if kind == "vm" else one.answer(f"one.{kind}.delete", number)
        if "--force" in str(answer[1]):
            one.answer("one.image.delete", number, True)
        good, value, *_ = one.answer(f"one.{kind}.info", number)
        if not good or (kind == "vm" and ElementTree.fromstring(value).findtext("STATE") == "6"):
            return
        time.sleep(0.05)
    raise AssertionError(f"{kind} {number} does not go: {answer}")

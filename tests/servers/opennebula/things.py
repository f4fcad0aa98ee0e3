"""What can be done with an object of any kind: info, update, rename, chmod, chown, lock, unlock, and the pools."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from . import names
from .failures import ACTION, API, INTERNAL, Failure
from .objects import KINDS, Machine, Thing
from .registry import Call, method
from .render import pool, short_machine, xml
from .restricted import changed
from .rights import ADMIN, MANAGE, USE, allowed, on, require
from .store import Store
from .template import Malformed, Template, parse, whole

OWNED = ("image", "template", "vm", "vn", "document", "datastore")
FILTERED = {"image": "IMAGE_POOL", "template": "VMTEMPLATE_POOL", "vn": "VNET_POOL", "document": "DOCUMENT_POOL"}
PLAIN = {"datastore": "DATASTORE_POOL", "host": "HOST_POOL", "cluster": "CLUSTER_POOL"}


def got(call: Call, kind: str, oid: int, operation: str, *, locks: bool = True) -> Any:
    """The object, where the caller has the right. Raises Failure 1024 and 512."""
    thing = call.oned.store.thing(kind, oid)
    require(call.oned.store, call.user, on(operation, thing, locks=locks))
    return thing


def parsed(text: str, *, single: bool = True, before: str = "") -> Template:
    """Raises Failure 8192."""
    try:
        return parse(text, single=single)
    except Malformed as error:
        raise Failure(INTERNAL, f"{before}{error}") from error


def owned(call: Call, thing: Thing) -> None:
    """It is the caller's, with the rights that the caller's UMASK leaves; an ordinary user's never allow to administrate."""
    user = call.user
    thing.uid, thing.gid, thing.uname, thing.gname = user.id, user.gid, user.name, user.gname
    umask = user.template.get("UMASK")
    bits = 0o777 & ~int(umask if re.fullmatch("[0-7]{3}", umask) else "177", 8) & (0o777 if call.admin else 0o666)
    thing.rights = [bits >> (8 - place) & 1 for place in range(9)]


def touched(call: Call, thing: Thing) -> int:
    """It has changed; its id."""
    if hasattr(thing, "modified"):
        thing.modified = call.oned.now()
    call.oned.store.save(thing)
    return thing.id


def visible(store: Store, call: Call, things: list[Thing], flag: int) -> list[Thing]:
    """-4 of the primary group, -3 mine, -2 all that may be used, -1 mine and of my groups, from 0 that user's. Raises Failure 4096."""
    if flag < -4:
        raise Failure(API, "Incorrect filter_flag")
    user = call.user

    def grouped(thing: Thing) -> bool:
        return thing.gid in user.groups and bool(thing.rights[3])

    def usable(thing: Thing) -> bool:
        return call.admin or allowed(store, user, on(USE, thing, locks=False))

    tests: dict[int, Callable[[Thing], bool]] = {
        -4: lambda thing: thing.gid == user.gid,
        -3: lambda thing: thing.uid == user.id,
        -2: usable,
        -1: lambda thing: thing.uid == user.id or grouped(thing),
    }
    test = tests.get(flag) or (lambda thing: thing.uid == flag and usable(thing))
    return [thing for thing in things if test(thing)]


def page(things: list[Thing], start: int, end: int) -> list[Thing]:
    """(-1, …) all; (offset, -n) n of the list from `offset`, where n is 2 or more; (id, id) from and to, (id, -1) from."""
    if end < -1:
        offset = max(start, 0)
        return things[offset : offset - end]
    return [thing for thing in things if start == -1 or (thing.id >= start and end in (-1, max(end, thing.id)))]


def _filtered(kind: str, name: str) -> None:
    @method(f"one.{kind}pool.info", "iii" + ("i" if kind == "document" else ""))
    def info(call: Call, flag: int, start: int, end: int, sort: int = 0) -> str:
        store = call.oned.store
        found = [thing for thing in store.all(kind) if kind != "document" or getattr(thing, "type", 0) == sort]
        chosen = page(visible(store, call, found, flag), start, end)
        return pool(name, [xml(thing, store, modern=call.oned.modern) for thing in chosen])


def _plain(kind: str, name: str) -> None:
    @method(f"one.{kind}pool.info")
    def info(call: Call) -> str:
        store = call.oned.store
        found = [thing for thing in store.all(kind) if call.admin or any(allowed(store, call.user, on(right, thing)) for right in (USE, MANAGE))]
        return pool(name, [xml(thing, store, modern=call.oned.modern) for thing in found])


for _kind, _name in FILTERED.items():
    _filtered(_kind, _name)
for _kind, _name in PLAIN.items():
    _plain(_kind, _name)


@method("one.vmpool.info", "iiii|s")
def machine_pool(call: Call, flag: int, start: int, end: int, state: int, query: str = "") -> str:
    return _machines(call, (flag, start, end, state, query), short_machine)


@method("one.vmpool.infoextended", "iiii|s")
def machine_pool_extended(call: Call, flag: int, start: int, end: int, state: int, query: str = "") -> str:
    return _machines(call, (flag, start, end, state, query), lambda thing: xml(thing, call.oned.store, modern=call.oned.modern))


def _machines(call: Call, wanted: tuple[int, int, int, int, str], body: Callable[[Machine], str]) -> str:
    flag, start, end, state, query = wanted
    if query:
        raise Failure(INTERNAL, "JSON query search is not supported by the SQL backend")
    # -2 any state, -1 any but DONE
    there = [it for it in call.oned.store.machines() if state == -2 or (it.state == state if state >= 0 else it.state != 6)]
    chosen = page(visible(call.oned.store, call, there, flag), start, end)
    return pool("VM_POOL", [body(it) for it in chosen])


def _common(kind: str) -> None:
    cls = KINDS[kind]

    @method(f"one.{kind}.info", "i|b")
    def info(call: Call, oid: int, _extended: bool = False) -> str:
        return xml(got(call, kind, oid, USE, locks=False), call.oned.store, modern=call.oned.modern)

    @method(f"one.{kind}.update", "isi")
    def update(call: Call, oid: int, text: str, how: int) -> int:
        """0 in place of all, 1 in place of those named."""
        thing = got(call, kind, oid, MANAGE)
        if how not in (0, 1):
            raise Failure(API, "Wrong update type")
        before = "Cannot update template. "
        wanted = parsed(text, single=cls.single, before=before)
        template = thing.user_template if isinstance(thing, Machine) else thing.template
        if not call.admin and (name := changed(kind, template, wanted, merged=how == 1)):
            raise Failure(INTERNAL, f"{before}Tried to change restricted attribute: {name}")
        if how == 0:
            template.items = wanted.items
        else:
            template.merge(wanted)
        return touched(call, thing)

    @method(f"one.{kind}.rename", "is")
    def rename(call: Call, oid: int, name: str) -> int:
        if call.oned.store.thing(kind, oid).name == name:
            return oid
        thing = got(call, kind, oid, MANAGE if kind in OWNED else ADMIN)
        other = call.oned.store.named(kind, name, thing.uid if cls.shared_name else None)
        if other is not None and other.id != oid and kind not in ("vm", "document"):
            raise Failure(ACTION, f"{cls.said} cannot be renamed to {name} because it collides with {cls.said} {other.id}")
        if wrong := names.invalid(name, modern=call.oned.modern):
            raise Failure(ACTION, wrong)
        thing.name = name
        return touched(call, thing)


def _chmod(kind: str) -> None:
    @method(f"one.{kind}.chmod", "i" + "i" * 9 + ("|b" if kind == "template" else ""))
    def chmod(call: Call, oid: int, *given: Any) -> int:
        """-1 leaves a right as it is. Rights to administrate are an administrator's to give."""
        thing = call.oned.store.thing(kind, oid)
        new = [old if right == -1 else right for old, right in zip(thing.rights, given[:9], strict=True)]
        administrates = any(new[place] != thing.rights[place] for place in (2, 5, 8))
        require(call.oned.store, call.user, on(ADMIN if administrates else MANAGE, thing))
        if any(right not in (-1, 0, 1) for right in given[:9]):
            raise Failure(INTERNAL, "New permission values must be -1, 0 or 1")
        if given[9:] and given[9]:
            for disk in thing.template.groups("DISK"):
                image = _image_of(call, disk)
                if image is not None and (call.admin or allowed(call.oned.store, call.user, on(MANAGE, image))):
                    image.rights = [old if right == -1 else right for old, right in zip(image.rights, given[:9], strict=True)]
                    touched(call, image)
        thing.rights = new
        return touched(call, thing)


def _chown(kind: str) -> None:
    cls = KINDS[kind]

    @method(f"one.{kind}.chown", "iii")
    def chown(call: Call, oid: int, uid: int, gid: int) -> int:
        store = call.oned.store
        user = store.user(uid) if uid >= 0 else None
        group = store.group(gid) if gid >= 0 else None
        thing = store.thing(kind, oid)
        wishes = [on(MANAGE, thing)]
        if user is not None and user.id != thing.uid:
            wishes.append(on(MANAGE, user))
        if group is not None and group.id != thing.gid:
            wishes.append(on(USE, group))
        require(store, call.user, *wishes)
        if user is not None and cls.shared_name and kind not in ("vm", "document"):
            other = store.named(kind, thing.name, user.id)
            if other is not None and other.id != oid:
                raise Failure(INTERNAL, f"user [{user.id}] already owns {cls.said} [{other.id}] with NAME {thing.name}")
        if user is not None:
            thing.uid, thing.uname = user.id, user.name
        if group is not None:
            thing.gid, thing.gname = group.id, group.name
        return touched(call, thing)


def _locks(kind: str) -> None:
    @method(f"one.{kind}.lock", "ii|b")
    def lock(call: Call, oid: int, level: int, test: bool = False) -> int:
        thing = got(call, kind, oid, MANAGE, locks=False)
        if not 1 <= level <= 4:
            raise Failure(ACTION, "Wrong lock level specified")
        if test and thing.lock:
            raise Failure(ACTION, str(thing.lock[2]))
        if thing.lock and thing.lock[1] != call.user.id and not call.admin:
            raise Failure(ACTION, "Error trying to lock the resource.")
        thing.lock = [1 if level == 4 else level, call.user.id, call.oned.now(), call.number]
        return touched(call, thing)

    @method(f"one.{kind}.unlock", "i")
    def unlock(call: Call, oid: int) -> int:
        thing = got(call, kind, oid, MANAGE, locks=False)
        if not call.admin and (thing.lock or [0, -1])[1] != call.user.id:
            raise Failure(ACTION, "Cannot unlock: Lock is owned by another user")
        thing.lock = None
        return touched(call, thing)


def _image_of(call: Call, disk: dict[str, str]) -> Thing | None:
    oid = whole(disk.get("IMAGE_ID", ""))
    return call.oned.store.image(oid) if call.oned.store.has("image", oid) else None


for _kind in (*OWNED, "host", "cluster"):
    _common(_kind)
for _kind in OWNED:
    _chmod(_kind)
    _chown(_kind)
    if _kind != "datastore":
        _locks(_kind)

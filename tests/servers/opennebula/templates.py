"""one.template.*: what virtual machines are made from."""

from __future__ import annotations

from . import names
from .disks import extended
from .failures import ACTION, INTERNAL, Failure, not_allocated
from .images import remove
from .machines import make
from .objects import LOCKED, VmTemplate
from .registry import Call, method
from .render import xml
from .restricted import restricted
from .rights import MANAGE, USE, create, denied, on, require
from .template import Template, whole
from .things import got, owned, parsed


@method("one.template.allocate", "s")
def allocate(call: Call, text: str) -> int:
    template = parsed(text, single=False)
    if not call.admin and (name := restricted("template", template)):
        raise denied(call.user, f"VM Template includes a restricted attribute {name}")
    require(call.oned.store, call.user, create("TEMPLATE"))
    return _add(call, template.take("NAME"), template, "")


def _add(call: Call, name: str, template: Template, before: str) -> int:
    store = call.oned.store
    if wrong := names.invalid(name, modern=call.oned.modern) or names.taken(store, "template", name, call.user.id):
        raise not_allocated(before, wrong) if before else Failure(INTERNAL, wrong)
    it = VmTemplate(store.next_id("template"), name, template=template, created=call.oned.now())
    owned(call, it)
    return store.add(it)


@method("one.template.info", "i|bb")
def info(call: Call, oid: int, full: bool = False, _decrypt: bool = False) -> str:
    """`full`: disks say what their images are."""
    it = got(call, "template", oid, USE, locks=False)
    if full:
        it = VmTemplate.from_json(it.as_json())
        it.template = it.template.copy()
        it.template.items = [
            (key, extended(call, value, number) or value if key == "DISK" and isinstance(value, dict) else value)
            for number, (key, value) in enumerate(it.template.items)
        ]
        for number, disk in enumerate(it.template.groups("DISK")):
            disk.update({"DISK_ID": str(number)} if "DISK_ID" in disk else {})
    return xml(it, call.oned.store, modern=call.oned.modern)


@method("one.template.clone", "is|b")
def clone(call: Call, oid: int, name: str, _images: bool = False) -> int:
    origin = got(call, "template", oid, USE)
    require(call.oned.store, call.user, create("TEMPLATE"))
    return _add(call, name, origin.template.copy(), "" if call.oned.modern else "virtual machine template")


@method("one.template.delete", "i|b")
def delete(call: Call, oid: int, images: bool = False) -> int:
    """With `images`, those of its disks too; one that is in use stays, and nothing is said."""
    store = call.oned.store
    it = got(call, "template", oid, MANAGE)
    for disk in it.template.groups("DISK") if images else ():
        number = whole(disk.get("IMAGE_ID", ""))
        if store.has("image", number):
            image = store.image(number)
            try:
                require(store, call.user, on(MANAGE, image))
                if image.state != LOCKED:
                    remove(call, image)
            except Failure:
                continue
    store.drop(it)
    return oid


@method("one.template.instantiate", "isb|sb")
def instantiate(call: Call, oid: int, name: str, hold: bool, extra: str = "", persistent: bool = False) -> int:
    if persistent:
        raise Failure(ACTION, "Copies of a template and its images for one virtual machine are not made here")
    it = got(call, "template", oid, USE)
    more = parsed(extra, single=False)
    if not call.admin and (bad := restricted("template", more)):
        raise denied(call.user, f"VM Template includes a restricted attribute {bad}")
    template = it.template.copy()
    template.merge(more)
    template.replace("TEMPLATE_ID", str(oid))
    template.erase("NAME")
    return make(call, template, name or f"{it.name}-%d", hold=hold, said="virtual machine template")

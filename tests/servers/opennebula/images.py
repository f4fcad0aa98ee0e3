"""one.image.*: registering, cloning, enabling, deleting."""

from __future__ import annotations

import re

from . import names
from .download import Refused
from .failures import ACTION, INTERNAL, Failure, not_allocated
from .objects import (
    CLONE,
    DELETE,
    DISABLED,
    ERROR,
    IMAGE_STATES,
    IMAGE_TYPES,
    INIT,
    LOCKED,
    LOCKED_USED,
    LOCKED_USED_PERS,
    READY,
    USED,
    USED_PERS,
    Datastore,
    Image,
)
from .quotas import check_image
from .registry import Call, method
from .restricted import restricted
from .rights import ADMIN, MANAGE, USE, create, denied, on, require
from .template import Template, whole
from .things import got, owned, parsed, touched

LOCKED_WORDS = "Image locked, use --force flag to remove the image. Force delete may leave some files on Datastore"
_FILES = ("KERNEL", "RAMDISK", "CONTEXT")


@method("one.image.allocate", "si|b")
def allocate(call: Call, text: str, datastore: int, unchecked: bool = False) -> int:
    oned = call.oned
    wanted = parsed(text)
    place = oned.store.datastore(datastore)
    if place.type == 1:
        raise not_allocated("image", "New images can only be allocated in a files or image datastore.")
    if oned.lies.take("no-space", method=call.method):
        raise Failure(ACTION, "Not enough space in datastore")
    if oned.lies.take("empty-size", method=call.method):
        raise Failure(INTERNAL, "Cannot parse image SIZE: ")
    if oned.lies.take("bare-error", method=call.method):
        raise not_allocated("image", "")
    size = _size(call, place, wanted)
    if not unchecked and size > room(place):
        raise Failure(ACTION, "Not enough space in datastore")
    if not call.admin and (name := restricted("image", wanted)):
        raise denied(call.user, f"Template includes a restricted attribute {name}")
    require(oned.store, call.user, create("IMAGE"), on(USE, place))
    if not call.admin:
        check_image(oned.store, call.user, datastore, size)
    image = _made(call, place, wanted, size)
    _register(call, place, image)
    if not image.path and image.source:
        image.become(READY)
        oned.store.save(image)
    elif image.path:
        oned.drivers.copy(image.id)
    else:
        oned.drivers.make(image.id)
    return image.id


def room(place: Datastore) -> int:
    """MB that may still be stored, as the monitor and LIMIT_MB say."""
    limit = whole(place.template.get("LIMIT_MB"))
    return min(place.free, limit - place.used) if limit >= 0 else place.free


def _size(call: Call, place: Datastore, wanted: Template) -> int:
    """MB, from the driver or the template. Raises Failure 8192."""
    sort, path = wanted.get("TYPE"), wanted.get("PATH")
    before = "Cannot parse image SIZE: "
    if wanted.get("SOURCE") or (not path and sort.upper() not in ("CDROM", *_FILES)):
        if not re.fullmatch(r"\s*-?[0-9]{1,18}", wanted.get("SIZE")):
            raise Failure(INTERNAL, f"{before}Wrong number or missing SIZE attribute.")
        return int(wanted.get("SIZE"))
    if not path:
        raise Failure(INTERNAL, f"{before}Either PATH or SOURCE are required for {sort}")
    try:
        with call.oned.released():
            return call.oned.drivers.stat(place, path)
    except Refused as refused:
        raise Failure(INTERNAL, f"{before}{refused}") from refused


def _made(call: Call, place: Datastore, template: Template, size: int) -> Image:
    """The image of a template, not yet registered. Raises Failure 16384."""
    name, sort = template.take("NAME"), template.take("TYPE").upper() or "OS"
    if wrong := names.invalid(name, modern=call.oned.modern):
        raise not_allocated("image", wrong)
    if place.type == 0 and sort in _FILES:
        raise not_allocated("image", "IMAGES of type KERNEL, RAMDISK and CONTEXT cannot be registered in an IMAGE_DS datastore")
    if place.type == 2 and sort not in _FILES:
        raise not_allocated("image", "Only IMAGES of type KERNEL, RAMDISK and CONTEXT can be registered in a FILE_DS datastore")
    if wrong := names.taken(call.oned.store, "image", name, call.user.id):
        raise not_allocated("image", wrong)
    if sort not in IMAGE_TYPES:
        raise not_allocated("image", "Unknown type ")
    persistent = template.take("PERSISTENT").upper() == "YES"
    path, source, form, fs = (template.take(key) for key in ("PATH", "SOURCE", "FORMAT", "FS"))
    template.erase("SIZE")
    if path and source:
        raise not_allocated("image", "PATH and SOURCE cannot be both set.")
    if source and not form:
        raise not_allocated("image", "SOURCE needs FORMAT to be set.")
    if sort in _FILES:
        persistent = False
        template.erase("DEV_PREFIX")
    elif not template.get("DEV_PREFIX"):
        template.set("DEV_PREFIX", "hd" if sort == "CDROM" else "sd")
    if not (path or source):
        form = form or "raw"
    elif path:
        form = ""
    return Image(
        call.oned.store.next_id("image"),
        name,
        template=template,
        type=IMAGE_TYPES.index(sort),
        persistent=persistent,
        source=source,
        path=path,
        format=form,
        fs=fs,
        size=size,
    )


def _register(call: Call, place: Datastore, image: Image) -> None:
    owned(call, image)
    image.created = image.modified = call.oned.now()
    image.datastore = place.id
    call.oned.store.add(image)
    place.images.append(image.id)
    call.oned.store.save(place)


@method("one.image.clone", "is|i")
def clone(call: Call, oid: int, name: str, datastore: int = -1) -> int:
    oned = call.oned
    origin = oned.store.image(oid)
    if origin.type > 2:
        raise Failure(ACTION, "KERNEL, RAMDISK and CONTEXT cannot be cloned.")
    place = oned.store.datastore(origin.datastore if datastore == -1 else datastore)
    if place.type != 0:
        raise Failure(ACTION, "Clone only supported for IMAGE_DS Datastores")
    if place.ds_mad != oned.store.datastore(origin.datastore).ds_mad:
        raise Failure(ACTION, "Clone only supported to same DS_MAD Datastores")
    if origin.size > room(place):
        raise Failure(ACTION, "Not enough space in datastore")
    require(oned.store, call.user, create("IMAGE"), on(USE, origin), on(USE, place))
    if not call.admin:
        check_image(oned.store, call.user, place.id, origin.size)
    if wrong := names.invalid(name, modern=oned.modern) or names.taken(oned.store, "image", name, call.user.id):
        raise not_allocated("image", wrong)
    if origin.state not in (READY, USED, CLONE):
        raise not_allocated("image", f"Cannot clone image in state: {IMAGE_STATES[origin.state]}")
    copy = Image(oned.store.next_id("image"), name, template=origin.template.copy(), type=origin.type, persistent=origin.persistent)
    copy.path, copy.format, copy.size, copy.cloning = origin.source, origin.format, origin.size, origin.id
    _register(call, place, copy)
    origin.clones = sorted({*origin.clones, copy.id})
    if origin.state == READY:
        origin.become(CLONE if origin.persistent else USED)
    oned.store.save(origin)
    oned.drivers.clone(copy.id)
    return copy.id


@method("one.image.delete", "i|b")
def delete(call: Call, oid: int, force: bool = False) -> int:
    """An image that its driver works on goes only by force, which is an administrator's right."""
    image = call.oned.store.image(oid)
    locked = image.state in (LOCKED, LOCKED_USED, LOCKED_USED_PERS)
    if locked and not force:
        raise Failure(INTERNAL, LOCKED_WORDS, oid)
    require(call.oned.store, call.user, on(ADMIN if locked else MANAGE, image))
    if force:
        image.template.replace("FORCE_DELETE", "YES")
    remove(call, image)
    return oid


def remove(call: Call, image: Image) -> None:
    """Raises Failure 2048 where it is in use."""
    oned = call.oned
    before = "Cannot delete image. "
    if image.state == CLONE:
        raise Failure(ACTION, f"{before}There are {len(image.clones)} active clone operations.")
    if image.vms or image.state not in (INIT, READY, DISABLED, ERROR, DELETE, LOCKED):
        raise Failure(ACTION, f"{before}There are {len(image.vms)} VMs using it.")
    origin, image.cloning = image.cloning, -1
    if image.source:
        image.become(DELETE)
        oned.store.save(image)
        oned.drivers.remove(image.id)
    else:
        oned.drivers.forget(image)
    if origin != -1:
        oned.drivers.cloned(origin, image.id)


@method("one.image.enable", "ib")
def enable(call: Call, oid: int, wanted: bool) -> int:
    image = got(call, "image", oid, MANAGE)
    if image.state not in (READY, DISABLED, ERROR):
        raise Failure(INTERNAL, f"Could not {'enable' if wanted else 'disable'} image: Image cannot be in state {IMAGE_STATES[image.state]}.")
    # an image in ERROR becomes READY whatever it lacks
    state = READY if wanted else DISABLED
    if image.state != state:
        image.become(state)
        touched(call, image)
    return oid


@method("one.image.persistent", "ib")
def persistent(call: Call, oid: int, wanted: bool) -> int:
    image = got(call, "image", oid, MANAGE)
    if image.persistent == wanted:
        return oid
    if image.type > 2:
        raise Failure(ACTION, "KERNEL, RAMDISK and CONTEXT must be non-persistent")
    if image.state in (USED, CLONE, USED_PERS):
        how = "persistent" if wanted else "non-persistent"
        raise Failure(INTERNAL, f"Could not make image {how}: Image cannot be in state {IMAGE_STATES[image.state]}.")
    image.persistent = wanted
    return touched(call, image)


@method("one.image.chtype", "is")
def chtype(call: Call, oid: int, sort: str) -> int:
    image = got(call, "image", oid, MANAGE)
    files = image.type > 2
    if sort.upper() in IMAGE_TYPES and (sort.upper() in _FILES) != files:
        raise Failure(ACTION, "Cannot change image type to an incompatible type for the current datastore.")
    if sort.upper() not in IMAGE_TYPES:
        # the first letter is missing in oned too
        raise Failure(INTERNAL, "nknown type ")
    image.type = IMAGE_TYPES.index(sort.upper())
    return touched(call, image)

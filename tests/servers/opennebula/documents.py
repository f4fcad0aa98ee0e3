"""one.document.*: texts that services such as OneFlow keep."""

from __future__ import annotations

from . import names
from .failures import INTERNAL, Failure
from .objects import DocumentObject
from .registry import Call, method
from .rights import MANAGE, create, require
from .things import got, owned, parsed


@method("one.document.allocate", "si")
def allocate(call: Call, text: str, sort: int) -> int:
    store = call.oned.store
    template = parsed(text)
    require(store, call.user, create("DOCUMENT"))
    name = template.take("NAME")
    if wrong := names.invalid(name, modern=call.oned.modern):
        raise Failure(INTERNAL, wrong)
    it = DocumentObject(store.next_id("document"), name, template=template, type=sort)
    owned(call, it)
    return store.add(it)


@method("one.document.delete", "i")
def delete(call: Call, oid: int) -> int:
    call.oned.store.drop(got(call, "document", oid, MANAGE))
    return oid

"""one.system.*."""

from __future__ import annotations

from .registry import Call, method
from .render import element
from .template import cdata


@method("one.system.version")
def version(call: Call) -> str:
    return call.oned.version


@method("one.system.config")
def config(call: Call) -> str:
    """The beginning of what oned tells."""
    drivers = element("AUTHN", cdata("plain,server_cipher")) + element("EXECUTABLE", cdata("one_auth_mad"))
    timeout = element("ACTION_TIMEOUT", cdata(300)) if call.oned.modern else ""
    order = element("API_LIST_ORDER", cdata("DESC"))
    return element("OPENNEBULA_CONFIGURATION", timeout, order, element("AUTH_MAD", drivers), element("DATASTORE_CAPACITY_CHECK", cdata("YES")))

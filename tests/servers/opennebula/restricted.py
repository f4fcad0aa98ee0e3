"""Attributes that only administrators may set, as a new OpenNebula has them."""

from __future__ import annotations

from .template import Template

_IMAGE = ("SOURCE",)
_VM = [
    "CONTEXT/FILES",
    "NIC/INBOUND_AVG_BW",
    "NIC/INBOUND_PEAK_BW",
    "NIC/INBOUND_PEAK_KB",
    "NIC/OUTBOUND_AVG_BW",
    "NIC/OUTBOUND_PEAK_BW",
    "NIC/OUTBOUND_PEAK_KB",
    "NIC/OVERRIDE",
    "NIC/BRIDGE",
    "NIC/FILTER",
    "NIC/NETWORK_MODE",
    "NIC/VLAN_ID",
    "NIC/MAC",
    "NIC_DEFAULT/MAC",
    "NIC_DEFAULT/VLAN_ID",
    "DISK/TOTAL_BYTES_SEC",
    "DISK/READ_BYTES_SEC",
    "DISK/WRITE_BYTES_SEC",
    "DISK/TOTAL_IOPS_SEC",
    "DISK/READ_IOPS_SEC",
    "DISK/WRITE_IOPS_SEC",
    "DISK/OPENNEBULA_MANAGED",
    "DISK/SOURCE",
    "DISK/SIZE_PREV",
    "DISK/ORIGINAL_SIZE",
    "CPU_COST",
    "MEMORY_COST",
    "DISK_COST",
    "PCI",
    "EMULATOR",
    "RAW",
    "USER_PRIORITY",
]


def restricted(kind: str, template: Template) -> str:
    """The first restricted attribute in it, as oned names it; "" where there is none."""
    return next(iter(_said(kind, template)), ("", ""))[0]


def changed(kind: str, old: Template, new: Template, *, merged: bool) -> str:
    """The first restricted attribute that `new` would change; "" where it would change none."""
    before, after = _said(kind, old), _said(kind, new)
    gone = [] if merged else [one for one in before if one not in after]
    return next(iter([one for one in after if one not in before] + gone), ("", ""))[0]


def _said(kind: str, template: Template) -> list[tuple[str, str]]:
    """Restricted attributes, as oned names them, with their values."""
    found = []
    for path in {"image": _IMAGE, "template": _VM, "vm": _VM}.get(kind, ()):
        name, slash, inner = path.partition("/")
        if slash:
            found += [(inner, group[inner]) for group in template.groups(name) if inner in group]
        else:
            found += [(name, str(value)) for key, value in template.items if key == name]
    return found

"""The size of a server: the flavour that is named, or the smallest that holds what is wanted."""

from __future__ import annotations

from typing import Any

from vmkeeper.clouds.interface import MachineSpec
from vmkeeper.clouds.openstack.session import Service
from vmkeeper.errors import Transient, UserError

_GIB, _MIB = 2**30, 2**20


def fitting(compute: Service, spec: MachineSpec, min_disk: int, min_ram: int) -> str:
    """ID of a flavour. min_disk: GiB, min_ram: MiB, as the image says. Raises UserError where none is called so or none fits.

    A flavour without a disk takes the image's own size; many clouds forbid such servers, so those come last.
    """
    flavours = _all(compute)
    if spec.flavour is not None:
        for one in flavours:
            if spec.flavour in (one["name"], one["id"]):
                return str(one["id"])
        raise UserError(f"the cloud has no flavour {spec.flavour}", where=spec.name, hint=f"one of {', '.join(sorted(f['name'] for f in flavours))}")
    memory, disk = max(-(-int(spec.memory) // _MIB), min_ram), max(-(-int(spec.disk or 0) // _GIB), min_disk)
    fits = [one for one in flavours if one["vcpus"] >= spec.cpus and one["ram"] >= memory and (one["disk"] >= disk or not one["disk"])]
    if not fits:
        why = f"it needs {spec.cpus} CPUs, {memory} MiB of memory and {disk} GiB of disk"
        raise UserError("no flavour of the cloud is large enough", where=spec.name, why=why, hint="ask for less, or name a flavour")
    best = min(fits, key=lambda one: (not one["disk"], one["ram"], one["vcpus"], one["disk"], one["name"]))
    return str(best["id"])


def _all(compute: Service) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    params: dict[str, str | int] = {"limit": 1000}
    while True:
        body = compute.get("/flavors/detail", doing="list flavours", params=params)
        page = body.get("flavors")
        sound = isinstance(page, list) and all(
            isinstance(one, dict)
            and {"id", "name", "vcpus", "ram", "disk"} <= set(one)
            and all(isinstance(one[n], int) for n in ("vcpus", "ram", "disk"))
            for one in page
        )
        if not isinstance(page, list) or not sound:
            raise Transient("could not list flavours", why="the answer makes no sense")
        found += page
        if not body.get("flavors_links") or not page:
            return found
        params = {**params, "marker": page[-1]["id"]}

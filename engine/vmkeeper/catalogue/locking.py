"""What an appliance's packages.lock must answer: the request that `refresh` resolves and `check` compares."""

from __future__ import annotations

from collections.abc import Mapping

from vmkeeper.builders.debian.lock import lock_inputs
from vmkeeper.builders.interface import LockRequest
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.inherit import Origin
from vmkeeper.catalogue.recipe import foundations
from vmkeeper.errors import Place, Problem, Problems
from vmkeeper.model.appliance import Archive
from vmkeeper.model.lock import PackagesLock
from vmkeeper.values import Sha256, sha256_hex

NO_LOCKS: Mapping[str, PackagesLock] = {}


def lock_request(catalogue: Catalogue, name: str, fresh: Mapping[str, PackagesLock] = NO_LOCKS) -> LockRequest | None:
    """The request for one appliance; None where it adds no packages to its parent's, so that it needs no lock.

    fresh: locks just resolved for appliances below it, which count instead of the committed ones.
    Raises Problems.
    """
    founded, problems = foundations(catalogue.members(name))
    if problems:
        raise Problems(problems)
    last = founded[-1]
    whole = last.resolved.appliance
    requested = whole.packages if len(last.members) > 1 else last.members[0].appliance.packages
    if len(founded) > 1 and not requested:
        return None
    below = [fresh.get(f.members[-1].name) or f.members[-1].lock for f in founded[:-1]]
    assert whole.architecture is not None
    return LockRequest(
        appliance=name,
        architecture=whole.architecture,
        archives=whole.distribution.archives,
        requested=requested,
        keyrings=_keyrings(catalogue, last.resolved.origins, whole.distribution.archives),
        below=tuple(lock for lock in below if lock is not None),
    )


def request_inputs(request: LockRequest) -> Sha256:
    """What the lock that answers a request says in `inputs`."""
    keyrings = {name: sha256_hex(data) for name, data in request.keyrings.items()}
    return lock_inputs(
        architecture=request.architecture, archives=request.archives, requested=request.requested, keyrings=keyrings, below=request.below
    )


def _keyrings(catalogue: Catalogue, origins: Mapping[str, Origin], archives: tuple[Archive, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for index, archive in enumerate(archives):
        if archive.keyring is None:
            continue
        origin = origins[f"distribution.archives[{index}]"]
        path = f"appliances/{origin.appliance}/{archive.keyring}"
        data = catalogue.snapshot.read(path)
        if data is None:
            place = Place(f"appliances/{origin.appliance}/appliance.yaml", field=origin.field)
            raise Problems([Problem(place, f"there is no keyring {path}", "add the file, or leave keyring out for Debian's own")])
        found[archive.name] = data
    return found

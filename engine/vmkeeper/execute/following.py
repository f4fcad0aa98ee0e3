"""Where a site's view of the followed repository comes from: its source over the network, a carried bundle, or a clone that is kept elsewhere.

The mirror in the site's folder is only ever written by a fetch that ended well, and a repository in which two readers
could see different things is not opened (R24, R32).
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path

from vmkeeper.errors import Problem, Refused, UserError
from vmkeeper.execute.bundle import open_bundle
from vmkeeper.images.addresses import Resolver, UrlPolicy, resolved
from vmkeeper.progress import Progress, Silent
from vmkeeper.repository.fetch import fetch
from vmkeeper.repository.gitprogram import FetchLimits
from vmkeeper.repository.oddities import oddities
from vmkeeper.repository.tree import Repository

MIRROR = "repository.git"
"""The mirror's folder in a site's own folder."""

_LIMITS = FetchLimits()
_SILENT = Silent()


def follow(
    home: Path,
    directory: Path,
    *,
    source: str | None = None,
    bundle: Path | None = None,
    allowed_hosts: Collection[str] = (),
    limits: FetchLimits = _LIMITS,
    resolve: Resolver = resolved,
    progress: Progress = _SILENT,
) -> Repository:
    """The repository as it is now, ready to be judged.

    home: the site's own folder. With `source` (https, ssh, a local path; http for `allowed_hosts`) or `bundle` (a folder
    that `vmkeeper bundle` wrote) the mirror in it is brought up to date and opened. With neither, the repository that
    `directory` lies in is opened as it is. allowed_hosts: hosts, addresses and networks of the pins, which may be
    connected to although they are not public.

    Raises Refused (R24 address, limit or hostile objects; R27 the host's address; R32 what two readers read differently),
    Transient (the source cannot be reached now; `mirrored` gives the last good state), UserError.
    """
    if source is not None and bundle is not None:
        raise UserError("a source and a bundle are named both", hint="follow the repository over the network, or take the bundle")
    mirror = home / MIRROR
    if source is not None:
        addresses = partial(UrlPolicy(allowed_hosts).addresses, resolve=resolve)
        fetch(source, mirror, addresses=addresses, allowed_hosts=allowed_hosts, limits=limits, progress=progress)
    elif bundle is not None:
        open_bundle(bundle, mirror, limits=limits, progress=progress)
    else:
        return opened(directory)
    return mirrored(home)


def mirrored(home: Path) -> Repository:
    """The mirror as the last good fetch left it. Raises UserError where there was none, Refused where others wrote in it."""
    mirror = home / MIRROR
    if not (mirror / "packed-refs").exists():
        raise UserError("no repository was fetched yet", where=str(mirror), hint="name its source, a bundle, or a clone with -C")
    _refuse(oddities(mirror, ours=True), mirror)
    return Repository.open(mirror)


def opened(directory: Path) -> Repository:
    """The repository that a directory lies in, unless two readers could see different things in it. Raises Refused, UserError."""
    repository = Repository.open(directory)
    _refuse(oddities(repository.folder), repository.folder)
    return repository


def _refuse(found: tuple[Problem, ...], folder: Path) -> None:
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise Refused("R32", f"{found[0].what}{more}", where=f"{folder}/{found[0].place}".rstrip("/"), hint=found[0].hint)

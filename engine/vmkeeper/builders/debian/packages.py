"""Locked packages: out of the store, else from their archive, else from Debian's snapshot archive; always by SHA-256.

No network is touched where the store has them all.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import httpx
from debian.debfile import DebFile

from vmkeeper.errors import Place, Problem, Problems, Refused, Transient, VmkeeperError
from vmkeeper.images.store import Store
from vmkeeper.model.appliance import Archive
from vmkeeper.model.lock import LockedPackage
from vmkeeper.model.recipe import Layer
from vmkeeper.progress import Progress
from vmkeeper.run import program, run

SNAPSHOT = "http://snapshot.debian.org/archive"
"""Debian's archive of all that its mirrors ever had, by the time of day: ARCHIVE/TIMESTAMP/PATH."""

_CONNECTIONS = 8
_CHUNK = 1 << 18
_ATTEMPTS = 3
_PULSE = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class _Gone:
    """No address has the package."""

    package: LockedPackage


def fetch_packages(layer: Layer, store: Store, folder: Path, progress: Progress) -> tuple[Path, ...]:
    """Have every package of a layer in the store and, as `NAME_VERSION_ARCHITECTURE.deb`, in `folder`.

    Returns their paths in the order of the layer. Raises Problems naming all packages that are gone, Refused
    (R14) for other bytes than the lock says, Transient where an archive does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {
        package.sha256: folder / f"{package.name}_{package.version.replace(':', '%3a')}_{package.architecture}.deb" for package in layer.packages
    }
    missing = [package for package in layer.packages if not _take_out(package, store, paths[package.sha256])]
    if missing:
        _download(layer, missing, paths, store, progress)
    return tuple(paths[package.sha256] for package in layer.packages)


def control_file(path: Path) -> bytes:
    """The control file of a .deb."""
    with DebFile(str(path)) as deb:
        return deb.control.get_content("control") or b""


def snapshot_address(archive: Archive, path: str, date: datetime) -> str | None:
    """Where snapshot.debian.org keeps a file of one of Debian's archives; None for other archives.

    The mirror pulse after `date` (four a day) is the first that surely has the files of that Release.
    """
    match = re.search(r"/(debian|debian-security|debian-ports|debian-debug)/?$", archive.uri)
    return f"{SNAPSHOT}/{match[1]}/{(date + _PULSE).strftime('%Y%m%dT%H%M%SZ')}/{path}" if match else None


def _take_out(package: LockedPackage, store: Store, target: Path) -> bool:
    """Link or copy a package out of the store, checked; False where the store does not have it."""
    record = store.alias("deb", package.sha256)
    if record is None or not store.has(record["sha512"]):
        return False
    path = store.local_path(record["sha512"])
    if path is None:
        store.fetch(record["sha512"], target)
    else:
        _link(path, target)
    if _sha256(target) != package.sha256:
        store.verify(record["sha512"])
        raise Refused(
            "R14",
            f"the store's record of package {package.name} names another file",
            where=store.name,
            hint=f"remove alias/deb/{package.sha256[:2]}/{package.sha256}.json",
        )
    return True


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(layer: Layer, missing: list[LockedPackage], paths: Mapping[str, Path], store: Store, progress: Progress) -> None:
    counter = _Counter(layer.appliance, sum(package.size for package in missing), progress)
    archives = {archive.name: archive for archive in layer.archives}

    def one(package: LockedPackage) -> _Gone | VmkeeperError | None:
        addresses = _addresses(archives[package.archive], package, layer.date)
        try:
            if not any(_fetch(client, address, package, paths[package.sha256], counter) for address in addresses):
                return _Gone(package)
        except VmkeeperError as error:
            return error
        _keep(package, paths[package.sha256], store)
        return None

    progress.step(layer.appliance, f"downloading {len(missing)} packages")
    limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
    with (
        httpx.Client(limits=limits, timeout=httpx.Timeout(30, pool=None), follow_redirects=True, mounts=_proxies()) as client,
        ThreadPoolExecutor(_CONNECTIONS) as pool,
    ):
        # The largest first, so that none of them is left alone at the end.
        outcomes = list(pool.map(one, sorted(missing, key=lambda package: -package.size)))
    _raise(layer, outcomes)


def _raise(layer: Layer, outcomes: Iterable[_Gone | VmkeeperError | None]) -> None:
    """Report the worst outcome: refused bytes, then packages that are gone, then what may pass."""
    outcomes = tuple(outcomes)
    gone = [outcome.package for outcome in outcomes if isinstance(outcome, _Gone)]
    errors = [outcome for outcome in outcomes if isinstance(outcome, VmkeeperError)]
    for error in errors:
        if not isinstance(error, Transient):
            raise error
    if gone:
        place = Place(file=f"appliances/{layer.appliance}/packages.lock")
        hint = f"run vmkeeper refresh {layer.appliance}"
        raise Problems(Problem(place, f"{package.name} {package.version} is in no archive any more, nor in the store", hint) for package in gone)
    for error in errors:
        raise error


def _addresses(archive: Archive, package: LockedPackage, date: datetime) -> list[str]:
    addresses = [f"{archive.uri.rstrip('/')}/{package.path}"]
    if snapshot := snapshot_address(archive, package.path, date):
        addresses.append(snapshot)
    return addresses


def _fetch(client: httpx.Client, address: str, package: LockedPackage, target: Path, counter: _Counter) -> bool:
    """Download one package to `target`; False where this address does not have it (or is a fallback that is out of reach)."""
    for attempt in range(1, _ATTEMPTS + 1):
        taken = 0
        try:
            with client.stream("GET", address) as response:
                if response.status_code in (403, 404, 410, 451):
                    return False
                response.raise_for_status()
                digest = hashlib.sha256()
                with target.open("wb") as file:
                    for chunk in response.iter_raw(_CHUNK):
                        taken += len(chunk)
                        counter.add(len(chunk))
                        if taken > package.size:
                            break
                        digest.update(chunk)
                        file.write(chunk)
            if taken >= package.size:
                if digest.hexdigest() != package.sha256 or taken > package.size:
                    target.unlink()
                    raise Refused(
                        "R14", f"other bytes than packages.lock says for {package.name}", where=address, hint="another mirror may have the right ones"
                    )
                return True
            why = f"{taken} of {package.size} bytes came"
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
        counter.add(-taken)
        if attempt < _ATTEMPTS:
            time.sleep(attempt)
    if address.startswith(SNAPSHOT):
        return False
    raise Transient(
        f"package {package.name} could not be downloaded", where=address, why=why, hint="try again; behind a proxy, set it in apt.conf or http_proxy"
    )


def _keep(package: LockedPackage, path: Path, store: Store) -> None:
    """Put a verified download into the store and leave a link to it at `path`."""
    blob = store.put(path)
    store.set_alias("deb", package.sha256, {"sha512": blob.sha512, "size": int(blob.size)})
    kept = store.local_path(blob.sha512)
    if kept is not None and kept.stat().st_dev == path.parent.stat().st_dev:
        _link(kept, path)


def _proxies() -> dict[str, httpx.BaseTransport] | None:
    """The proxies of the host's apt configuration, where it has any (environment variables count without it)."""
    with suppress(VmkeeperError):
        said = run([program("apt-config", package="apt"), "shell", "http", "Acquire::http::Proxy", "https", "Acquire::https::Proxy"]).text
        found = {scheme: proxy for scheme, proxy in re.findall(r"(?m)^(https?)='([^']+)'", said) if proxy != "DIRECT"}
        return {f"{scheme}://": httpx.HTTPTransport(proxy=proxy) for scheme, proxy in found.items()} or None
    return None


class _Counter:
    """Adds up bytes of several threads and tells the sum a few times a second."""

    def __init__(self, subject: str, total: int, progress: Progress) -> None:
        self._subject, self._total, self._progress = subject, total, progress
        self._done, self._told = 0, 0.0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            if (now := time.monotonic()) - self._told > 0.3:
                self._told = now
                self._progress.amount(self._subject, self._done, self._total, "B")

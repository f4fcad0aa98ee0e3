"""From a supply to a file in the format that a cloud takes: from the cache, by a patch, compressed, or whole.

Whatever way bytes come, they count once they have the size and SHA-512 that were signed for; a way that fails is told and
the next one is taken. Nothing is fetched twice or converted twice that is still there.
"""

from __future__ import annotations

import ssl
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from vmkeeper.clouds.interface import ImageSpec
from vmkeeper.errors import Refused, VmkeeperError
from vmkeeper.images import patch as patches
from vmkeeper.images.addresses import public
from vmkeeper.images.arriving import Arriving
from vmkeeper.images.cache import Converted, ImageCache
from vmkeeper.images.early import EarlyConversion
from vmkeeper.images.fetch import Patience, fetch
from vmkeeper.images.prepare import Prepared, prepared
from vmkeeper.images.sniff import MAX_VIRTUAL
from vmkeeper.images.web import Credentials
from vmkeeper.model.release import Blob
from vmkeeper.model.site import Transfers
from vmkeeper.plan.imageactions import RegisterImage
from vmkeeper.plan.supply import SuppliedFile, SuppliedPatch
from vmkeeper.progress import Progress, Silent
from vmkeeper.values import Name, Size

Carried = Callable[[str], Path | None]
"""A file that was brought here on a disk, by the SHA-512 that it should have."""
Shown = Callable[[Name, str], Credentials | None]
"""What is shown to the server of an address, by the credentials' name; None: nothing."""


@dataclass(frozen=True, slots=True)
class Brought:
    """A file that can be uploaded, and the image's spec with what is true of that file."""

    file: Path
    spec: ImageSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What transfers may use. allow: see UrlPolicy; credentials: what may be shown to whom."""

    settings: Transfers = field(default_factory=Transfers)
    allow: Collection[str] = ()
    credentials: Shown = lambda _name, _url: None
    carried: Carried = lambda _sha512: None
    patience: Patience = field(default_factory=Patience)
    tls: ssl.SSLContext | None = None


class Transfer:
    """Brings images into a cache. Called from several threads at once."""

    def __init__(self, cache: ImageCache, means: Means, progress: Progress | None = None) -> None:
        self._cache = cache
        self._means = means
        self._progress = progress or Silent()
        self._turns = _Turns(means.settings)
        self._lock = threading.Lock()
        self._images: dict[str, threading.Lock] = defaultdict(threading.Lock)

    @contextmanager
    def __call__(self, action: RegisterImage) -> Iterator[Brought]:
        """The file to upload, verified (R14, R25, R26) and in the format that is wanted, for as long as the context lasts.

        A file that the context finds to be another one is not kept. Raises Refused, Transient, UserError.
        """
        one = _One(action, self._cache, self._means, self._turns, _Named(self._progress, action.subject))
        signed = action.spec.signed.sha512
        with self._lock:
            mine = self._images[signed]
        bases = [patch.base_sha512 for patch in action.supply.patches]
        with ExitStack() as kept:
            kept.enter_context(self._cache.using(signed, *bases))
            with mine:
                brought = one.brought(kept)
            try:
                yield brought
            except Refused:
                self._cache.drop(brought.spec.sha512)
                raise


@dataclass(frozen=True, slots=True)
class _One:
    """One image on its way."""

    action: RegisterImage
    cache: ImageCache
    means: Means
    turns: _Turns
    progress: Progress

    @property
    def wanted(self) -> Blob:
        """The signed file."""
        signed = self.action.spec.signed
        return Blob(size=signed.size, sha512=signed.sha512)

    def brought(self, kept: ExitStack) -> Brought:
        """From what is here already, or from the signed file; the cache keeps it until `kept` is left."""
        spec, form = self.action.spec, self.action.store_as
        made = self.cache.converted(self.wanted.sha512, form) if form else None
        if made is not None:
            kept.enter_context(self.cache.using(made.sha512))
        if made is not None and (path := self.cache.path(made.sha512)) is not None:
            self._check(made.virtual_size)
            self.progress.step(self.action.subject, f"converted to {form} before")
            return Brought(path, _with(spec, made))
        most = max(self.action.supply.max_virtual or spec.virtual_size or MAX_VIRTUAL, spec.virtual_size)
        with self._early(most) as early:
            file = self.signed_file(early)
            with prepared(
                file,
                self.wanted,
                self.cache.incoming,
                declared=spec.signed.format,
                wanted=form,
                max_virtual=most,
                title=spec.name,
                subject=self.action.subject,
                progress=self.progress,
                early=early,
            ) as result:
                self._check(result.virtual_size)
                kept.enter_context(self.cache.using(result.sha512))
                return self._kept(result, file)

    @contextmanager
    def _early(self, most: int) -> Iterator[EarlyConversion | None]:
        """A conversion that begins as soon as the first bytes are here, where that can be."""
        form, declared = self.action.store_as, self.action.spec.signed.format
        if form is None or form == "ova" or not self.means.settings.convert_early or not EarlyConversion.serves(self.wanted, declared):
            yield None
            return
        with EarlyConversion(self.wanted, declared, form, self.cache.incoming, max_virtual=most) as early:
            yield early

    def _kept(self, result: Prepared, file: Path) -> Brought:
        spec, form = self.action.spec, self.action.store_as
        made = Converted(format=result.format, size=result.size, sha512=result.sha512, virtual_size=result.virtual_size)
        if result.itself:
            return Brought(file, _with(spec, made))
        path = self.cache.keep(result.path, result.blob)
        if form is not None:
            self.cache.remember(self.wanted.sha512, form, made)
        return Brought(path, _with(spec, made))

    def _check(self, virtual_size: Size) -> None:
        """What was signed for, where it was; else the caps hold."""
        expected = self.action.spec.virtual_size
        if expected and virtual_size != expected:
            why = f"a guest would see {virtual_size}, and {expected} were signed for"
            raise Refused("R14", "the image is not what was endorsed", where=self.action.subject, why=why)

    # -- the signed file

    def signed_file(self, early: EarlyConversion | None = None) -> Path:
        """The signed file in the cache, from wherever it can be had with the fewest bytes; `early` is told how far a whole one is."""
        if (here := self.cache.sound(self.wanted)) is not None:
            self.progress.step(self.action.subject, "it is in the cache")
            return here
        target = self.cache.incoming / self.wanted.sha512
        self.cache.make_room(self.wanted.size)
        try:
            if not self._carried(target) and not any(way() for way in self._short_ways(target)):
                self._fetch(self.action.supply.uri, self.wanted, target, "the image", early.arriving if early else None)
            return self.cache.keep(target, self.wanted)
        finally:
            target.unlink(missing_ok=True)

    def _carried(self, target: Path) -> bool:
        here = self.means.carried(self.wanted.sha512)
        if here is None:
            return False
        try:
            fetch([here.as_uri()], self.wanted, target, allow=(str(here.parent),), progress=self.progress, durable=False)
        except VmkeeperError as error:
            self._fell_back("what was brought here on a disk", error)
            return False
        return True

    def _short_ways(self, target: Path) -> list[Callable[[], bool]]:
        """Patches that would apply here, and the compressed file, those with the fewest bytes first; each says whether it served."""
        supply, settings = self.action.supply, self.means.settings
        ways: list[tuple[int, Callable[[], bool]]] = [
            (offered.size, partial(self._patched, offered, base, target))
            for offered in (supply.patches if settings.patches else ())
            if offered.memory <= settings.patch_memory and (base := self.cache.path(offered.base_sha512)) is not None
        ]
        if supply.compressed is not None:
            ways.append((supply.compressed.size, partial(self._expanded, supply.compressed, target)))
        return [way for size, way in sorted(ways, key=lambda one: one[0]) if size < self.wanted.size]

    def _patched(self, offered: SuppliedPatch, base: Path, target: Path) -> bool:
        with self._small(offered, f"a patch of {Size(offered.size).human}") as file:
            if file is None:
                return False
            try:
                patches.apply(base, file, target, self.wanted, memory=self.means.settings.patch_memory)
            except VmkeeperError as error:
                self._fell_back("the patch", error)
                self.cache.sound(Blob(size=offered.base_size, sha512=offered.base_sha512))
                return False
        self.progress.step(self.action.subject, f"made of a patch of {Size(offered.size).human}, verified")
        return True

    def _expanded(self, offered: SuppliedFile, target: Path) -> bool:
        with self._small(offered, f"{Size(offered.size).human}, compressed") as file:
            if file is None:
                return False
            try:
                patches.expand(file, target, self.wanted)
            except VmkeeperError as error:
                self._fell_back("the compressed file", error)
                return False
        return True

    @contextmanager
    def _small(self, offered: SuppliedFile, what: str) -> Iterator[Path | None]:
        """A file that is needed for a moment; None where it cannot be had."""
        path = self.cache.incoming / offered.sha512
        try:
            self._fetch(offered.uri, Blob(size=offered.size, sha512=offered.sha512), path, what)
        except VmkeeperError as error:
            self._fell_back(what, error)
            yield None
            return
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _fetch(self, url: str, wanted: Blob, target: Path, what: str, arriving: Arriving | None = None) -> None:
        name = self.action.supply.credentials
        with self.turns.turn(url):
            shown = self.means.credentials(name, url) if name else None
            self.progress.step(self.action.subject, f"fetching {what} from {public(url)}")
            fetch(
                [url],
                wanted,
                target,
                allow=self.means.allow,
                patience=self.means.patience,
                tls=self.means.tls,
                credentials=shown,
                progress=self.progress,
                arriving=arriving,
                durable=False,
            )

    def _fell_back(self, what: str, error: VmkeeperError) -> None:
        self.progress.step(self.action.subject, f"{what} did not serve: {error}")


def wanted_parts(action: RegisterImage) -> set[str]:
    """The digests of all files that may come for a registration: what is there of them is worth keeping."""
    supply = action.supply
    offered = [*supply.patches, *([supply.compressed] if supply.compressed else [])]
    return {action.spec.signed.sha512, *(one.sha512 for one in offered)}


class _Turns:
    """How many files come at once, in all and from one host."""

    def __init__(self, settings: Transfers) -> None:
        self._all = threading.BoundedSemaphore(settings.at_once)
        self._hosts = defaultdict[str, threading.BoundedSemaphore](lambda: threading.BoundedSemaphore(settings.from_one_host))
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, url: str) -> Iterator[None]:
        """Wait for a turn. The host's comes first, so that a crowded host does not take the turns of others."""
        with self._lock:
            one = self._hosts[urlsplit(public(url)).hostname or ""]
        with one, self._all:
            yield


class _Named:
    """Progress under the image's name, whatever the file that comes is called."""

    def __init__(self, progress: Progress, subject: str) -> None:
        self._progress = progress
        self._subject = subject

    def step(self, _subject: str, text: str, /) -> None:
        self._progress.step(self._subject, text)

    def amount(self, _subject: str, done: int, total: int, unit: str, /) -> None:
        self._progress.amount(self._subject, done, total, unit)


def _with(spec: ImageSpec, made: Converted) -> ImageSpec:
    """The spec with what is true of the file that was made."""
    return spec.model_copy(update={"format": made.format, "size": made.size, "virtual_size": made.virtual_size, "sha512": made.sha512})

"""Bring a followed repository into a bare mirror of ours: branches, all tags and refs/vmkeeper/*, exactly as its source has them.

Objects and refs come into a folder of their own first, are checked there, and only then become the mirror's, by renames of
which the last one counts. Nothing is checked out, no hook and no submodule is looked at (rules R24, R30).
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vmkeeper.errors import Refused, Transient, UserError, VmkeeperError
from vmkeeper.progress import Progress, Silent
from vmkeeper.repository.gitprogram import FetchLimits, Git, write_configuration
from vmkeeper.repository.oddities import oddities
from vmkeeper.repository.source import Source, parse_source
from vmkeeper.run import ProgramFailed
from vmkeeper.values import visible

Addresses = Callable[[str], Sequence[str]]
"""The addresses of a host, each one checked (R27)."""

_REFS = ("heads", "tags", "vmkeeper")
_INCOMING = "incoming-"
_LIMITS = FetchLimits()
_SILENT = Silent()
_PACKS = 40
_META_LIMIT = 16 << 20
"""Bytes of a commit, tag or tree; only files may be larger."""


def fetch(
    source: str,
    mirror: Path,
    *,
    addresses: Addresses,
    allowed_hosts: Collection[str] = (),
    limits: FetchLimits = _LIMITS,
    progress: Progress = _SILENT,
) -> None:
    """Make `mirror` what `source` is now; it is made when missing. What is gone at the source is gone here too.

    addresses: resolves a host of http and https and refuses addresses that are not allowed; git connects to these only.
    allowed_hosts: hosts that http may be used for. All or nothing: after any failure, also `kill -9`, the mirror is as it
    was. Raises Refused (R24 address, limit, broken or hostile object; R27 address of the host), Transient, UserError.
    """
    place = parse_source(source, allowed_hosts)
    extra = {}
    if place.scheme in ("http", "https"):
        found = ",".join(f"[{one}]" if ":" in one else one for one in addresses(place.host))
        host = f"[{place.host}]" if ":" in place.host else place.host
        extra["http.curloptResolve"] = f"{host}:{place.port}:{found}"
    progress.step(place.subject, f"fetching {place.shown}")
    _receive(place, mirror, extra, limits, progress)


def fetch_bundle(bundle: Path, mirror: Path, *, limits: FetchLimits = _LIMITS, progress: Progress = _SILENT) -> None:
    """The same out of a file that `git bundle create` wrote. Raises what `fetch` raises."""
    path = bundle.absolute()
    if path.is_symlink() or not path.is_file():
        raise UserError("there is no such bundle", where=visible(str(path)), hint="make one with: vmkeeper bundle DIR")
    if path.stat().st_size > limits.received:
        raise Refused("R24", "the bundle is larger than is taken", where=visible(str(path)), why=f"more than {limits.received} bytes")
    _receive(Source("file", str(path)), mirror, {}, limits, progress)


def _receive(place: Source, mirror: Path, extra: dict[str, str], limits: FetchLimits, progress: Progress) -> None:
    mirror = mirror.absolute()
    with _locked(mirror):
        found = oddities(mirror, ours=True)
        if found:
            raise Refused(
                "R24", found[0].what, where=f"{mirror}/{found[0].place}", hint="remove this folder; the next run fetches the repository again"
            )
        with _incoming(mirror) as folder:
            configuration = folder / "gitconfig"
            write_configuration(configuration, place.scheme, place.address, extra)
            git = Git(folder, configuration, place.scheme, limits)
            try:
                specs = [f"+refs/{kind}/*:refs/{kind}/*" for kind in _REFS]
                git.run_watched(*_FETCH, "--", place.address, *specs, progress=progress, subject=place.subject)
            except ProgramFailed as error:
                raise _failure(error, place) from None
            _check(git, place)
            _accept(folder, mirror)
        _consolidate(mirror, limits)


_FETCH = (
    "fetch",
    "--force",
    "--prune",
    "--no-tags",
    "--no-write-fetch-head",
    "--no-recurse-submodules",
    "--no-auto-maintenance",
    "--no-show-forced-updates",
    "--no-progress",
    "--quiet",
)


@contextmanager
def _locked(mirror: Path) -> Iterator[None]:
    """One fetch at a time into a mirror, which is made when missing. What a killed one left is removed."""
    for folder in ("objects/pack", "objects/info", "refs"):
        (mirror / folder).mkdir(parents=True, exist_ok=True)
    handle = os.open(mirror, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Transient("another run fetches into this mirror", where=str(mirror), hint="wait for it to end") from None
        _clean(mirror)
        for name, text in (("config", "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"), ("HEAD", "ref: refs/heads/main\n")):
            if not os.path.lexists(mirror / name):
                _write(mirror / name, text.encode())
        yield
    finally:
        os.close(handle)


def _clean(mirror: Path) -> None:
    """Remove what killed runs left: their folders, half-written files, packs that are not whole."""
    for left in (*mirror.glob(f"{_INCOMING}*"), *mirror.glob(".new-*")):
        _remove(left)
    packs = mirror / "objects" / "pack"
    for path in packs.iterdir():
        whole = all((packs / path.stem).with_suffix(end).exists() for end in (".pack", ".idx"))
        if path.name.startswith(("tmp_", ".tmp-", ".")) or not whole:
            path.unlink()


@contextmanager
def _incoming(mirror: Path) -> Iterator[Path]:
    """A bare repository inside the mirror's folder that borrows the mirror's objects and begins with its refs."""
    folder = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=mirror))
    try:
        for name in ("objects/pack", "objects/info", "refs"):
            (folder / name).mkdir(parents=True)
        (folder / "objects/info/alternates").write_text("../../objects\n")
        (folder / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
        if (mirror / "packed-refs").exists():
            shutil.copyfile(mirror / "packed-refs", folder / "packed-refs")
        (folder / "HEAD").write_text("ref: refs/heads/main\n")
        yield folder
    finally:
        shutil.rmtree(folder)


def _check(git: Git, place: Source) -> None:
    """Look at what came before it counts. Raises Refused (R24)."""
    folder = git.git_dir
    found = oddities(folder)
    if found:
        raise Refused("R24", found[0].what, where=place.shown, why=str(found[0].place), hint=found[0].hint)
    objects = folder / "objects"
    if any(path.name not in ("pack", "info") for path in objects.iterdir()):
        raise Refused("R24", "the server does not speak git's own protocol", where=place.shown, hint="serve it with git http-backend or a forge")
    for pack in sorted((objects / "pack").glob("*.pack")):
        _check_pack(git, pack, place)


def _check_pack(git: Git, pack: Path, place: Source) -> None:
    """Each object of a pack is small enough, and sound by git's own strict rules, which a fetch from a bundle leaves out."""
    index = pack.with_suffix(".idx")
    try:
        listed = git.run("show-index", stdin=index.read_bytes()).text
        names = "".join(f"{line.split()[1]}\n" for line in listed.splitlines())
        for line in git.run("cat-file", "--batch-check=%(objectsize) %(objecttype) %(objectname)", stdin=names.encode()).text.splitlines():
            _check_size(line, git.limits, place)
        git.run("index-pack", "--strict", "-o", git.git_dir / "checked.idx", pack)
    except ProgramFailed as error:
        raise _failure(error, place, otherwise="R24") from None


def _check_size(line: str, limits: FetchLimits, place: Source) -> None:
    size, kind, name = line.split()
    if int(size) > (limits.object if kind == "blob" else min(_META_LIMIT, limits.object)):
        raise Refused("R24", f"an object of {size} bytes", where=place.shown, why=f"{kind} {name}", hint="keep large files out of the repository")


def _accept(folder: Path, mirror: Path) -> None:
    """Make what came the mirror's. Before the last rename the mirror has some objects more, after it the new refs."""
    incoming, packs = folder / "objects" / "pack", mirror / "objects" / "pack"
    # Readers look for the index, so it comes last.
    for path in sorted(incoming.iterdir(), key=lambda path: path.suffix == ".idx"):
        if path.suffix in (".pack", ".rev", ".idx"):
            path.rename(packs / path.name)
    _sync(packs)
    references = _packed(folder)
    current = mirror / "packed-refs"
    if not current.exists() or current.read_bytes() != references:
        _write(current, references)
    for left in (mirror / "refs").iterdir():
        _remove(left)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _packed(folder: Path) -> bytes:
    """All refs of a repository in the one file that git packs them into."""
    Git(folder, folder / "gitconfig").run("pack-refs", "--all")
    packed = folder / "packed-refs"
    return packed.read_bytes() if packed.exists() else b""


def _consolidate(mirror: Path, limits: FetchLimits) -> None:
    """Join packs once there are many: each fetch that brings something leaves one."""
    if len(list((mirror / "objects" / "pack").glob("*.pack"))) <= _PACKS:
        return
    with tempfile.TemporaryDirectory(prefix=_INCOMING, dir=mirror) as folder:
        configuration = Path(folder) / "gitconfig"
        write_configuration(configuration, "", "", {})
        Git(mirror, configuration, "", limits).run("repack", "--geometric=2", "-d", "-q", "-n")


def _write(path: Path, data: bytes) -> None:
    new = path.with_name(f".new-{path.name}")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_LATER = (
    "could not resolve host",
    "connection refused",
    "connection timed out",
    "failed to connect",
    "connection reset",
    "couldn't connect",
    "early eof",
    "unexpected disconnect",
    "the remote end hung up",
    "rpc failed",
    "operation too slow",
    "transfer closed",
    "empty reply",
    "returned error: 5",
    "returned error: 429",
    "temporary failure",
    "network is unreachable",
    "no route to host",
)
_HOSTILE = (
    "fsck",
    "fatal: bad object",
    "did not receive expected object",
    "error: object ",
    "invalid index-pack output",
    "inflate",
    "pack has",
    "pack is corrupted",
    "out of memory",
    "mmap failed",
    "delta",
    "signal 9",
    "file size limit",
    "sha1 collision",
    "index-pack died",
    "shallow",
)
_SURELY = ("fsck", "out of memory", "mmap failed")
"""Said together with the end of the connection, it is why the connection ended."""
_GIVEN: tuple[tuple[str, str, str], ...] = (
    ("host key verification failed", "the server's ssh key is not known", "log in once by hand, compare the key, accept it"),
    ("permission denied", "the server lets nobody in with these keys", "check with: ssh -T HOST"),
    ("could not read username", "the server asks for a password", "follow the repository over ssh, or one that anybody may read"),
    ("authentication failed", "the server asks for a password", "follow the repository over ssh, or one that anybody may read"),
    ("certificate", "the server's certificate is not valid", "name your authorities: git config --global http.sslCAInfo FILE"),
    ("dubious ownership", "the folder belongs to somebody else", "if you trust it: git config --global --add safe.directory FOLDER"),
    ("mismatched algorithms", "a SHA-256 repository is not read", "follow a SHA-1 repository"),
    ("lacks these prerequisite", "the bundle builds on commits that are not here", "write a whole bundle: vmkeeper bundle DIR"),
    ("returned error: 404", "there is no repository at this address", "check the address"),
    ("returned error: 401", "the server asks for a password", "follow the repository over ssh, or one that anybody may read"),
    ("returned error: 403", "the server does not give it to us", "follow the repository over ssh, or one that anybody may read"),
    ("not found", "there is no repository at this address", "check the address"),
    ("does not appear to be a git repository", "there is no repository at this address", "check the address"),
)


def _failure(error: ProgramFailed, place: Source, otherwise: str = "") -> VmkeeperError:
    """What follows from what git said. What is not known is tried again later."""
    said = visible(_last_words(error.why))
    small = error.why.lower()
    if "redirect" in small or "returned error: 3" in small:
        return Refused("R27", "the server sends elsewhere", where=place.shown, why=said, hint="give the address that it sends to, if you trust it")
    if re.search(r"transport '.*' not allowed", small):
        return Refused("R24", "git may not go there", where=place.shown, why=said, hint="only https, ssh and local folders are used")
    for needle, what, hint in _GIVEN:
        if needle in small:
            return UserError(what, where=place.shown, why=said, hint=hint)
    if not otherwise and any(needle in small for needle in _LATER) and not any(needle in small for needle in _SURELY):
        return Transient("the repository cannot be fetched now", where=place.shown, why=said, hint="run again later")
    if otherwise or any(needle in small for needle in _HOSTILE):
        hint = "tell whoever runs that repository; look at it with: git fsck --strict"
        return Refused("R24", "what the repository sends is not sound or is too much", where=place.shown, why=said, hint=hint)
    return Transient("the repository cannot be fetched", where=place.shown, why=said, hint="run again later")


_FILLING = ("Please make sure you have the correct access rights", "and the repository exists.")


def _last_words(text: str) -> str:
    lines = [line for line in text.replace("\r", "\n").splitlines() if line.strip() and not line.startswith(_FILLING)]
    return "; ".join(lines[-4:])[-1000:]

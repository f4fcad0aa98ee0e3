"""Import what an organisation has into a repository's work tree: read, verify where authorities are given, write all of it or nothing.

Nothing is committed, and a file that is there with other content is overwritten only where that was asked for.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args
from uuid import NAMESPACE_URL, uuid4, uuid5

import pygit2

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.documents.kinds import KINDS
from vmkeeper.errors import Place, Problem, Problems, Refused, Transient, UserError
from vmkeeper.execute.home import read_ca_folder
from vmkeeper.execute.listing import LIMIT, Expected, read_list
from vmkeeper.execute.single import read_file
from vmkeeper.images.files import reported, sync_folder, write_file
from vmkeeper.lists import hepix
from vmkeeper.lists.hepix import HepixList, OddImage
from vmkeeper.lists.imports.comfy import Template, import_template
from vmkeeper.lists.imports.hepix_list import Terms, import_list
from vmkeeper.lists.imports.outcome import Imported, NewFile, Note, Present, merged
from vmkeeper.lists.imports.vmcaster import read_vmcaster
from vmkeeper.lists.mime import split
from vmkeeper.lists.smime import verify
from vmkeeper.model.appliance import Appliance
from vmkeeper.model.imagelist import ImageList
from vmkeeper.repository.tree import Repository
from vmkeeper.values import Duration

Source = Literal["vmcaster", "comfy", "hepix-list"]
SOURCES: tuple[Source, ...] = get_args(Source)
_MAX_BYTES = 64 << 20
_MAX_BESIDE = 1 << 20
_SKEW = Duration.parse("5m")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to import and how. ca_dir: authorities against which signed lists are verified; None: they are not."""

    source: Source
    files: Sequence[Path]
    name: str | None = None
    inherits: str | None = None
    endorsed_by: str | None = None
    ca_dir: Path | None = None
    sha1: bool = False
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What came of an import: the paths that were written, those that had the same content already, and what was found."""

    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    imported: Imported


def import_files(wish: Wish, catalogue: Catalogue, now: datetime) -> Written:
    """Import files into the work tree of the catalogue's repository. Raises UserError, Problems and Refused, having written nothing."""
    git = catalogue.repository.git
    if git.is_bare:
        raise UserError("a repository without a work tree cannot be imported into", where=git.path, hint="clone it, and import into the clone")
    present = observe(catalogue)
    if wish.inherits is not None and wish.inherits not in catalogue.names("appliances"):
        there = ", ".join(catalogue.names("appliances")) or "none yet"
        raise UserError(f"there is no appliance {wish.inherits}", where="--inherits", hint=f"there are: {there}")
    imported = _comfy(wish, present, catalogue.repository) if wish.source == "comfy" else _lists(wish, present, now)
    written, unchanged = write_all(catalogue.repository, imported.files, replacing=wish.replace)
    return Written(written, unchanged, imported)


def observe(catalogue: Catalogue) -> Present:
    """What the repository has. Documents that cannot be read count for nothing: their files are still never overwritten."""
    appliances, lists = {}, {}
    for name in catalogue.names("appliances"):
        document, _ = catalogue.attempt(KINDS["appliance"], KINDS["appliance"].path_of(name))
        if isinstance(document, Appliance):
            appliances[document.uuid] = name
    for name in catalogue.names("imagelists"):
        document, _ = catalogue.attempt(KINDS["imagelist"], KINDS["imagelist"].path_of(name))
        if isinstance(document, ImageList):
            lists[document.uuid] = name
    return Present(appliances, lists, tuple(catalogue.names("endorsers")))


# -- lists


def _lists(wish: Wish, present: Present, now: datetime) -> Imported:
    terms = Terms(now=now, name=wish.name, inherits=wish.inherits, endorsed_by=wish.endorsed_by, replace=wish.replace)
    found: list[tuple[HepixList, Terms]] = []
    notes: list[Note] = []
    for file in wish.files:
        data = read_file(file, _MAX_BYTES, links=True)
        if wish.source == "vmcaster":
            read = read_vmcaster(data, str(file))
            found += [(one, terms) for one in read.lists]
            notes += read.notes
        else:
            one, own, more = _hepix(data, file, wish, terms)
            found.append((one, own))
            notes += more
    if wish.name is not None and len(found) > 1:
        raise UserError(f"{len(found)} lists cannot all be called {wish.name}", where="--list", hint="import one by one, or leave --list out")
    outcomes: list[Imported] = [Imported(notes=tuple(notes))]
    for one, own in found:
        outcomes.append(import_list(one, present, own))
        present = _with(present, outcomes[-1])
    made = merged(outcomes)
    return made if wish.source == "hepix-list" else replace(made, foreign=())


def _hepix(data: bytes, file: Path, wish: Wish, terms: Terms) -> tuple[HepixList, Terms, list[Note]]:
    """A list with what is known of its signer, and notes on its signature and on images that cannot be read."""
    told = ""
    if data.lstrip()[:1] == b"{":
        (found, odd), told = hepix.read_usable(data), "there is none: whether this list is genuine is yours to know"
    elif len(data) > LIMIT:
        raise Refused("R25", f"a signed list of {len(data)} bytes where at most {LIMIT} are read", where=str(file))
    elif wish.ca_dir is None:
        (found, odd), told = hepix.read_usable(split(data).content), "was not verified: give --ca-dir to know whose list this is"
    else:
        try:
            found, odd, terms = _verified(data, file, wish.ca_dir, terms, sha1=False)
        except Refused as error:
            if error.rule != "R11" or not wish.sha1:
                raise
            found, odd, terms = _verified(data, file, wish.ca_dir, terms, sha1=True)
            told = "was made with SHA-1, which can be forged"
    notes = [Note(str(file), "signature", told)] if told else []
    notes += [Note(str(file), one.place.field, f"{one.what}; the image was left out") for image in odd for one in image.problems]
    return found, terms, notes


def _verified(data: bytes, file: Path, ca_dir: Path, terms: Terms, *, sha1: bool) -> tuple[HepixList, tuple[OddImage, ...], Terms]:
    """The list of whoever signed it: that it is somebody of the CA folder is verified, that it is the right one is for people to see."""
    authorities = read_ca_folder(ca_dir, "when-there")
    signed = verify(data, authorities, terms.now, purpose="any", sha1=sha1)
    expected = Expected(str(file), (signed.subject,), (signed.issuer,), purpose="any", sha1=sha1)
    read = read_list(data, expected, authorities, terms.now, _SKEW)
    return read.list, read.odd, replace(terms, signer=(str(signed.subject), str(signed.issuer)), sha1=sha1)


def _with(present: Present, made: Imported) -> Present:
    """What there is once this has been written, so that an image on two lists is one appliance."""
    appliances, lists, endorsers = dict(present.appliances), dict(present.lists), list(present.endorsers)
    for file in made.files:
        subject = next((name for kind in KINDS.values() if (name := kind.subject(file.path)) is not None), "")
        if isinstance(file.document, Appliance):
            appliances[file.document.uuid] = subject
        elif isinstance(file.document, ImageList):
            lists[file.document.uuid] = subject
        elif file.path.startswith("endorsers/") and subject not in endorsers:
            endorsers.append(subject)
    return Present(appliances, lists, tuple(endorsers))


# -- comfy


def _comfy(wish: Wish, present: Present, repository: Repository) -> Imported:
    if wish.name is not None:
        raise UserError(
            "comfy's descriptions hold no image list", where="--list", hint="import them, then name the appliances in imagelists/NAME.yaml"
        )
    outcomes: list[Imported] = []
    for file in wish.files:
        template = _template(file)
        outcomes.append(import_template(template, present, lambda name: _identifier(repository, name), inherits=wish.inherits, replace=wish.replace))
        present = _with(present, outcomes[-1])
    return merged(outcomes)


def _template(file: Path) -> Template:
    """A description with what comfy expects beside it."""
    answers = file.with_suffix(".cfg.erb")
    return Template(
        file=str(file),
        description=read_file(file, _MAX_BESIDE, links=True),
        answers=read_file(answers, _MAX_BESIDE, links=True) if answers.is_file() else None,
        scripts=_folder(file.parent / "scripts"),
        files=_folder(file.parent / "files"),
    )


def _folder(folder: Path) -> dict[str, bytes]:
    with reported("read", folder):
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.endswith("~")) if folder.is_dir() else []
    return {path.name: read_file(path, _MAX_BESIDE) for path in files}


def _identifier(repository: Repository, name: str) -> str:
    """A UUID for a new appliance: the same each time in this repository, another one in every other."""
    git = repository.git
    if git.head_is_unborn:
        return str(uuid4())
    commit = git.revparse_single("HEAD").peel(pygit2.Commit)
    while commit.parents:
        commit = commit.parents[0]
    return str(uuid5(NAMESPACE_URL, f"git:{commit.id}/appliances/{name}"))


# -- writing


def write_all(repository: Repository, files: Sequence[NewFile], *, replacing: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write files into the work tree, all of them or none; gives the paths written and those that had the same content.

    Raises Problems naming every file that has other content. Killed in between, the next run writes what is missing.
    """
    root = Path(repository.git.workdir)
    new, same, conflicts = [], [], []
    for file in files:
        before = _content(root, file.path)
        if before == file.data:
            same.append(file.path)
        elif before is None or replacing:
            new.append(file)
        else:
            hint = "give --force to overwrite it, or the list another name with --list"
            conflicts.append(Problem(Place(file.path), "is there already, with other content", hint))
    if conflicts:
        raise Problems(conflicts)
    with _staging(repository) as staging, reported("write", root):
        _replace(root, new, staging)
    return tuple(file.path for file in new), tuple(same)


def _content(root: Path, path: str) -> bytes | None:
    target = root / path
    for parent in target.relative_to(root).parents:
        if (root / parent).is_symlink():
            raise UserError("a link is in the way", where=str(root / parent), hint="documents lie in folders of the repository")
    if target.is_symlink() or target.is_dir():
        return b""
    with reported("read", target):
        return target.read_bytes() if target.exists() else None


def _replace(root: Path, files: Sequence[NewFile], staging: Path) -> None:
    """Every file is whole in `staging` before the first one gets its name; what got its name is undone if another one fails."""
    made = list(_missing_folders(root, files))
    for number, file in enumerate(files):
        write_file(staging / "new" / str(number), file.data)
    done: list[int] = []
    try:
        for number, file in enumerate(files):
            target = root / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            _keep(target, staging / "before" / str(number))
            done.append(number)
            _move(staging / "new" / str(number), target)
    except BaseException:
        for number in done:
            _restore(root / files[number].path, staging / "before" / str(number))
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise
    for folder in {(root / file.path).parent for file in files}:
        sync_folder(folder)


def _keep(target: Path, copy: Path) -> None:
    """A second name for what lies at `target`, so that it can come back even where there is no room."""
    copy.parent.mkdir(exist_ok=True)
    if target.is_symlink() or target.exists():
        try:
            copy.hardlink_to(target)
        except OSError:
            shutil.copy2(target, copy, follow_symlinks=False)


def _move(staged: Path, target: Path) -> None:
    try:
        staged.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        write_file(target, staged.read_bytes())


def _restore(target: Path, copy: Path) -> None:
    with suppress(OSError):
        if copy.is_symlink() or copy.exists():
            _move(copy, target)
        else:
            target.unlink(missing_ok=True)


@contextmanager
def _staging(repository: Repository) -> Iterator[Path]:
    """A folder of our own inside .git; one import at a time."""
    folder = repository.private / "importing"
    with reported("write", folder):
        handle = os.open(repository.private / "importing.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Transient("another import is under way in this repository", where=str(folder), hint="wait for it to end") from None
        shutil.rmtree(folder, ignore_errors=True)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


def _missing_folders(root: Path, files: Sequence[NewFile]) -> Iterator[Path]:
    """Folders that are not there yet, the deepest first."""
    wanted = {parent for file in files for parent in (root / file.path).parents if parent != root and root in parent.parents}
    return iter(sorted((folder for folder in wanted if not folder.exists()), key=lambda folder: -len(folder.parts)))

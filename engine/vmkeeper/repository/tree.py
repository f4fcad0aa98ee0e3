"""A repository, and the files of one commit: trees and blobs only, never the work tree.

`Snapshot` is all that the rest of the engine sees of git: it lists folders and reads regular files.
Links, submodules and names that we do not allow (rule R23) are problems, not files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pygit2
from pygit2.enums import FileMode, ObjectType

from vmkeeper.errors import Place, Problem, Refused, UserError
from vmkeeper.repository.inspection import Looked, look, tree_problems, twofold_problems
from vmkeeper.repository.rawtree import NAME, REGULAR, Mode, RawEntry
from vmkeeper.values import visible

APPLIED = "refs/vmkeeper/applied"
"""The commit that `apply` last carried out in full."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder in a tree: its name, git object id and what it is."""

    name: str
    oid: str
    folder: bool
    executable: bool = False


class Snapshot:
    """The files of one commit (or of any tree). `commit` is "" for files that are not committed."""

    def __init__(self, repo: pygit2.Repository, tree: pygit2.Tree, commit: str) -> None:
        self.git = repo
        self.git_tree = tree
        self.commit = commit

    @property
    def tree(self) -> str:
        """Object id of the top tree."""
        return str(self.git_tree.id)

    def tree_id(self, folder: str) -> str:
        """Object id of a folder, "" where there is none: equal ids hold equal files."""
        found = self._find(folder)
        return found.oid if found is not None and found.mode == Mode.FOLDER else ""

    def blob_id(self, path: str) -> str:
        """Object id of a regular file, "" where there is none."""
        found = self._find(path)
        return found.oid if found is not None and found.mode in REGULAR else ""

    def read(self, path: str) -> bytes | None:
        """The bytes of a regular file, or None."""
        blob = self.blob_id(path)
        return self.read_blob(blob) if blob else None

    def read_blob(self, blob: str) -> bytes:
        """The bytes of a blob by its object id."""
        try:
            found = self.git[blob]
        except (KeyError, pygit2.GitError) as error:
            raise _unreadable(blob, self.commit, error) from None
        assert isinstance(found, pygit2.Blob)
        return bytes(found.data)

    def executable(self, path: str) -> bool:
        """Whether the file's mode says that it can be run."""
        found = self._find(path)
        return found is not None and found.mode == Mode.PROGRAM

    def entries(self, folder: str) -> tuple[Entry, ...]:
        """Regular files and folders in a folder, by name; what may not be there is left to `problems`."""
        tree = self.tree_id(folder)
        return tuple(
            Entry(entry.name.decode(), entry.oid, entry.mode == Mode.FOLDER, entry.mode == Mode.PROGRAM)
            for entry in (self._look(tree, folder).entries if tree else ())
            if entry.mode in (*REGULAR, Mode.FOLDER) and NAME.fullmatch(entry.name.decode(errors="replace"))
        )

    def walk(self, folder: str) -> Iterator[tuple[str, Entry]]:
        """Every regular file below a folder with its path, in order."""
        for entry in self.entries(folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.folder:
                yield from self.walk(path)
            else:
                yield path, entry

    def problems(self, folder: str) -> tuple[Problem, ...]:
        """Everything below a folder ("": all) that we do not read (rule R23): links, submodules, strange names and modes,
        one name twice, trees that two readers read differently (R32); also what makes the way to the folder uncertain.
        """
        tree, path = self.tree, ""
        for part in folder.split("/") if folder else ():
            looked = look(self.git, tree, ours=False)
            if looked.twofold:
                return tuple(twofold_problems(self.git, tree, path))
            path = f"{path}/{part}" if path else part
            entry = looked.by_name.get(_bytes(part))
            if entry is None:
                return ()
            if entry.mode != Mode.FOLDER:
                return (Problem(Place(path), "this is not a folder", "put a folder with the files themselves there"),)
            tree = entry.oid
        return tuple(tree_problems(self.git, tree, path))

    def _find(self, path: str) -> RawEntry | None:
        """What stands at a path. Raises Refused (R23) where another reader might find something else there."""
        found, above = RawEntry(Mode.FOLDER, b"", self.tree), ""
        for part in path.split("/") if path else ():
            if found.mode != Mode.FOLDER:
                return None
            below = self._look(found.oid, above).by_name.get(_bytes(part))
            if below is None:
                return None
            found, above = below, f"{above}/{part}" if above else part
        return found

    def _look(self, tree: str, path: str) -> Looked:
        looked = look(self.git, tree, ours=False)
        for problem in twofold_problems(self.git, tree, path) if looked.faults else ():
            raise Refused("R23", problem.what, where=problem.place, why=f"in commit {self.commit[:12]}", hint=problem.hint)
        return looked


def _bytes(part: str) -> bytes:
    return part.encode(errors="surrogateescape")


def _unreadable(path: str, commit: str, error: Exception) -> Refused:
    hint = "fetch the repository again; look at it with: git fsck"
    return Refused("R23", "an object of the commit cannot be read", where=path, why=f"commit {commit[:12]}: {visible(str(error))}", hint=hint)


class Repository:
    """A git repository, bare or with a work tree."""

    def __init__(self, repo: pygit2.Repository) -> None:
        self.git = repo

    @classmethod
    def open(cls, directory: Path) -> Repository:
        """Open the repository that `directory` lies in; raises UserError where there is none."""
        found = pygit2.discover_repository(str(directory))
        if found is None:
            raise UserError(
                "this is not in a git repository", where=str(directory), hint="go into one, name one with -C DIR, or make one with: vmkeeper init DIR"
            )
        try:
            return cls(pygit2.Repository(found))
        except pygit2.GitError as error:
            raise UserError(
                "the repository cannot be read",
                where=str(directory),
                why=str(error),
                hint="only SHA-1 repositories can be read; check it with: git fsck",
            ) from None

    @property
    def folder(self) -> Path:
        """The .git folder that all work trees share."""
        common = Path(self.git.path) / "commondir"
        return (Path(self.git.path) / common.read_text().strip()).resolve() if common.exists() else Path(self.git.path)

    @property
    def private(self) -> Path:
        """Our own folder inside .git, made when missing; everything in it can be deleted at any time."""
        folder = self.folder / "vmkeeper"
        folder.mkdir(exist_ok=True)
        return folder

    def config(self, name: str) -> str | None:
        """A value of git's configuration, or None."""
        return str(self.git.config[name]) if name in self.git.config else None

    def head(self) -> str:
        """The commit that is checked out (the default branch of a bare repository); UserError before the first commit."""
        if self.git.head_is_unborn:
            raise UserError(
                "the repository has no commit yet", where=self.git.path, hint="commit something first, or read the work tree with --worktree"
            )
        return str(self.git.head.target)

    def branch(self) -> str:
        """The full name of the branch that HEAD points to, such as refs/heads/main."""
        reference = self.git.references.get("HEAD")
        target = str(reference.target) if reference is not None else ""
        if not target.startswith("refs/heads/"):
            raise UserError("HEAD is not on a branch", where=self.git.path, hint="check a branch out: git switch main")
        return target

    def resolve(self, revision: str) -> str:
        """The commit that a revision (branch, tag, id, HEAD~2) means; UserError where it means none."""
        try:
            found = self.git.revparse_single(revision)
            return str(found.peel(pygit2.Commit).id)
        except (KeyError, ValueError, pygit2.GitError):
            raise UserError(f"{visible(revision)} names no commit", where=self.git.path, hint="give a branch, a tag or a commit id") from None

    def commit(self, commit: str) -> pygit2.Commit:
        """A commit object by id."""
        found = self.git[commit]
        assert isinstance(found, pygit2.Commit)
        return found

    def at(self, commit: str) -> Snapshot:
        """The files of a commit."""
        try:
            return Snapshot(self.git, self.commit(commit).tree, commit)
        except pygit2.GitError as error:
            raise _unreadable("", commit, error) from None

    def tree(self, tree: str) -> Snapshot:
        """The files of a tree by its object id."""
        found = self.git[tree]
        assert isinstance(found, pygit2.Tree)
        return Snapshot(self.git, found, "")

    def empty(self) -> Snapshot:
        """No files at all: the base of everything."""
        return self.tree(str(self.git.TreeBuilder().write()))

    def worktree(self) -> Snapshot:
        """The files as they lie in the work tree, tracked or not, without those that git ignores.

        They are written as blobs and a tree without a commit, so that one way of reading serves both.
        """
        if self.git.is_bare:
            raise UserError("a bare repository has no work tree", where=self.git.path, hint="leave --worktree out")
        index = pygit2.Index()
        if not self.git.head_is_unborn:
            index.read_tree(self.git[self.head()].peel(pygit2.Tree))
        top = Path(self.git.workdir)
        for path in self.git.status(untracked_files="all", ignored=False):
            self._stage(index, top, path)
        return self.tree(str(index.write_tree(self.git)))

    def _stage(self, index: pygit2.Index, top: Path, path: str) -> None:
        file = top / path
        if file.is_symlink():
            index.add(pygit2.IndexEntry(path, self.git.create_blob(str(file.readlink()).encode()), FileMode.LINK))
        elif file.is_file():
            mode = FileMode.BLOB_EXECUTABLE if file.stat().st_mode & 0o100 else FileMode.BLOB
            index.add(pygit2.IndexEntry(path, self.git.create_blob(file.read_bytes()), mode))
        elif path in index:
            index.remove(path)

    def applied(self) -> str:
        """The commit that was last applied in full, or ""."""
        return str(self.git.references[APPLIED].target) if APPLIED in self.git.references else ""

    def set_applied(self, commit: str) -> None:
        """Remember that a commit was applied in full."""
        self.git.references.create(APPLIED, pygit2.Oid(hex=commit), force=True)

    def read_object(self, oid: str) -> tuple[str, bytes]:
        """Type name and raw bytes of any object."""
        kind, data = self.git.odb.read(pygit2.Oid(hex=oid))
        return ObjectType(kind).name.lower(), bytes(data)

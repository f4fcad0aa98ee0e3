"""Write a repository's mainline, all its tags and refs/vmkeeper/* into one file, as `git bundle` does."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO

from vmkeeper.errors import UserError
from vmkeeper.repository.gitprogram import Git, write_configuration
from vmkeeper.repository.tree import Repository
from vmkeeper.run import ProgramFailed


def write_git_bundle(repository: Repository, branch: str, file: IO[bytes]) -> None:
    """Write a whole bundle (nothing is taken for granted at the reader's) to an open file. Raises UserError."""
    with tempfile.TemporaryDirectory(prefix="vmkeeper-git-") as folder:
        configuration = Path(folder) / "gitconfig"
        write_configuration(configuration, "", "", {})
        git = Git(repository.folder, configuration)
        try:
            git.run("bundle", "create", "--quiet", "--version=2", "-", f"refs/heads/{branch}", "--tags", "--glob=refs/vmkeeper/*", stdout=file)
        except ProgramFailed as error:
            hint = "look at the repository with: git fsck"
            raise UserError("the repository cannot be written to a bundle", where=str(repository.folder), why=error.why, hint=hint) from None

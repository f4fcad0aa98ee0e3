"""Lay out a new repository, and write generated texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pygit2

from vmkeeper.errors import UserError, VmkeeperError
from vmkeeper.execute.firstpolicy import first_policy
from vmkeeper.images.files import write_file
from vmkeeper.repository.tree import Repository

_README = """# Virtual appliances

Every image, image list, endorser, site and cluster here is a file, and vmkeeper carries out what the files say.

    vmkeeper check        is every document sound?
    vmkeeper plan         what would the next apply do?
    vmkeeper apply        build, test and record what changed
"""
_FOLDERS = {
    "appliances": "One folder an appliance: appliance.yaml, packages.lock, release.yaml, provenance.json, files/, provision/, tests/.",
    "imagelists": "One file an image list: what is published, to whom, signed by whom.",
    "endorsers": "policy.yaml says who decides; one file an endorser list: who may endorse what. Public keys in keys/.",
    "sites": "One file a cloud: what it subscribes to and approves.",
    "clusters": "One file a cluster; contexts/ beside them.",
}


def lay_out(directory: Path) -> Iterator[str]:
    """Make a repository with the fixed folders and a first commit. Raises UserError where something is there already."""
    if directory.exists() and any(directory.iterdir()):
        raise UserError("the folder is not empty", where=str(directory), hint="name a folder that is empty or not there yet")
    directory.mkdir(parents=True, exist_ok=True)
    git = pygit2.init_repository(str(directory), initial_head="main")
    write_file(directory / "README.md", _README.encode())
    for folder, text in _FOLDERS.items():
        write_file(directory / folder / "README.md", f"{text}\n".encode())
    policy, said = _policy(Repository(git))
    for path, data in policy.items():
        write_file(directory / path, data)
    git.index.add_all()
    git.index.write()
    who = git.default_signature if "user.name" in git.config and "user.email" in git.config else pygit2.Signature("vmkeeper", "vmkeeper@localhost")
    git.create_commit("refs/heads/main", who, who, "layout: an empty catalogue\n", git.index.write_tree(), [])
    yield f"Made {directory} with {', '.join(f'{folder}/' for folder in _FOLDERS)}."
    yield said
    yield "Next: write appliances/NAME/appliance.yaml, then: vmkeeper refresh; git add . ; git commit; vmkeeper apply"


def _policy(repository: Repository) -> tuple[dict[str, bytes], str]:
    """The files of the first policy, and a sentence about them."""
    try:
        files = first_policy(repository)
    except VmkeeperError as error:
        return {}, f"Wrote no endorsers/policy.yaml: {error}. {error.hint}"
    if not files:
        return {}, "Wrote no endorsers/policy.yaml: git's user.signingKey names no key of yours."
    return files, "endorsers/policy.yaml names your own key; sign it with: vmkeeper policy sign"


def write_texts(folder: Path, texts: Mapping[str, str]) -> Iterator[str]:
    """Write texts below a folder; says which files changed."""
    for path, text in sorted(texts.items()):
        target = folder / path
        if not target.exists() or target.read_text() != text:
            write_file(target, text.encode())
            yield f"wrote {target}"

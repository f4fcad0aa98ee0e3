"""Small repositories for tests: files in, commits out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from uuid import NAMESPACE_URL, uuid5

import pygit2
from pygit2.enums import FileMode

from vmkeeper.repository.tree import Repository

BASE = """
uuid: {uuid}
title: Base
architecture: x86_64
distribution:
  name: debian
  release: bookworm
  version: "12"
  archives:
    - {{name: main, uri: http://deb.debian.org/debian, suite: bookworm}}
builder: {{name: debian, tools: tools}}
packages: [linux-image-cloud-amd64, cloud-init]
users: {{default: debian}}
disk: {{size: 2GiB, boot: [bios, uefi]}}
formats: [qcow2]
"""
TOOLS = """
uuid: {uuid}
title: Tools
abstract: true
architecture: x86_64
distribution:
  name: debian
  release: trixie
  version: "13"
  archives:
    - {{name: main, uri: http://deb.debian.org/debian, suite: trixie}}
builder: {{name: debian}}
packages: [e2fsprogs]
"""
CHILD = """
uuid: {uuid}
title: A child
inherits: {parent}
"""
LOCK = """
version: 1
inputs: "{digit}"
date: "2026-11-20T00:00:00Z"
archives:
  - {{name: main, release_sha256: "{digit}", date: "2026-11-20T00:00:00Z"}}
packages:
  - {{name: hello, version: "{version}", architecture: amd64, archive: main, path: pool/hello.deb, size: 1MiB, sha256: "{digit}"}}
"""


def uuid(name: str) -> str:
    """A UUID made from a name."""
    return str(uuid5(NAMESPACE_URL, name))


def base(name: str = "base", extra: str = "") -> dict[str, str]:
    """A root appliance with its lock."""
    return {f"appliances/{name}/appliance.yaml": BASE.format(uuid=uuid(name)) + dedent(extra), f"appliances/{name}/packages.lock": lock()}


def tools() -> dict[str, str]:
    """The tools root."""
    return {"appliances/tools/appliance.yaml": TOOLS.format(uuid=uuid("tools")), "appliances/tools/packages.lock": lock("d")}


def child(name: str, parent: str, extra: str = "") -> dict[str, str]:
    """An appliance that inherits."""
    return {f"appliances/{name}/appliance.yaml": CHILD.format(uuid=uuid(name), parent=parent) + dedent(extra)}


def lock(digit: str = "a", version: str = "1.0") -> str:
    """A lock of one package."""
    return LOCK.format(digit=digit * 64, version=version)


class Repo:
    """A bare repository whose commits are made from mappings of path to text; None removes, `!x` in front makes executable."""

    def __init__(self, folder: Path) -> None:
        self.git = pygit2.init_repository(str(folder), bare=True, initial_head="main")
        self.repository = Repository(self.git)
        self.folder = folder
        self._time = 1_763_600_000

    def commit(self, files: Mapping[str, str | bytes | None], message: str = "change") -> str:
        """Commit changes on top of main; returns the commit id."""
        reference = self.git.references.get("refs/heads/main")
        index = pygit2.Index()
        parents = []
        if reference is not None:
            parents = [reference.target]
            index.read_tree(reference.peel(pygit2.Tree))
        for path, data in files.items():
            executable = path.startswith("!x ")
            path = path.removeprefix("!x ")
            if data is None:
                index.remove(path)
                continue
            blob = self.git.create_blob(data.encode() if isinstance(data, str) else data)
            index.add(pygit2.IndexEntry(path, blob, FileMode.BLOB_EXECUTABLE if executable else FileMode.BLOB))
        self._time += 60
        who = pygit2.Signature("A Tester", "tester@example.org", self._time, 0)
        return str(self.git.create_commit("refs/heads/main", who, who, message, index.write_tree(self.git), parents))


def released(repo: Repo) -> dict[str, bytes]:
    """Release records for every appliance of the head, as an apply would write them (with made-up files)."""
    from vmkeeper.catalogue.catalogue import Catalogue
    from vmkeeper.documents.dump import dump
    from vmkeeper.execute.planning import head_of
    from vmkeeper.model.release import Blob, ImageFile, Release, TestRun
    from vmkeeper.plan.factory import release_version
    from vmkeeper.values import Size

    head = repo.repository.head()
    catalogue = Catalogue.at(repo.repository, head)
    found: dict[str, bytes] = {}
    for name in catalogue.names("appliances"):
        recipe = catalogue.recipe(name)
        digest = recipe.digest()
        blob = Blob(size=Size(1000), sha512=digest * 2)
        found[f"appliances/{name}/release.yaml"] = dump(
            Release(
                appliance=name,
                uuid=recipe.uuid,
                version=release_version(head_of(repo.repository, head), None),
                commit=head,
                recipe=digest,
                builder=recipe.builder,
                rootfs=blob,
                files=() if recipe.disk is None else (ImageFile(format="qcow2", size=Size(1000), virtual_size=Size(2**31), sha512=digest * 2),),
                manifest=blob,
                packages=1,
                sbom=blob,
                tests=None if recipe.disk is None else TestRun(inputs=catalogue.tests_digest(name), results=()),
            )
        )
    return found


def locked(repo: Repo) -> dict[str, str]:
    """The head's locks with the `inputs` that their appliances ask for."""
    from vmkeeper.catalogue.catalogue import Catalogue
    from vmkeeper.catalogue.locking import lock_request, request_inputs
    from vmkeeper.documents.dump import dump
    from vmkeeper.model.lock import PackagesLock

    catalogue = Catalogue.at(repo.repository, repo.repository.head())
    fresh: dict[str, PackagesLock] = {}
    for name in sorted(catalogue.names("appliances"), key=lambda each: len(catalogue.chain(each))):
        request, old = lock_request(catalogue, name, fresh), catalogue.lock(name)
        if request is not None and old is not None:
            fresh[name] = old.model_copy(update={"inputs": request_inputs(request)})
    return {f"appliances/{name}/packages.lock": dump(lock).decode() for name, lock in fresh.items()}

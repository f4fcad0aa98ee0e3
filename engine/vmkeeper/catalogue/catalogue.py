"""All documents at one commit: read on demand, each blob once, recipes composed from them.

Methods raise `Problems` with every place that is wrong; `catalogue.check` asks for everything and collects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TypeVar, cast

from pydantic import ValidationError

from vmkeeper.builders.versions import VERSIONS
from vmkeeper.catalogue.index import Index, Node
from vmkeeper.catalogue.inherit import Resolved, definition, resolve
from vmkeeper.catalogue.recipe import Member, compose, layers, tests_digest
from vmkeeper.documents.kinds import KINDS, Kind, kind_of
from vmkeeper.documents.load import read
from vmkeeper.errors import Place, Problem, Problems
from vmkeeper.model.appliance import Appliance
from vmkeeper.model.base import Document
from vmkeeper.model.cluster import Cluster
from vmkeeper.model.context import Context
from vmkeeper.model.endorser import EndorserList
from vmkeeper.model.imagelist import ImageList
from vmkeeper.model.lock import PackagesLock
from vmkeeper.model.policy import Policy
from vmkeeper.model.recipe import Content, Layer, Recipe
from vmkeeper.model.release import Release
from vmkeeper.model.site import Site
from vmkeeper.progress import Progress
from vmkeeper.repository.tree import Repository, Snapshot
from vmkeeper.values import sha256_hex

D = TypeVar("D", bound=Document)
_FIELD = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
MAX_DEPTH = 16
"""Members of a chain of inheritance; longer ones are a mistake."""


@dataclass(frozen=True, slots=True)
class TestScript:
    """A test of an appliance: `name` is APPLIANCE/FILE."""

    __test__ = False
    name: str
    path: str
    sha256: str


class Catalogue:
    """The documents of one snapshot."""

    def __init__(self, repository: Repository, snapshot: Snapshot, index: Index | None = None, progress: Progress | None = None) -> None:
        self.progress = progress
        self.repository = repository
        self.snapshot = snapshot
        self.index = index or Index()
        self._documents: dict[str, tuple[Document | None, tuple[Problem, ...]]] = {}
        self.chain = cache(self._chain)
        self.resolved = cache(self._resolved)
        self.recipe = cache(self._recipe)

    @classmethod
    def at(cls, repository: Repository, commit: str, index: Index | None = None) -> Catalogue:
        """The documents of a commit."""
        return cls(repository, repository.at(commit), index)

    # -- documents

    def attempt(self, kind: Kind, path: str) -> tuple[Document | None, tuple[Problem, ...]]:
        """A document or its problems; (None, ()) where there is no such file."""
        if path not in self._documents:
            self._documents[path] = self._load(kind, path)
        return self._documents[path]

    def _load(self, kind: Kind, path: str) -> tuple[Document | None, tuple[Problem, ...]]:
        blob = self.snapshot.blob_id(path)
        if not blob:
            return None, ()
        known = self.index.document(kind.name, blob)
        if known is not None:
            try:
                return kind.model.model_validate_json(known), ()
            except ValidationError:
                pass  # written by other rules than ours: read the file itself
        loaded = read(kind, self.snapshot.read_blob(blob), path)
        if loaded.document is not None:
            self.index.remember(kind.name, blob, loaded.document.model_dump_json(by_alias=True, exclude_unset=True))
        return loaded.document, loaded.problems

    def _get(self, kind: str, path: str, _model: type[D]) -> D | None:
        document, problems = self.attempt(KINDS[kind], path)
        if problems:
            raise Problems(problems)
        return cast("D | None", document)

    def appliance(self, name: str) -> Appliance | None:
        """An appliance as its author wrote it."""
        return self._get("appliance", definition(name), Appliance)

    def lock(self, name: str) -> PackagesLock | None:
        """An appliance's locked packages."""
        return self._get("lock", f"appliances/{name}/packages.lock", PackagesLock)

    def release(self, name: str) -> Release | None:
        """The record of an appliance's last build."""
        return self._get("release", f"appliances/{name}/release.yaml", Release)

    def image_list(self, name: str) -> ImageList | None:
        """An image list."""
        return self._get("imagelist", f"imagelists/{name}.yaml", ImageList)

    def endorser_list(self, name: str) -> EndorserList | None:
        """An endorser list."""
        return self._get("endorsers", f"endorsers/{name}.yaml", EndorserList)

    def policy(self) -> Policy | None:
        """The policy that the endorser lists rest on."""
        return self._get("policy", KINDS["policy"].path, Policy)

    def site(self, name: str) -> Site | None:
        """A site."""
        return self._get("site", f"sites/{name}.yaml", Site)

    def cluster(self, name: str) -> Cluster | None:
        """A cluster."""
        return self._get("cluster", f"clusters/{name}.yaml", Cluster)

    def context(self, name: str) -> Context | None:
        """A context."""
        return self._get("context", f"clusters/contexts/{name}.yaml", Context)

    def names(self, folder: str) -> tuple[str, ...]:
        """The names of the appliances, or of the YAML documents that bear names, in a folder of documents."""
        if folder == "appliances":
            return tuple(entry.name for entry in self.snapshot.entries(folder) if entry.folder and self.snapshot.blob_id(definition(entry.name)))
        kind = next(kind for kind in KINDS.values() if kind.path == f"{folder}/*.yaml")
        files = (f"{folder}/{entry.name}" for entry in self.snapshot.entries(folder) if not entry.folder)
        return tuple(name for path in files if (name := kind.subject(path)) is not None)

    def located(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """The same problems, each with the line and column of the field that it names."""
        return tuple(self._located(problem) for problem in problems)

    def _located(self, problem: Problem) -> Problem:
        place = problem.place
        kind = kind_of(place.file)
        data = self.snapshot.read(place.file) if place.field and not place.line and kind else None
        if kind is None or data is None:
            return problem
        found = read(kind, data, place.file).places.of(*_path(place.field))
        return replace(problem, place=replace(found, field=place.field))

    # -- inheritance and recipes

    def _chain(self, name: str) -> tuple[str, ...]:
        """The names from the root to an appliance; Problems for a missing parent or a cycle."""
        chain: list[str] = []
        child, current = "", name
        while True:
            place = Place(definition(child or name), field="inherits" if child else "")
            if current in chain:
                circle = " → ".join([*chain[chain.index(current) :], current])
                raise Problems(
                    [Problem(place, f"inheritance goes in a circle: {circle}", "let one of them inherit from something else, or from nothing")]
                )
            appliance = self.appliance(current)
            if appliance is None:
                near = ", ".join(self.near(current)) if child else ""
                hint = f"did you mean {near}?" if near else "add the appliance, or correct the name"
                raise Problems([Problem(place, f"there is no appliance {current}", hint)])
            chain.append(current)
            if len(chain) > MAX_DEPTH:
                raise Problems([Problem(place, f"more than {MAX_DEPTH} appliances inherit from one another", "make the chain shorter")])
            if appliance.inherits is None:
                return tuple(reversed(chain))
            child, current = current, appliance.inherits

    def near(self, name: str) -> tuple[str, ...]:
        """Names of appliances that look like `name`."""
        from difflib import get_close_matches

        return tuple(get_close_matches(name, self.names("appliances"), n=3))

    def _resolved(self, name: str) -> Resolved:
        resolved, problems = resolve([(member, cast("Appliance", self.appliance(member))) for member in self.chain(name)])
        if resolved is None:
            raise Problems(problems)
        return resolved

    def members(self, name: str) -> tuple[Member, ...]:
        """An appliance's chain with locks, root first."""
        return tuple(Member(member, cast("Appliance", self.appliance(member)), self.lock(member)) for member in self.chain(name))

    def file_sha256(self, path: str) -> str | None:
        """SHA-256 of a file of the snapshot, or None."""
        blob = self.snapshot.blob_id(path)
        return self.index.sha256(blob, lambda: sha256_hex(self.snapshot.read_blob(blob))) if blob else None

    def content(self, content: Content) -> bytes:
        """The bytes of a recipe's file."""
        data = self.snapshot.read(content.path)
        if data is None or sha256_hex(data) != content.sha256:
            raise Problems([Problem(Place(content.path), "is not what the recipe was made from", "compose the recipe again")])
        return data

    def tools_layers(self, name: str) -> tuple[Layer, ...]:
        """The layers of an appliance used as a tools root."""
        made, problems = layers(self.members(name), self.file_sha256)
        if problems:
            raise Problems(problems)
        return made

    def _recipe(self, name: str) -> Recipe:
        resolved = self.resolved(name)
        tools: tuple[Layer, ...] = ()
        if not resolved.appliance.abstract:
            wanted = cast("str", resolved.appliance.builder.tools)
            self._tools_exist(wanted, resolved)
            tools = self.tools_layers(wanted)
        builder = VERSIONS[cast("str", resolved.appliance.builder.name)]
        recipe, problems = compose(self.members(name), tools, builder, self.file_sha256)
        if recipe is None:
            raise Problems(problems)
        return recipe

    def _tools_exist(self, tools: str, resolved: Resolved) -> None:
        origin = resolved.origins["builder.tools"]
        found = self.appliance(tools)
        if found is None or not found.abstract:
            what = f"there is no appliance {tools}" if found is None else f"{tools} is not abstract"
            raise Problems(
                [Problem(Place(definition(origin.appliance), field="builder.tools"), what, "name an abstract appliance that holds the tools")]
            )

    # -- tests

    def tests(self, name: str) -> tuple[TestScript, ...]:
        """The boot test's scripts, the root's first, each appliance's by file name."""
        found = []
        for member in self.chain(name):
            folder = f"appliances/{member}/tests"
            for entry in self.snapshot.entries(folder):
                if not entry.folder:
                    path = f"{folder}/{entry.name}"
                    found.append(TestScript(f"{member}/{entry.name}", path, cast("str", self.file_sha256(path))))
        return tuple(found)

    def tests_digest(self, name: str) -> str:
        """Digest of everything that the boot test depends on beside the image."""
        whole = self.resolved(name).appliance
        settings = {"test": whole.test.model_dump(mode="json"), "requirements": whole.requirements.model_dump(mode="json")}
        return tests_digest([(test.name, test.sha256) for test in self.tests(name)], settings)

    # -- the graph

    @cached_property
    def graph(self) -> Index:
        """The index, following this snapshot: who inherits from whom."""
        self.index.follow(self.repository, self.snapshot, self._node, self.progress)
        return self.index

    def _node(self, name: str) -> Node | None:
        if not self.snapshot.blob_id(definition(name)):
            return None
        document, _ = self.attempt(KINDS["appliance"], definition(name))
        if not isinstance(document, Appliance):
            return Node(name, "", "", "")
        return Node(name, document.uuid, document.inherits or "", document.builder.tools or "")


def _path(field: str) -> tuple[str | int, ...]:
    """`files[0].name` as a path into the document."""
    return tuple(int(index) if index else key for key, index in _FIELD.findall(field))

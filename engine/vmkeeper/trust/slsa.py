"""SLSA provenance of a release: what the statement says, and its one byte form. A field that is not known here is refused.

Forms: SLSA 1.0 (provenance), in-toto Attestation Framework 1.0 (Statement, ResourceDescriptor). The build type's parameters
are described in docs/provenance.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from vmkeeper.errors import Refused
from vmkeeper.model.base import Document
from vmkeeper.model.policy import BuilderId
from vmkeeper.model.recipe import BuilderVersion
from vmkeeper.trust.canonical import read_canonical
from vmkeeper.trust.dsse import MAXIMUM, first_of
from vmkeeper.trust.history import Record
from vmkeeper.trust.statement import STATEMENT
from vmkeeper.values import CommitId, Name, Sha256, Sha512, Time, canonical_json

PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://vmkeeper.org/build/v1"
FILE = "provenance.json"
"""Lies beside release.yaml."""
_LOCK = re.compile(r"appliances/([^/]+)/packages\.lock")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")


class Digest(Document):
    """One digest: of a git commit, a recipe or a file."""

    git_commit: CommitId | None = Field(None, alias="gitCommit")
    sha256: Sha256 | None = None
    sha512: Sha512 | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(each is not None for each in (self.git_commit, self.sha256, self.sha512)) != 1:
            raise ValueError("there must be one digest: gitCommit, sha256 or sha512")
        return self


class Resource(Document):
    """Something by name and digest (in-toto's ResourceDescriptor)."""

    name: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,300}$")]
    digest: Digest


class ExternalParameters(Document):
    """What was asked for, and by whom it can be checked: the repository, at this commit, gives this recipe."""

    repository: CommitId
    """The repository's root commit."""
    appliance: Name
    version: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}(\.[0-9]{1,18}){0,7}$")]
    commit: CommitId
    """The commit that was built; the release record names it too."""
    recipe: Sha256
    """Recipe digest."""


class InternalParameters(Document):
    """What the builder chose itself: what the recipe says of it."""

    builder: BuilderVersion


class BuildDefinition(Document):
    """What was built, and from what."""

    build_type: Literal["https://vmkeeper.org/build/v1"] = Field(alias="buildType")
    external_parameters: ExternalParameters = Field(alias="externalParameters")
    internal_parameters: InternalParameters = Field(alias="internalParameters")
    resolved_dependencies: Annotated[tuple[Resource, ...], Field(max_length=200)] = Field(alias="resolvedDependencies")
    """`source` (gitCommit), then the packages.lock of the appliance, of what it inherits from and of its tools (sha512, by
    name), then, for an appliance that inherits, `parent`: its parent's recipe (sha256)."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        given = list(self.resolved_dependencies)
        parent = [given.pop()] if given and given[-1].name == "parent" else []
        if given[:1] != [_source(self.external_parameters.commit)] or any(each.digest.sha256 is None for each in parent):
            raise ValueError("resolvedDependencies must be the source commit, then locks of packages, then the parent's recipe")
        locks = [each.name for each in given[1:]]
        if any(each.digest.sha512 is None or not _is_lock(each.name) for each in given[1:]) or locks != sorted(set(locks)):
            raise ValueError("between source and parent there may be locks of packages only, sorted by name, each once")
        return self

    @property
    def parent(self) -> Sha256 | None:
        """Recipe digest of the appliance that this one inherits from."""
        return self.resolved_dependencies[-1].digest.sha256


class BuilderOf(Document):
    """Who ran the build: the builder id, and the version of this program."""

    id: BuilderId
    version: Annotated[dict[Literal["vmkeeper"], Annotated[str, StringConstraints(pattern=r"^[0-9][0-9A-Za-z.+!-]{0,63}$")]], Field(min_length=1)]


class Invocation(Document):
    """One run of a builder."""

    invocation_id: Annotated[str, StringConstraints(pattern=r"^urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")] = Field(alias="invocationId")
    """Random."""
    started_on: Time = Field(alias="startedOn")
    finished_on: Time = Field(alias="finishedOn")

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.finished_on < self.started_on:
            raise ValueError("finishedOn is before startedOn")
        return self


class RunDetails(Document):
    """How it was built."""

    builder: BuilderOf
    metadata: Invocation


class Predicate(Document):
    """SLSA's provenance."""

    build_definition: BuildDefinition = Field(alias="buildDefinition")
    run_details: RunDetails = Field(alias="runDetails")


class Provenance(Document):
    """An in-toto Statement that says how the subjects, which are a release's record and files, were made."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Annotated[tuple[Resource, ...], Field(min_length=1, max_length=40)]
    predicate_type: Literal["https://slsa.dev/provenance/v1"] = Field(alias="predicateType")
    predicate: Predicate

    @property
    def asked(self) -> ExternalParameters:
        """What was asked for."""
        return self.predicate.build_definition.external_parameters

    @property
    def builder_id(self) -> str:
        """Who says that it built it."""
        return self.predicate.run_details.builder.id

    @property
    def invocation(self) -> Invocation:
        """Which run, and when."""
        return self.predicate.run_details.metadata


def subjects(record: Record) -> tuple[Resource, ...]:
    """What the provenance of a release is about, in order: its record, image files by format, then what lies beside them."""
    release = record.release
    stem = f"{release.appliance}-{release.version}"
    named = [(f"appliances/{release.appliance}/release.yaml", record.sha512)]
    named += [(f"{stem}.{file.format}", file.sha512) for file in sorted(release.files, key=lambda file: file.format)]
    named += [(f"{stem}.rootfs.tar", release.rootfs.sha512), (f"{stem}.manifest", release.manifest.sha512), (f"{stem}.sbom", release.sbom.sha512)]
    return tuple(Resource(name=name, digest=Digest(sha512=sha512)) for name, sha512 in named)


def describe(
    record: Record, *, repository: CommitId, locks: Mapping[str, Sha512], builder: BuilderId, program: str, invocation: Invocation
) -> Provenance:
    """The provenance of a release.

    repository: root commit. locks: SHA-512 of every packages.lock that the recipe is made from, by path. builder: its id.
    program: the version of vmkeeper.
    """
    release = record.release
    parent = [] if release.parent is None else [{"name": "parent", "digest": {"sha256": release.parent}}]
    external = {
        "repository": repository,
        "appliance": release.appliance,
        "version": str(release.version),
        "commit": release.commit,
        "recipe": release.recipe,
    }
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": external,
        "internalParameters": {"builder": release.builder},
        "resolvedDependencies": [
            _source(release.commit),
            *({"name": path, "digest": {"sha512": sha512}} for path, sha512 in sorted(locks.items())),
            *parent,
        ],
    }
    run = {"builder": {"id": builder, "version": {"vmkeeper": program}}, "metadata": invocation}
    predicate = {"buildDefinition": definition, "runDetails": run}
    return Provenance.model_validate({"_type": STATEMENT, "subject": subjects(record), "predicateType": PREDICATE, "predicate": predicate})


def encode(provenance: Provenance) -> bytes:
    """The canonical JSON of the statement: the payload."""
    return canonical_json(provenance.model_dump(mode="json", by_alias=True, exclude_none=True))


def read_statement(payload: bytes) -> Provenance:
    """Read a payload whose signature has been verified. Raises Refused: R22, R31 for other fields, R32 for another byte form."""
    value = read_canonical(payload, "the payload", MAXIMUM)
    try:
        provenance = Provenance.model_validate(value)
    except ValidationError as error:
        raise Refused("R31", "the payload is not provenance as we know it", why=first_of(error)) from None
    if encode(provenance) != payload:
        raise Refused("R32", "the payload is not in the form we write", why="written again, it has other bytes")
    return provenance


def _source(commit: CommitId) -> Resource:
    return Resource(name="source", digest=Digest(gitCommit=commit))


def _is_lock(path: str) -> bool:
    match = _LOCK.fullmatch(path)
    return match is not None and _NAME.fullmatch(match[1]) is not None

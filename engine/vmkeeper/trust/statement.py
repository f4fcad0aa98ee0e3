"""What a tag says: in-toto statements about a release, in one canonical byte form.

`parse` refuses every other byte form of the same statement, so a signature has one reading.
Form: in-toto Attestation Framework, Statement v1.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from vmkeeper.documents.json_guard import read_json
from vmkeeper.errors import Problems, Refused
from vmkeeper.model.appliance import Format
from vmkeeper.model.base import Document
from vmkeeper.trust.tagobject import MAXIMUM
from vmkeeper.values import CommitId, Name, Sha256, Sha512, Time, Uuid, Version, canonical_json

STATEMENT = "https://in-toto.io/Statement/v1"
ENDORSEMENT = "https://vmkeeper.org/endorsement/v1"
WITHDRAWAL = "https://vmkeeper.org/withdrawal/v1"

Serial = Annotated[int, Field(ge=1, le=2**53 - 1)]
KeyId = Annotated[str, StringConstraints(pattern=r"^(openpgp:[0-9A-F]{40}|ssh:SHA256:[A-Za-z0-9+/]{43})$")]
"""`openpgp:` and the primary key's fingerprint, or `ssh:` and the fingerprint as ssh-keygen writes it."""
_Bytes = Annotated[int, Field(ge=0, le=2**53 - 1)]
_Version = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}(\.[0-9]{1,18}){0,7}$")]
_TAG = re.compile(r"(endorse|withdraw)/([^/]+)/([^/]+)/([^/]+)/([1-9][0-9]{0,15})")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")


@dataclass(frozen=True, order=True, slots=True)
class TagName:
    """`ACTION/APPLIANCE/VERSION/ENDORSER/SERIAL`, below refs/tags/."""

    action: str
    appliance: str
    version: str
    endorser: str
    serial: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a tag's name; raises Refused (R6) for one that is not ours."""
        match = _TAG.fullmatch(text)
        if (
            match is None
            or not _NAME.fullmatch(match[2])
            or not _NAME.fullmatch(match[4])
            or not re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18}){0,7}", match[3])
        ):
            raise Refused("R6", "the tag's name is not endorse/ or withdraw/ APPLIANCE/VERSION/ENDORSER/SERIAL", why=text)
        return cls(match[1], match[2], match[3], match[4], int(match[5]))

    def __str__(self) -> str:
        return f"{self.action}/{self.appliance}/{self.version}/{self.endorser}/{self.serial}"


class SignedFile(Document):
    """One image file: sizes in bytes."""

    format: Format
    size: _Bytes
    virtual_size: _Bytes
    sha512: Sha512


class _Said(Document):
    """What every statement of an endorser says."""

    repository: CommitId
    """The repository's root commit."""
    appliance: Name
    uuid: Uuid
    path: str
    """The appliance's folder, `appliances/NAME`."""
    version: _Version
    commit: CommitId
    """The commit that the tag points to; it holds the release record."""
    release: Sha512
    """SHA-512 of the release record's bytes."""
    endorser: Name
    key: KeyId
    serial: Serial
    """Counts every tag of this endorser from 1."""
    previous: Sha512 | None
    """SHA-512 of the endorser's previous tag object; null for the first."""
    issued: Time

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if (self.serial == 1) != (self.previous is None):
            raise ValueError("previous belongs to every serial but the first")
        if self.path != f"appliances/{self.appliance}":
            raise ValueError("path is not the appliance's folder")
        return self


class Endorsement(_Said):
    """An endorser answers for one release."""

    action: Literal["endorse"] = "endorse"
    recipe: Sha256
    files: Annotated[tuple[SignedFile, ...], Field(min_length=1, max_length=16)]
    """Sorted by format, each format once."""
    manifest: Sha512
    """SHA-512 of the list of packages."""
    not_before: Time
    expires: Time

    @model_validator(mode="after")
    def _sorted(self) -> Self:
        formats = [file.format for file in self.files]
        if formats != sorted(set(formats)):
            raise ValueError("files are not sorted by format, each once")
        return self

    @property
    def content(self) -> tuple[object, ...]:
        """What a quorum has to agree on."""
        return (self.uuid, Version(self.version), self.recipe, self.release, self.files, self.manifest)


class Withdrawal(_Said):
    """An endorser takes a version back: it is to be run no longer."""

    action: Literal["withdraw"] = "withdraw"
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1000)]


Statement = Endorsement | Withdrawal


def tag_name(statement: Statement) -> TagName:
    """The only name that a tag with this statement may have."""
    return TagName(statement.action, statement.appliance, statement.version, statement.endorser, statement.serial)


def encode(statement: Statement) -> bytes:
    """The canonical JSON of the in-toto statement: one line, no newline at its end."""
    subject = [{"name": f"{statement.path}/release.yaml", "digest": {"sha512": statement.release}}]
    if isinstance(statement, Endorsement):
        subject += [
            {"name": f"{statement.appliance}-{statement.version}.{file.format}", "digest": {"sha512": file.sha512}} for file in statement.files
        ]
    kind = ENDORSEMENT if isinstance(statement, Endorsement) else WITHDRAWAL
    return canonical_json({"_type": STATEMENT, "subject": subject, "predicateType": kind, "predicate": statement.model_dump(mode="json")})


def parse(data: bytes) -> Statement:
    """Read a statement whose signature has been verified.

    Raises Refused: R22 for what is not JSON or not a statement of ours, R32 for another byte form of one.
    """
    value = _canonical(data)
    models: dict[object, type[Endorsement | Withdrawal]] = {ENDORSEMENT: Endorsement, WITHDRAWAL: Withdrawal}
    kind = value.get("predicateType") if isinstance(value, dict) else None
    model = models.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise Refused("R22", "the message is not a statement about a release", why=f"predicateType {kind!r}")
    try:
        statement = model.model_validate(value.get("predicate"))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise Refused(
            "R22", "the statement does not have the fields it must have", why=f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from None
    if encode(statement) != data:
        raise Refused("R32", "the statement does not name its subjects as we do", why="written again, it has other bytes")
    return statement


def _canonical(data: bytes) -> Any:
    """The JSON value of a canonical text, which by its form has no key twice, no NaN and no other reading (rule R22)."""
    try:
        value = json.loads(data)
        if canonical_json(value) == data:
            return value
    except (ValueError, RecursionError):
        pass  # the reader below says what is wrong, with its place
    try:
        read_json(data, "", limit=MAXIMUM)
    except Problems as error:
        raise Refused("R22", "the message is not JSON that has one reading", why=str(error.problems[0])) from None
    raise Refused("R32", "the statement is not in canonical form", why="written again, it has other bytes")

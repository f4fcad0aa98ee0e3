"""The one byte form of what a tag says, an in-toto statement in canonical JSON, and the one form of a tag's name.

`parse` refuses every other byte form of the same statement, so a signature has one reading.
Form: in-toto Attestation Framework, Statement v1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Self

from pydantic import ValidationError

from vmkeeper.errors import Refused
from vmkeeper.trust.canonical import read_canonical
from vmkeeper.trust.said import STATEMENTS, Statement
from vmkeeper.trust.tagobject import MAXIMUM
from vmkeeper.values import canonical_json

STATEMENT = "https://in-toto.io/Statement/v1"

_NAME = r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"
_VERSION = r"[0-9]{1,18}(?:\.[0-9]{1,18}){0,7}"
_NUMBER = r"[1-9][0-9]{0,15}"
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"(?P<action>endorse|withdraw)/(?P<appliance>{_NAME})/(?P<version>{_VERSION})/(?P<signer>{_NAME})/(?P<number>{_NUMBER})",
        rf"(?P<action>policy)/(?P<number>{_NUMBER})/(?P<signer>{_NAME})",
        rf"(?P<action>revoke)/(?P<subject>{_NAME})/(?P<signer>{_NAME})/(?P<number>{_NUMBER})",
        rf"(?P<action>approve)/(?P<subject>{_NAME})/(?P<number>{_NUMBER})/(?P<signer>{_NAME})",
    )
)
_MODELS: dict[object, type[Statement]] = {model.predicate: model for model in STATEMENTS}


@dataclass(frozen=True, slots=True)
class TagName:
    """A tag's name taken apart. What it says counts only once the payload says the same."""

    text: str
    action: str
    signer: str
    number: int
    """Serial, or number of the policy, revocation or approval."""
    appliance: str = ""
    version: str = ""
    subject: str = ""
    """The holder of a revoked key, or a site."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a tag's name; raises Refused (R6) for one that is not ours."""
        for form in _FORMS:
            if match := form.fullmatch(text):
                parts: dict[str, Any] = match.groupdict()
                return cls(**{**parts, "text": text, "number": int(parts["number"])})
        forms = "endorse/ or withdraw/ APPLIANCE/VERSION/ENDORSER/SERIAL, policy/N/PRINCIPAL, revoke/HOLDER/BY/N, approve/SITE/N/ADMINISTRATOR"
        raise Refused("R6", "the tag's name is not one of ours", why=text, hint=forms)

    def __str__(self) -> str:
        return self.text


def encode(statement: Statement) -> bytes:
    """The canonical JSON of the in-toto statement: one line, no newline at its end."""
    return canonical_json(
        {
            "_type": STATEMENT,
            "subject": statement.subjects(),
            "predicateType": statement.predicate,
            "predicate": statement.model_dump(mode="json"),
        }
    )


def parse(data: bytes) -> Statement:
    """Read a statement whose signature has been verified.

    Raises Refused: R22 for what is not JSON or not a statement of ours, R32 for another byte form of one.
    """
    value = read_canonical(data, "the statement", MAXIMUM)
    kind = value.get("predicateType") if isinstance(value, dict) else None
    model = _MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise Refused("R22", "the message is not a statement of ours", why=f"predicateType {kind!r}")
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

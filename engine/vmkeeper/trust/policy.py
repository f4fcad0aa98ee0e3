"""A policy: what an endorsers/ tree says once enough principals have signed it.

Pure: the tree's files come in as bytes. What cannot be read is refused as a whole, never replaced by a default (R4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from vmkeeper.documents.guard import read_yaml
from vmkeeper.documents.kinds import KINDS, Kind
from vmkeeper.documents.load import load
from vmkeeper.errors import Problems, Refused, UserError
from vmkeeper.model.base import Document
from vmkeeper.model.endorser import EndorserList
from vmkeeper.model.policy import Policy as PolicyDocument
from vmkeeper.trust.derived import Source, effective
from vmkeeper.trust.people import Holder, TrustedBuilder, TrustedEndorsers, differing_files, endorsers, hold, holder, shared_keys
from vmkeeper.trust.refusal import Refusal, Untrusted
from vmkeeper.values import sha512_hex

FOLDER = "endorsers"
FILE = "policy.yaml"
_BASE = re.compile(r"sources/([a-z0-9][a-z0-9._-]*)/list\.yaml")
_WHO = re.compile(r"the name .* is there twice|two endorsers are named .*|this key is listed before|.* can never be reached")
"""What a document's own check says where its people and thresholds do not go together."""
D = TypeVar("D", bound=Document)


@dataclass(frozen=True, slots=True)
class Policy:
    """An endorsers/ tree with every key in full."""

    document: PolicyDocument
    principals: tuple[Holder, ...]
    builders: tuple[TrustedBuilder, ...]
    lists: Mapping[str, TrustedEndorsers]
    sources: Mapping[str, EndorserList]
    """The lists' documents."""
    bases: Mapping[str, Source]
    """What was last taken from other repositories, by the name of the source."""
    files: Mapping[str, bytes]

    def derivation(self, now: datetime) -> Mapping[str, tuple[Refusal, ...]]:
        """What is wrong, at a time, with each list that is based on another."""
        return effective(self.sources, self.bases, self.files.get, now)

    def everybody(self) -> Iterator[Holder]:
        """Whoever has a key: principals, builders, endorsers of each list."""
        yield from self.principals
        yield from self.builders
        for found in self.lists.values():
            yield from found.endorsers

    def freshness_signers(self) -> tuple[TrustedBuilder, ...]:
        """The builders whose freshness statements count; none where no freshness is asked for."""
        wanted = self.document.freshness.signers if self.document.freshness else ()
        return tuple(one for one in self.builders if one.name in wanted)


def read_policy(files: Mapping[str, bytes]) -> Policy:
    """The policy in the files of an endorsers/ tree, by path relative to it.

    Raises Refused: R4 where policy.yaml is missing, R21 for YAML that has no one reading, R5 for a key or name that is
    two people's, R10 for a key file that holds something else; Untrusted with all of them.
    """
    if FILE not in files:
        hint = "write it, and have the principals sign it: vmkeeper policy sign"
        raise Refused("R4", "there is no policy", where=f"{FOLDER}/{FILE}", hint=hint)
    refusals: list[Refusal] = []
    document = _document(KINDS["policy"], f"{FOLDER}/{FILE}", files[FILE], PolicyDocument, refusals)
    sources: dict[str, EndorserList] = {}
    for path, data in sorted(files.items()):
        name = KINDS["endorsers"].subject(f"{FOLDER}/{path}")
        if name is not None and path != FILE:
            found = _document(KINDS["endorsers"], f"{FOLDER}/{path}", data, EndorserList, refusals)
            if found is not None:
                sources[name] = found
    if document is None or refusals:
        raise Untrusted(refusals)
    made = _with_keys(document, sources, files, refusals)
    refusals += _people(made)
    if refusals:
        raise Untrusted(refusals)
    return made


def _document(kind: Kind, path: str, data: bytes, model: type[D], refusals: list[Refusal]) -> D | None:
    tree = read_yaml(data, path)
    if tree.problems:
        refusals += [Refusal("R21", one.what, str(one.place), one.hint) for one in tree.problems]
        return None
    try:
        found = load(kind, data, path)
    except Problems as error:
        refusals += [Refusal("R5" if _WHO.fullmatch(one.what) else "R22", one.what, str(one.place), one.hint) for one in error.problems]
        return None
    assert isinstance(found, model)
    return found


def _with_keys(document: PolicyDocument, sources: Mapping[str, EndorserList], files: Mapping[str, bytes], refusals: list[Refusal]) -> Policy:
    def key_file(path: str) -> bytes:
        if path not in files:
            raise UserError(
                "there is no such key file", where=f"{FOLDER}/{path}", hint="write it with: gpg --armor --export FINGERPRINT, and commit it"
            )
        return files[path]

    principals: list[Holder] = []
    builders: list[TrustedBuilder] = []
    lists: dict[str, TrustedEndorsers] = {}
    for person in document.principals:
        try:
            principals.append(holder(person, key_file))
        except (Refused, UserError) as error:
            refusals.append(_refusal(error, f"{FILE}: {person.name}"))
    for builder in document.builders:
        try:
            keys = tuple(hold(key, key_file) for key in builder.keys)
            builders.append(TrustedBuilder(name=builder.name, id=builder.id, keys=keys))
        except (Refused, UserError) as error:
            refusals.append(_refusal(error, f"{FILE}: {builder.name}"))
    for name, source in sources.items():
        try:
            lists[name] = endorsers(name, source, key_file)
        except (Refused, UserError) as error:
            refusals.append(_refusal(error, f"{name}.yaml"))
    return Policy(document, tuple(principals), tuple(builders), lists, sources, _bases(files, refusals), files)


def _bases(files: Mapping[str, bytes], refusals: list[Refusal]) -> dict[str, Source]:
    """The lists below sources/NAME/list.yaml."""
    found = {}
    for path, data in sorted(files.items()):
        if (match := _BASE.fullmatch(path)) is not None:
            document = _document(KINDS["endorsers"], f"{FOLDER}/{path}", data, EndorserList, refusals)
            if document is not None:
                found[match[1]] = Source(document, sha512_hex(data))
    return found


def _refusal(error: Refused | UserError, where: str) -> Refusal:
    if isinstance(error, Refused):
        return Refusal(error.rule, error.what, f"{FOLDER}/{where}: {error.why}", error.hint)
    return Refusal("R4", error.what, error.where, error.hint)


def _people(policy: Policy) -> list[Refusal]:
    """R5: a key pair belongs to one name in the whole policy. R10: a key is there in one version."""
    everybody = tuple(policy.everybody())
    return [*shared_keys(everybody), *differing_files(everybody)]

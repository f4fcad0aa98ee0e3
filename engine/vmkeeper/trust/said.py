"""What signed tags say: about a release, about the policy, about a key, about a site, about the present.

Fields are never added to a predicateType: a newer form gets a newer one, and a verifier refuses what it does not know.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from vmkeeper.model.appliance import Format
from vmkeeper.model.base import Document
from vmkeeper.model.keys import Compromise
from vmkeeper.values import CommitId, Name, Sha256, Sha512, Time, Uuid, Version, canonical_json, sha512_hex

Serial = Annotated[int, Field(ge=1, le=2**53 - 1)]
KeyId = Annotated[str, StringConstraints(pattern=r"^(openpgp:[0-9A-F]{40}|ssh:SHA256:[A-Za-z0-9+/]{43}|x509:[0-9a-f]{64})$")]
"""`openpgp:` and the primary key's fingerprint, `ssh:` and the fingerprint as ssh-keygen writes it, `x509:` and the certificate's SHA-256."""
_Bytes = Annotated[int, Field(ge=0, le=2**53 - 1)]
_Version = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}(\.[0-9]{1,18}){0,7}$")]
_Reason = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Subject = dict[str, object]


class Said(Document):
    """What every statement says: about which repository, by which key, when."""

    predicate: ClassVar[str]
    """The predicateType."""

    repository: CommitId
    """The repository's root commit."""
    key: KeyId
    """The key that signs."""
    issued: Time

    @property
    @abstractmethod
    def signer(self) -> str:
        """The name of who signs."""

    @property
    @abstractmethod
    def ref(self) -> str:
        """The only name that a tag with this statement may have, below refs/tags/."""

    @abstractmethod
    def subjects(self) -> list[Subject]:
        """The in-toto subjects, each with its SHA-512."""


class _OfEndorser(Said):
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
    serial: Serial
    """Counts every tag of this endorser from 1."""
    previous: Sha512 | None
    """SHA-512 of the endorser's previous tag object; null for the first."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if (self.serial == 1) != (self.previous is None):
            raise ValueError("previous belongs to every serial but the first")
        if self.path != f"appliances/{self.appliance}":
            raise ValueError("path is not the appliance's folder")
        return self

    @property
    def signer(self) -> str:
        """The endorser's name."""
        return self.endorser

    def subjects(self) -> list[Subject]:
        """The release record."""
        return [_subject(f"{self.path}/release.yaml", self.release)]


class SignedFile(Document):
    """One image file: sizes in bytes."""

    format: Format
    size: _Bytes
    virtual_size: _Bytes
    sha512: Sha512


class Endorsement(_OfEndorser):
    """An endorser answers for one release."""

    predicate = "https://vmkeeper.org/endorsement/v1"

    action: Literal["endorse"] = "endorse"
    recipe: Sha256
    files: Annotated[tuple[SignedFile, ...], Field(min_length=1, max_length=16)]
    """Sorted by format, each format once."""
    manifest: Sha512
    """SHA-512 of the list of packages."""
    provenance: Sha512 | None
    """SHA-512 of the provenance beside the release record; null where there is none."""
    rebuilt: bool
    """Whether the endorser built the release again and found every byte the same."""
    policy: Serial
    """Number of the policy that was in force for the endorser."""
    not_before: Time
    expires: Time

    @model_validator(mode="after")
    def _sorted(self) -> Self:
        formats = [file.format for file in self.files]
        if formats != sorted(set(formats)):
            raise ValueError("files are not sorted by format, each once")
        return self

    @property
    def ref(self) -> str:
        """`endorse/APPLIANCE/VERSION/ENDORSER/SERIAL`."""
        return f"endorse/{self.appliance}/{self.version}/{self.endorser}/{self.serial}"

    def subjects(self) -> list[Subject]:
        """The release record and each image file."""
        return [*super().subjects(), *(_subject(f"{self.appliance}-{self.version}.{file.format}", file.sha512) for file in self.files)]

    @property
    def content(self) -> tuple[object, ...]:
        """What a quorum has to agree on."""
        return (self.uuid, Version(self.version), self.recipe, self.release, self.files, self.manifest, self.provenance)


class Withdrawal(_OfEndorser):
    """An endorser takes a version back: it is to be run no longer."""

    predicate = "https://vmkeeper.org/withdrawal/v1"

    action: Literal["withdraw"] = "withdraw"
    reason: _Reason

    @property
    def ref(self) -> str:
        """`withdraw/APPLIANCE/VERSION/ENDORSER/SERIAL`."""
        return f"withdraw/{self.appliance}/{self.version}/{self.endorser}/{self.serial}"


class PolicySignature(Said):
    """A principal wants an endorsers/ tree to be in force."""

    predicate = "https://vmkeeper.org/policy/v1"

    action: Literal["policy"] = "policy"
    number: Serial
    commit: CommitId
    """The commit that the tag points to; it holds the tree."""
    tree: Sha512
    """SHA-512 of endorsers/ (`repository.digest`)."""
    previous: Sha512 | None
    """`content` of the policy before; null for number 1."""
    principal: Name
    expires: Time

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if (self.number == 1) != (self.previous is None):
            raise ValueError("previous belongs to every policy but the first")
        return self

    @property
    def signer(self) -> str:
        """The principal's name."""
        return self.principal

    @property
    def ref(self) -> str:
        """`policy/NUMBER/PRINCIPAL`."""
        return f"policy/{self.number}/{self.principal}"

    @property
    def content(self) -> Sha512:
        """SHA-512 of what a quorum has to agree on."""
        shared = self.model_dump(mode="json", include={"repository", "number", "commit", "tree", "previous", "expires"})
        return sha512_hex(canonical_json(shared))

    def subjects(self) -> list[Subject]:
        """The endorsers/ tree."""
        return [_subject("endorsers", self.tree)]


class Revocation(Said):
    """A key is not its owner's alone any more, or no longer: what it signs from a place in its owner's chain on is void."""

    predicate = "https://vmkeeper.org/revocation/v1"

    action: Literal["revoke"] = "revoke"
    holder: Name
    """Whose key it is."""
    revoked: KeyId
    since: Compromise
    """For a principal's key, `serial` is the last policy that it signed rightly."""
    by: Name
    """A principal, or the holder, who then signs with this very key."""
    number: Serial
    """Counts the revocations of this holder's keys by this signer."""
    commit: CommitId
    """The commit that the tag points to: any one of the mainline."""
    reason: _Reason

    @property
    def signer(self) -> str:
        """The principal's or holder's name."""
        return self.by

    @property
    def ref(self) -> str:
        """`revoke/HOLDER/BY/NUMBER`."""
        return f"revoke/{self.holder}/{self.by}/{self.number}"

    def subjects(self) -> list[Subject]:
        """The key's name."""
        return [_subject(self.revoked, sha512_hex(self.revoked.encode()))]


class SiteApproval(Said):
    """A site's administrator wants a file sites/NAME.yaml to be in force."""

    predicate = "https://vmkeeper.org/approval/v1"

    action: Literal["approve"] = "approve"
    site: Name
    number: Serial
    commit: CommitId
    """The commit that the tag points to; it holds the file."""
    file: Sha512
    """SHA-512 of sites/NAME.yaml."""
    previous: Sha512 | None
    """`content` of the approval before; null for number 1."""
    administrator: Name

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if (self.number == 1) != (self.previous is None):
            raise ValueError("previous belongs to every approval but the first")
        return self

    @property
    def signer(self) -> str:
        """The administrator's name."""
        return self.administrator

    @property
    def ref(self) -> str:
        """`approve/SITE/NUMBER/ADMINISTRATOR`."""
        return f"approve/{self.site}/{self.number}/{self.administrator}"

    @property
    def content(self) -> Sha512:
        """SHA-512 of what a quorum has to agree on."""
        shared = self.model_dump(mode="json", include={"repository", "site", "number", "commit", "file", "previous"})
        return sha512_hex(canonical_json(shared))

    def subjects(self) -> list[Subject]:
        """The site's file."""
        return [_subject(f"sites/{self.site}.yaml", self.file)]


class Chain(Document):
    """How far an endorser's tags went."""

    endorser: Name
    serial: Serial
    sha512: Sha512
    """Of the tag object with that serial."""


class PolicyMark(Document):
    """A policy by number and content."""

    number: Serial
    sha512: Sha512


class ListMark(Document):
    """A published image list."""

    uuid: Uuid
    version: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    sha512: Sha512
    """Of the signed content."""


class Freshness(Said):
    """A builder has seen all this just now: whoever shows a site less holds something back."""

    predicate = "https://vmkeeper.org/freshness/v1"

    action: Literal["freshness"] = "freshness"
    commit: CommitId
    """Head of the mainline; what the tag object points to."""
    policy: PolicyMark
    chains: tuple[Chain, ...]
    """The last tag of every endorser, sorted by name."""
    revocations: tuple[Sha512, ...]
    """SHA-512 of every revocation's tag object, sorted."""
    lists: tuple[ListMark, ...]
    """Published image lists, sorted by UUID."""
    builder: Name
    expires: Time

    @model_validator(mode="after")
    def _sorted(self) -> Self:
        for keys in ([one.endorser for one in self.chains], list(self.revocations), [one.uuid for one in self.lists]):
            if keys != sorted(set(keys)):
                raise ValueError("chains, revocations and lists are sorted, each once")
        return self

    @property
    def signer(self) -> str:
        """The builder's name."""
        return self.builder

    @property
    def ref(self) -> str:
        """The one name there is; the ref is not below refs/tags/, for it moves."""
        return "freshness"

    def subjects(self) -> list[Subject]:
        """All that was seen, as one digest."""
        seen = self.model_dump(mode="json", include={"commit", "policy", "chains", "revocations", "lists"})
        return [_subject("state", sha512_hex(canonical_json(seen)))]


OfEndorser = Endorsement | Withdrawal
Statement = Endorsement | Withdrawal | PolicySignature | Revocation | SiteApproval | Freshness
STATEMENTS: tuple[type[Statement], ...] = (Endorsement, Withdrawal, PolicySignature, Revocation, SiteApproval, Freshness)


def _subject(name: str, sha512: str) -> Subject:
    return {"name": name, "digest": {"sha512": sha512}}

"""People and services with their keys in full, as pins and policies hold them. A name is one of them, and so is a key pair (R5)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Annotated, Protocol

from pydantic import Field

from vmkeeper.errors import Refused
from vmkeeper.model.base import Document
from vmkeeper.model.endorser import Endorser, EndorserList, Scope
from vmkeeper.model.keys import OpenPGPKey, Person, SSHKey, X509Key
from vmkeeper.model.policy import BuilderId
from vmkeeper.trust.keys.interface import HeldKey, HeldOpenPGPKey, ListedKey, SignedBy
from vmkeeper.trust.keys.material import materials
from vmkeeper.trust.keys.packets import read_certificate
from vmkeeper.trust.keys.ssh import read_public_key
from vmkeeper.trust.refusal import Refusal
from vmkeeper.values import Duration, Name, Time

KeyFile = Callable[[str], bytes]
"""The bytes of a key file by its path relative to endorsers/; raises VmkeeperError where there is none."""


class Signed(Protocol):
    """What is known of who signed something: the key as its holder has it, and the good signature."""

    @property
    def held(self) -> HeldKey | None:
        """The key; None where no signature is good."""

    @property
    def signed_by(self) -> SignedBy | None:
        """The signature."""


class Holder(Document):
    """Somebody with keys in full."""

    name: Name
    full_name: str = ""
    email: str = ""
    keys: Annotated[tuple[HeldKey, ...], Field(min_length=1)]

    def key_like(self, read: Signed) -> HeldKey | None:
        """That one of the holder's keys which signed, as this holder has it (perhaps renewed, or with other marks)."""
        if read.held is None or read.signed_by is None:
            return None
        wanted, by = _identity(read.held), read.signed_by.key
        return next((key for key in self.keys if _identity(key) == wanted and _takes(key, by)), None)


class TrustedBuilder(Holder):
    """A build service."""

    id: BuilderId


class TrustedEndorser(Holder):
    """An endorser of a list in force."""

    scope: Scope = Scope()
    not_before: Time | None = None
    expires: Time | None = None

    def in_scope(self, appliance: str, community: str) -> bool:
        """Whether this endorser may answer for the appliance on the list of the community."""
        return any(matches(one, appliance) for one in self.scope.appliances) and any(matches(one, community) for one in self.scope.communities)

    def in_office(self, now: datetime) -> bool:
        """Whether the list lets this endorser endorse at the time."""
        return (self.not_before is None or self.not_before <= now) and (self.expires is None or now < self.expires)


class TrustedEndorsers(Document):
    """An endorser list in force."""

    name: Name
    """Its name in the repository: endorsers/NAME.yaml."""
    community: str = ""
    quorum: Annotated[int, Field(ge=1, le=16)] = 1
    rebuilds: Annotated[int, Field(ge=0, le=16)] = 0
    """How many of the quorum must have built the release again."""
    maximum_lifetime: Duration
    """The longest validity of an endorsement."""
    endorsers: tuple[TrustedEndorser, ...]

    def endorser(self, name: str) -> TrustedEndorser | None:
        """The endorser with this name."""
        return next((endorser for endorser in self.endorsers if endorser.name == name), None)


def _identity(key: HeldKey) -> tuple[str, ...]:
    """What a renewed key has in common with the one before: the fingerprint, the key itself, or the names."""
    match key:
        case SSHKey():
            return (key.type, key.key)
        case X509Key():
            return (key.type, *materials(key))
    return (key.type, key.fingerprint)


def _takes(key: HeldKey, by: str) -> bool:
    """Whether an entry that names one certificate names the one that signed."""
    return not isinstance(key, X509Key) or key.certificate is None or by == f"x509:{key.certificate}"


def merged(people: Iterable[Holder]) -> dict[str, Holder]:
    """Everybody once by name, with all of their keys, without marks: what is said against a key is for each list to say."""
    keys: defaultdict[str, dict[HeldKey, None]] = defaultdict(dict)
    first: dict[str, Holder] = {}
    for one in people:
        first.setdefault(one.name, one)
        for key in one.keys:
            keys[one.name][key.model_copy(update={"retired": None, "compromised_since": None})] = None
    return {name: Holder(name=name, full_name=one.full_name, email=one.email, keys=tuple(keys[name])) for name, one in first.items()}


def matches(pattern: str, name: str) -> bool:
    """Whether a name fits a pattern, in which `*` stands for any characters."""
    return fnmatchcase(name, pattern)


def key_id(key: HeldKey | ListedKey) -> str:
    """How statements name a key. An X.509 key that is not one certificate is named by whose it is, for people only."""
    match key:
        case SSHKey():
            return f"ssh:{read_public_key(key.key).fingerprint}"
        case X509Key():
            return f"x509:{key.certificate or f'{key.subject} by {key.issuer}'}"
    return f"openpgp:{key.fingerprint}"


def hold(key: ListedKey, key_file: KeyFile) -> HeldKey:
    """A listed key in full. Raises Refused (R10) where its file does not hold exactly that one public key."""
    if not isinstance(key, OpenPGPKey):
        if isinstance(key, SSHKey):
            read_public_key(key.key)
        return key
    text = key_file(key.file).decode("ascii", errors="replace")
    certificate = read_certificate(text)
    if certificate.fingerprint != key.fingerprint:
        raise Refused("R10", f"{key.file} holds another key than the list names", why=f"{certificate.fingerprint}, not {key.fingerprint}")
    state = {"retired": key.retired, "compromised_since": key.compromised_since}
    return HeldOpenPGPKey(type="openpgp", fingerprint=key.fingerprint, armour=text.strip() + "\n", **state)


def holder(person: Person, key_file: KeyFile) -> Holder:
    """A person with keys in full; raises like `hold`."""
    return Holder(name=person.name, full_name=person.full_name, email=person.email, keys=tuple(hold(key, key_file) for key in person.keys))


def endorsers(name: str, source: EndorserList, key_file: KeyFile) -> TrustedEndorsers:
    """An endorser list with keys in full; raises like `hold`."""
    return TrustedEndorsers(
        name=name,
        community=source.community,
        quorum=source.quorum,
        rebuilds=source.rebuilds,
        maximum_lifetime=source.maximum_lifetime,
        endorsers=tuple(_endorser(one, key_file) for one in source.endorsers),
    )


def _endorser(source: Endorser, key_file: KeyFile) -> TrustedEndorser:
    fields = source.model_dump(include={"name", "full_name", "email", "scope", "not_before", "expires"})
    return TrustedEndorser(**fields, keys=tuple(hold(key, key_file) for key in source.keys))


def shared_keys(holders: Iterable[Holder]) -> Iterator[Refusal]:
    """R5: key pairs that belong to more than one name, in whatever form each is written (the same person may be listed repeatedly).

    A build service is nobody else, even under the same name: its key lies on a machine.
    """
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for one in holders:
        for key in one.keys:
            for material in materials(key):
                owners[material].add(f"the builder {one.name}" if isinstance(one, TrustedBuilder) else one.name)
    for material, names in sorted(owners.items()):
        if len(names) > 1:
            yield Refusal("R5", f"one key belongs to {' and '.join(sorted(names))}", material, "a key belongs to one person; take it from the others")


def differing_files(holders: Iterable[Holder]) -> Iterator[Refusal]:
    """R10: OpenPGP keys that are there in two versions, of which one may be revoked or expired."""
    texts: defaultdict[str, set[str]] = defaultdict(set)
    for one in holders:
        for key in one.keys:
            if isinstance(key, HeldOpenPGPKey):
                texts[key.fingerprint].add(key.armour)
    for fingerprint, found in sorted(texts.items()):
        if len(found) > 1:
            yield Refusal("R10", "one key lies in files that differ", fingerprint, "name the same file wherever the key is listed")


def shown(key: HeldKey) -> str:
    """A key as people compare it."""
    match key:
        case SSHKey():
            public = read_public_key(key.key)
            return f"SSH      {public.type} {public.fingerprint}"
        case X509Key():
            one = f", SHA-256 {grouped(key.certificate)}" if key.certificate else ""
            return f"X.509    {key.subject}, issued by {key.issuer}{one}"
    return f"OpenPGP  {grouped(key.fingerprint)}"


def grouped(digits: str) -> str:
    """Digits in groups of four, to be read aloud."""
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))

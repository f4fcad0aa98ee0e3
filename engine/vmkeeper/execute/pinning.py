"""What a new site would pin: taken from the repository once, shown to a person, and from then on never taken from it again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate
from pydantic import ValidationError

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.errors import Refused, UserError
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.listing import LIMIT, list_url
from vmkeeper.execute.verification import judge, mainline_head, own_pins, pins_of_policy, sight
from vmkeeper.images.web import read_url
from vmkeeper.lists import smime
from vmkeeper.model.imagelist import ImageList
from vmkeeper.model.keys import SSHKey, X509Key
from vmkeeper.repository.source import parse_source
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.keys.interface import HeldKey, HeldOpenPGPKey
from vmkeeper.trust.keys.names import DistinguishedName
from vmkeeper.trust.keys.packets import read_certificate
from vmkeeper.trust.keys.ssh import public_key_of
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.people import Holder
from vmkeeper.trust.pins import PinnedImageList, Pins, to_yaml
from vmkeeper.values import sha256_hex, sha512_hex


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs a list: subject and issuer in one-line form."""

    subject: str
    issuer: str


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a site's administrator asks for beyond what the repository proposes."""

    ca: tuple[Path, ...]
    """PEM files with the authorities' certificates."""
    signer: Path | None = None
    """The certificate of the lists' signer; without it each list is fetched and its signer taken from its verified signature."""
    allowed_hosts: tuple[str, ...] = ()
    administrators: tuple[str, ...] = ()
    """`NAME=FILE`, each with a public key or certificate; none: the site's file as it is now is pinned."""
    quorum: int = 1
    """How many administrators must approve."""
    source: str | None = None
    """Where the site fetches the repository from by itself."""
    policy: int | None = None
    """Go on from the policy of this number as it says of itself, whoever signed those before: their principals are lost."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would be pinned: the pins, and the site's file where that is pinned by itself."""

    pins: Pins
    site: bytes | None


def proposal(repository: Repository, site: str, wishes: Wishes, now: datetime) -> Proposal:
    """The pins that the repository proposes for a site, with its policy in force."""
    authorities = tuple(certificate for file in wishes.ca for certificate in smime.load_authorities(file))
    head = mainline_head(repository)
    catalogue = Catalogue.at(repository, head)
    document, data = catalogue.site(site), catalogue.snapshot.read(f"sites/{site}.yaml")
    if document is None or data is None:
        raise UserError(f"there is no sites/{site}.yaml at commit {head[:12]}", hint="write and commit it first")
    if document.subscribe and not authorities:
        raise UserError("the site subscribes to lists, and no authority is named", where=f"sites/{site}.yaml", hint="give --ca FILE")
    seen = sight(repository, head)
    known = Authorities(authorities)
    pins = pins_of_policy(seen, wishes.policy, known) if wishes.policy else own_pins(repository, seen, known)
    judgement = judge(seen, pins, Memory(), known, now)
    current = judgement.enactments.current
    lists: list[PinnedImageList] = []
    for name in dict.fromkeys(subscription.list for subscription in document.subscribe):
        source = catalogue.image_list(name)
        if source is None:
            hint = "commit it, or change what the site subscribes to"
            raise UserError(f"there is no imagelists/{name}.yaml at commit {head[:12]}", where=f"sites/{site}.yaml", hint=hint)
        if source.endorsed_by not in current.policy.lists:
            hint = "have the principals sign a policy with it: vmkeeper policy sign"
            raise UserError(f"policy {current.number} in force has no endorser list {source.endorsed_by}", where=f"imagelists/{name}.yaml", hint=hint)
        who = _of_certificate(wishes.signer) if wishes.signer else _of_list(source, name, authorities, now, wishes.allowed_hosts)
        lists.append(PinnedImageList(name=name, uuid=source.uuid, signer=who.subject, ca=who.issuer, endorsers=source.endorsed_by))
    administrators = tuple(map(_administrator, wishes.administrators))
    if wishes.quorum > 1 and not administrators:
        raise UserError("nobody is named who could make up a quorum", where="--quorum", hint="name them: --administrator NAME=FILE")
    if wishes.source is not None:
        parse_source(wishes.source, wishes.allowed_hosts)
    fields = {
        "policy": current.mark,
        "quorum": current.policy.document.quorum,
        "principals": current.policy.principals,
        "image_lists": tuple(lists),
        "site": {"name": site, "file": None if administrators else sha512_hex(data), "administrators": administrators, "quorum": wishes.quorum},
        "source": wishes.source,
        "fetch": {"allowed_hosts": wishes.allowed_hosts},
    }
    try:
        made = Pins.model_validate({**dict(pins), **fields})
    except ValidationError as error:
        first = error.errors()[0]
        where, why = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise UserError("this cannot be pinned", where=where, why=why, hint="see: vmkeeper site init --help") from None
    return Proposal(made, None if administrators else data)


def _administrator(text: str) -> Holder:
    """An administrator from `NAME=FILE`: an SSH .pub file, an armoured OpenPGP key, or a certificate in PEM."""
    name, _, file = text.partition("=")
    path = Path(file).expanduser()
    if not name or not path.is_file():
        raise UserError(
            "an administrator is given as NAME=FILE", where=text, hint="FILE is a public key: SSH .pub, OpenPGP .asc, or a certificate .pem"
        )
    content = path.read_bytes()
    key: HeldKey
    if b"-----BEGIN PGP PUBLIC KEY" in content:
        armour = content.decode("ascii", errors="replace").strip() + "\n"
        key = HeldOpenPGPKey(type="openpgp", fingerprint=read_certificate(armour).fingerprint, armour=armour)
    elif b"-----BEGIN CERTIFICATE" in content:
        certificate = smime.load_authorities(path)[0]
        digest = sha256_hex(certificate.public_bytes(Encoding.DER))
        subject, issuer = DistinguishedName.of(certificate.subject), DistinguishedName.of(certificate.issuer)
        key = X509Key(type="x509", subject=str(subject), issuer=str(issuer), certificate=digest)
    else:
        key = SSHKey(type="ssh", key=public_key_of(str(path)))
    try:
        return Holder(name=name, keys=(key,))
    except ValidationError as error:
        raise UserError("this is no name for an administrator", where=text, why=error.errors()[0]["msg"]) from None


def pin(home: SiteHome, proposed: Proposal, certificates: tuple[Path, ...]) -> None:
    """Write the pins and CA certificates. What was remembered of another repository is forgotten, times and lists are not.

    So is the policy that was in force here, where another one with its number is pinned now. Raises Refused (R3) where the
    pinned one is older: a person compares fingerprints, and cannot see that there was more.
    """
    with home.locked():
        if home.pinned():
            memory, mark = home.memory(), proposed.pins.policy
            if home.pins().repository != proposed.pins.repository:
                memory = Memory(newest=memory.newest, lists=memory.lists)
            elif memory.policy is not None and mark.number < memory.policy.number:
                why = f"policy {mark.number} is in force there, and policy {memory.policy.number} was in force here"
                raise Refused(
                    "R3", "the repository is older than what this site has seen", why=why, hint="fetch it with all its tags, then try again"
                )
            elif memory.policy is not None and mark.number == memory.policy.number:
                memory = memory.model_copy(update={"policy": mark})
            home.remember(memory)
        home.pin(to_yaml(proposed.pins), _named(certificates), proposed.site)


def is_pinned(home: SiteHome, proposed: Proposal, certificates: tuple[Path, ...]) -> bool:
    """Whether the site has these very pins and certificates already."""
    if not home.pinned() or home.pins() != proposed.pins or (proposed.site is not None and home.site_file() != proposed.site):
        return False
    there = {path.read_bytes() for path in home.certificates()}
    return all(path.read_bytes() in there for path in certificates)


def _named(certificates: tuple[Path, ...]) -> dict[str, bytes]:
    """File name in the CA folder → PEM, each readable and under its own name."""
    named: dict[str, bytes] = {}
    for path in certificates:
        smime.load_authorities(path)
        name = f"{path.stem}.pem"
        named[name if name not in named else f"{path.stem}-{len(named)}.pem"] = path.read_bytes()
    return named


def _of_certificate(file: Path) -> Signer:
    certificate = smime.load_authorities(file)[0]
    return Signer(str(DistinguishedName.of(certificate.subject)), str(DistinguishedName.of(certificate.issuer)))


def _of_list(source: ImageList, name: str, authorities: tuple[Certificate, ...], now: datetime, allowed_hosts: Collection[str]) -> Signer:
    url = list_url(source.url, name)
    try:
        message = read_url(url, limit=LIMIT, allow=allowed_hosts)
    except UserError as error:
        raise UserError(
            "the list cannot be fetched to see who signs it", where=url, why=str(error), hint="give the signer's certificate: --signer FILE"
        ) from None
    signed = smime.verify(message, authorities, now)
    return Signer(str(signed.subject), str(signed.issuer))

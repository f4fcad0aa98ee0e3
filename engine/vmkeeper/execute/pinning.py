"""What a new site would pin: taken from the repository once, shown to a person, and from then on never taken from it again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.x509 import Certificate

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.errors import UserError
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.listing import LIMIT, list_url
from vmkeeper.execute.observe import mainline_head
from vmkeeper.images.web import read_url
from vmkeeper.lists import smime
from vmkeeper.lists.names import DistinguishedName
from vmkeeper.model.endorser import EndorserList
from vmkeeper.model.imagelist import ImageList
from vmkeeper.repository.tags import root_commit
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.pins import FetchPolicy, PinnedImageList, Pins, pins_from, to_yaml


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs a list: subject and issuer in one-line form."""

    subject: str
    issuer: str


def candidate_pins(
    repository: Repository, site: str, ca: tuple[Path, ...], now: datetime, *, signer: Path | None = None, allowed_hosts: Collection[str] = ()
) -> Pins:
    """The pins that the repository proposes for a site's subscriptions.

    ca: PEM files with the authorities' certificates. signer: the certificate of the lists' signer; without it each list is fetched
    and its signer taken from its verified signature.
    """
    authorities = tuple(certificate for file in ca for certificate in smime.load_authorities(file))
    head = mainline_head(repository)
    catalogue = Catalogue.at(repository, head)
    document = catalogue.site(site)
    if document is None:
        raise UserError(f"there is no sites/{site}.yaml at commit {head[:12]}", hint="write and commit it first")
    lists: list[PinnedImageList] = []
    endorsers: dict[str, EndorserList] = {}
    for name in dict.fromkeys(subscription.list for subscription in document.subscribe):
        source = catalogue.image_list(name)
        endorser_list = catalogue.endorser_list(source.endorsed_by) if source else None
        if source is None or endorser_list is None:
            missing = f"endorsers/{source.endorsed_by}.yaml" if source else f"imagelists/{name}.yaml"
            raise UserError(
                f"there is no {missing} at commit {head[:12]}", where=f"sites/{site}.yaml", hint="commit it, or change what the site subscribes to"
            )
        who = _of_certificate(signer) if signer else _of_list(source, name, authorities, now, allowed_hosts)
        lists.append(PinnedImageList(name=name, uuid=source.uuid, signer=who.subject, ca=who.issuer, endorsers=source.endorsed_by))
        endorsers[source.endorsed_by] = endorser_list
    snapshot = repository.at(head)

    def key_file(path: str) -> bytes:
        data = snapshot.read(f"endorsers/{path}")
        if data is None:
            raise UserError(f"there is no endorsers/{path} at commit {head[:12]}", hint="commit the public key there")
        return data

    return pins_from(root_commit(repository, head), endorsers, key_file, tuple(lists), fetch=FetchPolicy(allowed_hosts=tuple(allowed_hosts)))


def pin(home: SiteHome, pins: Pins, certificates: tuple[Path, ...]) -> None:
    """Write the pins and CA certificates. Tags remembered from another repository are forgotten, times and lists are not."""
    with home.locked():
        if home.pinned() and home.pins().repository != pins.repository:
            memory = home.memory()
            home.remember(Memory(newest=memory.newest, lists=memory.lists))
        home.pin(to_yaml(pins), _named(certificates))


def is_pinned(home: SiteHome, pins: Pins, certificates: tuple[Path, ...]) -> bool:
    """Whether the site has these very pins and certificates already."""
    if not home.pinned() or home.pins() != pins:
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

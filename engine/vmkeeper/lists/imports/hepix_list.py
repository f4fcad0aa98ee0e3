"""A HEPiX image list as `imagelists/NAME.yaml`, its appliances, the endorser list that its signer belongs on, and a site's `foreign:` entry.

An image's bytes are not taken over: versions, sizes and digests are the next release's. All that is not carried over is told.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vmkeeper.documents.guard import UNSEEN
from vmkeeper.lists.hepix import HepixList, next_version, version_key
from vmkeeper.lists.imports.appliances import Adopted, adopt
from vmkeeper.lists.imports.names import ascii_text, fits, free_name, one_line_name, slug, web_address
from vmkeeper.lists.imports.outcome import Imported, NewFile, Note, Present, document_file, printable
from vmkeeper.model.endorser import Endorser, EndorserList
from vmkeeper.model.foreign import Dn, ForeignEndorser, ForeignList, ListUrl
from vmkeeper.model.imagelist import ImageList, ListOwner
from vmkeeper.model.keys import Dn as KeyDn
from vmkeeper.model.keys import Email, X509Key
from vmkeeper.values import Duration, format_time

LIST_FILE = "imagelist.signed"
"""As publishing calls it."""
_PLACEHOLDER_URL = "https://images.example.org"
_PLACEHOLDER_EMAIL = "images@example.org"
_SHORTEST, _LONGEST = Duration.parse("1h"), Duration.parse("400d")
_USUAL_RENEWAL = Duration.parse("7d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What whoever imports has said, and what is known of the list's signature."""

    now: datetime
    name: str | None = None
    """What the list is to be called."""
    inherits: str | None = None
    """The appliance that all its images are to inherit from."""
    endorsed_by: str | None = None
    """The endorser list whose endorsements are to count."""
    signer: tuple[str, str] | None = None
    """Subject and issuer of the certificate that was verified."""
    sha1: bool = False
    """The signature was made with SHA-1."""
    replace: bool = False
    """Appliances that the repository has already are written anew."""


def import_list(found: HepixList, present: Present, terms: Terms) -> Imported:
    """One list. Raises pydantic's ValidationError for nothing that `hepix.read` gives."""
    url, own = _address(found.uri)
    name = terms.name or present.lists.get(found.uuid) or own or free_name((found.title,), found.uuid, tuple(present.lists.values()))
    base = url or _PLACEHOLDER_URL
    adopted = _adopted(found, present, terms, f"{base}/{name}/images/{{uuid}}/")
    owner, notes = _owner(found, base, name)
    endorsed_by, endorsers, more = _endorsers(found, present, terms, owner, name)
    spec, cut = _spec(found, base, owner, adopted, endorsed_by)
    kept = {one.name for one in adopted if one.appliance.uuid in present.appliances and not terms.replace}
    files = [document_file(f"imagelists/{name}.yaml", spec, (_origin(found),)), *(_file(one, found) for one in adopted if one.name not in kept)]
    notes += [*more, *(Note(name, field, what) for field, what in cut), *_address_notes(found, url, name, base), *_list_notes(found, name, terms)]
    for one in adopted:
        notes += [Note(one.name, "", "the repository has an appliance with this UUID, which stays as it is")] if one.name in kept else one.notes
    entry, more = foreign_entry(found, name, terms)
    return Imported((*files, *endorsers), (*notes, *more), (entry,) if entry else ())


def foreign_entry(found: HepixList, name: str, terms: Terms) -> tuple[ForeignList | None, list[Note]]:
    """How a site names the list, if it wants to take its images from where they are."""
    dn, ca = terms.signer or (found.endorser.dn, found.endorser.ca)
    url = fits(ListUrl, found.uri)
    if url is None or fits(Dn, dn) is None or fits(Dn, ca) is None:
        return None, [Note(name, "foreign", "no entry for a site can be written: hv:uri, hv:dn or hv:ca is none that a site takes")]
    return ForeignList(name=name, url=url, uuid=found.uuid, endorser=ForeignEndorser(dn=dn, ca=ca), sha1=terms.sha1), []


def _adopted(found: HepixList, present: Present, terms: Terms, mpuri: str) -> tuple[Adopted, ...]:
    listed = {image.uuid for image in found.images}
    taken = {name for known, name in present.appliances.items() if known not in listed}
    adopted: list[Adopted] = []
    for image in found.images:
        adopted.append(adopt(image, mpuri, present.appliances.get(image.uuid), taken, terms.inherits))
        taken.add(adopted[-1].name)
    return tuple(adopted)


def _file(one: Adopted, found: HepixList) -> NewFile:
    return document_file(f"appliances/{one.name}/appliance.yaml", one.appliance, (_origin(found), *one.comments))


def _origin(found: HepixList) -> str:
    return f'From the image list "{printable(found.title)}" ({found.uuid}), version {printable(found.version)}.'


def _address(uri: str) -> tuple[str | None, str | None]:
    """The base address below which the list lies, and its name where it lies as ours do."""
    folder, _, file = uri.rpartition("/")
    base, _, name = folder.rpartition("/")
    if file == LIST_FILE and web_address(base) and slug(name) == name:
        return base, name
    return web_address(folder), None


def _address_notes(found: HepixList, url: str | None, name: str, base: str) -> Iterator[Note]:
    ours = f"{base.rstrip('/')}/{name}/{LIST_FILE}"
    if url is None:
        yield Note(name, "hv:uri", f"{printable(found.uri)!r} is no web address that a list can be published at: correct `url`, which is {base}")
    elif ours != found.uri:
        yield Note(
            name,
            "hv:uri",
            f"was {printable(found.uri)}; the list will be published at {ours}: tell subscribers, or put a redirect at the old address",
        )


def _spec(found: HepixList, url: str, owner: ListOwner, adopted: tuple[Adopted, ...], endorsed_by: str) -> tuple[ImageList, list[tuple[str, str]]]:
    notes: list[tuple[str, str]] = []
    given: dict[str, Any] = {"uuid": found.uuid, "url": url, "owner": owner, "endorsed_by": endorsed_by}
    for field, key, value in (("title", "dc:title", found.title), ("source", "dc:source", found.source)):
        given[field] = ascii_text(value) or "unknown"
        if given[field] != value:
            notes.append((key, f"{printable(value)!r} became {given[field]!r}: old readers of lists take ASCII there only"))
    for field, key, value in (("description", "dc:description", found.description), ("vo", "ad:vo", found.vo or "")):
        given[field] = UNSEEN.sub("", value)
        if given[field] != value:
            notes.append((key, "control characters were left out"))
    lifetime = int((found.expires - found.created).total_seconds())
    if not _SHORTEST <= lifetime <= _LONGEST:
        notes.append(
            ("dc:date:expires", f"was {format_time(found.expires)}; a list of ours is valid for `lifetime` and written again before it ends")
        )
    else:
        given["lifetime"] = Duration(lifetime)
        given["renew_before"] = Duration(min(_USUAL_RENEWAL, lifetime // 4))
    return ImageList(**given, appliances=tuple(one.listed for one in adopted)), notes


def _owner(found: HepixList, base: str, name: str) -> tuple[ListOwner, list[Note]]:
    notes: list[Note] = []
    full_names = Counter(image.user_fullname for image in found.images if image.user_fullname)
    said = found.endorser.creator or (full_names.most_common(1)[0][0] if full_names else "")
    owner = {"name": ascii_text(said) or "Image publisher", "email": fits(Email, UNSEEN.sub("", found.endorser.email or "")) or _PLACEHOLDER_EMAIL}
    if owner["name"] != said:
        notes.append(Note(name, "dc:creator", f"{printable(said)!r} became {owner['name']!r}: correct `owner`"))
    if owner["email"] != found.endorser.email:
        notes.append(Note(name, "hv:email", f"{printable(found.endorser.email or '')!r} is no address to write to: correct `owner`"))
    addresses = Counter(address for image in found.images if (address := web_address(image.user_uri)))
    if addresses and addresses.most_common(1)[0][0] != base:
        owner["url"] = addresses.most_common(1)[0][0]
    published = {
        "ad:user:fullname": owner["name"],
        "ad:user:uri": owner.get("url", base),
        "ad:user:guid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{owner['email']}")),
    }
    for image in found.images:
        given = {"ad:user:fullname": image.user_fullname, "ad:user:uri": image.user_uri, "ad:user:guid": image.user_guid}
        notes += [
            Note(image.uuid, key, f"was {printable(value)!r}; published as {published[key]!r}, the list's owner")
            for key, value in given.items()
            if value and value != published[key]
        ]
    return ListOwner.model_validate(owner), notes


def _endorsers(found: HepixList, present: Present, terms: Terms, owner: ListOwner, name: str) -> tuple[str, list[NewFile], list[Note]]:
    """The endorser list that is to count: the one that was named, the only one there is, or a new one with the list's signer on it."""
    if terms.endorsed_by is not None:
        return terms.endorsed_by, [], []
    if name in present.endorsers and not terms.replace:
        return name, [], [Note(name, "endorsed_by", f"endorsers/{name}.yaml is there and stays as it is")]
    if len(present.endorsers) == 1 and present.endorsers[0] != name:
        only = present.endorsers[0]
        return only, [], [Note(name, "endorsed_by", f"is {only}, the only endorser list of the repository: correct it where others are to endorse")]
    dn, ca = (one_line_name(text) for text in terms.signer or (found.endorser.dn, found.endorser.ca))
    if fits(KeyDn, dn) is None or fits(KeyDn, ca) is None:
        return name, [], [Note(name, "endorsed_by", f"write endorsers/{name}.yaml: who may endorse these images")]
    key = X509Key(type="x509", subject=str(dn), issuer=str(ca))
    person = Endorser(name=_person(str(dn), owner), full_name=owner.name, email=owner.email, keys=(key,))
    listed = EndorserList(
        title=f"Endorsers of {ascii_text(found.title) or name}",
        community=UNSEEN.sub("", found.vo or "") or name,
        policy="What an endorser promises by endorsing is to be written here.",
        endorsers=(person,),
    )
    comments = (
        f"{_origin(found)} Whoever signed it may endorse.",
        "Nothing counts before the principals of endorsers/policy.yaml have signed this list: vmkeeper policy sign",
    )
    what = f"endorsers/{name}.yaml names the list's signer: write its `policy`, add others, and have it signed (vmkeeper policy sign)"
    return name, [document_file(f"endorsers/{name}.yaml", listed, comments)], [Note(name, "endorsed_by", what)]


def _person(dn: str, owner: ListOwner) -> str:
    return slug(dn.rpartition("CN=")[2]) or slug(owner.name) or "publisher"


def _list_notes(found: HepixList, name: str, terms: Terms) -> Iterator[Note]:
    if found.images:
        what = "belong to an image's bytes: the next release of each appliance gives them anew"
        yield Note(name, "hv:version, hv:size, hv:uri, sl:checksum:sha512, dc:date:expires of its images", what)
    stamp = next_version(None, terms.now)
    if version_key(stamp) <= version_key(found.version):
        yield Note(
            name, "hv:version", f"is {found.version}, and our lists begin with the time, {stamp}: readers that saw the old one refuse a lower one"
        )
    if terms.signer is not None:
        named = (one_line_name(found.endorser.dn), one_line_name(found.endorser.ca))
        signed = tuple(one_line_name(text) for text in terms.signer)
        if named != signed:
            yield Note(name, "hv:endorser", f"names {printable(found.endorser.dn)}, but the list is signed by {terms.signer[0]}")
    if found.expires <= terms.now:
        yield Note(name, "dc:date:expires", f"the list has expired, on {format_time(found.expires)}")
    levels: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("", found.extra),
        ("", found.beside),
        ("hv:endorser.", found.endorser.extra),
        ("hv:endorser.", found.endorser.beside),
    )
    for place, kept in levels:
        for key, value in kept.items():
            yield Note(name, f"{place}{printable(key)}", f"is not known here and was left out: {printable(str(value))[:80]}")

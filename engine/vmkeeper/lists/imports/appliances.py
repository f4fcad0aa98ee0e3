"""An image of a list as an appliance and as a list's entry. Nothing that decides an image's bytes is made up: an existing image has no recipe."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from vmkeeper.documents.guard import UNSEEN
from vmkeeper.lists.hepix import HepixImage
from vmkeeper.lists.imports.names import architecture, codename, debian_archives, free_name, image_format, short_title, slug, web_address
from vmkeeper.lists.imports.outcome import Note, printable
from vmkeeper.model.appliance import Appliance, Builder, Distribution, Requirements
from vmkeeper.model.imagelist import Listed
from vmkeeper.values import Size

_LONGEST_TITLE = 120
_OURS = frozenset({"vk:supply"})
"""Keys that publishing writes from the files that there are."""
FILL_IN = "an image has no recipe: give it `inherits:`, or `builder`, `packages`, `users` and `disk` of its own, then: vmkeeper refresh {name}"
NO_BUILDER = "only Debian is built here, and this is {what}: make the appliance anew on Debian, or leave the image to a site's `foreign:` list"


@dataclass(frozen=True, slots=True)
class Adopted:
    """An image as an appliance, its place on the list, and what was not carried over."""

    name: str
    appliance: Appliance
    listed: Listed
    notes: tuple[Note, ...]
    comments: tuple[str, ...] = ()


def adopt(image: HepixImage, standard_mpuri: str, known: str | None, taken: Collection[str], inherits: str | None) -> Adopted:
    """One image. known: the appliance that bears its UUID already; taken: names of other appliances.

    standard_mpuri: what publishing writes where the list's entry names no `mpuri`; `{uuid}` stands for the image's.
    """
    name = known or _own_name(image, taken) or free_name((short_title(image.title or ""), image.title or ""), image.uuid, taken)
    listed, notes = _listed(image, name, standard_mpuri.format(uuid=image.uuid))
    made = _appliance(image, inherits)
    debian = _is_debian(image)
    what = FILL_IN.format(name=name) if debian or inherits else NO_BUILDER.format(what=printable(image.osname or image.os or "something else"))
    notes += _lost(name, image, made)
    notes += [] if inherits else [Note(name, "builder", what)]
    comments = () if inherits else (what[0].upper() + what[1:],)
    return Adopted(name, made, listed, tuple(notes), comments)


def _own_name(image: HepixImage, taken: Collection[str]) -> str | None:
    """The appliance that an address of ours names."""
    found = re.search(rf"/images/{re.escape(image.uuid)}/([^/]+)/(.+)-\1\.[a-z0-9]+\Z", image.uri)
    return found[2] if found and slug(found[2]) == found[2] and found[2] not in taken else None


def _listed(image: HepixImage, name: str, standard: str) -> tuple[Listed, list[Note]]:
    notes = []
    given = {}
    if (image.group or "").strip():
        given["group"] = UNSEEN.sub("", image.group or "")
    if image.comments:
        given["comments"] = UNSEEN.sub("", image.comments)
    if image.mpuri and image.mpuri != standard:
        address = web_address(image.mpuri)
        if address is None:
            notes.append(Note(name, "ad:mpuri", f"{printable(image.mpuri)!r} is no web address; published as {standard}"))
        else:
            given["mpuri"] = address
    cut = [key for key, field in (("ad:group", "group"), ("sl:comments", "comments")) if field in given and given[field] != getattr(image, field)]
    notes += [Note(name, key, "control characters were left out") for key in cut]
    return Listed(appliance=name, **given), notes


def _is_debian(image: HepixImage) -> bool:
    return re.match(r"debian\b", (image.osname or "").strip(), re.IGNORECASE) is not None


def _appliance(image: HepixImage, inherits: str | None) -> Appliance:
    title = printable(image.title or "")[:_LONGEST_TITLE].strip() or f"Image {image.uuid}"
    given: dict[str, object] = {"uuid": image.uuid, "title": title}
    if image.description:
        given["description"] = UNSEEN.sub("", image.description)
    memory = image.ram_minimum or image.ram_recommended
    cpus = image.core_minimum or image.core_recommended
    given["requirements"] = Requirements(memory=memory, cpus=cpus if cpus and cpus <= 1024 else None)
    if inherits is not None:
        return Appliance.model_validate({**given, "inherits": inherits})
    version = printable(image.osversion or "") or None
    release = codename(version) if version and _is_debian(image) else None
    given["distribution"] = Distribution(
        name="debian" if _is_debian(image) else None, release=release, version=version, archives=debian_archives(release)
    )
    given["builder"] = Builder(name="debian" if _is_debian(image) else None)
    made = image_format(image.format)
    said = {"hepix.os": image.os, "hepix.osname": image.osname} if not _is_debian(image) else {}
    kept = {name: text for name, value in said.items() if (text := printable(value or "")) and text.lower() != "linux"}
    return Appliance.model_validate({**given, "architecture": architecture(image.arch), "formats": (made,) if made else (), "labels": kept})


def _lost(name: str, image: HepixImage, made: Appliance) -> list[Note]:
    """What the documents do not say as the list did."""
    return [Note(name, field, what) for field, what in _differences(image, made)]


def _differences(image: HepixImage, made: Appliance) -> Iterator[tuple[str, str]]:
    if image.title != made.title:
        yield "dc:title", f"{printable(image.title or '')!r} became {made.title!r}: a title is one line of 1 to {_LONGEST_TITLE} characters"
    if (image.description or "") != made.description:
        yield "dc:description", "control characters were left out"
    yield from _system(image, made)
    if (image.hypervisor or "KVM").upper() != "KVM":
        yield "hv:hypervisor", f"was {printable(image.hypervisor or '')!r}; published as KVM"
    if image.format and not made.formats:
        yield "hv:format", f"{printable(image.format)!r} is left out; `formats:` says which are made"
    for key, low, high in (
        ("ram", image.ram_minimum, image.ram_recommended),
        ("core", image.core_minimum, image.core_recommended),
    ):
        if low and high and low != high:
            yield f"ad:{key}_recommended", f"was {_amount(high)}; published like the minimum, {_amount(low)}"
    if image.core_minimum and image.core_minimum > 1024:
        yield "hv:core_minimum", f"{image.core_minimum} is more than any machine has"
    for field, value in (("ad:base_mpuri", image.base_mpuri), ("ad:appid", image.appid)):
        if value:
            yield field, f"{printable(value)!r} has no place in our documents"
    for key, value in {**image.extra, **image.beside}.items():
        if key not in _OURS:
            yield printable(key), f"is not known here and was left out: {printable(str(value))[:80]}"


def _system(image: HepixImage, made: Appliance) -> Iterator[tuple[str, str]]:
    if image.arch and made.architecture is None and made.inherits is None:
        yield "sl:arch", f"{printable(image.arch)!r} is no architecture that is built here"
    if image.os and image.os.lower() != "linux":
        yield "sl:os", f"was {printable(image.os)!r}; published as Linux"
    if made.inherits is not None:
        said = " ".join(printable(part) for part in (image.osname, image.osversion, image.arch, image.format) if part)
        yield "sl:osname", f"was {said}; now as {made.inherits} has it"
    elif image.osname and image.osname != (made.distribution.name or "linux").capitalize():
        yield "sl:osname", f"was {printable(image.osname)!r}; published as {(made.distribution.name or 'linux').capitalize()}, and kept as a label"


def _amount(value: int) -> str:
    return value.human if isinstance(value, Size) else str(value)

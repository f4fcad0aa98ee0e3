"""Site scenarios in few words: `debian-12 2` is version 2 of the appliance debian-12, with made-up bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from vmkeeper.clouds.interface import CloudImage, CloudMachine, ImageSpec, SourceFile
from vmkeeper.clouds.memory import World
from vmkeeper.execute.transfer import Brought
from vmkeeper.model.platform import Audience
from vmkeeper.model.release import ImageFile
from vmkeeper.model.site import Site
from vmkeeper.plan.site import RegisterImage
from vmkeeper.plan.supply import Supply
from vmkeeper.plan.wanted import Allowed, Current, NotAllowed, Offer, Standing, Subscribed, Unusable
from vmkeeper.values import Size, Version, parse_time

OWNER = "vmkeeper:here"
NOW = parse_time("2026-11-20T10:00:00Z")
FAR = parse_time("2027-05-01T00:00:00Z")


def uuid_of(name: str) -> str:
    return str(uuid5(NAMESPACE_DNS, name))


def content(appliance: str, version: str, kind: str = "qcow2", salt: str = "") -> bytes:
    return f"{appliance} {version} {kind} {salt}".encode()


def spec(
    words: str, *, source: str = "main", kind: str = "qcow2", salt: str = "", expires: datetime = FAR, made_from: str = "", **more: Any
) -> ImageSpec:
    """made_from: the format of the signed file that the image was converted from."""
    appliance, version = words.split()
    data = content(appliance, version, kind, salt)
    fields = {
        "name": f"{appliance}-{version}",
        "appliance": appliance,
        "uuid": uuid_of(appliance),
        "version": Version(version),
        "format": kind,
        "size": Size(len(data)),
        "virtual_size": Size(4096),
        "sha512": hashlib.sha512(data).hexdigest(),
        "list": uuid_of(source),
        "expires": expires,
    }
    if made_from:
        signed = content(appliance, version, made_from, salt)
        fields["source"] = SourceFile(format=made_from, size=Size(len(signed)), sha512=hashlib.sha512(signed).hexdigest())
    return ImageSpec(**{**fields, **more})


def times(item: dict[str, Any]) -> dict[str, Any]:
    return {key: parse_time(value) if key in ("expires", "hidden_since") else value for key, value in item.items()}


def words_and_more(item: str | dict[str, Any], key: str) -> tuple[str, dict[str, Any]]:
    if isinstance(item, str):
        return item, {}
    return item[key], times({name: value for name, value in item.items() if name != key})


def subscribed(item: dict[str, Any]) -> Subscribed:
    """{name, expires?, unusable?, offers: [words | {offer: words, expires?, salt?, kind?}]}."""
    name = item["name"]
    if "unusable" in item:
        expires = parse_time(item["expires"]) if "expires" in item else None
        return Subscribed(name, uuid_of(name), Unusable(item["unusable"], expires))
    offers = []
    for entry in item.get("offers", []):
        words, more = words_and_more(entry, "offer")
        supply = Supply(uri=f"https://images.example.org/{words.replace(' ', '/')}")
        offers.append(Offer(spec(words, source=name, **more), supply))
    return Subscribed(name, uuid_of(name), Current(parse_time(item.get("expires", "2026-12-01T00:00:00Z")), tuple(offers)))


def standings(items: dict[str, Any]) -> dict[tuple[str, str, Version], Standing]:
    """words → `allowed`, {allowed, expires?, salt?} or {GROUND: why}."""
    found: dict[tuple[str, str, Version], Standing] = {}
    for words, said in items.items():
        appliance, version = words.split()
        if said == "allowed" or "allowed" in said:
            more = {} if said == "allowed" else said
            files = []
            for kind in ("qcow2", "raw", "vmdk", "ova"):
                data = content(appliance, version, kind, more.get("salt", ""))
                files.append(ImageFile(format=kind, size=Size(len(data)), virtual_size=Size(4096), sha512=hashlib.sha512(data).hexdigest()))
            standing: Standing = Allowed(tuple(files), parse_time(more["expires"]) if "expires" in more else FAR)
        else:
            ((ground, why),) = said.items()
            standing = NotAllowed(ground, why)
        for source in ("main", "other"):
            found[uuid_of(source), uuid_of(appliance), Version(version)] = standing
    return found


def world(items: list[Any]) -> World:
    """[words | {image: words, state?, hidden_since?, owner?, in_use?, drift?, salt?, expires?, source?, …}]; ids are i1, i2, ….

    What else is given is said by the spec (alias, name, audience, properties).
    """
    made = World()
    for number, entry in enumerate(items, 1):
        words, more = words_and_more(entry, "image")
        about = {key: more.pop(key) for key in ("state", "hidden_since", "owner", "drift") if key in more}
        used = more.pop("in_use", False)
        key = f"i{number}"
        if words == "foreign":
            image = CloudImage(id=key, name=more.get("name", "somebody's"), owner=about.get("owner"))
        else:
            said = spec(words, **{key: Audience(**value) if key == "audience" else value for key, value in more.items()})
            made.audiences[key] = said.audience
            image = CloudImage(id=key, name=said.name, owner=about.get("owner", OWNER), spec=said)
        made.images[key] = replace(
            image, state=about.get("state", "active"), hidden_since=about.get("hidden_since"), drift=tuple(about.get("drift", ()))
        )
        if used:
            made.machines[f"m{number}"] = CloudMachine(id=f"m{number}", name=f"m{number}", state="running", image=key)
    return made


def keys(items: list[Any]) -> frozenset[str]:
    """What was there after the last run: [words | {image: words, salt?}]."""
    return frozenset(spec(words, **more).key for words, more in (words_and_more(entry, "image") for entry in items))


def site(fields: dict[str, Any]) -> Site:
    """A site; without aliases where `names` does not say otherwise."""
    fields = {"names": {"alias": ""}, **fields}
    return Site.model_validate({"title": "Here", "platform": {"type": "local"}, **fields})


class Downloads:
    """Stands in for the network: gives the bytes that the made-up file has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def __call__(self, action: RegisterImage) -> Iterator[Brought]:
        path = self.folder / "download"
        for salt in ("", "other"):
            data = content(action.spec.appliance, str(action.spec.version), action.spec.signed.format, salt)
            if hashlib.sha512(data).hexdigest() == action.spec.sha512:
                path.write_bytes(data)
        yield Brought(path, action.spec)

"""What is wrong with endorsers/ as a whole: keys that are not there, one key or name for two people, lists that outrun their source.

It helps authors before anything is signed. What a site believes is judged by `trust/` again, by the keys' own numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.documents.kinds import KINDS, Kind
from vmkeeper.documents.places import Path, field
from vmkeeper.errors import Place, Problem, Refused
from vmkeeper.model.endorser import Base, EndorserList
from vmkeeper.model.keys import Key, OpenPGPKey, Person, SSHKey, identity
from vmkeeper.model.policy import Builder
from vmkeeper.trust.derived import OUT_OF_CIRCLE, Deviation, KeyFile, chain, deviations, lag, stale_keys, unread
from vmkeeper.trust.keys.packets import read_certificate
from vmkeeper.trust.keys.ssh import read_public_key
from vmkeeper.trust.pins import Pins
from vmkeeper.values import format_time, sha512_hex

POLICY = KINDS["policy"].path
_PINS = Kind("pins", "Pins", Pins, "endorsers/sources/*/pins.yaml")


@dataclass(frozen=True, slots=True)
class _Holder:
    """Somebody with keys, and where."""

    one: Person | Builder
    file: str
    path: Path

    def place(self, *more: str | int) -> Place:
        return Place(self.file, field=field((*self.path, *more)))

    @property
    def who(self) -> str:
        """What tells people apart: a full name and address; a builder is nobody else."""
        return f"{self.one.full_name} <{self.one.email}>" if isinstance(self.one, Person) else "a builder"


def problems(catalogue: Catalogue, broken: set[str], now: datetime | None) -> Iterator[Problem]:
    """Problems of the policy and the lists that are sound by themselves; `broken` are the others' paths. Without `now` nothing is too old."""
    lists = {name: found for name in catalogue.names("endorsers") if (found := _list(catalogue, name, broken)) is not None}
    holders = tuple(_holders(catalogue, lists, broken))
    for holder in holders:
        for index, key in enumerate(holder.one.keys):
            yield from _key(catalogue, holder, index, key)
    yield from _one_person_a_name(holders)
    yield from _one_name_a_key(holders)
    for name, listed in lists.items():
        if listed.based_on is not None:
            for deviation in _based_on(catalogue, name, listed.based_on, lists, broken, now):
                yield Problem(Place(f"endorsers/{name}.yaml", field=field(deviation.path)), deviation.why, deviation.hint, deviation.rule)
    yield from _sources(catalogue, lists)


def marked(catalogue: Catalogue) -> tuple[str, ...]:
    """One sentence for each key that is retired or stolen. Raises Problems where a document is broken."""
    lists = {name: cast("EndorserList", catalogue.endorser_list(name)) for name in catalogue.names("endorsers")}
    found = []
    for holder in _holders(catalogue, lists, set()):
        for key in holder.one.keys:
            if key.retired is not None:
                found.append(f"{holder.file}: {holder.one.name}'s key {_shown(key)} is retired since {format_time(key.retired)}")
            if key.compromised_since is not None:
                serial = key.compromised_since.serial
                found.append(f"{holder.file}: {holder.one.name}'s key {_shown(key)} was stolen; what it signed after serial {serial} is void")
    return tuple(found)


def _list(catalogue: Catalogue, name: str, broken: set[str]) -> EndorserList | None:
    return None if f"endorsers/{name}.yaml" in broken else catalogue.endorser_list(name)


def _holders(catalogue: Catalogue, lists: Mapping[str, EndorserList], broken: set[str]) -> Iterator[_Holder]:
    policy = None if POLICY in broken else catalogue.policy()
    if policy is not None:
        yield from (_Holder(one, POLICY, ("principals", index)) for index, one in enumerate(policy.principals))
        yield from (_Holder(builder, POLICY, ("builders", index)) for index, builder in enumerate(policy.builders))
    for name, listed in lists.items():
        yield from (_Holder(one, f"endorsers/{name}.yaml", ("endorsers", index)) for index, one in enumerate(listed.endorsers))


def _key(catalogue: Catalogue, holder: _Holder, index: int, key: Key) -> Iterator[Problem]:
    """What is wrong with a key by itself: its file is not there or holds another one, or it is too weak to count."""
    try:
        if isinstance(key, SSHKey):
            read_public_key(key.key)
        elif isinstance(key, OpenPGPKey):
            export = f"export it: gpg --armor --export {key.fingerprint} > endorsers/{key.file}"
            place, data = holder.place("keys", index, "file"), catalogue.snapshot.read(f"endorsers/{key.file}")
            if data is None:
                yield Problem(place, f"there is no file endorsers/{key.file}", export)
            elif (found := read_certificate(data.decode("ascii", errors="replace")).fingerprint) != key.fingerprint:
                yield Problem(place, f"endorsers/{key.file} holds the key {found}, not {key.fingerprint}", export)
    except Refused as error:
        yield Problem(
            holder.place("keys", index), f"{error.what}{f': {error.why}' if error.why else ''}", error.hint or "list another key", error.rule
        )


def _one_person_a_name(holders: tuple[_Holder, ...]) -> Iterator[Problem]:
    """R5: a name in a tag means one person, whichever list it is on."""
    first: dict[str, _Holder] = {}
    for holder in holders:
        other = first.setdefault(holder.one.name, holder)
        if other.who != holder.who:
            what = f"{holder.one.name} is {holder.who} here and {other.who} in {other.file}"
            yield Problem(holder.place("name"), what, "a name belongs to one person: write both alike, or choose another name", "R5")


def _one_name_a_key(holders: tuple[_Holder, ...]) -> Iterator[Problem]:
    """R5: a key belongs to one name."""
    first: dict[tuple[str, ...], _Holder] = {}
    for holder in holders:
        for index, key in enumerate(holder.one.keys):
            other = first.setdefault(identity(key), holder)
            if other.one.name != holder.one.name:
                what = f"this key of {holder.one.name} is the key of {other.one.name} in {other.file}"
                yield Problem(holder.place("keys", index), what, "a key belongs to one person, under one name", "R5")


def _based_on(
    catalogue: Catalogue, name: str, base: Base, lists: Mapping[str, EndorserList], broken: set[str], now: datetime | None
) -> Iterator[Deviation]:
    if base.source is not None:
        yield from _remote(catalogue, lists[name], base, base.source, now)
        return
    if base.list in lists:
        yield from deviations(lists[name], lists[base.list])
        yield from stale_keys(lists[name], lists[base.list], _key_file(catalogue))
    elif f"endorsers/{base.list}.yaml" not in broken:
        there = ", ".join(sorted(set(lists) - {name})) or "none"
        yield Deviation(("based_on", "list"), "R4", f"there is no endorser list {base.list}", f"there is: {there}")
    circle = chain(name, lists)
    if len(circle) > 1 and circle[-1] == name:
        yield Deviation(("based_on", "list"), "R5", f"lists are based on one another in a circle: {' → '.join(circle)}", OUT_OF_CIRCLE)


def _remote(catalogue: Catalogue, derived: EndorserList, base: Base, source: str, now: datetime | None) -> Iterator[Deviation]:
    folder = f"endorsers/sources/{source}"
    if not catalogue.snapshot.blob_id(f"{folder}/pins.yaml"):
        hint = "pin the repository that the list comes from there, as a site would"
        yield Deviation(("based_on", "source"), "R1", f"there is no {folder}/pins.yaml", hint)
    data = catalogue.snapshot.read(f"{folder}/list.yaml")
    if data is None:
        yield Deviation(("based_on", "source"), "R4", f"there is no {folder}/list.yaml", f"fetch it: vmkeeper policy sync {source}")
        return
    yield from unread(base, sha512_hex(data))
    yield from lag(base, now) if now is not None else ()
    document, _ = catalogue.attempt(KINDS["endorsers"], f"{folder}/list.yaml")
    if isinstance(document, EndorserList):
        yield from deviations(derived, document)
        yield from stale_keys(derived, document, _key_file(catalogue), f"sources/{source}/")


def _sources(catalogue: Catalogue, lists: Mapping[str, EndorserList]) -> Iterator[Problem]:
    """Each source by itself: its pins and list can be read, and one list is taken from it."""
    for entry in catalogue.snapshot.entries("endorsers/sources"):
        folder = f"endorsers/sources/{entry.name}"
        yield from catalogue.attempt(_PINS, f"{folder}/pins.yaml")[1]
        yield from catalogue.attempt(KINDS["endorsers"], f"{folder}/list.yaml")[1]
    first: dict[str, tuple[str, str]] = {}
    for name, listed in lists.items():
        base = listed.based_on
        if base is not None and base.source is not None:
            other, wanted = first.setdefault(base.source, (name, base.list))
            if wanted != base.list:
                what = f"endorsers/{other}.yaml takes the list {wanted} from {base.source}, and a source gives one"
                hint = f"give {base.list} a source of its own, with the same pins"
                yield Problem(Place(f"endorsers/{name}.yaml", field="based_on.list"), what, hint)


def _key_file(catalogue: Catalogue) -> KeyFile:
    return lambda path: catalogue.snapshot.read(f"endorsers/{path}")


def _shown(key: Key) -> str:
    """A key as people tell it from others."""
    if isinstance(key, OpenPGPKey):
        return key.fingerprint
    return read_public_key(key.key).fingerprint if isinstance(key, SSHKey) else key.subject

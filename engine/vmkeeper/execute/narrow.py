"""Bring a derived endorser list back within its source: whom, which keys and which scope the source no longer has go.

Only ever takes trust away. What the source has gained is for people to add.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vmkeeper.documents.edit import Editable, in_one_line, quoted, time
from vmkeeper.model.endorser import Endorser, EndorserList
from vmkeeper.model.keys import Key, OpenPGPKey, X509Key, identity
from vmkeeper.trust.derived import KeyFile, covered, voids
from vmkeeper.trust.people import key_id


def narrow(text: Editable, derived: EndorserList, source: EndorserList, key_file: KeyFile, folder: str) -> tuple[str, ...]:
    """Change the derived list's text so that it has no `trust.derived.deviations`; says what went or became stricter.

    folder: where the source's key files lie, relative to endorsers/, with a / at its end.
    """
    said = [*_thresholds(text.tree, derived, source)]
    there = {one.name: one for one in source.endorsers}
    people = text.tree["endorsers"]
    for index in reversed(range(len(derived.endorsers))):
        ours = derived.endorsers[index]
        theirs = there.get(ours.name)
        if theirs is None:
            said.append(f"{ours.name} is taken off: they are not on the source")
            del people[index]
        elif gone := [*_person(people[index], ours, theirs, key_file, folder)]:
            said += gone
            if not people[index]["keys"] or _without_scope(people[index]):
                said.append(f"{ours.name} is taken off: nothing is left to them")
                del people[index]
    if derived.endorsers and not people:
        text.empty("endorsers")
    return tuple(said)


def _thresholds(tree: Any, ours: EndorserList, theirs: EndorserList) -> Iterator[str]:
    missing = [one for one in theirs.criteria if one not in ours.criteria]
    if missing:
        tree["criteria"] = [*tree.get("criteria", ()), *missing]
        yield from (f"the criterion is added: {one}" for one in missing)
    for name, least in (("quorum", theirs.quorum), ("rebuilds", theirs.rebuilds)):
        if getattr(ours, name) < least:
            tree[name] = least
            yield f"{name} becomes {least}"
    if ours.maximum_lifetime > theirs.maximum_lifetime:
        tree["maximum_lifetime"] = str(theirs.maximum_lifetime)
        yield f"maximum_lifetime becomes {theirs.maximum_lifetime}"


def _person(node: Any, ours: Endorser, theirs: Endorser, key_file: KeyFile, folder: str) -> Iterator[str]:
    held = {identity(key): key for key in theirs.keys}
    for index in reversed(range(len(ours.keys))):
        key = ours.keys[index]
        if identity(key) not in held:
            yield f"the key {key_id(key)} of {ours.name} is taken off: the source does not have it"
            del node["keys"][index]
        else:
            yield from _key(node["keys"][index], ours.name, key, held[identity(key)], key_file, folder)
    for name, patterns, wider in (
        ("appliances", ours.scope.appliances, theirs.scope.appliances),
        ("communities", ours.scope.communities, theirs.scope.communities),
    ):
        kept = [one for one in patterns if covered(one, wider)] + [one for one in wider if covered(one, patterns) and one not in patterns]
        if any(not covered(one, wider) for one in patterns):
            node.setdefault("scope", in_one_line({}))[name] = [quoted(one) for one in kept]
            yield f"{ours.name} may answer for {', '.join(kept) or f'no {name}'}"
    if theirs.not_before is not None and (ours.not_before is None or ours.not_before < theirs.not_before):
        node["not_before"] = time(theirs.not_before)
        yield f"{ours.name} is an endorser since {node['not_before']}"
    if theirs.expires is not None and (ours.expires is None or ours.expires > theirs.expires):
        node["expires"] = time(theirs.expires)
        yield f"{ours.name} is an endorser until {node['expires']}"


def _key(node: Any, name: str, ours: Key, theirs: Key, key_file: KeyFile, folder: str) -> Iterator[str]:
    if isinstance(ours, OpenPGPKey) and isinstance(theirs, OpenPGPKey) and key_file(ours.file) != key_file(folder + theirs.file):
        node["file"] = folder + theirs.file
        yield f"the key {key_id(ours)} of {name} is read from endorsers/{folder}{theirs.file}"
    if isinstance(ours, X509Key) and isinstance(theirs, X509Key) and theirs.certificate not in (None, ours.certificate):
        node["certificate"] = quoted(str(theirs.certificate))
        yield f"{name} signs with the certificate {theirs.certificate} only"
    if theirs.retired is not None and (ours.retired is None or ours.retired > theirs.retired):
        node["retired"] = time(theirs.retired)
        yield f"the key {key_id(ours)} of {name} is retired since {node['retired']}"
    stolen = theirs.compromised_since
    if stolen is not None and not voids(ours.compromised_since, stolen):
        node["compromised_since"] = in_one_line({"serial": stolen.serial, **({"sha512": quoted(stolen.sha512)} if stolen.sha512 else {})})
        yield f"the key {key_id(ours)} of {name} was stolen after serial {stolen.serial}"


def _without_scope(node: Any) -> bool:
    return any(patterns == [] for patterns in node.get("scope", {}).values())

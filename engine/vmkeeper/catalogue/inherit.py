"""Single inheritance: a chain of appliances, root first, becomes one with nothing left to inherit.

Scalars replace, maps merge key by key, lists append, and `drop` takes inherited items away by name. A repeated
package, format or group is one; a service named again supersedes the inherited state; a file or script
named again is an error. What an appliance is (uuid, title, description, inherits, abstract, drop, labels) is its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from vmkeeper.errors import Place, Problem
from vmkeeper.model.appliance import Appliance

T = TypeVar("T")

OWN = frozenset({"uuid", "title", "description", "inherits", "abstract", "drop", "labels"})
_DROPS = {
    "packages": "packages", "files": "files", "provision": "provision", "services": "services", "formats": "formats",
    "archives": "distribution.archives", "groups": "users.groups", "boot": "disk.boot",
}  # fmt: skip
ROOTFS_DROPS = ("packages", "files", "provision", "services", "archives")
"""Drops after which the root file system can no longer start from the parent's."""
_SUPERSEDES = frozenset({"services"})
_DEFAULTS: dict[str, Any] = {
    "architecture": "x86_64",
    "users": {"sudo": True, "root_login": False},
    "disk": {"size": "2GiB", "label": "root", "kernel_options": ""},
    "requirements": {"memory": "1GiB", "cpus": 1},
    "test": {"timeout": "5m", "boot_timeout": "10m"},
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: the appliance that gave it and the field there; ("", field) is a default."""

    appliance: str
    field: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """An appliance with nothing left to inherit. `origins` is by dotted field (`packages[3]`, `disk.size`)."""

    name: str
    appliance: Appliance
    chain: tuple[str, ...]
    origins: Mapping[str, Origin]


def definition(name: str) -> str:
    """The path of an appliance's definition."""
    return f"appliances/{name}/appliance.yaml"


def resolve(chain: Sequence[tuple[str, Appliance]]) -> tuple[Resolved | None, tuple[Problem, ...]]:
    """Merge a chain, root first (at least one member); problems bear the definition they are in."""
    problems: list[Problem] = []
    merged: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for name, appliance in chain:
        given = appliance.model_dump(exclude_unset=True, by_alias=True)
        problems += _conflicts(name, given, merged, origins)
        _drop(name, appliance, merged, origins, problems)
        _merge(name, "", {key: value for key, value in given.items() if key not in OWN}, merged, origins, problems)
    name, last = chain[-1]
    own = {key: value for key, value in last.model_dump(exclude_unset=True).items() if key in OWN and key not in ("inherits", "drop")}
    _fill(merged, _DEFAULTS, "", origins)
    problems += _incomplete(name, last, merged)
    if problems:
        return None, tuple(problems)
    for key in own:
        origins[key] = Origin(name, key)
    return Resolved(name, Appliance.model_validate({**own, **merged}), tuple(member for member, _ in chain), origins), ()


def _conflicts(name: str, given: Mapping[str, Any], merged: Mapping[str, Any], origins: Mapping[str, Origin]) -> Iterator[Problem]:
    before = merged.get("architecture")
    now = given.get("architecture")
    if before and now and before != now:
        parent = origins["architecture"].appliance
        yield Problem(
            Place(definition(name), field="architecture"),
            f"{now} conflicts with {before} of {parent}",
            "leave it out, or inherit from an appliance of that architecture",
        )


def _drop(name: str, appliance: Appliance, merged: dict[str, Any], origins: dict[str, Origin], problems: list[Problem]) -> None:
    for kind, path in _DROPS.items():
        for item in getattr(appliance.drop, kind):
            items = _at(merged, path)
            index = next((i for i, known in enumerate(items) if _key(known) == item), None)
            if index is None:
                known = ", ".join(_key(each) for each in items) or "none"
                problems.append(
                    Problem(
                        Place(definition(name), field=f"drop.{kind}"),
                        f"{item} is not inherited, so it cannot be dropped",
                        f"inherited {kind}: {known}",
                    )
                )
                continue
            del items[index]
            sources = [origins.pop(f"{path}[{i}]") for i in range(len(items) + 1)]
            del sources[index]
            origins.update({f"{path}[{i}]": origin for i, origin in enumerate(sources)})


def _merge(name: str, prefix: str, given: Mapping[str, Any], into: dict[str, Any], origins: dict[str, Origin], problems: list[Problem]) -> None:
    for key, value in given.items():
        field = f"{prefix}{key}"
        if isinstance(value, dict):
            _merge(name, f"{field}.", value, into.setdefault(key, {}), origins, problems)
        elif isinstance(value, list | tuple):
            _append(name, field, value, into.setdefault(key, []), origins, problems)
        elif value is not None:
            into[key] = value
            origins[field] = Origin(name, field)


def _append(name: str, field: str, given: Sequence[Any], into: list[Any], origins: dict[str, Origin], problems: list[Problem]) -> None:
    names = {_key(item): index for index, item in enumerate(into)}
    for index, item in enumerate(given):
        known = names.get(_key(item))
        if known is None:
            into.append(item)
            origins[f"{field}[{len(into) - 1}]"] = Origin(name, f"{field}[{index}]")
        elif field in _SUPERSEDES:
            into[known] = item
            origins[f"{field}[{known}]"] = Origin(name, f"{field}[{index}]")
        elif not isinstance(item, str):
            parent = origins[f"{field}[{known}]"].appliance
            hint = f"give it another name, or drop the inherited one: drop: {{{field.rsplit('.', 1)[-1]}: [{_key(item)}]}}"
            problems.append(Problem(Place(definition(name), field=f"{field}[{index}].name"), f"{_key(item)} is inherited from {parent}", hint))


def _incomplete(name: str, last: Appliance, merged: Mapping[str, Any]) -> Iterator[Problem]:
    """What a buildable appliance must have had from somebody in the chain."""
    place = definition(name)
    hint = "give it here or in an appliance that it inherits from"
    distribution = merged.get("distribution", {})
    for field in ("name", "release", "version"):
        if not distribution.get(field):
            yield Problem(Place(place, field=f"distribution.{field}"), "is missing", hint)
    if not distribution.get("archives"):
        yield Problem(Place(place, field="distribution.archives"), "there is no package archive", hint)
    if not merged.get("builder", {}).get("name"):
        yield Problem(Place(place, field="builder.name"), "is missing", hint)
    if last.abstract:
        return
    for field, value in (
        ("builder.tools", merged.get("builder", {}).get("tools")),
        ("formats", merged.get("formats")),
        ("disk.boot", merged.get("disk", {}).get("boot")),
        ("users.default", merged.get("users", {}).get("default")),
    ):
        if not value:
            yield Problem(Place(place, field=field), "is missing", f"{hint}; only an abstract appliance does without")


def _fill(into: dict[str, Any], defaults: Mapping[str, Any], prefix: str, origins: dict[str, Origin]) -> None:
    for key, value in defaults.items():
        if isinstance(value, dict):
            _fill(into.setdefault(key, {}), value, f"{prefix}{key}.", origins)
        elif key not in into:
            into[key] = value
            origins[f"{prefix}{key}"] = Origin("", f"{prefix}{key}")


def _key(item: Any) -> str:
    """What `drop` calls an item of a list."""
    if isinstance(item, BaseModel):
        return str(getattr(item, "name"))  # noqa: B009
    return str(item["name"]) if isinstance(item, dict) else str(item)


def _at(merged: dict[str, Any], path: str) -> list[Any]:
    found: Any = merged
    for part in path.split("."):
        found = found.setdefault(part, {} if part != path.rsplit(".", 1)[-1] else [])
    assert isinstance(found, list)
    return found


def given(value: T | None) -> T:
    """A field that is never None once inheritance is resolved."""
    assert value is not None
    return value

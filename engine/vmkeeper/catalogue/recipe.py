"""From a chain of appliances to a recipe: the closure of everything that decides an image's bytes.

A child's root file system starts from its parent's, one layer an appliance, unless the child takes something
away from it or is made from another release: then one layer holds all that it resolved to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from vmkeeper.catalogue.inherit import ROOTFS_DROPS, Resolved, definition, resolve
from vmkeeper.errors import Place, Problem
from vmkeeper.model.appliance import Appliance
from vmkeeper.model.lock import PackagesLock
from vmkeeper.model.recipe import BuilderVersion, Content, FileStep, Layer, Recipe, ScriptStep
from vmkeeper.repository.changes import RECORD
from vmkeeper.values import canonical_json, sha256_hex

Hash = Callable[[str], str | None]
"""The sha256 of a file of the repository by its path, None where there is no such file."""


@dataclass(frozen=True, slots=True)
class Member:
    """One appliance of a chain as its author wrote it, with its lock."""

    name: str
    appliance: Appliance
    lock: PackagesLock | None


class Foundation(NamedTuple):
    """What a layer is made on: the members it covers (one, or all flattened) and what they resolve to."""

    members: tuple[Member, ...]
    resolved: Resolved


def starts_anew(member: Appliance, parent: Resolved) -> bool:
    """Whether an appliance cannot start from its parent's root file system."""
    own, inherited = member.distribution, parent.appliance.distribution
    other = (own.name or inherited.name, own.release or inherited.release) != (inherited.name, inherited.release)
    return other or any(getattr(member.drop, kind) for kind in ROOTFS_DROPS)


def foundations(members: Sequence[Member]) -> tuple[tuple[Foundation, ...], tuple[Problem, ...]]:
    """Divide a chain (root first) into layers: the last member that starts anew flattens all before it."""
    found: list[Foundation] = []
    parent: Resolved | None = None
    for index, member in enumerate(members):
        resolved, problems = resolve([(each.name, each.appliance) for each in members[: index + 1]])
        if resolved is None:
            return (), problems
        if parent is None or starts_anew(member.appliance, parent):
            found = [Foundation(tuple(members[: index + 1]), resolved)]
        else:
            found.append(Foundation((member,), resolved))
        parent = resolved
    return tuple(found), ()


def layers(members: Sequence[Member], sha256: Hash) -> tuple[tuple[Layer, ...], tuple[Problem, ...]]:
    """The layers of a chain's root file system, oldest first, or the problems that stand in the way."""
    founded, problems = foundations(members)
    if problems:
        return (), problems
    made: list[Layer] = []
    missing: list[Problem] = []
    for foundation in founded:
        made += _layer(foundation, made[-1].date if made else None, sha256, missing)
    return (tuple(made), ()) if not missing else ((), tuple(dict.fromkeys(missing)))


def _layer(foundation: Foundation, below: datetime | None, sha256: Hash, missing: list[Problem]) -> list[Layer]:
    name = foundation.members[-1].name
    lock = foundation.members[-1].lock
    whole = foundation.resolved.appliance
    flat = len(foundation.members) > 1
    steps = whole if flat else foundation.members[0].appliance

    def content(field: str, index: int, source: str) -> Content:
        owner = foundation.resolved.origins[f"{field}[{index}]"].appliance if flat or field == "distribution.archives" else name
        path = f"appliances/{owner}/{source}"
        digest = sha256(path)
        if RECORD.fullmatch(path):
            what = f"{source} is a record of a build, which would change whenever the image did"
            missing.append(Problem(Place(definition(owner), field=field), what, "name a file of its own"))
        elif digest is None:
            missing.append(
                Problem(Place(definition(owner), field=field), f"{source} is not in {path.removesuffix(source)}", "add the file, or correct its name")
            )
        return Content(sha256=digest or "0" * 64, appliance=owner, path=path)

    files = tuple(
        FileStep(path=f.path, mode=f.mode, owner=f.owner, group=f.group, content=content("files", i, f.source)) for i, f in enumerate(steps.files)
    )
    scripts = tuple(ScriptStep(name=s.name, content=content("provision", i, s.script)) for i, s in enumerate(steps.provision))
    archives = whole.distribution.archives
    keyrings = tuple(content("distribution.archives", i, a.keyring) for i, a in enumerate(archives) if a.keyring)
    if lock is None and (steps.packages or below is None):
        missing.append(Problem(Place(f"appliances/{name}/packages.lock"), "is missing", f"make it with: vmkeeper refresh {name}"))
        return []
    dates = [date for date in (below, lock.date if lock else None) if date is not None]
    assert whole.architecture is not None
    return [
        Layer(
            appliance=name,
            architecture=whole.architecture,
            release=whole.distribution.release or "",
            archives=archives,
            keyrings=keyrings,
            requested=tuple(sorted(steps.packages)),
            packages=lock.packages if lock else (),
            files=files,
            services=steps.services,
            scripts=scripts,
            date=max(dates),
        )
    ]


def compose(members: Sequence[Member], tools: Sequence[Layer], builder: BuilderVersion, sha256: Hash) -> tuple[Recipe | None, tuple[Problem, ...]]:
    """The recipe of the last of `members` (root first), or all problems. `tools`: the layers of its tools root."""
    resolved, problems = resolve([(member.name, member.appliance) for member in members])
    if resolved is None:
        return None, problems
    made, problems = layers(members, sha256)
    if problems:
        return None, problems
    whole = resolved.appliance
    assert whole.architecture is not None
    recipe = Recipe(
        appliance=resolved.name,
        uuid=whole.uuid,
        builder=builder,
        architecture=whole.architecture,
        layers=made,
        tools=() if whole.abstract else tuple(tools),
        users=whole.users,
        disk=None if whole.abstract else whole.disk,
        formats=() if whole.abstract else whole.formats,
    )
    return recipe, ()


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """One thing that two recipes do not share, and the file of the repository that says it."""

    path: str
    what: str


def differences(old: Recipe, new: Recipe) -> tuple[Difference, ...]:
    """Why two recipes have different digests, in words; empty exactly when the digests are equal."""
    found: list[Difference] = []
    for kind, before, after in (("", old.layers, new.layers), ("tools ", old.tools, new.tools)):
        olds = {layer.appliance: layer for layer in before}
        news = {layer.appliance: layer for layer in after}
        found += [Difference(definition(new.appliance), f"{kind}{name} is no longer below it") for name in olds.keys() - news.keys()]
        found += [Difference(definition(new.appliance), f"{kind}{name} is new below it") for name in news.keys() - olds.keys()]
        for name in news.keys() & olds.keys():
            found += _layer_differences(olds[name], news[name])
    settings = [field for field in ("users", "disk", "formats", "architecture", "uuid") if getattr(old, field) != getattr(new, field)]
    if settings:
        found.append(Difference(definition(new.appliance), f"{', '.join(settings)} changed"))
    if old.builder != new.builder:
        found.append(Difference("", f"the builder is {new.builder.name} {new.builder.version}, was {old.builder.name} {old.builder.version}"))
    if not found and old.digest() != new.digest():
        found.append(Difference(definition(new.appliance), "the order of what it inherits changed"))
    return tuple(sorted(set(found)))


def _layer_differences(old: Layer, new: Layer) -> list[Difference]:
    place = definition(new.appliance)
    found: list[Difference] = []
    before, after = ({p.name: p for p in layer.packages} for layer in (old, new))
    changed = sum(before.get(name) != after.get(name) for name in before.keys() | after.keys())
    if changed:
        found.append(Difference(f"appliances/{new.appliance}/packages.lock", f"{changed} locked package{'' if changed == 1 else 's'} changed"))
    elif old.date != new.date:
        found.append(Difference(f"appliances/{new.appliance}/packages.lock", "the lock's date changed"))
    old_contents, new_contents = _contents(old), _contents(new)
    both = sorted(path for path in old_contents.keys() & new_contents.keys() if old_contents[path] != new_contents[path])
    found += [Difference(path, f"{path.split('/', 2)[-1]} of {path.split('/')[1]} changed") for path in both]
    fields = {"requested": "packages", "services": "services", "archives": "distribution", "release": "distribution", "architecture": "architecture"}
    named = {label for field, label in fields.items() if getattr(old, field) != getattr(new, field)}
    for field, label in (("files", "files"), ("scripts", "provision")):
        if _without_content(getattr(old, field)) != _without_content(getattr(new, field)) or (
            [step.content.path for step in getattr(old, field)] != [step.content.path for step in getattr(new, field)]
        ):
            named.add(label)
    if named:
        found.append(Difference(place, f"{', '.join(sorted(named))} of {new.appliance} changed"))
    return found


def _contents(layer: Layer) -> dict[str, str]:
    contents = [*(step.content for step in layer.files), *(step.content for step in layer.scripts), *layer.keyrings]
    return {content.path: content.sha256 for content in contents}


def _without_content(steps: Sequence[FileStep] | Sequence[ScriptStep]) -> list[object]:
    return [step.model_dump(exclude={"content"}) for step in steps]


def tests_digest(tests: Sequence[tuple[str, str]], settings: object) -> str:
    """Digest of what the boot test runs: (name, sha256) of each script in order, and its settings."""
    return sha256_hex(canonical_json({"tests": [list(test) for test in tests], "settings": settings}))

"""What is said of the images that a site wants: their names, who bears the alias, who may use them. Pure.

Only the newest usable version of an appliance bears its alias, and no two appliances bear the same one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from pydantic import TypeAdapter, ValidationError

from vmkeeper.clouds.interface import ImageName, ImageSpec
from vmkeeper.errors import Refused
from vmkeeper.model.platform import Audience
from vmkeeper.model.site import Site
from vmkeeper.plan.wanted import Note, Wanted, label
from vmkeeper.trust.people import matches

Render = Callable[[str, Sequence[Mapping[str, str]]], Sequence[str | Refused]]
"""A Jinja2 template, filled in once for each set of values; what does not come to an end is refused (R28)."""

_PLAIN = re.compile(r"\{\{\s*([a-z_]+)\s*\}\}")
_NAME: TypeAdapter[str] = TypeAdapter(ImageName)


@dataclass(frozen=True, slots=True)
class About:
    """What names and audiences are made from besides the images. site: narrowed to the place; name: the site's; lists: UUID → name."""

    site: Site
    name: str
    lists: Mapping[str, str]
    render: Render


def plainly(template: str, rows: Sequence[Mapping[str, str]]) -> Sequence[str | Refused]:
    """`Render` for templates that are nothing but text and `{{ variable }}`; others are refused."""
    rest = _PLAIN.sub("", template)
    unknown = {word for word in _PLAIN.findall(template) for row in rows[:1] if word not in row}
    if unknown or "{" in rest or "}" in rest:
        why = f"there is no {', '.join(sorted(unknown))}" if unknown else "it is more than text and variables"
        return [Refused("R28", "the template cannot be filled in here", why=why)] * len(rows)
    return [_PLAIN.sub(lambda found, row=row: row[found[1]], template) for row in rows]  # type: ignore[misc]


def said(
    wanted: Mapping[str, tuple[Wanted, ...]], left: Iterable[ImageSpec], about: About
) -> tuple[dict[str, tuple[Wanted, ...]], dict[str, str], list[Note]]:
    """The wanted images with name, alias and audience; who bears each appliance's alias (UUID → `ImageSpec.key`); and notes.

    left: usable images that stay as they are although nothing wants them. One that bears an alias keeps it where it is newer
    than all that is wanted of its appliance.
    """
    notes: list[Note] = []
    flat = [one for uuid in sorted(wanted) for one in wanted[uuid]]
    names = _names(about.site.names.image, [one.spec for one in flat], about, notes, fallback=lambda spec: f"{spec.appliance}-{spec.version}")
    named = {one.spec.key: name for one, name in zip(flat, names, strict=True)}
    bearers = _bearers(wanted, tuple(left), about, notes)
    aliases = {key: alias for _, key, alias in bearers}

    def dressed(one: Wanted) -> Wanted:
        spec = one.spec
        changes = {"name": named[spec.key], "alias": aliases.get(spec.key), "audience": audience_of(spec, about)}
        return replace(one, spec=spec.model_copy(update=changes))

    made = {uuid: tuple(dressed(one) for one in versions) for uuid, versions in wanted.items()}
    return made, {uuid: key for uuid, key, _ in bearers}, notes


def audience_of(spec: ImageSpec, about: About) -> Audience:
    """Who may use an image: by the first rule of the site that matches, else nobody but the account."""
    community = spec.properties.get("ad:vo", "")
    for rule in about.site.audience:
        if (
            any(matches(pattern, spec.appliance) for pattern in rule.appliances)
            and (not rule.lists or about.lists.get(spec.list) in rule.lists)
            and (not rule.communities or any(fnmatchcase(community, pattern) for pattern in rule.communities))
        ):
            return rule.audience
    return Audience()


def _bearers(wanted: Mapping[str, tuple[Wanted, ...]], left: tuple[ImageSpec, ...], about: About, notes: list[Note]) -> list[tuple[str, str, str]]:
    """(appliance's UUID, key of the image that bears the alias, alias)."""
    if not about.site.names.alias:
        return []
    kept: dict[str, ImageSpec] = {}
    for spec in left:
        newest = wanted.get(spec.uuid, ())
        if spec.alias is not None and (not newest or newest[0].spec.version < spec.version):
            kept[spec.uuid] = max(spec, kept.get(spec.uuid, spec), key=lambda one: one.version)
    first = [versions[0].spec for uuid, versions in wanted.items() if versions and uuid not in kept]
    order = sorted(first, key=lambda spec: (spec.appliance, spec.uuid))
    texts = _names(about.site.names.alias, order, about, notes, fallback=lambda spec: spec.appliance)
    taken = {str(spec.alias): spec for spec in kept.values()}
    found = [(spec.uuid, spec.key, str(spec.alias)) for spec in kept.values()]
    for spec, text in zip(order, texts, strict=True):
        if (other := taken.setdefault(text, spec)) is not spec:
            notes.append(Note(label(spec), f"it gets no alias, for {other.appliance} has {text} already; see names: in the site's file"))
            continue
        found.append((spec.uuid, spec.key, text))
    return found


def _names(template: str, specs: Sequence[ImageSpec], about: About, notes: list[Note], *, fallback: Callable[[ImageSpec], str]) -> list[str]:
    """What a template comes to for each image; where that cannot be a name, a note and `fallback`."""
    rows = [_values(spec, about) for spec in specs]
    made = plainly(template, rows)
    if any(isinstance(one, Refused) for one in made):
        made = about.render(template, rows)
    names = []
    for spec, text in zip(specs, made, strict=True):
        try:
            names.append(_NAME.validate_python(text.strip() if isinstance(text, str) else ""))
        except ValidationError:
            names.append(fallback(spec))
            why = str(text) if isinstance(text, Refused) else f"{text!r} cannot be a name: letters, digits and ._()- up to 127"
            notes.append(Note(label(spec), f"it is called {names[-1]}, for the template {template!r} does not serve: {why}"))
    return names


def _values(spec: ImageSpec, about: About) -> dict[str, str]:
    return {
        "appliance": spec.appliance,
        "version": str(spec.version),
        "title": spec.properties.get("title", ""),
        "list": about.lists.get(spec.list, ""),
        "community": spec.properties.get("ad:vo", ""),
        "architecture": spec.architecture,
        "uuid": spec.uuid,
        "site": about.name,
    }

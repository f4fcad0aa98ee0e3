"""An appliance with all that it inherits, each value with the file and line that gave it."""

from __future__ import annotations

from typing import Any

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.inherit import OWN, definition
from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import read
from vmkeeper.documents.places import field
from vmkeeper.errors import Problems


def shown(catalogue: Catalogue, name: str) -> dict[str, Any]:
    """`{"name", "chain", "recipe", "values": [{"field", "value", "from", "line"}], "tests", "release"}`."""
    resolved = catalogue.resolved(name)
    lines = {member: _lines(catalogue, member) for member in resolved.chain}
    data = resolved.appliance.model_dump(mode="json", exclude_defaults=False)
    values = []
    for leaf, value in _leaves(data):
        origin = resolved.origins.get(leaf)
        if origin is None:
            continue
        file = definition(origin.appliance) if origin.appliance else "default"
        values.append({"field": leaf, "value": value, "from": file, "line": lines.get(origin.appliance, {}).get(origin.field, 0)})
    release = catalogue.release(name)
    try:
        digest = catalogue.recipe(name).digest()
        why_not = ""
    except Problems as error:
        digest, why_not = "", str(error)
    return {
        "name": name,
        "chain": list(resolved.chain),
        "recipe": digest,
        "no_recipe_because": why_not,
        "values": values,
        "tests": [test.name for test in catalogue.tests(name)],
        "release": {"version": str(release.version), "recipe": release.recipe} if release else None,
    }


def as_text(result: dict[str, Any]) -> str:
    """For a terminal: field, value, where from."""
    values = result["values"]
    width = max((len(value["field"]) for value in values), default=0)
    lines = [f"{result['name']}: {' → '.join(result['chain'])}", ""]
    for value in values:
        text = _short(value["value"])
        place = f"{value['from']}:{value['line']}" if value["line"] else value["from"]
        lines.append(f"  {value['field']:<{width}}  {text:<44}  {place}")
    lines += ["", f"recipe   {result['recipe'] or result['no_recipe_because']}"]
    lines.append(f"tests    {', '.join(result['tests']) or 'none'}")
    release = result["release"]
    if release is None:
        state = "never released"
    elif release["recipe"] == result["recipe"]:
        state = f"{release['version']}, of this recipe"
    else:
        state = f"{release['version']}, of another recipe: it will be built again"
    return "\n".join([*lines, f"release  {state}"])


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items() if item not in (None, [], ""))
    return str(value)


def _leaves(data: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Scalars and list items with their dotted field, as origins name them."""
    found: list[tuple[str, Any]] = []
    for key, value in data.items():
        if not prefix and key in OWN - {"uuid", "title", "description", "abstract"}:
            continue
        if isinstance(value, dict):
            found += _leaves(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            found += [(f"{prefix}{key}[{index}]", item) for index, item in enumerate(value)]
        elif value is not None:
            found.append((f"{prefix}{key}", value))
    return found


def _lines(catalogue: Catalogue, name: str) -> dict[str, int]:
    data = catalogue.snapshot.read(definition(name))
    if data is None:
        return {}
    spots = read(KINDS["appliance"], data, definition(name)).places.values
    return {field(path): spot.line for path, spot in spots.items()}

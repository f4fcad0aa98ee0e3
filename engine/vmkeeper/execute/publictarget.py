"""Open the target that a publisher's settings name. What it needs to be let in is in a file that nobody else can read, never shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vmkeeper.documents.guard import MAX_BYTES, read_yaml
from vmkeeper.errors import UserError
from vmkeeper.images.files import reported
from vmkeeper.images.targets import Target
from vmkeeper.images.targets_open import open_target


def open_public(address: str, credentials: Path | None, environ: Mapping[str, str]) -> Target:
    """The target at an address, with the options that a YAML file gives (see `targets_open.OPTIONS`).

    An option `{environment: NAME}` is the value of that variable of `environ`. Raises UserError for a file that others can
    read or that is no mapping, and what `open_target` raises.
    """
    return open_target(address, _options(credentials, environ) if credentials else None)


def _options(file: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    with reported("read the credentials", file):
        mode = file.stat().st_mode
        if mode & 0o077:
            raise UserError(f"others can read these credentials (mode {mode & 0o777:03o})", where=str(file), hint=f"chmod 600 {file}")
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    tree = read_yaml(data, str(file))
    if tree.problems or not tree.readable or not isinstance(tree.value, dict):
        place = tree.problems[0].place if tree.problems else file
        raise UserError("these credentials are not a YAML mapping that can be read", where=str(place), hint="write lines NAME: VALUE")
    return {str(name): _value(str(name), value, environ, file) for name, value in tree.value.items()}


def _value(name: str, value: Any, environ: Mapping[str, str], file: Path) -> Any:
    if not isinstance(value, dict) or set(value) != {"environment"}:
        return value
    variable = str(value["environment"])
    if variable not in environ:
        raise UserError(f"{name} is to be taken from the environment variable {variable}, which is not set", where=str(file), hint=f"set {variable}")
    return environ[variable]

"""Judge one thing by itself, offline: a document, a URL, a context, a template.

Each goes through the functions that a site uses and nothing else, so what is refused here is refused there. What comes back
is a report or an error of ours; `refusals_of` makes refusals of every error.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from vmkeeper.contexts import sandbox
from vmkeeper.contexts.inherit import resolve
from vmkeeper.contexts.render import Value, to_text
from vmkeeper.contexts.templates import MAX_TEMPLATE
from vmkeeper.documents.guard import MAX_BYTES, read_yaml
from vmkeeper.documents.json_guard import read_json
from vmkeeper.documents.kinds import KINDS, Kind, kind_of
from vmkeeper.documents.load import load, read
from vmkeeper.errors import EnvironmentLacks, Place, Problem, Problems, Refused, Transient, UserError, VmkeeperError
from vmkeeper.images.addresses import Resolver, UrlPolicy, public, resolved
from vmkeeper.model.base import Document
from vmkeeper.model.context import Context
from vmkeeper.trust.refusal import Refusal
from vmkeeper.values import NAME_PATTERN

FORM = "form"
"""The rule of what has not the form that its readers need, which is no matter of trust."""


def refusals_of(error: VmkeeperError) -> tuple[Refusal, ...]:
    """Every error as refusals: by its rule, else `form`, `input` (cannot be read), `environment`, `transient`."""
    several = getattr(error, "refusals", None)
    match error:
        case _ if several:
            return tuple(several)
        case Refused():
            return (Refusal.of(error),)
        case Problems():
            return tuple(Refusal(one.rule or FORM, one.what, str(one.place), one.hint) for one in error.problems)
    rule = "environment" if isinstance(error, EnvironmentLacks) else "transient" if isinstance(error, Transient) else "input"
    return (Refusal(rule, error.what, error.why or error.where, error.hint),)


def read_file(path: Path, limit: int, *, links: bool = False) -> bytes:
    """The bytes of a regular file. Raises Refused R23 (a link or no regular file), R25 (more than `limit` bytes), UserError."""
    try:
        mode = (path.stat() if links else path.lstat()).st_mode
        if not stat.S_ISREG(mode):
            raise Refused("R23", "this is no regular file", where=str(path))
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UserError("the file cannot be read", where=str(path), why=error.strerror or "") from None
    except ValueError as error:
        raise UserError("the file cannot be read", where=str(path), why=str(error)) from None
    if len(data) > limit:
        raise Refused("R25", f"the file has more than {limit} bytes", where=str(path))
    return data


# -- documents


def single_document(file: Path, kind: str | None) -> Kind | None:
    """Judge a YAML or JSON file and, where its kind is known, what it says. Raises Refused R23, Problems (R21, R22, form), UserError."""
    found = _kind(file, kind)
    if found is not None:
        _named(file, found)
    data = read_file(file, 64 * MAX_BYTES)
    if file.suffix == ".json":
        read_json(data, file.name)
        return None
    problems: Iterable[Problem] = read_yaml(data, file.name).problems if found is None else read(found, data, _usual_path(file, found)).problems
    if problems := tuple(problems):
        raise Problems(problems)
    return found


def _kind(file: Path, name: str | None) -> Kind | None:
    """The kind that is named, else the one that lies at such a path."""
    if name is not None:
        if name not in KINDS:
            raise UserError(f"there is no kind {name[:40]!r}", hint=f"kinds are {', '.join(KINDS)}")
        return KINDS[name]
    parts = file.absolute().parts
    return next((kind for count in (3, 2) if (kind := kind_of("/".join(parts[-count:])))), None)


def _named(file: Path, kind: Kind) -> None:
    """R23: names that we own are plain."""
    name = _subject(file, kind)
    if name is not None and (not re.fullmatch(NAME_PATTERN, name) or ".." in name):
        hint = "use 1 to 64 of a-z 0-9 . _ -, beginning and ending with a letter or digit"
        raise Refused("R23", f"{name!r} is no name for a document", where=str(file), hint=hint)


def _subject(file: Path, kind: Kind) -> str | None:
    """The document's name by its file; None for kinds whose name is their folder's or that have none."""
    _, star, after = kind.path.rpartition("*")
    if not star or "/" in after:
        return None
    return file.name.removesuffix(after)


def _usual_path(file: Path, kind: Kind) -> str:
    name = _subject(file, kind)
    return kind.path.replace("*", name) if name is not None else file.name


# -- addresses


def single_url(url: str, allow: Collection[str] = (), resolve: Resolver = resolved) -> dict[str, Any]:
    """What the URL policy of a site that allows these hosts says; nothing is connected to. Raises Refused R27, Transient."""
    policy = UrlPolicy(allow)
    try:
        policy.check(url)
    except UserError as error:
        raise Refused("R27", error.what, where=error.where) from None
    if url.lower().startswith("file:"):
        return {"url": public(url), "addresses": [], "connect": None, "file": str(policy.file(url))}
    addresses = policy.addresses(urlsplit(url).hostname or "", resolve)
    if not addresses:
        raise Transient("the name has no address", where=public(url))
    return {"url": public(url), "addresses": list(addresses), "connect": addresses[0]}


# -- what is rendered


def single_context(file: Path, given: Mapping[str, str]) -> str:
    """The user-data that a site would make of a context; its parents lie beside it.

    given: parameters by name, and facts by names with a dot (`self.address`). Raises Refused R28, Problems, UserError.
    """
    name = file.name.removesuffix(".yaml")
    _named(file, KINDS["context"])

    def loaded(wanted: str) -> Context | None:
        path = file if wanted == name else file.with_name(f"{wanted}.yaml")
        return cast(Context, _loaded(path)) if wanted == name or path.exists() else None

    context = resolve(name, loaded)
    facts = {key: value for key, value in given.items() if "." in key}
    values = {key: _typed(context, key, value) for key, value in given.items() if "." not in key}
    config, _ = sandbox.both(name, context, values, facts)
    return to_text(config)


def _loaded(path: Path) -> Document:
    kind = KINDS["context"]
    return load(kind, read_file(path, 64 * MAX_BYTES), _usual_path(path, kind))


def _typed(context: Context, key: str, text: str) -> Value:
    """A parameter's value as the command line gives it; one that does not fit is refused where it is used."""
    kind = context.parameters[key].type if key in context.parameters else "string"
    if kind == "integer" and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    return tuple(text.split(",")) if kind == "list" else text


def single_template(file: Path, given: Mapping[str, Any]) -> str:
    """What a template makes with these values. Raises Refused R28, Problems (not UTF-8), UserError."""
    data = read_file(file, 4 * MAX_TEMPLATE)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Problems([Problem(Place(file.name), f"this is not UTF-8: {error.reason}", "save it as UTF-8", rule="R28")]) from None
    return sandbox.render_template(text, given)

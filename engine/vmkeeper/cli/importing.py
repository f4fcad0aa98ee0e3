"""The command import: what an organisation has, as files of the repository."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmkeeper.cli.session import HERE, Directory, Output, OutputOption, Session
from vmkeeper.errors import UserError
from vmkeeper.values import NAME_PATTERN

if TYPE_CHECKING:
    from vmkeeper.execute.importing import Written


class Source(StrEnum):
    """What is imported."""

    vmcaster = "vmcaster"
    comfy = "comfy"
    hepix_list = "hepix-list"


def import_(
    source: Annotated[Source, typer.Argument(help="What it is: vmcaster's database, export or configuration; comfy's descriptions; HEPiX lists.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="The files.", show_default=False)],
    directory: Directory = HERE,
    name: Annotated[str | None, typer.Option("--list", help="What the image list is to be called.", show_default=False)] = None,
    inherits: Annotated[str | None, typer.Option("--inherits", help="The appliance that the new ones inherit from.", show_default=False)] = None,
    endorsed_by: Annotated[str | None, typer.Option("--endorsed-by", help="The endorser list that counts for it.", show_default=False)] = None,
    ca_dir: Annotated[
        Path | None, typer.Option("--ca-dir", help="A folder of authorities in IGTF layout: verify signed lists.", show_default=False)
    ] = None,
    allow_sha1: Annotated[bool, typer.Option("--allow-sha1", help="Take a signature made with SHA-1, as vmcaster makes them.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    output: OutputOption = Output.text,
) -> int:
    """Turn image lists, vmcaster's data or comfy's descriptions into files of the repository. Commits nothing."""
    from vmkeeper.execute.importing import Wish, import_files

    session = Session(directory)
    for given, option in ((name, "--list"), (inherits, "--inherits"), (endorsed_by, "--endorsed-by")):
        if given is not None and not re.fullmatch(NAME_PATTERN, given):
            raise UserError(
                f"{given[:80]!r} is no name", where=option, hint="use 1 to 64 of a-z 0-9 . _ -, beginning and ending with a letter or digit"
            )
    wish = Wish(
        source=source.value,
        files=files,
        name=name,
        inherits=inherits,
        endorsed_by=endorsed_by,
        ca_dir=ca_dir,
        sha1=allow_sha1,
        replace=force,
    )
    done = import_files(wish, session.catalogue(worktree=True), session.now)
    if output is Output.json:
        session.json(_as_json(done))
    else:
        _say(session, done)
    return 0


def _as_json(done: Written) -> dict[str, object]:
    return {
        "written": list(done.written),
        "unchanged": list(done.unchanged),
        "notes": [{"subject": note.subject, "field": note.field, "what": note.what} for note in done.imported.notes],
        "foreign": [entry.model_dump(mode="json", exclude_defaults=True) for entry in done.imported.foreign],
    }


def _say(session: Session, done: Written) -> None:
    from vmkeeper.lists.imports.outcome import foreign_yaml

    for path in done.written:
        session.say(f"wrote {path}")
    for path in done.unchanged:
        session.say(f"there already {path}")
    if done.imported.notes:
        session.say("Not carried over, or for you to do:")
    for note in done.imported.notes:
        session.say(f"  {note}")
    if done.imported.foreign:
        session.say("A site that takes these images from where they are writes instead, in sites/NAME.yaml:")
        session.say(foreign_yaml(done.imported.foreign))
    session.say("Next: vmkeeper check --worktree")

"""Commands of the offline auditor: what a site would judge, judged by itself through the same functions.

`vmkeeper verify --pins FILE` judges every release of a repository; its subcommands judge one list, image, document, URL,
context or template. Exit codes: 0 accepted, 1 refused.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from vmkeeper.cli.session import HERE, Directory, Output, OutputOption, Session
from vmkeeper.errors import UserError, VmkeeperError
from vmkeeper.values import Size, parse_time

commands = typer.Typer(
    invoke_without_command=True,
    help="Judge by itself, offline, what a site would judge: every release of a repository, or one list, image, document, URL, context, template.",
)

File = Annotated[Path, typer.Argument(help="The file.", show_default=False)]
At = Annotated[str | None, typer.Option("--at", help="Judge as if it were this time: 2026-11-20T10:30:00Z. Default: now.", show_default=False)]
With = Annotated[list[str] | None, typer.Option("--with", help="A value: NAME=TEXT, or NAME:=JSON.", show_default=False)]


class Crls(StrEnum):
    """How much is asked of revocation lists."""

    required = "required"
    when_there = "when-there"
    ignored = "ignored"


@commands.callback()
def verify(
    context: typer.Context,
    pins: Annotated[Path | None, typer.Option("--pins", help="The pins file of a site.", show_default=False)] = None,
    memory: Annotated[Path | None, typer.Option("--memory", help="The memory file of a site.", show_default=False)] = None,
    at: At = None,
    directory: Directory = HERE,
    output: OutputOption = Output.text,
) -> int:
    """Judge every release of a repository by a site's pins. Changes nothing."""
    if context.invoked_subcommand is not None:
        return 0
    from vmkeeper.execute.audit import audit
    from vmkeeper.execute.single import refusals_of

    session = Session(directory)
    if pins is None:
        raise UserError("whose pins count is not said", hint="give a site's pins file: vmkeeper verify --pins FILE, or see vmkeeper verify --help")
    shown: list[dict[str, Any]] = []
    try:
        shown += [verdict.as_json() for verdict in audit(directory, pins, memory, _moment(at, session), session.progress())]
    except VmkeeperError as error:
        shown.append({"appliance": "*", "version": "*", "accepted": False, "refusals": [one.as_json() for one in refusals_of(error)]})
    if output is Output.json:
        sys.stdout.write("[" + ",".join(f"\n{json.dumps(one, ensure_ascii=True)}" for one in shown) + "\n]\n")
    else:
        for one in shown:
            _say(session, f"{one['appliance']} {one['version']}", one["refusals"])
        if not shown:
            session.say("there is no release here")
    return 0 if shown and all(one["accepted"] for one in shown) else 1


@commands.command("list")
def verify_list(
    file: File,
    ca_dir: Annotated[Path, typer.Option("--ca-dir", help="A folder of authorities in IGTF layout.")],
    endorser_dn: Annotated[str, typer.Option("--endorser-dn", help="Subject of the signer's certificate: /DC=org/CN=x, or CN=x,DC=org.")],
    endorser_ca: Annotated[str, typer.Option("--endorser-ca", help="Issuer of the signer's certificate.")],
    at: At = None,
    allow_sha1: Annotated[bool, typer.Option("--allow-sha1", help="Take a signature made with SHA-1, as old lists have.")] = False,
    crls: Annotated[Crls, typer.Option("--crls", help="Whether authorities need a revocation list.")] = Crls.when_there,
    uuid: Annotated[str | None, typer.Option("--uuid", help="The list that is meant.", show_default=False)] = None,
    memory: Annotated[Path | None, typer.Option("--memory", help="Keeps the versions that were seen between calls.", show_default=False)] = None,
    output: OutputOption = Output.text,
) -> int:
    """Judge a signed image list."""
    from vmkeeper.execute.single_list import ListTerms, list_report, single_list

    def judged(session: Session) -> dict[str, Any]:
        now = _moment(at, session)
        terms = ListTerms(ca_dir, endorser_dn, endorser_ca, uuid, crls.value, allow_sha1=allow_sha1)
        return list_report(single_list(file, terms, now, memory), now)

    return _judge(output, str(file), judged)


@commands.command("image")
def verify_image(
    file: File,
    format: Annotated[str | None, typer.Option("--format", help="What it is declared to be: qcow2, raw, ova, raw.xz, …", show_default=False)] = None,  # noqa: A002 - the option's name
    max_virtual: Annotated[str, typer.Option("--max-virtual", help="The largest disk that a guest may see.")] = "2TiB",
    sha512: Annotated[str | None, typer.Option("--sha512", help="The digest that it must have.", show_default=False)] = None,
    size: Annotated[int | None, typer.Option("--size", help="The number of bytes that it must have.", show_default=False)] = None,
    output: OutputOption = Output.text,
) -> int:
    """Judge an image file: its digest, compression, archive, format and virtual size."""
    from vmkeeper.images.examine import examine

    def judged(_: Session) -> dict[str, Any]:
        found = examine(file, format, max_virtual=_size(max_virtual), sha512=sha512, size=size)
        disk = {"name": found.disk, "format": found.disk_format} if found.disk else None
        hints = {"cpus": found.cpus, "memory": int(found.memory) if found.memory else None}
        return {
            "format": found.format,
            "virtual_size": int(found.virtual_size),
            "size": int(found.size),
            "sha512": found.sha512,
            "compression": found.compression,
            "disk": disk,
            "hints": hints,
        }

    return _judge(output, str(file), judged)


@commands.command("url")
def verify_url(
    url: Annotated[str, typer.Argument(help="The address.")],
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", help="A host, address or network that is fine although not public.", show_default=False)
    ] = None,
    output: OutputOption = Output.text,
) -> int:
    """Judge an address by a site's URL policy, and say where a fetch would connect. Nothing is connected to."""
    from vmkeeper.execute.single import single_url

    return _judge(output, url, lambda _: single_url(url, allow_host or ()))


@commands.command("document")
def verify_document(
    file: File,
    kind: Annotated[str | None, typer.Option("--kind", help="What it is: site, context, … Default: by its path.", show_default=False)] = None,
    output: OutputOption = Output.text,
) -> int:
    """Judge a YAML or JSON document: that it has one reading, and says what its kind may say."""
    from vmkeeper.execute.single import single_document

    def judged(_: Session) -> dict[str, Any]:
        found = single_document(file, kind)
        return {"kind": found.name if found else None}

    return _judge(output, str(file), judged)


@commands.command("context")
def verify_context(file: File, given: With = None, output: OutputOption = Output.text) -> int:
    """Render a context as a site would; facts are given as --with self.address=10.0.0.2."""
    from vmkeeper.execute.single import single_context

    def judged(_: Session) -> dict[str, Any]:
        values = {name: value for name, value in _given(given).items() if isinstance(value, str)}
        return {"rendered": single_context(file, values)}

    return _judge(output, str(file), judged)


@commands.command("template")
def verify_template(file: File, given: With = None, output: OutputOption = Output.text) -> int:
    """Render a template as a site would."""
    from vmkeeper.execute.single import single_template

    return _judge(output, str(file), lambda _: {"rendered": single_template(file, _given(given))})


def _judge(output: Output, subject: str, judged: Callable[[Session], dict[str, Any]]) -> int:
    """Print the report or the refusals, whatever error of ours comes; give the exit code."""
    from vmkeeper.execute.single import refusals_of

    session = Session()
    report: dict[str, Any] = {}
    refusals: list[dict[str, str]] = []
    try:
        report = judged(session)
    except VmkeeperError as error:
        refusals = [refusal.as_json() for refusal in refusals_of(error)]
    if output is Output.json:
        session.json({"accepted": not refusals, "refusals": refusals, **report})
    else:
        _say(session, subject, refusals)
        for name, value in report.items():
            _say_part(session, name, value)
    return 1 if refusals else 0


def _say(session: Session, subject: str, refusals: Iterable[dict[str, str]]) -> None:
    refusals = tuple(refusals)
    session.say(f"{'REFUSED ' if refusals else 'accepted'}  {subject}")
    for one in refusals:
        session.say(f"  {one['rule']}: {one['why']}" + (f" ({one['evidence']})" if one["evidence"] else ""))
        if one.get("hint"):
            session.say(f"    → {one['hint']}")


def _say_part(session: Session, name: str, value: Any) -> None:
    if name == "rendered":
        session.say(str(value))
    elif isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
        for item in value if isinstance(value, list) else [value]:
            session.say(f"  {name}: " + (", ".join(f"{key} {part}" for key, part in item.items() if part is not None) or "none"))
    elif value is not None:
        session.say(f"  {name}: {', '.join(map(str, value)) if isinstance(value, list) else value}")


def _moment(text: str | None, session: Session) -> datetime:
    if text is None:
        return session.now
    try:
        return parse_time(text)
    except ValueError as error:
        raise UserError(str(error), where="--at") from None


def _size(text: str) -> Size:
    try:
        return Size.parse(text)
    except ValueError as error:
        raise UserError(str(error), where="--max-virtual") from None


def _given(words: Iterable[str] | None) -> dict[str, Any]:
    """`NAME=TEXT` and `NAME:=JSON`."""
    from vmkeeper.documents.json_guard import read_json

    values: dict[str, Any] = {}
    for word in words or ():
        name, equals, text = word.partition("=")
        if not equals or not name.rstrip(":"):
            raise UserError(f"{word[:80]!r} gives no value", where="--with", hint="write --with NAME=TEXT")
        values[name.removesuffix(":")] = read_json(text.encode(errors="surrogateescape"), "--with") if name.endswith(":") else text
    return values

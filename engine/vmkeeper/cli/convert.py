"""The command that makes an image file into another format: judged before it is touched, compared afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkeeper.cli.session import Output, OutputOption, Session
from vmkeeper.errors import UserError, VmkeeperError
from vmkeeper.values import Size

if TYPE_CHECKING:
    from vmkeeper.images.prepare import Form, Prepared
    from vmkeeper.model.release import Blob


class To(StrEnum):
    """What can be made; the names of `vmkeeper.images.prepare.FORMS`."""

    qcow2 = "qcow2"
    raw = "raw"
    vmdk = "vmdk"
    vmdk_stream = "vmdk-stream"
    vdi = "vdi"
    vhd = "vhd"
    ova = "ova"


def convert(
    file: Annotated[Path, typer.Argument(help="The image file: ova, tar, raw, qcow2, vmdk, vdi, vhd or vhdx, with gz, bz2, xz or zst on top.")],
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    to: Annotated[To, typer.Option("--to", help="The format to make; vmdk is the sparse one, vmdk-stream the one inside of archives.")],
    declared: Annotated[
        str | None, typer.Option("--format", help="What FILE is declared to be: ova, raw.xz, … Default: by its bytes.", show_default=False)
    ] = None,
    max_virtual: Annotated[str, typer.Option("--max-virtual", help="The largest disk that a guest may see.")] = "2TiB",
    compress: Annotated[bool, typer.Option("--compress", help="Compress inside, for qcow2.")] = False,
    descriptor: Annotated[bool, typer.Option("--descriptor", help="Write a cloud-appliance-descriptor to OUT.json.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT where it is there.")] = False,
    output: OutputOption = Output.text,
) -> int:
    """Make an image file into another format. Its digest, sizes and what an archive says of the machine are printed."""
    session = Session(output=output)
    wanted = _Wanted(file, out, to.value, declared, _size(max_virtual), compress=compress, describe=descriptor, force=force)
    try:
        report = _converted(session, wanted)
    except VmkeeperError as error:
        if output is not Output.json:
            raise
        from vmkeeper.execute.single import refusals_of

        session.json({"converted": False, "refusals": [one.as_json() for one in refusals_of(error)]})
        return 1
    if output is Output.json:
        session.json({"converted": True, "refusals": [], **report})
    else:
        _say(session, report)
    return 0


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is asked for."""

    file: Path
    out: Path
    form: Form
    declared: str | None
    most: Size
    compress: bool
    describe: bool
    force: bool


def _converted(session: Session, wanted: _Wanted) -> dict[str, Any]:
    from vmkeeper.images.examine import check_file
    from vmkeeper.images.files import hash_file, reported
    from vmkeeper.images.prepare import move, prepared

    file, out = wanted.file, wanted.out
    if not out.parent.is_dir():
        raise UserError("there is no such folder", where=str(out.parent))
    check_file(file, None, wanted.most)
    if out.exists() and (not wanted.force or out.samefile(file)):
        raise UserError("there is a file of this name", where=str(out), hint="name another one, or replace it with --force")
    with reported("read the image", file):
        blob = hash_file(file)
    with prepared(
        file,
        blob,
        out.parent,
        declared=wanted.declared,
        wanted=wanted.form,
        max_virtual=wanted.most,
        compress=wanted.compress,
        title=out.stem,
        progress=session.progress(),
    ) as made:
        move(made, out)
        report = _report(made, blob, file, out)
    if wanted.describe:
        path = out.with_name(f"{out.name}.json")
        _describe(made, blob, out, path)
        report["descriptor"] = str(path)
    return report


def _report(made: Prepared, blob: Blob, file: Path, out: Path) -> dict[str, Any]:
    return {
        "file": str(out),
        "format": made.format,
        "size": int(made.size),
        "sha512": made.sha512,
        "virtual_size": int(made.virtual_size),
        "source": {"file": str(file), "format": made.source, "size": int(blob.size), "sha512": blob.sha512},
        "hints": {"cpus": made.cpus, "memory": int(made.memory) if made.memory else None},
        "descriptor": None,
    }


def _describe(made: Prepared, blob: Blob, out: Path, path: Path) -> None:
    """The descriptor of a file of which nothing is known but its bytes: the identifier is that of the bytes."""
    from vmkeeper.images.convert import identifier_of
    from vmkeeper.images.files import write_file
    from vmkeeper.lists.descriptor import DescribedDisk, DescribedOs, Descriptor, write

    described = Descriptor(
        action="registration",
        title=out.stem,
        identifier=str(identifier_of(blob.sha512)),
        version=blob.sha512[:12],
        description="",
        cpu=made.cpus or 1,
        memory=max(1, (made.memory or Size.parse("512MiB")) >> 20),
        groups=(),
        attributes={"VMKEEPER_SHA512": made.sha512},
        os=DescribedOs(distribution="unknown", version="unknown", arch="x86_64", type="linux"),
        disks=(DescribedDisk(type="os", format=made.format, path=str(out.absolute()), target="vda", device_prefix="vd"),),
    )
    write_file(path, write(described))


def _say(session: Session, report: dict[str, Any]) -> None:
    hints, source = report["hints"], report["source"]
    session.say(f"{report['file']}: {report['format']} made of {source['format']}")
    session.say(f"  sha512        {report['sha512']}")
    session.say(f"  size          {report['size']} bytes ({Size(report['size']).human})")
    session.say(f"  virtual size  {report['virtual_size']} bytes ({Size(report['virtual_size']).human})")
    if hints["cpus"] or hints["memory"]:
        memory = Size(hints["memory"]).human if hints["memory"] else "not said"
        session.say(f"  hints         {hints['cpus'] or 'not said'} processors, memory {memory}")
    if report["descriptor"]:
        session.say(f"  descriptor    {report['descriptor']}")


def _size(text: str) -> Size:
    try:
        return Size.parse(text)
    except ValueError as error:
        raise UserError(str(error), where="--max-virtual") from None

"""Commands that write what there is in forms that other programs read: export descriptor, catalogue, simplestreams, checksums, torrents."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmkeeper.cli.session import HERE, Directory, Session
from vmkeeper.cli.site import HomeOption
from vmkeeper.errors import Problems, UserError
from vmkeeper.values import Version

if TYPE_CHECKING:
    from vmkeeper.lists.descriptor import Action, Descriptor
    from vmkeeper.lists.feeds import Feed
    from vmkeeper.lists.shelf import Shelf

commands = typer.Typer(help="Write what there is in forms that other programs read.", invoke_without_command=True, no_args_is_help=True)

VersionOption = Annotated[str | None, typer.Option("--version", help="Which version. Default: the newest.", show_default=False)]
ExpirationOption = Annotated[bool, typer.Option("--expiration", help="Ask for the appliance's expiration instead of its registration.")]
Lists = Annotated[list[str] | None, typer.Argument(metavar="[LIST]...", help="Image lists; default: all.", show_default=False)]
PublicOption = Annotated[
    Path | None,
    typer.Option("--public", help="The public folder. Default: VMKEEPER_PUBLIC or git config vmkeeper.public.", show_default=False),
]
ToOption = Annotated[
    Path | None, typer.Option("--to", help="The folder to write into; what is equal there is left alone. Default: print.", show_default=False)
]
BaseOption = Annotated[
    str | None, typer.Option("--base", help="The address at which it will be served. Default: the public folder's.", show_default=False)
]


@commands.callback()
def export(
    context: typer.Context,
    name: Annotated[str | None, typer.Option("--descriptor", metavar="NAME", help="The same as: export descriptor NAME.", show_default=False)] = None,
    version: VersionOption = None,
    expiration: ExpirationOption = False,
    directory: Directory = HERE,
) -> int:
    """Write what there is in forms that other programs read."""
    if context.invoked_subcommand is None and name is not None:
        return descriptor(name, version=version, expiration=expiration, directory=directory)
    if name is not None or version is not None or expiration or context.invoked_subcommand is None:
        raise UserError("it is not said what to export", hint="write: vmkeeper export descriptor NAME, or see: vmkeeper export --help")
    return 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which image is to be described, and how."""

    name: str
    version: str | None
    form: str | None
    path: str | None
    groups: tuple[str, ...]
    action: Action

    @property
    def exact(self) -> Version | None:
        """The version as one of ours; raises UserError."""
        try:
            return None if self.version is None else Version(self.version)
        except ValueError as error:
            raise UserError(str(error), where="--version") from None


def descriptor(
    name: Annotated[str, typer.Argument(help="An appliance.")],
    version: VersionOption = None,
    form: Annotated[
        str | None, typer.Option("--format", help="Which of its formats. Default: the one that lists prefer.", show_default=False)
    ] = None,
    path: Annotated[
        str | None, typer.Option("--path", help="Where the image file lies for nifty. Default: its usual file name.", show_default=False)
    ] = None,
    groups: Annotated[list[str] | None, typer.Option("--group", help="A group that may use it.", show_default=False)] = None,
    expiration: ExpirationOption = False,
    public: Annotated[
        Path | None, typer.Option("--public", help="Describe what this public folder holds, not the repository's release.", show_default=False)
    ] = None,
    site: Annotated[str | None, typer.Option("--site", help="Describe the image that this site holds.", show_default=False)] = None,
    home: HomeOption = None,
    to: Annotated[Path | None, typer.Option("--to", help="The file to write. Default: print.", show_default=False)] = None,
    directory: Directory = HERE,
) -> int:
    """Write a cloud-appliance-descriptor, by which nifty registers or expires an appliance."""
    from vmkeeper.images.files import write_file
    from vmkeeper.lists.descriptor import write

    asked = _Asked(name, version, form, path, tuple(groups or ()), "expiration" if expiration else "registration")
    made = _described(Session(directory), asked, public, site, home)
    if to is None:
        _print(write(made))
    else:
        write_file(to, write(made))
    return 0


def _described(session: Session, asked: _Asked, public: Path | None, site: str | None, home: Path | None) -> Descriptor:
    if site is not None and public is not None:
        raise UserError("--site and --public exclude each other", hint="give one of them")
    if site is not None:
        return _at_site(session, asked, site, home)
    return _released(session, asked) if public is None else _published(public, asked)


def _released(session: Session, asked: _Asked) -> Descriptor:
    from vmkeeper.execute.export import image_file, release_at
    from vmkeeper.lists.descriptor import of_release

    head = session.repository.head()
    catalogue = session.catalogue(head)
    release = release_at(catalogue, head, asked.name, asked.exact)
    file = image_file(release, asked.form)
    path = asked.path or f"{asked.name}-{release.version}.{file.format}"
    return of_release(catalogue.resolved(asked.name).appliance, release, file, path, groups=asked.groups, action=asked.action)


def _published(public: Path, asked: _Asked) -> Descriptor:
    from vmkeeper.execute.export import shelved, shelves_of
    from vmkeeper.lists.descriptor import of_shelved

    shelf, image = shelved(shelves_of(public)[0], asked.name, asked.version, asked.form)
    return of_shelved(shelf, image, asked.path or str((public / image.path).absolute()), groups=asked.groups, action=asked.action)


def _at_site(session: Session, asked: _Asked, site: str, home: Path | None) -> Descriptor:
    from vmkeeper.cli.site import last_followed
    from vmkeeper.execute.export import appliance_at, held
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.observe import site_cloud
    from vmkeeper.lists.descriptor import of_site

    place = SiteHome.of(site, home)
    spec = held(site_cloud(place, site), asked.name, asked.exact, asked.form)
    try:
        appliance = appliance_at(last_followed(session, place), asked.name)
    except Problems as error:
        session.warn(f"title, description and needs are left out, for the followed repository cannot be read: {error.problems[0]}")
        appliance = None
    path = asked.path or f"{asked.name}-{spec.version}.{spec.format}"
    return of_site(spec, appliance, path, groups=asked.groups, action=asked.action)


def catalogue(names: Lists = None, public: PublicOption = None, to: ToOption = None, base: BaseOption = None, directory: Directory = HERE) -> int:
    """Write catalogue.json: all that the public folder offers, for programs."""
    from vmkeeper.lists import catalogue_json
    from vmkeeper.lists.feeds import feeds

    shelves, address = _shelves(directory, names, public, base)[1:]
    return _write(directory, [feed for feed in feeds(shelves, address) if feed.path == catalogue_json.PATH], to)


def simplestreams(
    names: Lists = None,
    public: PublicOption = None,
    to: ToOption = None,
    base: BaseOption = None,
    digests: Annotated[
        bool, typer.Option("--digests/--no-digests", help="Read every image for the digests without which Glance's mirror, LXD and Incus take none.")
    ] = True,
    directory: Directory = HERE,
) -> int:
    """Write the simplestreams index and products, for mirror tools of OpenStack, LXD and Incus."""
    from vmkeeper.execute.digests import public_digests
    from vmkeeper.lists.feeds import stream_feeds

    root, shelves, address = _shelves(directory, names, public, base)
    return _write(directory, stream_feeds(shelves, address, public_digests(root, shelves) if digests else {}), to)


def checksums(names: Lists = None, public: PublicOption = None, to: ToOption = None, directory: Directory = HERE) -> int:
    """Write SHA512SUMS of each list, for sha512sum -c."""
    from vmkeeper.lists import checksums
    from vmkeeper.lists.feeds import feeds

    shelves, address = _shelves(directory, names, public, None)[1:]
    wanted = {checksums.path(shelf) for shelf in shelves}
    return _write(directory, [feed for feed in feeds(shelves, address) if feed.path in wanted], to)


def torrents(names: Lists = None, public: PublicOption = None, to: ToOption = None, directory: Directory = HERE) -> int:
    """Write torrents.yaml: what nodes share among themselves, as CERN's VMIC lists it."""
    from vmkeeper.lists import torrent
    from vmkeeper.lists.feeds import feeds

    shelves, address = _shelves(directory, names, public, None)[1:]
    return _write(directory, [feed for feed in feeds(shelves, address) if feed.path == torrent.PATH], to)


for command in (descriptor, catalogue, simplestreams, checksums, torrents):
    commands.command(command.__name__)(command)


def _shelves(directory: Path, names: list[str] | None, public: Path | None, base: str | None) -> tuple[Path, tuple[Shelf, ...], str]:
    """The public folder, its lists, and the address that the files are written for."""
    from vmkeeper.execute.export import shelves_of

    found = public or os.environ.get("VMKEEPER_PUBLIC") or Session(directory).repository.config("vmkeeper.public")
    if not found:
        raise UserError("--public is not given", hint="give --public, set VMKEEPER_PUBLIC, or: git config vmkeeper.public PATH")
    if "://" in str(found):
        hint = "give --public with a folder that holds what is published there"
        raise UserError("this is made from a public folder, not from an address", where=str(found), hint=hint)
    shelves, address = shelves_of(Path(found), tuple(names or ()))
    return Path(found), shelves, base or address


def _write(directory: Path, feeds: Sequence[Feed], to: Path | None) -> int:
    """Print the one file, or write all of them."""
    from vmkeeper.execute.export import write_feeds

    if to is not None:
        session = Session(directory)
        for path in write_feeds(feeds, to):
            session.say(f"wrote {path}")
        return 0
    if len(feeds) != 1:
        raise UserError(f"there are {len(feeds)} files to write", hint="say into which folder: --to DIR")
    _print(feeds[0].content)
    return 0


def _print(content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()

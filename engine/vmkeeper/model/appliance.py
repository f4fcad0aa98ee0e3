"""`appliances/NAME/appliance.yaml`: the definition of an image, and the same after inheritance is resolved.

`Appliance` is what an author writes: nearly everything may be left out and come from the parent.
Scalars replace, maps merge key by key, lists append; `drop` takes inherited list items away by name.
`catalogue.inherit` turns a chain of these into one `Appliance` with nothing left to inherit.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from vmkeeper.model.base import Document, Inconsistent, repeated
from vmkeeper.values import Duration, Name, Size, Uuid

Architecture = Literal["x86_64", "aarch64"]
Format = Literal["qcow2", "raw", "vmdk", "vdi", "vhd", "ova"]
PackageName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]


def plain_parts(path: str) -> str:
    """A path as it is; Inconsistent (a ValueError) where it has an empty part, `.` or `..`."""
    if any(part in ("", ".", "..") for part in path.removeprefix("/").split("/")):
        raise Inconsistent(f"{path!r} has an empty part, . or ..", hint="write the plain path")
    return path


GuestPath = Annotated[str, StringConstraints(pattern=r"^/[^\x00-\x1f\x7f]*[^/\x00-\x1f\x7f]$", max_length=4000), AfterValidator(plain_parts)]
"""An absolute path inside the image, without `.`, `..` and empty parts."""
OwnPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$", max_length=1000), AfterValidator(plain_parts)]
"""A path inside the document's own folder, without `.` and `..`."""
Mode = Annotated[str, StringConstraints(pattern=r"^[0-7]{4}$")]
Owner = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")]
ServiceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9@:._-]+\.(service|socket|timer|target|path|mount)$")]


class Archive(Document):
    """A Debian package archive (a `deb` line): where `vmkeeper refresh` takes signed indexes from."""

    name: Name
    """A short name, by which packages.lock refers to the archive."""
    uri: Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.:_-]+(/[A-Za-z0-9._~-]+)*/?$")]
    """Base address. http is fine: indexes are verified by signature and packages by sha256."""
    suite: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9./-]*$")]
    """Suite, such as bookworm, bookworm-updates or bookworm-security."""
    components: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9./-]*$")], ...] = ("main",)
    """Components; main by default."""
    keyring: OwnPath | None = None
    """A keyring in the appliance's folder that signs this archive; default: Debian's own archive keyring."""


class Distribution(Document):
    """The distribution an image is made from."""

    name: Literal["debian"] | None = None
    """The distribution; also selects how packages are resolved."""
    release: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$")] | None = None
    """Codename, such as bookworm."""
    version: str | None = None
    """Version as people know it, such as "12"; published as sl:osversion."""
    archives: tuple[Archive, ...] = ()
    """Package archives, in the order of the image's sources list."""


class PlacedFile(Document):
    """A file of the appliance's folder that is put into the image."""

    name: Name
    """A name for `drop`."""
    path: GuestPath
    """Where it goes, absolute."""
    source: OwnPath
    """Which file, relative to the appliance's folder."""
    mode: Mode = "0644"
    """Permissions, four octal digits in quotes."""
    owner: Owner = "root"
    """User name in the image."""
    group: Owner = "root"
    """Group name in the image."""


class Script(Document):
    """A script run as root inside the image's root, without network, after packages, files and services."""

    name: Name
    """A name for `drop`."""
    script: OwnPath
    """Which file, relative to the appliance's folder; its first line names the interpreter."""


class Service(Document):
    """A systemd unit and the state it has in the image."""

    name: ServiceName
    """Unit name with its suffix."""
    state: Literal["enabled", "disabled", "masked"] = "enabled"
    """What systemctl makes of it."""


class Users(Document):
    """Who may log in. There is never a password in an image; keys come from the cloud at first boot."""

    default: Owner | None = None
    """The user that cloud-init creates and gives the cloud's SSH keys."""
    sudo: bool | None = None
    """Whether that user may become root without a password."""
    root_login: bool | None = None
    """Whether root may log in over SSH with a key."""
    groups: tuple[Owner, ...] = ()
    """Further groups of the default user."""


class Disk(Document):
    """The disk: GPT with a BIOS boot partition, an EFI system partition and one ext4 root that grows at first boot."""

    size: Size | None = None
    """Virtual size."""
    boot: tuple[Literal["bios", "uefi"], ...] = ()
    """Firmware the image boots under."""
    label: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,16}$")] | None = None
    """File system label of the root."""
    kernel_options: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 ,.=:/_-]*$")] | None = None
    """Kernel command line beside the root device."""


class Requirements(Document):
    """What a VM needs; published in image lists (hv:ram_minimum, hv:core_minimum) and used by the boot test."""

    memory: Size | None = None
    """Memory."""
    cpus: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Virtual CPUs."""


class Testing(Document):
    """How the boot test runs. The tests are the executable files of `tests/`, the parents' first."""

    timeout: Duration | None = None
    """For each test script."""
    boot_timeout: Duration | None = None
    """Until SSH answers and cloud-init is done."""


class Drop(Document):
    """Inherited items that this appliance takes away, by name.

    Without an inherited package, file, script, service or archive the root file system is built from nothing.
    """

    packages: tuple[PackageName, ...] = ()
    """Packages that are no longer asked for."""
    files: tuple[Name, ...] = ()
    """Names of files."""
    provision: tuple[Name, ...] = ()
    """Names of scripts."""
    services: tuple[ServiceName, ...] = ()
    """Unit names."""
    formats: tuple[Format, ...] = ()
    """Image file formats."""
    archives: tuple[Name, ...] = ()
    """Names of archives."""
    groups: tuple[Owner, ...] = ()
    """Groups of the default user."""
    boot: tuple[Literal["bios", "uefi"], ...] = ()
    """Firmware."""


class Builder(Document):
    """Which builder makes the image."""

    name: Literal["debian"] | None = None
    """The builder."""
    tools: Name | None = None
    """The appliance whose root file system holds the programs that assemble the disk."""


class Appliance(Document):
    """An appliance: the definition of an image, with a UUID that never changes."""

    uuid: Uuid
    """Identifies the appliance for ever; published as the image's dc:identifier."""
    title: Annotated[str, StringConstraints(min_length=1, max_length=120)]
    """What it is, in a few words."""
    description: str = ""
    """What it is for."""
    inherits: Name | None = None
    """The parent appliance."""
    abstract: bool = False
    """An abstract appliance has a root file system but no disk, is not tested and not published. Not inherited."""
    architecture: Architecture | None = None
    """Processor architecture; may not differ from the parent's."""
    distribution: Distribution = Distribution()
    """What it is made from."""
    builder: Builder = Builder()
    """What makes it."""
    packages: tuple[PackageName, ...] = ()
    """Packages to install; what they need comes along and is locked in packages.lock."""
    files: tuple[PlacedFile, ...] = ()
    """Files of the appliance's folder that are put into the image, after the packages."""
    services: tuple[Service, ...] = ()
    """Units and the state they have in the image."""
    provision: tuple[Script, ...] = ()
    """Scripts run in the image's root, in this order, last of all."""
    users: Users = Users()
    """Who may log in."""
    disk: Disk = Disk()
    """The disk; an abstract appliance has none."""
    formats: tuple[Format, ...] = ()
    """Image file formats to make."""
    requirements: Requirements = Requirements()
    """What a virtual machine needs."""
    test: Testing = Testing()
    """How the boot test runs."""
    drop: Drop = Drop()
    """Inherited items to take away."""
    labels: dict[Name, str] = {}
    """Free annotations; they decide nothing."""

    @field_validator("packages", "formats")
    @classmethod
    def _no_repeats(cls, items: tuple[str, ...]) -> tuple[str, ...]:
        index = repeated(items)
        if index is not None:
            raise Inconsistent(f"{items[index]} is listed twice", index, hint="list it once")
        return items

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        for field, what in (("files", "files"), ("provision", "scripts"), ("services", "units")):
            names = [item.name for item in getattr(self, field)]
            index = repeated(names)
            if index is not None:
                raise Inconsistent(f"two {what} are named {names[index]}", field, index, "name", hint="give each its own name")
        archives = [archive.name for archive in self.distribution.archives]
        index = repeated(archives)
        if index is not None:
            raise Inconsistent(f"two archives are named {archives[index]}", "distribution", "archives", index, "name", hint="give each its own name")
        return self

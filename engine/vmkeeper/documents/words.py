"""What the models' fields take, in plain words: for errors, for the reference and for editors.

A `Shape` is a field's type as an author sees it. Every pattern of the models has its words here; a test says which has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vmkeeper import values
from vmkeeper.model import appliance, cluster, context, decision, endorser, foreign, handler, imagelist, keys, lock, platform, policy, service, site
from vmkeeper.model.base import Document
from vmkeeper.values import Duration, Scalar, Size, Version, VersionConstraint


@dataclass(frozen=True, slots=True)
class Words:
    """A text's form: `what` it is with its article, `detail` of what is allowed, an example."""

    what: str
    detail: str
    example: str


@dataclass(frozen=True, slots=True)
class Shape:
    """What a field takes. `words` with its article: `a name`, `a list of names`; `detail` and `example` may be empty."""

    kind: Literal["text", "whole", "boolean", "choice", "list", "map", "model", "union", "any"]
    words: str
    detail: str = ""
    example: str = ""
    pattern: str = ""
    choices: tuple[str, ...] = ()
    item: Shape | None = None
    key: Shape | None = None
    model: type[Document] | None = None
    options: tuple[Shape, ...] = ()
    tag: str = ""
    nullable: bool = False

    @property
    def allowed(self) -> str:
        """A sentence for errors: `a size: a whole number and a unit, such as 4GiB`."""
        joint = " " if self.kind in ("model", "union") else ": "
        return f"{self.words}{joint}{self.sentence}" if self.sentence else self.words

    @property
    def sentence(self) -> str:
        """What is allowed, without what it is."""
        return ", ".join(part for part in (self.detail, f"such as {self.example}" if self.example else "") if part)


@dataclass(frozen=True, slots=True)
class Field:
    """A key of a document's part: its name in files, shape, whether it must be there, its default and description."""

    key: str
    shape: Shape
    required: bool
    default: Any
    description: str


def _constraint(metadata: Iterable[Any], name: str) -> Any:
    """The first constraint of that name among an annotation's metadata, whichever of pydantic's classes holds it."""
    found = None
    for item in metadata:
        found = getattr(item, name, None) if found is None else found
        if found is None and isinstance(item, FieldInfo):
            found = _constraint(item.metadata, name)
    return found


def _pattern(annotation: Any) -> str:
    if isinstance(annotation, FieldInfo):
        return str(_constraint(annotation.metadata, "pattern") or "") or _pattern(annotation.annotation)
    found = _constraint(getattr(annotation, "__metadata__", ()), "pattern")
    return str(found) if found else next(filter(None, map(_pattern, get_args(annotation))), "")


_NAMES = "1 to 64 of a-z 0-9 . _ -, beginning and ending with a letter or digit"
_PATTERNS: dict[str, Words] = {
    _pattern(annotation): words
    for annotation, words in (
        (values.Name, Words("a name", _NAMES, "debian-12")),
        (values.Uuid, Words("a UUID", "in lower case with dashes; `uuidgen` makes one", "0b7e9a52-6f0c-4a53-9d0a-0f2f0a1c7d11")),
        (values.Sha256, Words("a SHA-256", "64 hexadecimal digits in lower case", "")),
        (values.Sha512, Words("a SHA-512", "128 hexadecimal digits in lower case", "")),
        (values.CommitId, Words("a commit id", "40 hexadecimal digits in lower case", "")),
        (appliance.PackageName, Words("a package name", "two or more of a-z 0-9 + . -", "openssh-server")),
        (appliance.GuestPath, Words("an absolute path in the image", "beginning with /, not ending with it, without . and ..", "/etc/motd")),
        (appliance.OwnPath, Words("a path in the document's folder", "letters, digits and . _ - with / between, without ..", "files/motd")),
        (appliance.Mode, Words("file permissions", "four octal digits in quotes", '"0644"')),
        (appliance.Owner, Words("a user or group name", "up to 32 of a-z 0-9 _ -, beginning with a letter or _", "root")),
        (appliance.ServiceName, Words("a systemd unit", "with its suffix: .service, .socket, .timer, .target, .path or .mount", "ssh.service")),
        (
            appliance.Archive.model_fields["uri"],
            Words("an archive's address", "http:// or https://, without user, query or fragment", "http://deb.debian.org/debian"),
        ),
        (appliance.Archive.model_fields["suite"], Words("a suite or component", "lower-case letters, digits and . / -", "bookworm-updates")),
        (appliance.Distribution.model_fields["release"], Words("a codename", "lower-case letters, digits and . -", "bookworm")),
        (appliance.Disk.model_fields["label"], Words("a file system label", "1 to 16 letters, digits, _ or -", "root")),
        (appliance.Disk.model_fields["kernel_options"], Words("kernel options", "letters, digits, spaces and , . = : / _ -", "console=ttyS0")),
        (cluster.Cluster.model_fields["name"], Words("a cluster name", "1 to 32 of a-z 0-9 -, beginning and ending with a letter or digit", "demo")),
        (context.Identifier, Words("an identifier", "up to 64 of a-z 0-9 _, beginning with a letter", "master_ip")),
        (endorser.Pattern, Words("a name pattern", "a name in which * stands for any characters, in quotes", '"debian-*"')),
        (keys.OpenPGPKey.model_fields["fingerprint"], Words("a full fingerprint", "40 hexadecimal digits in capitals, without spaces", "")),
        (keys.SSHKey.model_fields["key"], Words("an SSH public key", "type and base64 as in a .pub file, without the comment", "")),
        (keys.Dn, Words("a distinguished name", "on one line, each part after a /", "/DC=org/DC=example/CN=Name")),
        (keys.Email, Words("an e-mail address", "", "images@example.org")),
        (policy.BuilderId, Words("a URI", "http:// or https://, without spaces", "https://ci.example.org/builders/images")),
        (imagelist.HttpUrl, Words("a web address", "http:// or https://, without user, query or fragment", "https://images.example.org/lists")),
        (imagelist.Ascii, Words("text in ASCII", "on one line", "")),
        (lock.LockedPackage.model_fields["version"], Words("a package version", "as the distribution writes it", '"1:9.2p1-2+deb12u3"')),
        (lock.LockedPackage.model_fields["architecture"], Words("a package architecture", "amd64, arm64 or all", "amd64")),
        (lock.LockedPackage.model_fields["path"], Words("a path in the archive", "without . and ..", "pool/main/b/bash/bash_5.2.15-2_amd64.deb")),
        (foreign.ListUrl, Words("a web address", "http:// or https://, without user and fragment", "https://lists.example.org/image.list")),
        (foreign.Dn, Words("a distinguished name", "on one line, as /DC=org/CN=x or CN=x,DC=org", "/DC=org/DC=example/CN=Name")),
        (foreign.Wildcard, Words("a pattern", "in which * stands for any characters and ? for one, in quotes", '"science-*"')),
        (handler.HandlerFile, Words("a file name", "letters, digits and . _ -, without a folder", "events.jsonl")),
        (decision.TagPattern, Words("a tag's name", "in which * stands for any characters, in quotes", '"endorse/debian-*/*/alice/*"')),
        (platform.Text, Words("a line of text", "1 to 255 characters", "")),
        (platform.Url, Words("an address", "http:// or https://, without user, query or fragment", "https://cloud.example.org:2633/RPC2")),
        (platform.PropertyName, Words("a property's name", "lower-case letters, digits and _ . :", "hw_qemu_guest_agent")),
        (platform.OwnServer.model_fields["listen"], Words("an IP address", "", "192.0.2.10")),
        (platform.Mode, Words("permissions", "three octal digits in quotes", '"640"')),
        (platform.Ec2Place.model_fields["bucket"], Words("a bucket's name", "3 to 63 of a-z 0-9 . -", "example-images")),
        (platform.Ec2Platform.model_fields["prefix"], Words("a prefix of object names", "letters, digits and . _ / -", "vmkeeper/")),
        (service.BranchName, Words("a branch", "letters, digits and . _ - with / between", "status/research")),
        (service.Report.model_fields["to"], Words("an address of a repository", "as git takes it", "https://git.example.org/images.git")),
        (site.Percent, Words("a percentage", "from 0% to 100%", "50%")),
    )
}

_VALUES: dict[type, Words] = {
    Size: Words("a size", "a whole number and one of B, KiB, MiB, GiB, TiB", "4GiB"),
    Duration: Words("a duration", "whole numbers with s, m, h, d or w", "14d"),
    Version: Words("a version", "numbers joined by dots, in quotes", '"2026.11.20.7"'),
    VersionConstraint: Words("a version constraint", "*, or comparisons joined by commas, in quotes", '">=2026.10"'),
    datetime: Words("a time", "in UTC", '"2026-11-20T10:30:00Z"'),
}


def pattern_words(pattern: str) -> str:
    """What a pattern of the models allows, in words; "" for one that has none."""
    words = _PATTERNS.get(pattern)
    return ": ".join(part for part in (words.what, words.detail) if part) if words else ""


_PLURALS = {
    "a name": "names", "a package name": "package names", "a user or group name": "user or group names", "a systemd unit": "systemd units",
    "a suite or component": "suites or components", "a name pattern": "name patterns", "an identifier": "identifiers", "text": "texts",
}  # fmt: skip


def shape(annotation: Any, metadata: tuple[Any, ...] = ()) -> Shape:
    """The shape of a type annotation (with the constraints that stand beside it)."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return shape(inner, (*metadata, *more))
    if get_origin(annotation) in (Union, UnionType):
        return _union(get_args(annotation), metadata)
    if get_origin(annotation) is tuple:
        item = shape(get_args(annotation)[0])
        least = _constraint(metadata, "min_length")
        return Shape("list", f"a list of {plural(item)}", "at least one" if least else "", item=item)
    if get_origin(annotation) is dict:
        key, value = (shape(part) for part in get_args(annotation))
        return Shape("map", f"a map of {plural(key)} to {plural(value)}" if value.kind != "any" else "a map", key=key, item=value)
    if get_origin(annotation) is Literal:
        choices = tuple(str(choice) for choice in get_args(annotation))
        return Shape("choice", choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}", choices=choices)
    return _plain(annotation, metadata)


def _plain(annotation: Any, metadata: tuple[Any, ...]) -> Shape:
    if annotation in _VALUES:
        words = _VALUES[annotation]
        pattern = annotation.pattern() if issubclass(annotation, Scalar) else ""
        return Shape("text", words.what, words.detail, words.example, pattern)
    if annotation is str:
        pattern = str(_constraint(metadata, "pattern") or "")
        words = _PATTERNS.get(pattern) or Words("text", _length(metadata), "")
        return Shape("text", words.what, words.detail, words.example, pattern=pattern)
    if annotation is bool:
        return Shape("boolean", "true or false")
    if annotation is int:
        least, most = _constraint(metadata, "ge"), _constraint(metadata, "le")
        limits = f" from {least} to {most}" if most is not None else f", {least} or more" if least is not None else ""
        return Shape("whole", f"a whole number{limits}")
    if isinstance(annotation, type) and issubclass(annotation, Document):
        return Shape("model", "a map", f"with the keys {', '.join(fields(annotation))}", model=annotation)
    return Shape("any", "any value")


def _length(metadata: tuple[Any, ...]) -> str:
    least, most = _constraint(metadata, "min_length"), _constraint(metadata, "max_length")
    if most is not None:
        return f"{least or 0} to {most} characters"
    return "not empty" if least else ""


def _union(members: tuple[Any, ...], metadata: tuple[Any, ...]) -> Shape:
    nullable = NoneType in members
    options = tuple(shape(member) for member in members if member is not NoneType)
    if len(options) == 1:
        one = options[0] if not metadata else shape(next(member for member in members if member is not NoneType), metadata)
        return Shape(
            one.kind, one.words, one.detail, one.example, one.pattern, one.choices, one.item, one.key, one.model, one.options, one.tag, nullable
        )
    tag = str(_constraint(metadata, "discriminator") or "")
    if tag:
        kinds = tuple(fields(option.model)[tag].shape.choices[0] for option in options if option.model)
        return Shape("union", "a map", f"whose {tag} is {' or '.join(kinds)}", choices=kinds, options=options, tag=tag, nullable=nullable)
    *most, last = (option.words for option in options)
    return Shape("union", f"{', '.join(most)} or {last}", options=options, nullable=nullable)


def plural(of: Shape) -> str:
    """Many of what a shape is, in words."""
    if of.words in _PLURALS:
        return _PLURALS[of.words]
    if of.kind in ("model", "union") and of.words == "a map":
        return "maps"
    return of.words.removeprefix("a ").removeprefix("an ") + "s" if of.words.startswith(("a ", "an ")) and of.kind == "text" else of.words


@cache
def fields(model: type[BaseModel]) -> dict[str, Field]:
    """A model's fields by their keys in files, in the models' order."""
    found = {}
    for name, info in model.model_fields.items():
        key = info.alias or name
        made = shape(info.annotation, (*info.metadata, *([info] if info.discriminator else [])))
        found[key] = Field(key, made, info.is_required(), None if info.is_required() else info.default, info.description or "")
    return found


def parts(model: type[Document]) -> tuple[type[Document], ...]:
    """A model and all models inside it, outer ones first, each once."""
    found: list[type[Document]] = []

    def visit(of: Shape | None) -> None:
        if of is None:
            return
        if of.model is not None and of.model not in found:
            found.append(of.model)
            for inner in fields(of.model).values():
                visit(inner.shape)
        for part in (of.item, of.key, *of.options):
            visit(part)

    visit(shape(model))
    return tuple(found)

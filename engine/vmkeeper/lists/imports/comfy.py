"""comfy's templates (CESNET's cloud image factory): NAME.description with its preseed or kickstart file, scripts and files.

One appliance for each version of the distribution. The scripts ran in a machine with a network, ours run without one, so
they are laid beside the appliance and not put to use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vmkeeper.documents.json_guard import read_json
from vmkeeper.errors import Place, Problem, Problems, UserError
from vmkeeper.lists.imports.names import architecture, codename, debian_archives, fits, slug
from vmkeeper.lists.imports.outcome import Imported, NewFile, Note, Present, document_file, printable
from vmkeeper.model.appliance import Appliance, Builder, Distribution, OwnPath, PackageName, Requirements
from vmkeeper.values import Size

_NO_FORMAT = {"qemu": "qcow2", "virtualbox": "ova"}
_KNOWN = frozenset({"name", "versions", "boot_command", "qemu", "virtualbox"})
_KNOWN_IN_VERSION = frozenset({"major_version", "minor_version", "patch_version", "codename", "name", "iso_url", "iso_checksum"})
_UNITS = {"": 20, "M": 20, "G": 30, "K": 10, "T": 40}


@dataclass(frozen=True, slots=True)
class Template:
    """One template's files: the description, the installer's answers (`NAME.cfg.erb`), and what lies in scripts/ and files/."""

    file: str
    description: bytes
    answers: bytes | None = None
    scripts: Mapping[str, bytes] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


def import_template(
    template: Template, present: Present, new_uuid: Callable[[str], str], *, inherits: str | None = None, replace: bool = False
) -> Imported:
    """The appliances of a template. new_uuid: gives an appliance's name the same UUID each time. replace: write those anew that are there.

    Raises Problems, UserError.
    """
    said = _description(template)
    notes = list(_notes(template, said))
    packages, not_packages = _packages(template.answers)
    foreign = not_packages if slug(said["name"]) == "debian" else [*packages, *not_packages]
    notes += [Note(template.file, "packages", f"{word!r} was left out: find its counterpart among Debian's packages") for word in foreign]
    files: list[NewFile] = []
    names = _names(said)
    for name, version in zip(names, said["versions"], strict=True):
        identifier = new_uuid(name)
        if name in present.appliances.values() and not replace:
            notes.append(Note(name, "", "the repository has an appliance of this name, which stays as it is"))
            files += _beside(template, name, notes) if present.appliances.get(identifier) == name else ()
            continue
        made, more = _appliance(said, version, packages, inherits, identifier)
        notes += [Note(name, key, what) for key, what in more]
        comments = [f"From comfy's {printable(said['name'])} {_number(version)}, which was installed from {printable(str(version.get('iso_url')))}."]
        if inherits is None:
            comments.append("Give it `inherits:`, or a `builder` with its tools, packages, users and a disk, then: vmkeeper refresh " + name)
            notes.append(Note(name, "builder", comments[-1]))
        files.append(document_file(f"appliances/{name}/appliance.yaml", made, comments))
        files += _beside(template, name, notes)
    return Imported(tuple(files), tuple(dict.fromkeys(notes)))


def _description(template: Template) -> dict[str, Any]:
    value = read_json(template.description, template.file)
    wrong = []
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not isinstance(value.get("versions"), list):
        hint = "give a file such as lib/templates/debian/debian.description"
        raise UserError("this is no description of comfy's: it has no name and versions", where=template.file, hint=hint)
    for number, version in enumerate(value["versions"]):
        if not isinstance(version, dict) or not str(version.get("major_version", "")).strip():
            wrong.append(Problem(Place(template.file, field=f"versions[{number}]"), "is no object with a major_version"))
    if not slug(value["name"]):
        wrong.append(Problem(Place(template.file, field="name"), "gives no name for an appliance"))
    if wrong:
        raise Problems(wrong)
    return value


def _names(said: dict[str, Any]) -> list[str]:
    """Each version by as many of its numbers as tell it from the others."""
    base = slug(said["name"])
    numbers = [_number(version).split(".") for version in said["versions"]]
    for count in (1, 2, 3):
        made = [slug(f"{base}-{'.'.join(parts[:count])}") for parts in numbers]
        if len(set(made)) == len(made):
            return made
    raise UserError(f"two versions of {printable(said['name'])} are the same", hint="take one of them out of the description")


def _number(version: dict[str, Any]) -> str:
    parts = (printable(str(version[key])) for key in ("major_version", "minor_version", "patch_version") if str(version.get(key, "")).strip())
    return ".".join(parts)


def _appliance(
    said: dict[str, Any], version: dict[str, Any], packages: tuple[str, ...], inherits: str | None, identifier: str
) -> tuple[Appliance, list[tuple[str, str]]]:
    notes: list[tuple[str, str]] = []
    number, debian = _number(version), slug(said["name"]) == "debian"
    said_name = version.get("codename")
    release = said_name if isinstance(said_name, str) and re.fullmatch(r"[a-z0-9][a-z0-9.-]*", said_name) else codename(number) if debian else None
    nickname = printable(str(version.get("name") or release or ""))
    given: dict[str, Any] = {
        "uuid": identifier,
        "title": f"{printable(said['name'])} {number}{f' ({nickname})' if nickname else ''}"[:120],
        "requirements": Requirements(memory=_memory(said), cpus=_cpus(said)),
        "labels": {"comfy.iso": printable(str(version["iso_url"]))} if version.get("iso_url") else {},
    }
    if inherits is not None:
        return Appliance.model_validate({**given, "inherits": inherits, "packages": packages if debian else ()}), notes
    machine = _architecture(said, version)
    if machine is None:
        notes.append(("architecture", "neither guest_os_type nor the installer's address says it"))
    if not debian:
        notes.append(("distribution.name", f"only Debian is built here, and this is {printable(said['name'])}: make the appliance anew on Debian"))
    distribution = Distribution(
        name="debian" if debian else None, release=release if debian else None, version=number, archives=debian_archives(release) if debian else ()
    )
    formats = tuple(form for key, form in _NO_FORMAT.items() if said.get(key))
    more = {"distribution": distribution, "builder": Builder(name="debian" if debian else None), "formats": formats}
    made = Appliance.model_validate({**given, **more, "architecture": machine, "packages": packages if debian else ()})
    return made, notes


def _architecture(said: dict[str, Any], version: dict[str, Any]) -> Any:
    guest = str((said.get("virtualbox") or {}).get("guest_os_type", "")) if isinstance(said.get("virtualbox"), dict) else ""
    found = re.search(r"x86_64|amd64|aarch64|arm64", str(version.get("iso_url", "")))
    return architecture(found[0]) if found else "x86_64" if guest.endswith("_64") else None


def _arguments(said: dict[str, Any], builder: str, key: str) -> Iterator[list[str]]:
    """The lists of words below qemu.qemuargs or virtualbox.vboxmanage."""
    section = said.get(builder)
    words = section.get(key) if isinstance(section, dict) else None
    for item in words if isinstance(words, list) else ():
        if isinstance(item, list):
            yield [str(word) for word in item]


def _after(lines: Iterator[list[str]], option: str) -> str | None:
    for words in lines:
        if option in words[:-1]:
            return words[words.index(option) + 1]
    return None


def _memory(said: dict[str, Any]) -> Size | None:
    text = _after(_arguments(said, "qemu", "qemuargs"), "-m") or _after(_arguments(said, "virtualbox", "vboxmanage"), "--memory") or ""
    found = re.fullmatch(r"(?:size=)?([0-9]{1,9})([KMGT]?)i?B?", text.strip().upper().replace("SIZE=", ""))
    return Size(int(found[1]) << _UNITS[found[2]]) if found else None


def _cpus(said: dict[str, Any]) -> int | None:
    text = _after(_arguments(said, "qemu", "qemuargs"), "-smp") or _after(_arguments(said, "virtualbox", "vboxmanage"), "--cpus") or ""
    found = re.match(r"(?:cpus=)?([0-9]{1,4})(?:,|\Z)", text.strip())
    return int(found[1]) if found and 1 <= int(found[1]) <= 1024 else None


def _packages(answers: bytes | None) -> tuple[tuple[str, ...], list[str]]:
    """What a preseed file's `pkgsel/include` or a kickstart file's `%packages` asks for, and what of it is no package's name."""
    text = (answers or b"").decode(errors="replace")
    found = re.findall(r"^[ \t]*d-i[ \t]+pkgsel/include[ \t]+string[ \t]+((?:.*\\\n)*.*)$", text, re.MULTILINE)
    words = [word for line in found for word in re.split(r"[\s\\,]+", line) if word]
    kickstart = re.search(r"^%packages.*?\n(.*?)^(?:%|\Z)", text, re.MULTILINE | re.DOTALL)
    lines = kickstart[1].splitlines() if kickstart else []
    words += [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    names = list(dict.fromkeys(words))
    return tuple(word for word in names if fits(PackageName, word)), [printable(word) for word in names if not fits(PackageName, word)]


def _beside(template: Template, name: str, notes: list[Note]) -> Iterator[NewFile]:
    """Scripts and files, where people who write the recipe find them."""
    for folder, group, told in (
        ("provision", template.scripts, "is not run yet: it expects a network and root's password login; name in `provision:` what still applies"),
        ("files", template.files, "is not in the image yet: comfy put it into /root; name it in `files:` with the place that it belongs to"),
    ):
        for file, data in sorted(group.items()):
            if fits(OwnPath, file) is None or "/" in file:
                notes.append(Note(name, printable(file), "was left out: its name does not belong in a repository"))
                continue
            yield NewFile(f"appliances/{name}/{folder}/{file}", data)
            notes.append(Note(name, f"{folder}/{file}", told))


def _notes(template: Template, said: dict[str, Any]) -> Iterator[Note]:
    if said.get("boot_command"):
        yield Note(template.file, "boot_command", "starts an installer, and nothing is installed here: root file systems are made from packages")
    yield Note(template.file, "versions", "iso_url and iso_checksum name an installer; packages come from the archives, locked by digest")
    for key in sorted(said.keys() - _KNOWN):
        yield Note(template.file, printable(key), "is not known here and was left out")
    for number, version in enumerate(said["versions"]):
        for key in sorted(version.keys() - _KNOWN_IN_VERSION):
            yield Note(template.file, f"versions[{number}].{printable(key)}", "is not known here and was left out")
    for builder, own in (("qemu", {"qemuargs", "accelerator"}), ("virtualbox", {"vboxmanage", "guest_os_type"})):
        section = said.get(builder)
        for key in sorted(section.keys() - own) if isinstance(section, dict) else ():
            yield Note(template.file, f"{builder}.{printable(key)}", "is a setting of Packer's and was left out")
    if template.answers is not None:
        yield Note(
            template.file,
            "preseed or kickstart",
            "packages were taken from it; look through the rest: accounts, partitions, time zone, late commands",
        )

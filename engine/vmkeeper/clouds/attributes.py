"""What a spec says in the words that clouds and their users know: operating system, virtual hardware, least sizes. Pure.

Where a spec says nothing, nothing is made up: a wrong word can keep an image from being scheduled at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from vmkeeper.clouds.interface import ImageSpec
from vmkeeper.values import format_time

GIB, MIB = 2**30, 2**20
_LARGEST = 2**31 - 1
"""What a database column of Glance and Nova holds."""
_WORDS = re.compile(r"^(hw|os|img|vmware)_|^architecture$")
"""Properties that are the cloud's own words already."""

_DISTROS = (
    (r"scientific", "scientificlinux"),
    (r"red ?hat|^rhel", "rhel"),
    (r"alma ?linux", "almalinux"),
    (r"rocky", "rocky"),
    (r"oracle", "ol"),
    (r"opensuse", "opensuse"),
    (r"^sles|suse linux enterprise", "sles"),
    (r"^arch ?linux|^arch$", "arch"),
    (r"alpine", "alpinelinux"),
    (r"^(debian|ubuntu|centos|fedora|gentoo|freebsd|netbsd|openbsd|windows|cernvm|flatcar)\b", ""),
)
"""Name as people write it → libosinfo's short one, as Glance's "Useful image properties" asks; "": the name itself."""
_UNSAID = {"", "other", "unknown", "none", "linux"}


@dataclass(frozen=True, slots=True)
class Guest:
    """The operating system inside. Empty where it is not said."""

    os_type: Literal["linux", "windows", ""]
    """What Nova tells apart."""
    os_distro: str
    """libosinfo's short name: `debian`, `scientificlinux`, …"""
    os_version: str
    """As the distributor numbers it: `12`, `22.04`."""
    architecture: str
    """`x86_64` or `aarch64`."""
    firmware: Literal["bios", "uefi", ""]
    """What it needs; empty: it boots with what the cloud has."""
    kvm: bool
    """Whether it is said to run under KVM or QEMU."""

    @property
    def name(self) -> str:
        """For people: `debian 12`."""
        return f"{self.os_distro} {self.os_version}".strip()


@dataclass(frozen=True, slots=True)
class Needs:
    """The least that a machine must have; 0 where it is not said."""

    disk: int
    """GiB, rounded up from the virtual size."""
    memory: int
    """MiB."""
    cpus: int
    recommended_memory: int
    """MiB; at least `memory`."""
    recommended_cpus: int


def guest(spec: ImageSpec) -> Guest:
    """The operating system as the list (sl:os, sl:osname, sl:osversion) says, or a property in the cloud's own words."""
    said = spec.properties
    name, system = said.get("sl:osname", ""), said.get("sl:os", "")
    return Guest(
        os_type=_os_type(said.get("os_type", "") or f"{system} {name}"),
        os_distro=said.get("os_distro") or _distro(name),
        os_version=said.get("os_version") or _version(said.get("sl:osversion", "")),
        architecture=spec.architecture,
        firmware=_firmware(spec),
        kvm=bool(re.search(r"\b(kvm|qemu)\b", said.get("hv:hypervisor", ""), re.IGNORECASE)),
    )


def needs(spec: ImageSpec) -> Needs:
    """Sizes from the virtual size, hv:ram_minimum (MiB), hv:core_minimum and what is recommended."""
    memory, cpus = _number(spec, "hv:ram_minimum"), _number(spec, "hv:core_minimum")
    return Needs(
        disk=-(-int(spec.virtual_size) // GIB),
        memory=memory,
        cpus=cpus,
        recommended_memory=max(memory, _number(spec, "ad:ram_recommended")),
        recommended_cpus=max(cpus, _number(spec, "ad:core_recommended")),
    )


def words(spec: ImageSpec) -> dict[str, str]:
    """Properties in the words of Glance and Nova: os_*, architecture, hw_*. What the spec says in these words itself comes first.

    Virtio is asked for only where the list says KVM and Linux; UEFI on x86_64 needs the q35 machine, for which alone
    some distributions' firmware is made.
    """
    found = guest(spec)
    made = {"os_type": found.os_type, "os_distro": found.os_distro, "os_version": found.os_version, "architecture": found.architecture}
    made["hw_firmware_type"] = found.firmware
    if found.kvm and found.os_type == "linux":
        made |= {"hw_disk_bus": "virtio", "hw_vif_model": "virtio"}
    if found.kvm and found.firmware == "uefi" and found.architecture == "x86_64":
        made["hw_machine_type"] = "q35"
    said = {name: text for name, text in spec.properties.items() if _WORDS.match(name)}
    return {name: text for name, text in (made | said).items() if text}


def marks_of_others(spec: ImageSpec) -> dict[str, str]:
    """What nifty and cloudkeeper write on images, for the programs that read it (cloud-info-provider, accounting).

    Values are as cloudkeeper has them: the expiry in seconds since 1970, memory in MiB, the format in capitals.
    """
    said, least = spec.properties, needs(spec)
    system = " ".join(said.get(name, "") for name in ("sl:os", "sl:osname", "sl:osversion"))
    appliance = {
        "ID": spec.uuid,
        "TITLE": said.get("title", spec.name),
        "DESCRIPTION": said.get("dc:description", ""),
        "MPURI": said.get("ad:mpuri", ""),
        "GROUP": said.get("ad:group", ""),
        "RAM": str(least.memory or ""),
        "CORE": str(least.cpus or ""),
        "VERSION": said.get("hv:version", str(spec.version)),
        "ARCHITECTURE": spec.architecture,
        "OPERATING_SYSTEM": " ".join(system.split()),
        "VO": said.get("ad:vo", ""),
        "EXPIRATION_DATE": str(int(spec.expires.timestamp())),
        "IMAGE_LIST_ID": spec.list,
    }
    file = {"CHECKSUM": spec.signed.sha512, "SIZE": str(int(spec.signed.size)), "FORMAT": spec.signed.format.upper()}
    made = {f"CLOUDKEEPER_APPLIANCE_{name}": text for name, text in appliance.items()}
    made |= {f"CLOUDKEEPER_IMAGE_{name}": text for name, text in file.items()}
    return {name: text for name, text in {"NIFTY_APPLIANCE_ID": spec.uuid, **made}.items() if text}


def description(spec: ImageSpec) -> str:
    """One line for people: title, version and until when it is good."""
    title = " ".join(spec.properties.get("title", spec.appliance).split())
    return f"{title}, version {spec.version}, good until {format_time(spec.expires)}"


def _os_type(text: str) -> Literal["linux", "windows", ""]:
    if re.search(r"windows", text, re.IGNORECASE):
        return "windows"
    return "linux" if re.search(r"linux|debian|ubuntu|centos|fedora|cernvm|red ?hat|suse", text, re.IGNORECASE) else ""


def _distro(name: str) -> str:
    plain = " ".join(name.lower().split())
    for pattern, short in _DISTROS:
        if found := re.search(pattern, plain):
            return short or found[0]
    slug = re.sub(r"[^a-z0-9]+", "", plain)
    return "" if slug in _UNSAID else slug[:64]


def _version(text: str) -> str:
    """`20.04 LTS` → `20.04`; what is no number stays as it is."""
    plain = " ".join(text.split())
    number = re.match(r"(?:release )?v?([0-9]+(?:\.[0-9]+)*)\b", plain, re.IGNORECASE)
    return "" if plain.lower() in _UNSAID else (number[1] if number else plain)[:64]


def _firmware(spec: ImageSpec) -> Literal["bios", "uefi", ""]:
    match spec.properties.get("hw_firmware_type"):
        case "uefi":
            return "uefi"
        case "bios":
            return "bios"
    return "uefi" if spec.architecture == "aarch64" else ""


def _number(spec: ImageSpec, name: str) -> int:
    text = spec.properties.get(name, "").strip()
    number = int(text) if re.fullmatch(r"[0-9]{1,10}", text) else 0
    return number if number <= _LARGEST else 0

"""Root file systems, one layer upon another: locked packages, then files, services and scripts, packed as a tar.

The layer is made by dpkg of the distribution itself, in namespaces without network, from the locked packages only.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from shlex import quote

from debian.deb822 import Deb822

from vmkeeper.builders.debian import sandbox
from vmkeeper.builders.debian.packages import control_file, fetch_packages
from vmkeeper.builders.interface import Contents
from vmkeeper.errors import UserError
from vmkeeper.images.store import Store
from vmkeeper.model.appliance import Archive
from vmkeeper.model.recipe import Layer
from vmkeeper.model.release import Blob
from vmkeeper.progress import Progress
from vmkeeper.run import ProgramFailed, program, run

INSIDE = "/run/vmkeeper"
"""Where a layer's input is seen inside the root while it is made."""

_BEFORE_ALL = ("base-passwd", "base-files", "dpkg", "libc6", "perl-base", "mawk", "debconf")
_STEP = "vmkeeper: "
_DEFERRED = "/usr/local/sbin/update-initramfs"
"""Found before the real one while packages are installed: the initial RAM disk is made once, at the end."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package file and what its control file says of order."""

    file: str
    name: str
    essential: bool
    depends: frozenset[str]
    """Names in Depends and Pre-Depends, all alternatives."""
    before: frozenset[str]
    """Names in Pre-Depends."""
    provides: frozenset[str]


def build_layer(layer: Layer, below: Blob | None, contents: Contents, store: Store, folder: Path, progress: Progress) -> Blob:
    """Make one layer on top of the tar `below` (None: from nothing) and put it into the store.

    folder: an empty work folder. Raises UserError naming the package or script that failed.
    """
    debs = fetch_packages(layer, store, folder / "input" / "debs", progress)
    (folder / "root").mkdir()
    packages = read_packages(debs)
    essential = closure([package for package in packages if package.essential], packages) if below is None else ()
    if below is None:
        (folder / "input" / "bootstrap").write_text("".join(f"{package.file}\n" for package in essential))
    _write_contents(layer, contents, folder / "input")
    rest = [package for package in packages if package not in essential]
    (folder / "input" / "inside.sh").write_text(inside_program(layer, essential, rest))
    progress.step(layer.appliance, f"installing {len(packages)} packages" if packages else "provisioning")
    return _run(layer, below, store, folder)


def _run(layer: Layer, below: Blob | None, store: Store, folder: Path) -> Blob:
    outer = folder / "layer.sh"
    outer.write_text(resources.files("vmkeeper.builders.debian").joinpath("layer.sh").read_text())
    memory = "yes" if sandbox.memory_is_ample() else "no"
    epoch = str(int(layer.date.timestamp()))
    order = folder / "order.py"
    order.write_text(resources.files("vmkeeper.builders.debian").joinpath("order.py").read_text())
    shell = program("sh", package="dash")
    command = sandbox.inside(shell, outer, folder / "root", folder / "input", epoch, memory, sys.executable, order)
    source = _below(below, store, folder)
    with ThreadPoolExecutor(1) as pool, source.open("rb") as stdin, (folder / "layer.tar").open("wb") as stdout:
        verified = pool.submit(store.verify, below.sha512) if below else None
        try:
            run(command, stdin=stdin, stdout=stdout, timeout=3600)
        except ProgramFailed as failed:
            raise _explained(layer, failed) from None
        if verified:
            verified.result()
    return store.put(folder / "layer.tar", move=True)


def _below(below: Blob | None, store: Store, folder: Path) -> Path:
    if below is None:
        return Path("/dev/null")
    if path := store.local_path(below.sha512):
        return path
    store.fetch(below.sha512, folder / "below.tar")
    return folder / "below.tar"


def _explained(layer: Layer, failed: ProgramFailed) -> UserError:
    """The error of the step that was under way."""
    said = failed.result.stderr.decode(errors="replace") if failed.result else failed.why
    head, marker, tail = said.rpartition(_STEP)
    step, _, words = tail.partition("\n") if marker else ("making the root file system", "", said)
    del head
    lines = [line for line in words.strip().splitlines() if line.strip()][-25:]
    return UserError(
        f"{step} failed", where=f"appliances/{layer.appliance}", why="\n".join(lines) or failed.why, hint="nothing was kept; mend it and build again"
    )


# -- order of packages


def read_packages(debs: Iterable[Path]) -> list[Package]:
    """Read the control files of packages, in the given order."""
    return [_package(path.name, Deb822(control_file(path))) for path in debs]


def _package(file: str, control: Deb822) -> Package:
    before = _names(control.get("Pre-Depends", ""))
    return Package(
        file=file,
        name=control["Package"],
        essential=control.get("Essential") == "yes",
        depends=before | _names(control.get("Depends", "")),
        before=before,
        provides=_names(control.get("Provides", "")) | {control["Package"]},
    )


def _names(relations: str) -> frozenset[str]:
    return frozenset(re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]+)", relations))


def closure(start: Iterable[Package], packages: Sequence[Package]) -> tuple[Package, ...]:
    """`start` with all of `packages` that they depend on, directly or not, in the order of `packages`."""
    providers: dict[str, list[Package]] = {}
    for package in packages:
        for name in package.provides:
            providers.setdefault(name, []).append(package)
    found, queue = set(start), list(start)
    while queue:
        for name in queue.pop().depends:
            for package in providers.get(name, ()):
                if package not in found:
                    found.add(package)
                    queue.append(package)
    return tuple(package for package in packages if package in found)


def waves(packages: Sequence[Package]) -> list[tuple[Package, ...]]:
    """Split packages so that what others pre-depend on is configured in an earlier wave (Debian policy 7.2)."""
    wanted = frozenset(name for package in packages for name in package.before)
    first = closure([package for package in packages if package.provides & wanted], packages)
    if not first:
        return [tuple(packages)] if packages else []
    if len(first) == len(packages):
        return [first]
    return [*waves(first), tuple(package for package in packages if package not in first)]


# -- the program that runs inside the root


def inside_program(layer: Layer, essential: Sequence[Package], packages: Sequence[Package]) -> str:
    """The shell program that makes a layer; `essential` packages are there already, unpacked but not configured."""
    return "\n".join([*_begin(), *_bootstrap(essential), *_install(waves(packages)), *_provision(layer), *_end(), ""])


def _begin() -> list[str]:
    return [
        "set -eu",
        "umask 022",
        "export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true PYTHONHASHSEED=0 SYSTEMD_OFFLINE=1",
        f'step() {{ echo {quote(_STEP)}"$1" >&2; }}',
        f"debs={INSIDE}/debs",
        "DPKG='dpkg --force-unsafe-io --force-confdef --force-confold --force-overwrite --auto-deconfigure'",
        "printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d",
        f"mkdir -p {_DEFERRED.rpartition('/')[0]}",
        f"printf '#!/bin/sh\\n: >/run/initramfs-is-due\\n' >{_DEFERRED}",
        f"chmod 755 /usr/sbin/policy-rc.d {_DEFERRED}",
    ]


def _bootstrap(essential: Sequence[Package]) -> list[str]:
    """Configure what was only unpacked, in debootstrap's order: dpkg needs passwd, awk and itself to be there first."""
    if not essential:
        return []
    files = {package.name: package.file for package in essential}
    first = [f"$DPKG --force-depends --install $debs/{quote(files[name])}" for name in _BEFORE_ALL if name in files]
    return [
        "step 'installing the essential packages'",
        "mkdir -p /var/lib/dpkg",
        "touch /var/lib/dpkg/status /var/lib/dpkg/available /etc/fstab",
        "[ -e /usr/bin/awk ] || ln -s mawk /usr/bin/awk",
        *first,
        _dpkg("--force-depends --unpack", essential),
        "$DPKG --force-depends --force-configure-any --configure --pending",
    ]


def _install(waves_of_packages: Iterable[Sequence[Package]]) -> list[str]:
    lines = ["step 'installing the packages'"]
    for wave in waves_of_packages:
        lines += [_dpkg("--unpack", wave), "$DPKG --configure --pending"]
    return lines


def _dpkg(action: str, packages: Iterable[Package]) -> str:
    return f"$DPKG {action} {' '.join(f'$debs/{quote(package.file)}' for package in packages)}"


def _provision(layer: Layer) -> list[str]:
    lines = [*_marks(layer), *_sources(layer.archives, {archive.name for archive in layer.archives if archive.keyring})]
    for number, file in enumerate(layer.files):
        lines += [
            f"step {quote(f'placing the file {file.path}')}",
            f"install -D -m {file.mode} -o {quote(file.owner)} -g {quote(file.group)} {INSIDE}/files/{number} {quote(file.path)}",
        ]
    verbs = {"enabled": "enable", "disabled": "disable", "masked": "mask"}
    for service in layer.services:
        lines += [f"step {quote(f'setting the service {service.name}')}", f"systemctl --quiet {verbs[service.state]} {quote(service.name)}"]
    for number, script in enumerate(layer.scripts):
        lines += [f"step {quote(f'the script {script.name}')}", "cd /", f"{INSIDE}/scripts/{number}"]
    return lines


def _marks(layer: Layer) -> list[str]:
    """Which packages were asked for and which came along (apt's extended_states)."""
    asked = set(layer.requested)
    along = [package for package in layer.packages if package.name not in asked]
    state = "/var/lib/apt/extended_states"
    stanzas = "".join(f"Package: {package.name}\nArchitecture: {package.architecture}\nAuto-Installed: 1\n\n" for package in along)
    forget = [f"[ ! -e {state} ] || sed -i '/^Package: {re.escape(name)}$/,/^$/d' {state}" for name in sorted(asked)]
    return ["mkdir -p /var/lib/apt", *forget, f"printf %s {quote(stanzas)} >>{state}"] if layer.packages or asked else []


def _sources(archives: Sequence[Archive], own: set[str]) -> list[str]:
    """apt's sources in the image: the archives of the appliance and nothing else."""
    text = "\n".join(
        f"Types: deb\nURIs: {archive.uri}\nSuites: {archive.suite}\nComponents: {' '.join(archive.components)}\nSigned-By: {_keyring(archive, own)}\n"
        for archive in archives
    )
    return [
        "step 'writing the package sources'",
        "rm -f /etc/apt/sources.list",
        "mkdir -p /etc/apt/sources.list.d /etc/apt/keyrings",
        f"[ ! -d {INSIDE}/keyrings ] || install -m 0644 {INSIDE}/keyrings/* /etc/apt/keyrings/",
        f"printf %s {quote(text)} >/etc/apt/sources.list.d/vmkeeper.sources",
    ]


def _keyring(archive: Archive, own: set[str]) -> str:
    return f"/etc/apt/keyrings/{archive.name}.gpg" if archive.name in own else "/usr/share/keyrings/debian-archive-keyring.gpg"


def _end() -> list[str]:
    """Make the initial RAM disk if something asked for it; take away what differs between builds or must not be shared."""
    return [
        "step 'making the initial RAM disk'",
        f"rm -f {_DEFERRED}",
        "for kernel in $([ ! -e /run/initramfs-is-due ] || ls /lib/modules); do",
        "    if [ -e /boot/initrd.img-$kernel ]; then update-initramfs -u -k $kernel; else update-initramfs -c -k $kernel; fi",
        "done",
        "step 'cleaning up'",
        "cd /",
        "rm -f /usr/sbin/policy-rc.d /etc/ssh/ssh_host_* /var/lib/systemd/random-seed /var/lib/systemd/credential.secret",
        "rm -f /var/cache/ldconfig/aux-cache /var/cache/apt/*.bin /var/cache/debconf/*-old /var/lib/dpkg/*-old /etc/*- /etc/hostname",
        "rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb /root/.[a-z]*_history /root/.wget-hsts",
        "find /tmp /var/tmp -mindepth 1 -delete",
        "find /var/log -type f -size +0 -exec truncate --size 0 {} +",
        "find /var/log -type f \\( -name '*.log' -o -path '/var/log/apt/*' \\) -delete",
        "if [ -d /etc/systemd ]; then : >/etc/machine-id; rm -f /var/lib/dbus/machine-id; fi",
        "[ -L /etc/resolv.conf ] || : >/etc/resolv.conf",
    ]


def _write_contents(layer: Layer, contents: Contents, folder: Path) -> None:
    """Lay out the recipe's files and scripts by number, and the keyrings by archive."""
    for number, file in enumerate(layer.files):
        _write(folder / "files" / str(number), contents(file.content), 0o644)
    for number, script in enumerate(layer.scripts):
        _write(folder / "scripts" / str(number), contents(script.content), 0o755)
    named = [archive for archive in layer.archives if archive.keyring]
    for archive, keyring in zip(named, layer.keyrings, strict=True):
        _write(folder / "keyrings" / f"{archive.name}.gpg", contents(keyring), 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)

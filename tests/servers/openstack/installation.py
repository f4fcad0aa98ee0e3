"""The Python environment that OpenStack's services run in: made once from a frozen list of packages, kept in a cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import subprocess
import sys
import venv
from pathlib import Path

from .profiles import Lacking

HERE = Path(__file__).parent
INSIDE = HERE / "inside"
"""Modules that run in that environment and not in ours."""

LOCKS = {"image": "image.lock", "noauth": "image.lock", "regions": "image.lock", "compute": "compute.lock"}
ENTRY_POINTS = "[neutron.ml2.mechanism_drivers]\nanybind = anybind:AnyBind\n"


def cache_folder() -> Path:
    """`VMKEEPER_TEST_OPENSTACK`, or a folder of the user's cache."""
    named = os.environ.get("VMKEEPER_TEST_OPENSTACK")
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named).resolve() if named else Path(caches) / "vmkeeper" / "test-openstack"


def installed(profile: str) -> Path:
    """The environment of a profile, installed if it is not there yet (a minute or two, with PyPI). Raises Lacking.

    Its name has a digest of the frozen list, so that another list makes another one and nothing that runs is changed.
    """
    lock = HERE / LOCKS[profile]
    digest = hashlib.sha256(lock.read_bytes() + ENTRY_POINTS.encode()).hexdigest()[:8]
    folder = cache_folder() / f"{lock.stem}-{platform.python_version()}-{digest}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / f"{folder.name}.lock").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if not (folder / "complete").exists():
                _install(lock, folder)
    except OSError as error:
        raise Lacking(f"an OpenStack cannot be installed into {folder}: {error.strerror or error}") from error
    return folder


def _install(lock: Path, folder: Path) -> None:
    sys.stderr.write(f"installing the services of {lock.stem} into {folder} …\n")
    try:
        venv.create(folder, clear=True, with_pip=True, symlinks=True)
    except subprocess.CalledProcessError as error:
        raise Lacking("Python here cannot make an environment with pip (is its venv package installed?)") from error
    command = [folder / "bin" / "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--requirement", lock]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.startswith("ERROR")][-1:] or ["it said nothing"]
        raise Lacking(f"pip could not install OpenStack's packages: {last[0][:300]}")
    (site,) = folder.glob("lib/python*/site-packages")
    information = site / "anybind-0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: anybind\nVersion: 0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    (folder / "complete").touch()

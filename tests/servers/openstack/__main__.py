"""A real OpenStack for a while, on 127.0.0.1.

    python -m tests.servers.openstack [--profile image|regions|compute|noauth] [--folder DIR] [COMMAND …]

Prints the path of its clouds.yaml and runs until ^C; with a COMMAND, runs that with OS_CLIENT_CONFIG_FILE set and ends with it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from .profiles import PROFILES, Lacking, NotStarted
from .server import OpenStack, running, stop


def main() -> int:
    reader = argparse.ArgumentParser(
        prog="python -m tests.servers.openstack", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument(
        "--profile",
        choices=list(PROFILES),
        default="image",
        help="image: Keystone and Glance. regions: two Glances. compute: also servers. noauth: Glance alone",
    )
    reader.add_argument(
        "--folder", "--keep", type=Path, metavar="DIR", help="where the cloud is kept: the next start with it has the same users and images"
    )
    reader.add_argument("--convert", choices=["raw", "qcow2"], default="", help="Glance converts what is imported (needs qemu-img)")
    reader.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND …")
    wanted = reader.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder = wanted.folder or Path(tempfile.mkdtemp(prefix="openstack-"))
    try:
        with running(wanted.profile, folder, convert=wanted.convert) as cloud:
            return _use(cloud, [word for word in wanted.command if word != "--"])
    except (Lacking, NotStarted) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        stop(folder)
        if not wanted.folder:
            shutil.rmtree(folder, ignore_errors=True)


def _use(cloud: OpenStack, command: list[str]) -> int:
    if command:
        return subprocess.run(command, env={**os.environ, "OS_CLIENT_CONFIG_FILE": str(cloud.clouds_yaml)}, check=False).returncode
    sys.stdout.write(f"{cloud.clouds_yaml}\n")
    sys.stdout.flush()
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())

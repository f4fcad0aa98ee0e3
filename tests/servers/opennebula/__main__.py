"""A stand-in for OpenNebula's oned, over XML-RPC on 127.0.0.1.

    python -m tests.servers.opennebula [--version 6.10.0.1|7.4.0] [--port N] [--folder DIR] [--delay SECONDS] [--capacity MB] [--safe DIR] [--bare] [--until-eof]

Prints the endpoint and the administrator's credentials in one line and runs until ^C or SIGTERM. A folder that was used before goes on
with what it holds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path

from .furnish import PASSWORD, furnish
from .oned import VERSIONS, Oned
from .server import Server


def main() -> int:
    reader = argparse.ArgumentParser(
        prog="python -m tests.servers.opennebula", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("--version", choices=VERSIONS, default=VERSIONS[0], help="which oned it answers as")
    reader.add_argument("--port", type=int, default=0, help="left out: any that is free")
    reader.add_argument("--folder", type=Path, help="where state and files are kept; left out, a temporary one that is removed in the end")
    reader.add_argument("--delay", type=float, default=0.0, metavar="SECONDS", help="that each work of a driver takes at least")
    reader.add_argument("--capacity", type=int, default=20480, metavar="MB", help="of each file datastore")
    reader.add_argument("--safe", action="append", default=[], metavar="DIR", help="a folder that files may be copied from, beside the server's own")
    reader.add_argument(
        "--until-eof", action="store_true", help="end when standard input does: with whoever started it, even when that one is killed"
    )
    reader.add_argument("--bare", action="store_true", help="only what a new OpenNebula holds: no further users, groups, datastores, host, network")
    wanted = reader.parse_args()
    folder = (wanted.folder or Path(tempfile.mkdtemp(prefix="opennebula-"))).resolve()
    oned = Oned(folder, version=wanted.version, delay=wanted.delay, capacity=wanted.capacity, password=PASSWORD, safe=tuple(wanted.safe))
    if not wanted.bare:
        furnish(oned)
    server = Server(oned, wanted.port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if wanted.until_eof:
        threading.Thread(target=_end_with_input, daemon=True).start()
    sys.stdout.write(f"{server.endpoint} oneadmin:{PASSWORD}\n")
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        if not wanted.folder:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def _end_with_input() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # works of drivers that are under way are not waited for
    os._exit(code)

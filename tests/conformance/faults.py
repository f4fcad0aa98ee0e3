"""The whole fault campaign as a program: `python -m tests.conformance.faults --family ec2`. It prints what it came to.

Families: memory, local, ec2, openstack, opennebula. --sample LIVES: only so many lives, with a fault in each step.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path


def tell(line: str) -> None:
    """What went wrong, while the campaign goes on."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - a program


def main(arguments: list[str]) -> int:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from conformance.faults_harness import campaign
    from conformance.faults_places import FAMILIES, opened

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=FAMILIES, action="append", required=True)
    parser.add_argument("--kind", action="append", default=[])
    parser.add_argument("--sample", type=int, default=0, metavar="LIVES")
    parser.add_argument("--first", type=int, default=1, metavar="N", help="begin with the requests number N of the steps")
    parser.add_argument("--minutes", type=float, default=0, help="end after so many with what was tried until then")
    chosen = parser.parse_args(arguments)
    failed = False
    for name in chosen.family:
        end = time.monotonic() + chosen.minutes * 60 if chosen.minutes else None
        with tempfile.TemporaryDirectory() as folder, opened(name, Path(folder)) as family:
            totals = campaign(
                family,
                sample=chosen.sample,
                kinds=chosen.kind,
                first=chosen.first,
                told=tell,
                enough=lambda end=end: end is not None and time.monotonic() > end,
            )
        print(totals, flush=True)  # noqa: T201 - a program
        failed = failed or bool(totals.wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

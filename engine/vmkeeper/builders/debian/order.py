"""The order of a layer's files in its tar: those of the layer below as they were, what is new after them.

A file system made of the tar numbers its inodes in this order, so a child's disk differs from its parent's by little more
than what it adds, and a patch between the two is small. Run by `layer.sh` as a program of its own:

    order.py NAMES      paths by find, each ended by NUL, to the same in order; NAMES: what tar listed of the layer below
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path


def ordered(paths: Iterable[bytes], before: Sequence[bytes]) -> list[bytes]:
    """`paths` as `before` has them, then the others by name, each folder before what is in it.

    A name with a line end cannot be told from two in `before`: it counts as new.
    """
    rest = set(paths)
    known = [path for path in dict.fromkeys(before) if path in rest]
    return known + sorted(rest.difference(known), key=lambda path: path.split(b"/"))


def main() -> None:
    """From standard input to standard output."""
    below = Path(sys.argv[1])
    before = [line.rstrip(b"/") or b"/" for line in below.read_bytes().splitlines()] if below.exists() else []
    paths = sys.stdin.buffer.read().split(b"\0")[:-1]
    sys.stdout.buffer.write(b"".join(path + b"\0" for path in ordered(paths, before)))


if __name__ == "__main__":
    main()

"""Sends one message through the apprise library, in a process of its own: what hangs is ended, what it logs is thrown away.

Reads `{"urls", "title", "body", "kind"}` as JSON on its standard input and writes `{"sent": [bool…]}`, by address, and nothing else.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor

LACKS = 3
"""Exit status where the library is not there."""


def main() -> int:
    """Send to each address by itself, so that one that fails keeps none of the others from hearing."""
    asked = json.load(sys.stdin)
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    logging.disable(logging.CRITICAL)
    try:
        import apprise
    except ImportError:
        return LACKS

    def send(url: str) -> bool:
        sender = apprise.Apprise()
        try:
            return bool(sender.add(url) and sender.notify(body=asked["body"], title=asked["title"], notify_type=asked["kind"]))
        except Exception:  # noqa: BLE001 - what a plugin raises may hold the address
            return False

    with ThreadPoolExecutor(max_workers=8) as pool, told:
        json.dump({"sent": list(pool.map(send, asked["urls"]))}, told)
    return 0


if __name__ == "__main__":
    sys.exit(main())

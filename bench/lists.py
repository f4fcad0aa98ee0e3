"""What a pass over foreign lists costs where nothing has changed, against asking for the same lists and nothing more.

    python bench/lists.py [--lists 100] [--images 100] [--runs 3] [--json FILE]

The bare run is one conditional GET a list with curl, one after the other, and one with eight at once; ours asks, verifies each
list again (signature, chain, expiry) and plans. CPU seconds are of all processes and compare better on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.foreign import Organisation, Subscriber
from support.producer import Authority
from support.webserver import WebServer


def spent() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def measured(work: Callable[[], object], server: WebServer) -> dict[str, float]:
    asked, began, cpu = len(server.requests), time.monotonic(), spent()
    work()
    return {"wall": round(time.monotonic() - began, 2), "cpu": round(spent() - cpu, 2), "requests": len(server.requests) - asked}


def curl(lists: list[Organisation], folder: Path, at_once: int) -> None:
    config = folder / "curl"
    marks = {one.url: (one.page.etag or "").replace('"', '\\"') for one in lists}
    parts = [f'url = "{url}"\noutput = "/dev/null"\nheader = "If-None-Match: {mark}"\nnext' for url, mark in marks.items()]
    config.write_text("\n".join(parts).removesuffix("next"))
    parallel = ["--parallel", "--parallel-max", str(at_once)] if at_once > 1 else []
    subprocess.run(["curl", "--silent", "--no-progress-meter", *parallel, "--config", str(config)], check=True)


def best(runs: list[dict[str, float]]) -> dict[str, float]:
    return min(runs, key=lambda run: run["wall"])


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--lists", type=int, default=100)
    arguments.add_argument("--images", type=int, default=100)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--json", type=Path)
    wanted = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name, WebServer(Path(name) / "www") as server:
        folder, authority = Path(name), Authority("Foreign Authority")
        signer = authority.signer("Publisher")
        lists = [Organisation(server, authority, name=f"list-{number}", common_name="Publisher") for number in range(wanted.lists)]
        for one in lists:
            one.signer = signer
            for number in range(wanted.images):
                one.offer(f"image {number}", data=b"x" * 512, serve=False)
            one.publish()
        site = Subscriber(folder, server)
        site.trusts(authority)
        site.takes(*(one.entry() for one in lists))
        first = measured(site.run, server)
        ours = best([measured(site.run, server) for _ in range(wanted.runs)])
        single = best([measured(lambda: curl(lists, folder, 1), server) for _ in range(wanted.runs)])
        eight = best([measured(lambda: curl(lists, folder, 8), server) for _ in range(wanted.runs)])
        size = sum(len(one.page.data) for one in lists)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    found = {
        "lists": wanted.lists,
        "images": wanted.images,
        "bytes": size,
        "first": first,
        "nothing to do": ours,
        "bare, one after the other": single,
        "bare, eight at once": eight,
        "ratio": round(ours["wall"] / max(single["wall"], 0.01), 1),
        "memory MiB": memory,
    }
    text = json.dumps(found, indent=1)
    print(text)
    if wanted.json:
        wanted.json.write_text(text + "\n")


if __name__ == "__main__":
    main()

"""What a site costs with 100, 1,000 and 10,000 images: processor seconds and memory of a first plan, of an empty one, of one change.

    python bench/sites.py [COUNT…]

The cloud is in memory, so what is measured is ours: deciding, naming, planning; and last a whole reconcile that finds nothing to do, with
a signed list of so many images from a server on this machine. Each count runs in a process of its own.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.foreign import Organisation, Subscriber
from support.sitescenario import NOW, site, standings, subscribed
from support.webserver import WebServer
from vmkeeper.clouds.memory import MemoryCloud, World
from vmkeeper.execute.observe import look
from vmkeeper.execute.site import plan_view
from vmkeeper.plan.imageactions import RegisterImage
from vmkeeper.plan.places import merged
from vmkeeper.plan.site import SitePlan, plan_site

OWNER = "vmkeeper:here"
RUNS = 3
_Result = TypeVar("_Result")


def timed(work: Callable[[], _Result]) -> tuple[float, _Result]:
    """The shortest of some runs, in seconds, and what came of it."""
    times = []
    for _ in range(RUNS):
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
    return min(times), result


def measure(count: int) -> None:
    """Print one line for this many images."""
    words = [f"appliance-{number} {version}" for number in range(count // 2) for version in (1, 2)]
    lists, said = [subscribed({"name": "main", "offers": words})], standings(dict.fromkeys(words, "allowed"))
    here = site({"keep": 2, "names": {"alias": "{{ appliance }}"}, "audience": [{"audience": {"visibility": "community"}}]})
    world = World()
    cloud = MemoryCloud(OWNER, world)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def plan() -> SitePlan:
        return plan_site(here, lists, said, cloud.images(), owner=OWNER, now=NOW)

    first, made = timed(plan)
    assert len(made.plan.actions) == count
    both, _ = timed(lambda: merged({"east": made, "west": made}))
    for action in made.plan.actions:
        assert isinstance(action, RegisterImage)
        key = world.plant(action.spec.name)
        cloud.adopt(key, action.spec)
        world.audiences[key] = action.spec.audience
    listing, _ = timed(cloud.images)
    nothing, made = timed(plan)
    assert made.plan.actions == (), made.plan.actions[:3]
    lists.append(subscribed({"name": "other", "offers": ["appliance-0 3"]}))
    said |= standings({"appliance-0 3": "allowed"})
    one, made = timed(plan)
    assert [action.id for action in made.plan.actions][:1] == ["register:appliance-0 3"]
    mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{count:>6} images: first {first:.3f} s, merging two places {both:.3f} s, listing {listing:.3f} s, ", end="")
    print(f"nothing to do {nothing:.3f} s ({nothing / count * 1e6:.0f} µs an image), one change {one:.3f} s, {mib:.0f} MiB more", flush=True)


def reconciled(count: int, folder: Path) -> None:
    """Print what a whole run without anything to do takes."""
    with WebServer(folder / "www") as server:
        here, list_ = Subscriber(folder, server), Organisation(server)
        for number in range(count):
            list_.offer(f"image {number}", data=b"%d" % number, serve=False)
        list_.publish()
        here.trusts(list_.authority)
        here.takes(list_.entry(new="approve", limits={"images": count}))
        cloud = MemoryCloud(OWNER, here.world)
        view = look(here.producer.repo.repository, here.home, "here", here.now, connect=lambda _: {"": cloud})
        for action in plan_view(view, here.now).plan.actions:
            assert isinstance(action, RegisterImage)
            cloud.adopt(here.world.plant(action.spec.name), action.spec)
        here.run()
        before, calls = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, len(here.world.calls)
        seconds, done = timed(here.run)
        assert (done.outcomes, here.world.calls[calls:]) == ((), ["images"] * RUNS)
    mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{count:>6} images: reconcile with nothing to do {seconds:.2f} s, one listing, no write, {mib:.0f} MiB more", flush=True)


def main() -> None:
    """Measure each count in a process of its own."""
    counts = [int(word) for word in sys.argv[1:]] or [100, 1000, 10_000]
    if len(counts) == 1:
        measure(counts[0])
        with tempfile.TemporaryDirectory() as folder:
            reconciled(counts[0], Path(folder))
        return
    for count in counts:
        subprocess.run([sys.executable, __file__, str(count)], check=True)


if __name__ == "__main__":
    main()

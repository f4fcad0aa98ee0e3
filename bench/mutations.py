"""A million changed tags through the verifier: how many a second, the slowest one, the most memory; none is accepted.

Usage: PYTHONPATH=tests python bench/mutations.py [COUNT]
"""

from __future__ import annotations

import random
import resource
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from itertools import islice

from support.keys import NOW, SecurityKey
from support.mutating import bundle, changes, counts
from vmkeeper.trust.people import Holder
from vmkeeper.trust.signature import Authenticator
from vmkeeper.trust.statement import TagName
from vmkeeper.values import Duration

SLOWEST = timedelta(seconds=2)
MEMORY = 256 << 20
CASES = 12
"""Six kinds of tag, by a plain key and by a security key."""
WHOLE = 1000
"""One change in so many goes through the whole judgement, not only through reading."""


def main(count: int) -> None:
    """Change, read, and report; a process for each kind of tag, as many at a time as there are processors."""
    begun = time.perf_counter()
    shares = [(case, count // CASES + (case < count % CASES)) for case in range(CASES)]
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(run, *zip(*shares, strict=True)))
    seconds = time.perf_counter() - begun
    worst, peak = max(one[0] for one in found), max(one[1] for one in found)
    rules = sum((one[2] for one in found), Counter[str]())
    print(f"{count} changed tags in {seconds:.0f} s ({count / seconds:.0f}/s), slowest {worst * 1000:.0f} ms, peak {peak >> 20} MiB")
    print("refused by " + ", ".join(f"{rule} {times}" for rule, times in rules.most_common()))
    assert sum(rules.values()) == count
    assert worst < SLOWEST.total_seconds()
    assert peak < MEMORY


def run(case: int, count: int) -> tuple[float, int, Counter[str]]:
    """Read `count` changes of one tag: the slowest in seconds, the most memory in bytes, and what refused them."""
    found = bundle() if case < CASES // 2 else bundle(SecurityKey().signer())
    name = found.names[case % len(found.names)]
    people = [*found.judge().enactments.current.policy.everybody()]
    keys = dict.fromkeys([*(one.key for one in found.world.principals.values()), *(key for one in people for key in one.keys)])
    everybody = Holder(name="everybody", keys=tuple(keys))
    reader = Authenticator(found.world.line[0], found.world, found.verifiers, NOW, Duration.parse("5m"))

    def find(_name: TagName) -> Holder:
        return everybody

    worst, rules = 0.0, Counter[str]()
    for number, raw in enumerate(islice(changes(found.raw(name), random.Random(case)), count)):
        begun = time.perf_counter()
        (read,) = reader.read({name: raw}, find)
        assert not read.good, raw
        if number % WHOLE == 0:
            assert not counts(found, name, raw), raw
        worst = max(worst, time.perf_counter() - begun)
        rules[read.refusals[0].rule] += 1
    return worst, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, rules


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)

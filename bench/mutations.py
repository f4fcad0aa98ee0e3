"""A million changed tags through the verifier: how many a second, the slowest one, the most memory; none is accepted.

Usage: PYTHONPATH=tests python bench/mutations.py [COUNT]
"""

from __future__ import annotations

import random
import resource
import sys
import time
from collections import Counter
from datetime import timedelta
from itertools import islice

from support.keys import NOW, SecurityKey
from support.mutating import Bundle, bundle, changes, counts
from vmkeeper.trust.people import Holder
from vmkeeper.trust.signature import Authenticator
from vmkeeper.trust.statement import TagName
from vmkeeper.values import Duration

SLOWEST = timedelta(seconds=2)
MEMORY = 256 << 20
WHOLE = 200
"""One change in so many goes through the whole judgement, not only through reading."""


def main(count: int) -> None:
    """Change, read, and report."""
    plain, token = bundle(), bundle(SecurityKey().signer())
    cases = [(found, name) for found in (plain, token) for name in found.names]
    rules: Counter[str] = Counter()
    worst, begun = 0.0, time.perf_counter()
    for number, (found, name) in enumerate(cases):
        share = count // len(cases) + (number < count % len(cases))
        worst = max(worst, run(found, name, share, rules))
    seconds, peak = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{count} changed tags in {seconds:.0f} s ({count / seconds:.0f}/s), slowest {worst * 1000:.0f} ms, peak {peak >> 20} MiB")
    print("refused by " + ", ".join(f"{rule} {times}" for rule, times in rules.most_common()))
    assert worst < SLOWEST.total_seconds()
    assert peak < MEMORY


def run(found: Bundle, name: str, count: int, rules: Counter[str]) -> float:
    """Read `count` changes of a tag; the slowest in seconds."""
    people = [*found.judge().enactments.current.policy.everybody()]
    keys = dict.fromkeys([*(one.key for one in found.world.principals.values()), *(key for one in people for key in one.keys)])
    everybody = Holder(name="everybody", keys=tuple(keys))
    reader = Authenticator(found.world.line[0], found.world, found.verifiers, NOW, Duration.parse("5m"))

    def find(_name: TagName) -> Holder:
        return everybody

    worst = 0.0
    for number, raw in enumerate(islice(changes(found.raw(name), random.Random(name)), count)):
        begun = time.perf_counter()
        (read,) = reader.read({name: raw}, find)
        assert not read.good, raw
        if number % WHOLE == 0:
            assert not counts(found, name, raw), raw
        worst = max(worst, time.perf_counter() - begun)
        rules[read.refusals[0].rule] += 1
    return worst


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)

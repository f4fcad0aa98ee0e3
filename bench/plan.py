"""How long `vmkeeper plan` of a one-file change takes in a catalogue of 10 and of 10,000 appliances.

    python bench/plan.py [COUNT]

Prints the ratio of the two (warm: the index is there) and of a cold plan, each as the whole command takes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.repo import Repo, base, child, tools

RUNS = 5


def catalogue(folder: Path, count: int) -> Repo:
    """`count` appliances in families of ten below one base."""
    repo = Repo(folder)
    files = {**tools(), **base()}
    for number in range(count - 2):
        parent = "base" if number % 10 == 0 else f"a{number // 10 * 10}"
        files |= child(f"a{number}", parent)
    repo.commit(files)
    repo.repository.set_applied(repo.repository.head())
    subprocess.run(["git", "-C", folder, "gc", "-q"], check=True)
    text = child("a1", "a0", "services: [{name: ssh.service}]")
    repo.commit(text)
    return repo


def plan(repo: Repo) -> float:
    """Seconds of one run of the command."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "vmkeeper", "plan", "-C", repo.folder], check=True, capture_output=True, text=True)
    assert "a1" in done.stdout, done.stdout
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        times = {}
        for count in (10, many):
            repo = catalogue(Path(folder) / str(count), count)
            cold = plan(repo)
            times[count] = min(plan(repo) for _ in range(RUNS))
            print(f"{count:>6} appliances: cold {cold:.2f} s, warm {times[count]:.2f} s")
        print(f"ratio warm {many}/10: {times[many] / times[10]:.2f} (limit 3)")


if __name__ == "__main__":
    main()

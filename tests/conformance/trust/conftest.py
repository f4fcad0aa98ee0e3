"""Says at the end how many cases of each rule were accepted, refused, or went wrong."""

from __future__ import annotations

from collections import Counter

import pytest

EXPECTATIONS = ("accept", "refuse")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A table of rules, for a run that had cases."""
    counts: Counter[tuple[str, str]] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            name = report.nodeid.partition("test_case[")[2]
            rule, _, rest = name.partition("-")
            if rest and report.when == "call":
                counts[rule, rest.partition("-")[0] if outcome == "passed" else outcome] += 1
    if not counts:
        return
    rules = sorted({rule for rule, _ in counts}, key=lambda rule: (len(rule), rule))
    terminalreporter.section("cases of each rule")
    terminalreporter.write_line("rule  accepted  refused  wrong")
    for rule in rules:
        accepted, refused = (counts[rule, one] for one in EXPECTATIONS)
        terminalreporter.write_line(f"{rule:<6}{accepted:>8}{refused:>9}{counts[rule, 'failed']:>7}")
    total = {one: sum(count for (_, kind), count in counts.items() if kind == one) for one in (*EXPECTATIONS, "failed")}
    terminalreporter.write_line(f"{'all':<6}{total['accept']:>8}{total['refuse']:>9}{total['failed']:>7}")

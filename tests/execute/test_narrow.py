"""Bringing a derived list back within its source: whatever it said, afterwards it says nothing beyond."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vmkeeper.documents.edit import Editable
from vmkeeper.documents.guard import read_yaml
from vmkeeper.execute.narrow import narrow
from vmkeeper.model.endorser import EndorserList
from vmkeeper.trust.derived import deviations, stale_keys

SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBiMzJeWUm4yXQ0Bvq5cmvOZ3zjJDeyaTyQQjUFEm1XM"
TIMES = st.none() | st.sampled_from(["2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z", "2027-01-01T00:00:00Z"])
MARKS = st.fixed_dictionaries(
    {},
    optional={
        "retired": TIMES.filter(bool),
        "compromised_since": st.fixed_dictionaries({"serial": st.integers(0, 2)}, optional={"sha512": st.sampled_from(["a" * 128, "b" * 128])}),
    },
)
PATTERNS = st.lists(st.sampled_from(["*", "debian-*", "debian-12", "slurm"]), min_size=1, max_size=2, unique=True)


def key(kind: int, marks: dict[str, Any], certificate: str | None, folder: str) -> dict[str, Any]:
    if kind == 0:
        return {"type": "openpgp", "fingerprint": "A" * 40, "file": f"{folder}keys/a.asc", **marks}
    if kind == 1:
        return {"type": "ssh", "key": SSH, **marks}
    return {"type": "x509", "subject": "/CN=a", "issuer": "/CN=b", **({"certificate": certificate} if certificate else {}), **marks}


def person(folder: str) -> st.SearchStrategy[dict[str, Any]]:
    keys = st.lists(
        st.builds(key, st.integers(0, 2), MARKS, st.sampled_from([None, "c" * 64, "d" * 64]), st.just(folder)),
        min_size=1,
        max_size=2,
        unique_by=lambda one: one["type"],
    )
    fields = {"full_name": st.just("A"), "email": st.just("a@b"), "keys": keys}
    optional = {"scope": st.fixed_dictionaries({}, optional={"appliances": PATTERNS, "communities": PATTERNS}), "not_before": TIMES}
    return st.fixed_dictionaries(fields, optional=optional)


def lists(folder: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda one, name, quorum, days, criteria, expires: {
            "title": "x",
            "community": "x",
            "policy": "x",
            "quorum": quorum,
            "rebuilds": quorum - 1,
            "maximum_lifetime": days,
            "criteria": criteria,
            "endorsers": [{"name": name, **one, **({"expires": expires} if expires else {})}],
        },
        person(folder),
        st.sampled_from(["alice", "bob"]),
        st.just(1),
        st.sampled_from(["10d", "20d"]),
        st.lists(st.sampled_from(["One.", "Two."]), unique=True),
        st.sampled_from([None, "2028-01-01T00:00:00Z", "2029-01-01T00:00:00Z"]),
    )


def files(path: str) -> bytes:
    return b"new" if path.startswith("sources/") else b"old"


@given(lists(""), lists(""))
def test_afterwards_nothing_is_beyond_the_source_and_narrowing_again_does_nothing(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    derived, source = EndorserList.model_validate(ours), EndorserList.model_validate(theirs)
    text = Editable(json.dumps(ours).encode())
    said = narrow(text, derived, source, files, "sources/grid/")
    made = EndorserList.model_validate(read_yaml(text.data(), "x").value)
    assert deviations(made, source) == ()
    assert stale_keys(made, source, files, "sources/grid/") == ()
    assert {one.name for one in made.endorsers} <= {one.name for one in derived.endorsers} & {one.name for one in source.endorsers}
    assert bool(said) == bool(deviations(derived, source) or stale_keys(derived, source, files, "sources/grid/"))
    assert narrow(Editable(text.data()), made, source, files, "sources/grid/") == ()

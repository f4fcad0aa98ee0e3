"""Errors: what, where, why and the way out, and how they read."""

from __future__ import annotations

import pytest

from vmkeeper.errors import EnvironmentLacks, Place, Problem, Problems, Refused, Transient, UserError, VmkeeperError


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place(), ""),
        (Place("a.yaml"), "a.yaml"),
        (Place("a.yaml", 3), "a.yaml:3"),
        (Place("a.yaml", 3, 7), "a.yaml:3:7"),
        (Place("a.yaml", 3, 7, "disk.size"), "a.yaml:3:7: disk.size"),
        (Place("a.yaml", field="disk"), "a.yaml: disk"),
        (Place(field="disk"), "disk"),
    ],
)
def test_a_place_reads_as_an_editor_wants_it(place: Place, text: str) -> None:
    assert str(place) == text


def test_a_problem_tells_place_what_and_way_out() -> None:
    assert str(Problem(Place("a", 1, 2, "x"), "is wrong", "mend it")) == "a:1:2: x: is wrong\n    mend it"
    assert str(Problem(Place("a"), "is wrong")) == "a: is wrong"
    assert str(Problem(Place(), "is wrong")) == "is wrong"


def test_problems_are_sorted_each_once() -> None:
    first, second, third = Problem(Place("a", 2), "x"), Problem(Place("a", 10), "y"), Problem(Place("b", 1), "z")
    error = Problems([third, second, first, second])
    assert error.problems == (first, second, third)
    assert error.what == "3 problems"
    assert str(error) == "a:2: x\na:10: y\nb:1: z"
    assert Problems([first]).what == "1 problem"
    assert isinstance(error, UserError)


def test_an_error_tells_where_and_why() -> None:
    error = VmkeeperError("cannot be read", where=Place("a.yaml", 3), why="no such file", hint="make it")
    assert str(error) == "a.yaml:3: cannot be read: no such file"
    assert (error.what, error.where, error.why, error.hint, error.exit_code) == ("cannot be read", "a.yaml:3", "no such file", "make it", 1)
    assert str(VmkeeperError("cannot be read")) == "cannot be read"


def test_a_refusal_names_its_rule() -> None:
    error = Refused("R14", "the digest differs", where="debian-12", hint="build again")
    assert str(error) == "debian-12: the digest differs [R14]"
    assert error.rule == "R14"


@pytest.mark.parametrize("kind", [UserError, EnvironmentLacks, Transient])
def test_kinds_say_what_happens_next(kind: type[VmkeeperError]) -> None:
    assert issubclass(kind, VmkeeperError)
    assert kind("x").exit_code == 1
    assert issubclass(EnvironmentLacks, UserError)
    assert not issubclass(Refused, UserError)
    assert not issubclass(Transient, UserError)

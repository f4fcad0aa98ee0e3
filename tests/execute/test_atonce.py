"""Many things at once, in order, none waited for without end."""

from __future__ import annotations

import threading

import pytest

from vmkeeper.errors import Transient, UserError
from vmkeeper.execute.atonce import at_once


def test_results_come_in_the_order_of_the_items_whatever_is_done_first() -> None:
    gate = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert gate.wait(60)
        if number == 5:
            gate.set()
        return number * number

    assert list(at_once(range(50), work, workers=3)) == [(number, number * number) for number in range(50)]


def test_nothing_is_done_for_nothing() -> None:
    assert list(at_once([], lambda item: item)) == []


def test_an_error_is_a_result_and_stops_nothing() -> None:
    def work(number: int) -> int:
        if number % 2:
            raise UserError(f"{number} is odd")
        return number

    found = list(at_once(range(6), work, workers=2))
    assert [type(result).__name__ for _, result in found] == ["int", "UserError"] * 3


def test_few_results_wait_to_be_taken() -> None:
    begun: list[int] = []
    results = at_once(range(100), begun.append, workers=4, ahead=10)
    next(results)
    assert len(begun) <= 12
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 20


def test_what_takes_too_long_is_given_up_and_the_others_go_on() -> None:
    gate = threading.Event()

    def work(number: int) -> int:
        if number < 3:
            gate.wait(60)
        return number

    try:
        found = dict(at_once(range(10), work, workers=2, longest=2))
    finally:
        gate.set()
    assert all(isinstance(found[number], Transient) for number in range(3))
    assert [found[number] for number in range(3, 10)] == list(range(3, 10))
    with pytest.raises(Transient, match="takes too long"):
        raise found[0]  # type: ignore[misc]

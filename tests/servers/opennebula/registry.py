"""The methods there are, and how strictly oned takes their parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .failures import TYPE, Fault
from .objects import User

if TYPE_CHECKING:
    from .oned import Oned

_TYPES: dict[str, tuple[type, str]] = {"i": (int, "integer"), "s": (str, "string"), "b": (bool, "boolean"), "a": (list, "array")}


@dataclass(frozen=True)
class Call:
    """One call of one user."""

    oned: Oned
    method: str
    user: User
    number: int
    """What `REQ_ID` is in a lock."""

    @property
    def admin(self) -> bool:
        return self.user.id == 0 or 0 in self.user.groups


@dataclass(frozen=True)
class Method:
    signature: str
    """One letter a parameter after the session: i s b a; those after `|` may be left out. More are ignored."""
    run: Callable[..., Any]

    def take(self, given: list[Any]) -> list[Any]:
        """The parameters. Raises Fault -501 where one is missing or of another type."""
        required, _, optional = self.signature.partition("|")
        taken = []
        for number, letter in enumerate(required + optional):
            if number >= len(given):
                if number < len(required):
                    raise Fault(TYPE, "Not enough parameters")
                break
            wanted, word = _TYPES[letter]
            if type(given[number]) is not wanted:
                raise Fault(TYPE, f"Parameter that is supposed to be {word} is not")
            taken.append(given[number])
        return taken


METHODS: dict[str, Method] = {}


def method(name: str, signature: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The function answers `name`: it takes the call and the parameters, returns the value or raises Failure."""

    def register(run: Callable[..., Any]) -> Callable[..., Any]:
        METHODS[name] = Method(signature, run)
        return run

    return register

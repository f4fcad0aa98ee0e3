"""Whose clouds they are: what a family of clouds is told beside its platform, and the marks of a site's objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Account:
    """Whose clouds they are and what is shown to them. Nothing in it is ever printed.

    site: name of the site. home: the site's own folder, where clouds.yaml may lie. folder: for clouds that live on this
    machine, and for what clients keep. login: (user, password) of credentials/NAME.yaml; raises UserError.
    """

    site: str
    home: Path
    folder: Path
    login: Callable[[str], tuple[str, str]]


def owner_of(site: str, place: str = "") -> str:
    """The mark of a site's objects at one of its places ("" where it has only one)."""
    return f"vmkeeper:{site}/{place}" if place else f"vmkeeper:{site}"

"""How much one run may take away: a plan that goes over the limit refuses that part of itself."""

from __future__ import annotations

from vmkeeper.errors import UserError

ALWAYS_ALLOWED = 1
"""One image may always go: a share of one or two images says nothing."""


class TooMany(UserError):
    """A plan would retire more than the site allows in one run."""


def too_many_retired(retired: int, active: int, limit: str) -> TooMany | None:
    """None where `retired` of `active` images are within `limit` (a percentage such as `50%`), else the refusal.

    active: images that would be usable without these retirements, so that carrying out the rest changes no verdict.
    """
    allowed = int(limit.rstrip("%"))
    if retired <= ALWAYS_ALLOWED or retired * 100 <= allowed * active:
        return None
    return TooMany(
        f"too many images would be retired: {retired} of {active} ({retired * 100 // active} %) is over the limit of {allowed} %, so none of them is",
        hint="see what goes with: vmkeeper site plan NAME --force-retire; if it is meant, reconcile with --force-retire",
    )

"""The plans of a site's places as one plan. Pure. Actions of a named place have subjects that end in ` @PLACE`; none needs one of another place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar, cast

from vmkeeper.plan.imageactions import SiteAction, arranged
from vmkeeper.plan.limits import TooMany
from vmkeeper.plan.plan import Plan
from vmkeeper.plan.site import SitePlan
from vmkeeper.plan.waiting import at_places
from vmkeeper.plan.wanted import Note

_Action = TypeVar("_Action", bound=SiteAction)


def merged(plans: Mapping[str, SitePlan]) -> SitePlan:
    """One plan of several, by place: the same image's actions follow each other, so that its file is brought once.

    What is to be known of every place is said once. A single place without a name stays as it is.
    """
    if set(plans) == {""}:
        return plans[""]
    actions = [at_place(cast(SiteAction, action), place) for place, made in plans.items() for action in made.plan.actions]
    beside = sorted(actions, key=lambda action: action.spec.key)
    plan = Plan(base="", head=next((made.plan.head for made in plans.values()), ""), actions=arranged(beside))
    waiting = at_places((place, made.waiting) for place, made in plans.items())
    # Keys of what is missing belong to a place; see the place's own plan.
    return SitePlan(plan, _notes(plans), _refusal(plans), waiting)


def at_place(action: _Action, place: str) -> _Action:
    """The same action at a place of a site that has several."""
    end = f" @{place}"
    return action.model_copy(update={"subject": action.subject + end, "needs": tuple(need + end for need in action.needs), "place": place})


def _notes(plans: Mapping[str, SitePlan]) -> tuple[Note, ...]:
    often = Counter(note for made in plans.values() for note in set(made.notes))
    found = [
        note if often[note] == len(plans) else Note(f"{note.subject} @{place}", note.why) for place, made in plans.items() for note in made.notes
    ]
    return tuple(dict.fromkeys(found))


def _refusal(plans: Mapping[str, SitePlan]) -> TooMany | None:
    refused = [(place, made.refusal) for place, made in plans.items() if made.refusal is not None]
    if not refused:
        return None
    return TooMany("; ".join(f"at {place}: {error.what}" for place, error in refused), hint=refused[0][1].hint)

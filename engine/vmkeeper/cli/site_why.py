"""vmkeeper why NAME --site SITE: which versions a site may run, on whose word, and what stands against the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from vmkeeper.cli.session import Session
from vmkeeper.cli.site import follow
from vmkeeper.values import format_time

if TYPE_CHECKING:
    from vmkeeper.execute.view import View
    from vmkeeper.plan.wanted import Subscribed
    from vmkeeper.trust.approval import Decision
    from vmkeeper.trust.refusal import Refusal
    from vmkeeper.values import Version


def why_at_site(session: Session, appliance: str, site: str, home: Path | None, bundle: Path | None = None) -> int:
    """Say for each version of an appliance whether the site may run it, by which rule not, and the nearest that it may.

    appliance: a name, a pattern of names, or the UUID of an image on a foreign list.
    """
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.observe import look

    place = SiteHome.of(site, home)
    followed = follow(session, place, bundle)
    view = look(followed.repository, place, site, session.now, fetch=followed.fetch)
    wanted = {name for one in view.signed for uuid, name in one.names.items() if uuid == appliance} | {appliance}
    decisions = _decisions(view, wanted)
    for found in _concerned(view, {*wanted, *(decision.appliance for decision, _ in decisions)}):
        _say_list(session, view, found)
    for decision, places in decisions:
        _say_decision(session, view, decision, places)
    if not decisions:
        for note in (*view.notes, *dict.fromkeys(note for said in view.decided.values() for note in said.notes)):
            if note.subject.partition(" ")[0] in wanted:
                session.say(f"{note.subject}: {note.why}")
        session.say(f"No list that {site} subscribes to offers {appliance}, and nobody endorsed it.")
    return 0


def _concerned(view: View, names: set[str]) -> Iterator[Subscribed]:
    """The site's own lists, and the foreign ones that give their images such names."""
    foreign = {one.name for one in view.site.foreign}
    for found in view.lists:
        if found.name not in foreign or any(name.startswith(f"{found.name}-") for name in names):
            yield found


def _say_list(session: Session, view: View, found: Subscribed) -> None:
    from vmkeeper.execute.observe import too_late
    from vmkeeper.plan.wanted import Unusable

    if isinstance(found.state, Unusable):
        session.say(f"The list {found.name} cannot be used: {found.state.why}")
    if found.expired(session.now):
        session.say(f"The list {found.name} has expired: nothing of it may run.")
    if (late := too_late(found.frozen, view.site, session.now)) is not None:
        session.say(f"Nothing of the list {found.name} may run: {late.why}")
    elif found.frozen is not None:
        since = f" since {format_time(found.frozen.since)}" if found.frozen.since else ""
        session.say(f"Nothing new is registered from the list {found.name}{since}:")
        _say_refusals(session, found.frozen.refusals)


def _decisions(view: View, names: set[str]) -> list[tuple[Decision, tuple[str, ...]]]:
    """The decisions about appliances that `names` (patterns) mean, each with the places that it holds at."""
    found: dict[tuple[str, Version], list[tuple[Decision, list[str]]]] = {}
    for place, said in view.decided.items():
        for decision in said.decisions:
            if any(fnmatchcase(decision.appliance, name) for name in names):
                several = found.setdefault((decision.appliance, decision.version), [])
                same = next((places for other, places in several if other == decision), None)
                if same is None:
                    several.append((decision, [place]))
                else:
                    same.append(place)
    return [(decision, tuple(places)) for several in found.values() for decision, places in several]


def _say_decision(session: Session, view: View, decision: Decision, places: tuple[str, ...]) -> None:
    where = view.name if len(places) == len(view.decided) else f"{view.name} ({', '.join(places)})"
    session.say(
        f"{decision.appliance} {decision.version} may {'run' if decision.accepted else 'not run'} at {where}. {_there(view, decision, places)}"
    )
    for one in view.signed:
        if decision.appliance in one.names.values():
            session.say(f"  of the list {one.name}, {one.about}, signed by {one.signer}")
    if decision.list and decision.list not in {one.name for one in view.site.foreign}:
        session.say(f"  of the list {decision.list}")
    for verdict in decision.endorsements:
        session.say(f"  endorsed by {verdict.statement.endorser} with {verdict.signed_by.key} ({verdict.tag})")
    _say_refusals(session, decision.refusals)
    if decision.nearest:
        session.say(f"  nearest version that may: {decision.nearest}")


def _there(view: View, decision: Decision, places: tuple[str, ...]) -> str:
    """Whether an image of it is at these places."""
    states: dict[str, list[str]] = {}
    for name in (name for name in places if name in view.places):
        here = {(image.spec.appliance, image.spec.version): image.state for image in view.places[name].ours if image.spec}
        state: str = here.get((decision.appliance, decision.version)) or "not there"
        states.setdefault(state, []).append(name)
    if len(states) == 1 and len(view.places) == len(view.decided):
        (state,) = states
        return "It is not there." if state == "not there" else f"It is {state} there."
    return " ".join(f"It is {state} at {', '.join(names)}." for state, names in states.items())


def _say_refusals(session: Session, refusals: Iterable[Refusal]) -> None:
    for refusal in refusals:
        session.say(f"  {refusal}")
        if refusal.hint:
            session.say(f"    → {refusal.hint}")

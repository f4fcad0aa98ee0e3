"""vmkeeper approve, block, hold: a site's decisions, written into its file and proposed in git; approve without any signs the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkeeper.cli import policy
from vmkeeper.cli.session import HERE, Directory, Output, OutputOption, Session
from vmkeeper.errors import UserError, VmkeeperError

if TYPE_CHECKING:
    from vmkeeper.execute.deciding import Decided, Entry, Verb
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.plan.site import SitePlan
    from vmkeeper.plan.waiting import Waiting

SiteName = Annotated[str, typer.Argument(metavar="SITE", help="A site: sites/NAME.yaml.")]
Appliance = Annotated[
    str | None, typer.Option("--appliance", help="A name, a pattern, or the UUID of an image on a foreign list.", show_default=False)
]
Versions = Annotated[str | None, typer.Option("--version", help='A version, or a constraint such as ">=2026.10".', show_default=False)]
ImageList = Annotated[str | None, typer.Option("--list", help="Only of this image list, own or foreign.", show_default=False)]
Community = Annotated[str | None, typer.Option("--community", help="Only of lists of this community.", show_default=False)]
EndorserName = Annotated[str | None, typer.Option("--endorser", help="Only what this endorser answers for.", show_default=False)]
Tag = Annotated[str | None, typer.Option("--tag", help="Only what an endorsement under such a tag vouches for.", show_default=False)]
Digest = Annotated[str | None, typer.Option("--digest", help="Only the release that has a file with this SHA-512.", show_default=False)]
Places = Annotated[list[str] | None, typer.Option("--place", help="Only at this place of the site's platform.", show_default=False)]
NotBefore = Annotated[str | None, typer.Option("--not-before", help="From then on: a time, a day, or how long from now.", show_default=False)]
Until = Annotated[str | None, typer.Option("--until", help="Up to then: a time, a day, or how long from now, such as 14d.", show_default=False)]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; shown to whoever asks.")]
Here = Annotated[bool, typer.Option("--here", help="Edit the file in the work tree and commit nothing.")]
Home = Annotated[Path | None, typer.Option("--home", help="The site's own folder, if it is here: its pins say what counts.", show_default=False)]


def approve(
    site: SiteName,
    appliance: Appliance = None,
    version: Versions = None,
    image_list: ImageList = None,
    community: Community = None,
    endorser: EndorserName = None,
    tag: Tag = None,
    digest: Digest = None,
    place: Places = None,
    not_before: NotBefore = None,
    until: Until = None,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Approve the releases that wait for a decision, one by one: all, or those chosen.")
    ] = False,
    here: Here = False,
    name: Annotated[
        str | None,
        typer.Option(
            "--as", help="Your name in the site's pins. Default: as the pins say, or git config vmkeeper.administrator.", show_default=False
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take back what you signed under this number, if it is not in force.")] = False,
    home: Home = None,
    key: policy.KeyOption = None,
    yes: policy.YesOption = False,
    directory: Directory = HERE,
    output: OutputOption = Output.text,
) -> int:
    """Decide what a site runs: write an approval into sites/SITE.yaml and propose it. Without a choice: sign that the file is in force.

    What is chosen goes onto a new branch, to be pushed and merged. Without a choice, sites/SITE.yaml of the followed branch's head is
    put in force at the site with a signed tag, as one of its administrators.
    """
    session = Session(directory)
    chosen = _chosen(session, appliance, version, image_list, community, endorser, tag, digest, place, not_before, until)
    if not chosen and not waiting:
        if here:
            raise UserError("it is not said what is approved", hint="name it, such as --appliance debian-12; or leave --here out to sign the file")
        return policy.approve(site, name=name, replace=replace, home=home, key=key, yes=yes, directory=directory)
    if name or replace or key or yes:
        raise UserError("an approval of releases is not signed", hint=f"leave --as, --key, --replace and --yes to: vmkeeper approve {site}")
    entries: Sequence[Entry] = [chosen]
    if waiting:
        entries = _waiting(session, site, home, chosen)
        if not entries:
            session.say(f"Nothing{' of what is chosen' if chosen else ''} waits for a decision at {site}.")
            return 0
    return _decide(session, site, "approve", entries, here, home, output)


def block(
    site: SiteName,
    reason: ReasonOption,
    appliance: Appliance = None,
    version: Versions = None,
    image_list: ImageList = None,
    community: Community = None,
    endorser: EndorserName = None,
    tag: Tag = None,
    digest: Digest = None,
    place: Places = None,
    not_before: NotBefore = None,
    until: Until = None,
    here: Here = False,
    home: Home = None,
    directory: Directory = HERE,
    output: OutputOption = Output.text,
) -> int:
    """Decide what a site does not run, whatever else says so: write it into sites/SITE.yaml and propose it."""
    session = Session(directory)
    chosen = _chosen(session, appliance, version, image_list, community, endorser, tag, digest, place, not_before, until)
    return _decide(session, site, "block", [{**chosen, "reason": reason}], here, home, output)


def hold(
    site: SiteName,
    appliance: Annotated[str, typer.Option("--appliance", help="A name or a pattern.")],
    reason: ReasonOption,
    place: Places = None,
    until: Until = None,
    here: Here = False,
    home: Home = None,
    directory: Directory = HERE,
    output: OutputOption = Output.text,
) -> int:
    """Leave an appliance at a site as it is, nothing newer and nothing gone: write it into sites/SITE.yaml and propose it."""
    session = Session(directory)
    chosen = _chosen(session, appliance, None, None, None, None, None, None, place, None, until)
    return _decide(session, site, "hold", [{**chosen, "reason": reason}], here, home, output)


def _chosen(
    session: Session,
    appliance: str | None,
    version: str | None,
    image_list: str | None,
    community: str | None,
    endorser: str | None,
    tag: str | None,
    digest: str | None,
    places: list[str] | None,
    not_before: str | None,
    until: str | None,
) -> dict[str, Any]:
    """What is given, as the site's file says it."""
    from vmkeeper.execute.deciding import moment_of, version_of

    values = {
        "appliance": appliance,
        "version": version_of(version) if version else None,
        "list": image_list,
        "community": community,
        "endorser": endorser,
        "tag": tag,
        "digest": digest,
        "places": places or None,
        "not_before": moment_of(not_before, session.now) if not_before else None,
        "until": moment_of(until, session.now) if until else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _waiting(session: Session, site: str, home: Path | None, chosen: dict[str, Any]) -> Sequence[Entry]:
    """Approvals of what waits now, of that which is chosen, for the places and the time that are given."""
    from vmkeeper.execute.deciding import choose, entries_of

    found, _ = _seen(session, _place(site, home), site, None)
    return entries_of(choose(found.waiting, chosen), {name: chosen[name] for name in ("places", "not_before", "until") if name in chosen})


def _decide(session: Session, site: str, verb: Verb, entries: Sequence[Entry], here: bool, home: Path | None, output: Output) -> int:
    from vmkeeper.execute.deciding import decide

    made = decide(session.repository, site, verb, entries, here=here)
    place = _place(site, home)
    plans = _plans(session, place, site, made) if made.entries and place.pinned() else None
    if output is Output.json:
        session.json(_as_json(session, site, verb, made, plans))
        return 0
    for entry in made.there:
        session.say(f"{made.path} says that already: {_line(entry)}")
    if not made.entries:
        return 0
    session.say(made.diff.rstrip("\n"))
    session.say()
    for sentence in made.useless(session.now):
        session.warn(sentence)
    if plans:
        _say_plans(session, *plans)
    _say_next(session, site, made, place)
    return 0


def _place(site: str, home: Path | None) -> SiteHome:
    from vmkeeper.execute.home import SiteHome

    return SiteHome.of(site, home)


def _seen(session: Session, place: SiteHome, site: str, made: Decided | None) -> tuple[SitePlan, SitePlan | None]:
    """What a run would do now, and what it would do with the changed file."""
    from vmkeeper.cli.site import follow
    from vmkeeper.execute.observe import look
    from vmkeeper.execute.site import plan_view

    followed = follow(session, place, None)
    view = look(followed.repository, place, site, session.now, fetch=followed.fetch, progress=session.progress())
    if made is None:
        return plan_view(view, session.now, home=place), None
    then = look(followed.repository, place, site, session.now, fetch=followed.fetch, instead=made.site)
    return plan_view(view, session.now, home=place), plan_view(then, session.now, home=place)


def _plans(session: Session, place: SiteHome, site: str, made: Decided) -> tuple[SitePlan, SitePlan] | None:
    try:
        before, after = _seen(session, place, site, made)
    except VmkeeperError as error:
        session.warn(f"what it comes to at {site} cannot be shown: {error}")
        return None
    assert after is not None
    return before, after


def _say_plans(session: Session, before: SitePlan, after: SitePlan) -> None:
    """The difference between two plans."""
    old, new = ({action.id: action for action in made.plan.actions} for made in (before, after))
    for sign, some, others in (("+", new, old), ("-", old, new)):
        for action in (one for one in some.values() if one.id not in others):
            session.say(f"{sign} {action.kind:9}{action.subject}: {action.reason}")
    for one in after.waiting:
        if one not in before.waiting:
            session.say(f"+ waits    {_label(one)}")
    if old.keys() == new.keys():
        session.say("The next run at the site would do the same as without it.")
    session.say()


def _label(one: Waiting) -> str:
    return f"{one.appliance} {one.version} of the list {one.list}"


def _say_next(session: Session, site: str, made: Decided, place: SiteHome) -> None:
    counts = "it is merged and signed by the site's administrators" if _administrators(place) else "it is merged and in force there"
    how = f"vmkeeper approve {site}" if _administrators(place) or not place.pinned() else f"vmkeeper site init {site}"
    if not made.branch:
        session.say(f"Changed {made.path} in the work tree. Look at it, commit it, and open a pull request.")
    else:
        done = "Committed" if made.new else "Committed already:"
        session.say(f"{done} {made.commit[:12]} on the branch {made.branch}. Push it and open a pull request (docs/forges.md):")
        session.say(f"  git push -u origin {made.branch}")
    session.say(f"It counts at {site} once {counts}: {how}")


def _administrators(place: SiteHome) -> bool:
    pins = place.pins() if place.pinned() else None
    return bool(pins and pins.site and pins.site.administrators)


def _line(entry: Entry) -> str:
    from vmkeeper.documents.dump import in_flow

    return in_flow(dict(entry))


def _as_json(session: Session, site: str, verb: Verb, made: Decided, plans: tuple[SitePlan, SitePlan] | None) -> dict[str, object]:
    from vmkeeper.plan.render import as_json

    return {
        "version": 1,
        "site": site,
        "decision": verb,
        "file": made.path,
        "added": [dict(one) for one in made.entries],
        "there": [dict(one) for one in made.there],
        "branch": made.branch or None,
        "commit": made.commit or None,
        "diff": made.diff,
        "remarks": list(made.useless(session.now)),
        "plan": as_json(plans[1].plan) if plans else None,
    }

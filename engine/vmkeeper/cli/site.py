"""Commands for a site's administrator: site init, site plan, reconcile, status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmkeeper.cli.service import MetricsFileOption, MetricsOption, Serving, StatusOption, WatchOption, suspended_json, suspended_words
from vmkeeper.cli.session import CHANGES, HERE, DetailedExitCode, Directory, Output, OutputOption, Session, show_error
from vmkeeper.errors import Transient, UserError
from vmkeeper.execute.walk import Done, Failed, Outcome

if TYPE_CHECKING:
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.service import Visit, Visiting
    from vmkeeper.execute.site import Reconciled
    from vmkeeper.plan.site import SitePlan
    from vmkeeper.progress import Progress
    from vmkeeper.repository.tree import Repository

commands = typer.Typer(no_args_is_help=True, help="Set up a site and see what a run at it would do.")

SiteName = Annotated[str, typer.Argument(help="A site: sites/NAME.yaml.")]
HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="The site's own folder. Default: VMKEEPER_SITE_HOME, or sites/NAME in your data folder.", show_default=False),
]
BundleOption = Annotated[
    Path | None,
    typer.Option("--bundle", help="Take the repository, lists and images from this bundle instead of the network.", show_default=False),
]
AdoptOption = Annotated[
    bool,
    typer.Option("--adopt", help="Only take over what nifty, cloudkeeper, atrope or openstack-image-manager made. Nothing else is changed."),
]
ForceOption = Annotated[bool, typer.Option("--force-retire", help="Retire more images than the site's limit allows.")]


@commands.command("init")
def init(
    name: SiteName,
    ca: Annotated[
        list[Path] | None,
        typer.Option(
            "--ca",
            help="A CA certificate (PEM) that signers' certificates must lead to; needed where the site subscribes to a list.",
            show_default=False,
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    home: HomeOption = None,
    signer: Annotated[
        Path | None,
        typer.Option(
            "--signer", help="The certificate of the lists' signer; default: fetch the lists.", show_default=False, exists=True, dir_okay=False
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            help="A host that may be fetched from although its address is not public. Default: those that are pinned.",
            show_default=False,
        ),
    ] = None,
    administrator: Annotated[
        list[str] | None,
        typer.Option(
            "--administrator",
            metavar="NAME=FILE",
            help="Whose signed approvals put the site's file in force, with a public key or certificate. Default: the file as it is now.",
            show_default=False,
        ),
    ] = None,
    quorum: Annotated[int, typer.Option("--quorum", min=1, help="How many administrators must approve.")] = 1,
    source: Annotated[
        str | None, typer.Option("--source", help="Where the site itself fetches the repository from: an address or a folder.", show_default=False)
    ] = None,
    policy: Annotated[
        int | None,
        typer.Option(
            "--policy",
            min=1,
            help="Go on from this policy as it says of itself, after the principals before it were lost. Default: the one in force.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before pinning.")] = False,
    directory: Directory = HERE,
) -> int:
    """Pin whom the site trusts: the repository, the principals of its policy with their keys, and who signs its image lists."""
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.pinning import Wishes, is_pinned, pin, proposal
    from vmkeeper.trust.pins import fingerprints

    session = Session(directory)
    place, certificates = SiteHome.of(name, home), tuple(ca or ())
    # A site that is pinned again keeps the hosts that it may fetch from, unless others are named.
    hosts = tuple(allow) if allow else place.pins().fetch.allowed_hosts if place.pinned() else ()
    wishes = Wishes(certificates, signer, hosts, tuple(administrator or ()), quorum, source, policy)
    proposed = proposal(session.repository, name, wishes, session.now)
    session.say(fingerprints(proposed.pins))
    if is_pinned(place, proposed, certificates):
        session.say(f"All this is pinned already in {place.folder}.")
        return 0
    if not yes:
        typer.confirm("Compare this with what its owners told you by another way. Pin it?", abort=True)
    pin(place, proposed, certificates)
    session.say(f"Pinned in {place.folder}. Next: vmkeeper reconcile {name}{f' --home {home}' if home else ''}")
    return 0


@commands.command("plan")
def plan(
    name: SiteName,
    home: HomeOption = None,
    force_retire: ForceOption = False,
    bundle: BundleOption = None,
    directory: Directory = HERE,
    output: OutputOption = Output.text,
    detailed_exitcode: DetailedExitCode = False,
    adopt: AdoptOption = False,
) -> int:
    """Show what a run at the site would do now. Changes nothing."""
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.observe import look
    from vmkeeper.execute.site import plan_view
    from vmkeeper.plan.render import as_json, as_markdown, as_text

    session, place = Session(directory), SiteHome.of(name, home)
    followed = follow(session, place, bundle)
    view = look(followed.repository, place, name, session.now, fetch=followed.fetch, progress=session.progress())
    made = plan_view(view, session.now, home=place, force_retire=force_retire, adopt=adopt)
    if output is Output.json:
        session.json({**as_json(made.plan), **_beside(made)})
    elif output is Output.markdown:
        session.out.file.write(as_markdown(made.plan))
    else:
        session.say(as_text(made.plan, title=f"At {name}, for {made.plan.head[:12]}:\n"))
        _say_notes(session, name, made)
    if view.unreachable:
        return 1
    return CHANGES if detailed_exitcode and made.plan else 0


def reconcile(
    name: SiteName,
    home: HomeOption = None,
    force_retire: ForceOption = False,
    bundle: BundleOption = None,
    directory: Directory = HERE,
    output: OutputOption = Output.text,
    adopt: AdoptOption = False,
    watch: WatchOption = False,
    status: StatusOption = None,
    metrics_file: MetricsFileOption = None,
    metrics: MetricsOption = None,
) -> int:
    """Bring a site's images to what is endorsed, approved and in date. Run again, it does nothing."""
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.site import reconcile as run

    session, place = Session(directory), SiteHome.of(name, home)
    serving = Serving(session, place, name, metrics_file, metrics, status)

    def once(visit: Visiting) -> Reconciled:
        with visit.progress.stage("follow"):
            followed = follow(session, place, bundle, progress=visit.progress, warn=lambda why: visit.warn("repository", why))
        return run(
            followed.repository,
            place,
            name,
            lambda: session.now,
            force_retire=force_retire,
            adopt=adopt,
            connect=visit.connect,
            fetch=followed.fetch,
            carried=followed.carried,
            progress=visit.progress,
            stop=visit.stop,
            stage=visit.progress.stage,
        )

    def say(visit: Visit) -> int:
        if visit.suspended or visit.done is None:
            session.json(suspended_json(visit)) if output is Output.json else session.say(f"The site is {suspended_words(visit)}.")
            return 0
        done = visit.done
        if output is Output.json:
            session.json(_as_json(done))
            return _status(done)
        session.report(done.outcomes)
        _say_notes(session, name, done.made)
        if not done.outcomes and _status(done):
            session.say("Nothing was done; what stands in the way is said above.")
        elif not done.outcomes and adopt:
            session.say("Nothing to take over.")
        elif not done.outcomes:
            active = sum(image.state == "active" for _, image in done.view.ours())
            session.say(f"Nothing to do: the site has {active} usable image{'' if active == 1 else 's'}, as it should.")
        return _status(done)

    if watch:
        if force_retire or bundle is not None or adopt:
            raise UserError("--force-retire, --bundle and --adopt are for one run", where="--watch", hint="do that once without --watch")
        return serving.watch(once, as_json=output is Output.json)
    return say(serving.once(once))


@dataclass(frozen=True, slots=True)
class Followed:
    """The repository that a site follows, and what came with it."""

    repository: Repository
    fetch: Callable[[str], bytes] | None
    carried: Callable[[str], Path | None]


def follow(
    session: Session, place: SiteHome, bundle: Path | None, *, progress: Progress | None = None, warn: Callable[[str], None] | None = None
) -> Followed:
    """The followed repository: from its pinned source, from a bundle, or the clone that -C names.

    A source that cannot be reached now leaves what was fetched last, and `warn` is told (default: the terminal); how long
    that is good is the freshness statement's matter.
    """
    from vmkeeper.execute.bundle import read_bundle
    from vmkeeper.execute.following import MIRROR, follow, mirrored

    pins, progress = place.pins(), progress or session.progress()
    hosts = pins.fetch.allowed_hosts
    if bundle is not None:
        carried = read_bundle(bundle)
        repository = follow(place.folder, session.directory, bundle=bundle, progress=progress)
        return Followed(repository, lambda url: carried.list_bytes(url.split("/")[-2]), carried.image_path)
    try:
        repository = follow(place.folder, session.directory, source=pins.source, allowed_hosts=hosts, progress=progress)
    except (Transient, UserError) as error:
        if pins.source is None or not (place.folder / MIRROR).exists():
            raise
        (warn or session.warn)(f"{error}; going on with what was fetched last")
        repository = mirrored(place.folder)
    return Followed(repository, None, lambda _sha512: None)


def last_followed(session: Session, place: SiteHome) -> Repository:
    """The followed repository as the last run at the site left it, without asking its source; the clone that -C names where there is none."""
    from vmkeeper.execute.following import mirrored

    return mirrored(place.folder) if place.pins().source is not None else session.repository


def _status(done: Reconciled) -> int:
    from vmkeeper.plan.wanted import Unusable

    failed = bool(done.view.unreachable) or any(not isinstance(outcome, Done) for outcome in done.outcomes)
    return 1 if failed or done.made.refusal or any(isinstance(found.state, Unusable) for found in done.view.lists) else 0


def _say_notes(session: Session, name: str, made: SitePlan) -> None:
    for note in made.notes:
        session.say(f"note     {note.subject}: {note.why}")
    if made.waiting:
        some = "One release waits" if len(made.waiting) == 1 else f"{len(made.waiting)} releases wait"
        session.say(f"{some} for a decision; approve with: vmkeeper approve {name} --waiting")
    if made.refusal:
        show_error(session.err, made.refusal)


def _notes(made: SitePlan) -> list[dict[str, str]]:
    refused = [{"subject": "retire limit", "why": str(made.refusal)}] if made.refusal else []
    return [{"subject": note.subject, "why": note.why} for note in made.notes] + refused


def _beside(made: SitePlan) -> dict[str, object]:
    return {"notes": _notes(made), "waiting": [one.as_json() for one in made.waiting]}


def _as_json(done: Reconciled) -> dict[str, object]:
    from vmkeeper.plan.render import as_json

    return {**as_json(done.made.plan), "outcomes": [_outcome(outcome) for outcome in done.outcomes], **_beside(done.made)}


def _outcome(outcome: Outcome) -> dict[str, str]:
    said = {"id": outcome.action.id, "outcome": type(outcome).__name__.lower()}
    if isinstance(outcome, Done):
        return {**said, "text": outcome.text}
    return {**said, "text": str(outcome.error) if isinstance(outcome, Failed) else f"needs {outcome.by}"}

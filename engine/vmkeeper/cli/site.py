"""Commands for a site's administrator: site init, site plan, reconcile, status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmkeeper.cli.session import CHANGES, HERE, DetailedExitCode, Directory, Output, OutputOption, Session, show_error
from vmkeeper.errors import Transient, UserError
from vmkeeper.execute.walk import Done, Failed, Outcome
from vmkeeper.values import Size, format_time

if TYPE_CHECKING:
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.site import Reconciled
    from vmkeeper.plan.site import SitePlan
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
        list[str] | None, typer.Option("--allow-host", help="A host that may be fetched from although its address is not public.", show_default=False)
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
    wishes = Wishes(certificates, signer, tuple(allow or ()), tuple(administrator or ()), quorum, source, policy)
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
) -> int:
    """Show what a run at the site would do now. Changes nothing."""
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.observe import look
    from vmkeeper.execute.site import plan_view
    from vmkeeper.plan.render import as_json, as_markdown, as_text

    session, place = Session(directory), SiteHome.of(name, home)
    followed = follow(session, place, bundle)
    view = look(followed.repository, place, name, session.now, fetch=followed.fetch, progress=session.progress())
    made = plan_view(view, session.now, force_retire=force_retire)
    if output is Output.json:
        session.json({**as_json(made.plan), "notes": _notes(made)})
    elif output is Output.markdown:
        session.out.file.write(as_markdown(made.plan))
    else:
        session.say(as_text(made.plan, title=f"At {name}, for {made.plan.head[:12]}:\n"))
        _say_notes(session, made)
    return CHANGES if detailed_exitcode and made.plan else 0


def reconcile(
    name: SiteName,
    home: HomeOption = None,
    force_retire: ForceOption = False,
    bundle: BundleOption = None,
    directory: Directory = HERE,
    output: OutputOption = Output.text,
) -> int:
    """Bring a site's images to what is endorsed, approved and in date. Run again, it does nothing."""
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.site import reconcile as run

    session, place = Session(directory), SiteHome.of(name, home)
    followed = follow(session, place, bundle)
    done = run(
        followed.repository,
        place,
        name,
        lambda: session.now,
        force_retire=force_retire,
        fetch=followed.fetch,
        carried=followed.carried,
        progress=session.progress(),
    )
    if output is Output.json:
        session.json(_as_json(done))
        return _status(done)
    session.report(done.outcomes)
    _say_notes(session, done.made)
    if not done.outcomes and _status(done):
        session.say("Nothing was done; what stands in the way is said above.")
    elif not done.outcomes:
        active = sum(image.owner == done.view.cloud.owner and image.state == "active" for image in done.view.images)
        session.say(f"Nothing to do: the site has {active} usable image{'' if active == 1 else 's'}, as it should.")
    return _status(done)


def status(name: SiteName, home: HomeOption = None, directory: Directory = HERE, output: OutputOption = Output.text) -> int:
    """Show the images and machines that a site has, and the newest lists it has seen. Fetches nothing."""
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.observe import site_cloud, site_document

    session = Session(directory)
    place = SiteHome.of(name, home)
    cloud, memory, pins = site_cloud(place, name), place.memory(), place.pins()
    images = [image for image in cloud.images() if image.owner == cloud.owner and image.spec]
    machines = [machine for machine in cloud.machines() if machine.owner == cloud.owner]
    lists = [(pin.name, memory.lists.get(pin.uuid), "") for pin in pins.image_lists]
    for one in site_document(place, name).foreign:
        known = memory.foreign.get(one.name)
        uuid = one.uuid or (known.uuid if known else "")
        lists.append((one.name, memory.lists.get(uuid), one.endorser.dn))
    if output is Output.json:
        session.json(
            {
                "version": 1,
                "lists": [
                    {"name": n, **({"signer": signer} if signer else {}), **(seen.model_dump(mode="json") if seen else {})}
                    for n, seen, signer in lists
                ],
                "images": [
                    {"id": i.id, "state": i.state, "in_use": i.in_use, "hidden_since": format_time(i.hidden_since) if i.hidden_since else None}
                    | (i.spec.model_dump(mode="json") if i.spec else {})
                    for i in images
                ],
                "machines": [{"name": m.name, "state": m.state, "cluster": m.cluster, "service": m.service, "image": m.image} for m in machines],
            }
        )
        return 0
    for list_name, seen, signer in lists:
        by = f", signed by {signer}" if signer else ""
        session.say(f"list {list_name}{by}: " + (f"version {seen.version}, until {format_time(seen.expires)}" if seen else "not seen yet"))
    for image in images:
        if image.spec:
            since = f" since {format_time(image.hidden_since)}" if image.hidden_since else ""
            state = f"{image.state}{since}{', in use' if image.in_use else ''}, until {format_time(image.spec.expires)}"
            session.say(f"image {image.spec.appliance} {image.spec.version} ({image.spec.format}, {Size(image.spec.size).human}): {state}")
    for machine in machines:
        session.say(f"machine {machine.name}: {machine.state}")
    if not images:
        session.say(f"no images yet; bring them with: vmkeeper reconcile {name}")
    return 0


@dataclass(frozen=True, slots=True)
class Followed:
    """The repository that a site follows, and what came with it."""

    repository: Repository
    fetch: Callable[[str], bytes] | None
    carried: Callable[[str], Path | None]


def follow(session: Session, place: SiteHome, bundle: Path | None) -> Followed:
    """The followed repository: from its pinned source, from a bundle, or the clone that -C names.

    A source that cannot be reached now leaves what was fetched last; how long that is good is the freshness statement's matter.
    """
    from vmkeeper.execute.bundle import read_bundle
    from vmkeeper.execute.following import MIRROR, follow, mirrored

    pins = place.pins()
    hosts = pins.fetch.allowed_hosts
    if bundle is not None:
        carried = read_bundle(bundle)
        repository = follow(place.folder, session.directory, bundle=bundle, progress=session.progress())
        return Followed(repository, lambda url: carried.list_bytes(url.split("/")[-2]), carried.image_path)
    try:
        repository = follow(place.folder, session.directory, source=pins.source, allowed_hosts=hosts, progress=session.progress())
    except (Transient, UserError) as error:
        if pins.source is None or not (place.folder / MIRROR).exists():
            raise
        session.warn(f"{error}; going on with what was fetched last")
        repository = mirrored(place.folder)
    return Followed(repository, None, lambda _sha512: None)


def last_followed(session: Session, place: SiteHome) -> Repository:
    """The followed repository as the last run at the site left it, without asking its source; the clone that -C names where there is none."""
    from vmkeeper.execute.following import mirrored

    return mirrored(place.folder) if place.pins().source is not None else session.repository


def _status(done: Reconciled) -> int:
    from vmkeeper.plan.wanted import Unusable

    failed = any(not isinstance(outcome, Done) for outcome in done.outcomes)
    return 1 if failed or done.made.refusal or any(isinstance(found.state, Unusable) for found in done.view.lists) else 0


def _say_notes(session: Session, made: SitePlan) -> None:
    for note in made.notes:
        session.say(f"note     {note.subject}: {note.why}")
    if made.refusal:
        show_error(session.err, made.refusal)


def _notes(made: SitePlan) -> list[dict[str, str]]:
    refused = [{"subject": "retire limit", "why": str(made.refusal)}] if made.refusal else []
    return [{"subject": note.subject, "why": note.why} for note in made.notes] + refused


def _as_json(done: Reconciled) -> dict[str, object]:
    from vmkeeper.plan.render import as_json

    return {**as_json(done.made.plan), "outcomes": [_outcome(outcome) for outcome in done.outcomes], "notes": _notes(done.made)}


def _outcome(outcome: Outcome) -> dict[str, str]:
    said = {"id": outcome.action.id, "outcome": type(outcome).__name__.lower()}
    if isinstance(outcome, Done):
        return {**said, "text": outcome.text}
    return {**said, "text": str(outcome.error) if isinstance(outcome, Failed) else f"needs {outcome.by}"}

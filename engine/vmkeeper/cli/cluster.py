"""Commands for virtual clusters: cluster plan, up, down, status."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vmkeeper.cli.session import CHANGES, HERE, DetailedExitCode, Directory, Output, OutputOption, Session
from vmkeeper.cli.site import HomeOption, last_followed
from vmkeeper.execute.walk import Done

commands = typer.Typer(no_args_is_help=True, help="Run virtual clusters at a site.")

ClusterName = Annotated[str, typer.Argument(help="A cluster: clusters/NAME.yaml.")]
SiteOption = Annotated[str, typer.Option("--site", help="The site that runs it.")]
KeyOption = Annotated[
    list[Path] | None,
    typer.Option("--ssh-key", help="An SSH public key file that may log in as the image's default user. Default: yours.", show_default=False),
]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Replace machines whose image, context or size has changed.")]


@commands.command("plan")
def plan(
    name: ClusterName,
    site: SiteOption,
    home: HomeOption = None,
    replace: ReplaceOption = False,
    directory: Directory = HERE,
    output: OutputOption = Output.text,
    detailed_exitcode: DetailedExitCode = False,
) -> int:
    """Show what `cluster up` would do now. Changes nothing."""
    from vmkeeper.execute.cluster import planned
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.plan.render import as_json, as_markdown, as_text

    session, place = Session(directory), SiteHome.of(site, home)
    made, _ = planned(last_followed(session, place), place, name, site, session.now, replace=replace)
    if output is Output.json:
        session.json({**as_json(made.plan), "notes": [{"subject": note.subject, "why": note.why} for note in made.notes]})
    elif output is Output.markdown:
        session.out.file.write(as_markdown(made.plan))
    else:
        session.say(as_text(made.plan, title=f"Cluster {name} at {site}:\n"))
        for note in made.notes:
            session.say(f"note     {note.subject}: {note.why}")
    return CHANGES if detailed_exitcode and made.plan else 0


@commands.command("up")
def up(
    name: ClusterName,
    site: SiteOption,
    home: HomeOption = None,
    ssh_key: KeyOption = None,
    replace: ReplaceOption = False,
    directory: Directory = HERE,
) -> int:
    """Start what is missing of a cluster, wait until it is ready, and say how to log in."""
    from vmkeeper.catalogue.catalogue import Catalogue
    from vmkeeper.execute.cluster import own_keys, planned, public_keys
    from vmkeeper.execute.cluster import up as bring_up
    from vmkeeper.execute.home import SiteHome

    session, place = Session(directory), SiteHome.of(site, home)
    repository = last_followed(session, place)
    keys = public_keys(tuple(ssh_key) if ssh_key else own_keys(Path.home() / ".ssh"))
    made, cloud = planned(repository, place, name, site, session.now, public_keys=keys, replace=replace)
    if made.plan and not keys:
        session.say("note     no SSH key was found: nobody will be able to log in; give one with --ssh-key FILE")
    done = bring_up(made, cloud, Catalogue.at(repository, made.plan.head), progress=session.progress())
    status = session.report(done.outcomes)
    for note in made.notes:
        session.say(f"note     {note.subject}: {note.why}")
    if not done.outcomes:
        session.say(f"Nothing to do: {name} is up at {site}.")
    for running in done.running:
        session.say(f"{running.machine.name} is {running.machine.state}. Log in with: {running.login}")
    return status


@commands.command("down")
def down(name: ClusterName, site: SiteOption, home: HomeOption = None, directory: Directory = HERE) -> int:
    """Stop and remove every machine of a cluster."""
    from vmkeeper.execute.cluster import down as bring_down
    from vmkeeper.execute.home import SiteHome

    session = Session(directory)
    outcomes = bring_down(SiteHome.of(site, home), name, site, progress=session.progress())
    if not outcomes:
        session.say(f"Nothing to do: no machine of {name} is at {site}.")
    return session.report(outcomes) or int(any(not isinstance(outcome, Done) for outcome in outcomes))


@commands.command("status")
def status(name: ClusterName, site: SiteOption, home: HomeOption = None, directory: Directory = HERE, output: OutputOption = Output.text) -> int:
    """Show the machines of a cluster."""
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.observe import site_cloud

    session = Session(directory)
    cloud = site_cloud(SiteHome.of(site, home), site)
    names = {image.id: image.name for image in cloud.images()}
    machines = [machine for machine in cloud.machines() if machine.owner == cloud.owner and machine.cluster == name]
    if output is Output.json:
        fields = ("id", "name", "state", "service", "image", "generation", "address")
        shown = [{**{field: getattr(m, field) for field in fields}, "ports": {str(k): list(v) for k, v in m.ports.items()}} for m in machines]
        session.json({"version": 1, "cluster": name, "site": site, "machines": shown})
        return 0
    for machine in machines:
        ports = ", ".join(f"{port} at {host}:{there}" for port, (host, there) in sorted(machine.ports.items()))
        session.say(
            f"{machine.name}: {machine.state}, {machine.service} from {names.get(machine.image, machine.image)}{f', port {ports}' if ports else ''}"
        )
    if not machines:
        session.say(f"no machine of {name} is at {site}; start them with: vmkeeper cluster up {name} --site {site}")
    return 0

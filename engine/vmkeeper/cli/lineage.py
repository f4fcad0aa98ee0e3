"""The command log: who stands behind what runs at a site."""

from __future__ import annotations

from typing import Annotated

import typer

from vmkeeper.cli.session import HERE, Directory, Output, OutputOption, Session
from vmkeeper.cli.site import BundleOption, HomeOption, follow


def log(
    site: Annotated[str, typer.Option("--site", help="The site that it runs at.")],
    subject: Annotated[str, typer.Argument(help="An appliance, machine, cluster or image. Default: all images.", show_default=False)] = "",
    home: HomeOption = None,
    bundle: BundleOption = None,
    directory: Directory = HERE,
    output: OutputOption = Output.text,
) -> int:
    """Show the chain behind what runs: machine, image, release, commit, endorsement, policy, approval, with who and when."""
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.lineage import lineage
    from vmkeeper.execute.observe import look

    session, place = Session(directory), SiteHome.of(site, home)
    followed = follow(session, place, bundle)
    view = look(followed.repository, place, site, session.now, fetch=followed.fetch)
    chains = lineage(view, followed.repository, subject)
    if output is Output.json:
        session.json({"version": 1, "chains": [[link.as_json() for link in chain] for chain in chains]})
        return 0
    if not chains:
        session.say(f"{site} has no images; bring them with: vmkeeper reconcile {site}")
    for number, chain in enumerate(chains):
        if number:
            session.say()
        for link in chain:
            by = " ".join(part for part in (f"by {link.who}" if link.who else "", link.when) if part)
            session.say(f"{link.kind:12} {link.name}{f', {by}' if by else ''}")
            if link.note:
                session.say(f"{'':12}   {link.note}")
    return 0

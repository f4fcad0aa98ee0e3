"""Commands of the publisher, run by CI when endorsements arrive and on a schedule: publish."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from vmkeeper.cli.session import HERE, Directory, Output, OutputOption, Session, StoreOption, show_error
from vmkeeper.errors import UserError

ToOption = Annotated[
    Path | None,
    typer.Option("--to", help="The public folder. Default: VMKEEPER_PUBLIC or git config vmkeeper.public.", show_default=False),
]
CertificateOption = Annotated[
    Path | None,
    typer.Option(
        "--certificate",
        help="PEM file with the publisher's certificate and its chain. Default: VMKEEPER_CERTIFICATE or git config vmkeeper.certificate.",
        show_default=False,
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option("--key", help="PEM file with the certificate's key. Default: VMKEEPER_KEY or git config vmkeeper.key.", show_default=False),
]


def publish(
    names: Annotated[list[str] | None, typer.Argument(metavar="[LIST]...", help="Image lists; default: all.", show_default=False)] = None,
    to: ToOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    revision: Annotated[str, typer.Option("--at", help="The commit to publish from.")] = "HEAD",
    directory: Directory = HERE,
    store: StoreOption = None,
    output: OutputOption = Output.text,
) -> int:
    """Write endorsed images and their signed lists into a folder that any web server can serve."""
    from vmkeeper.execute.publication import carry_out, desired, list_signer, observe, observe_index
    from vmkeeper.execute.walk import failures
    from vmkeeper.lists.smime import load_signer
    from vmkeeper.plan.publication import plan_publication
    from vmkeeper.plan.render import as_json

    session = Session(directory, store, output)
    now = session.now
    repository = session.repository
    root = _setting(session, to, "public", "--to").absolute()
    signer = load_signer(_setting(session, certificate, "certificate", "--certificate"), _setting(session, key, "key", "--key"))
    head = repository.resolve(revision)
    catalogue = session.catalogue(head)
    lists = desired(catalogue, head, tuple(names or ()), now, session.authorities)
    published = observe(root, [one.name for one in lists], signer, now)
    made = plan_publication(lists, published, observe_index(root), list_signer(signer), now, head=head)
    outcomes = carry_out(made.plan, root, session.store, signer, progress=session.progress())
    if output is Output.json:
        left_out = [{"list": one.image_list, "appliance": one.appliance, "reason": one.reason} for one in made.left_out]
        did = [{"id": outcome.action.id, "outcome": type(outcome).__name__.lower()} for outcome in outcomes]
        refused = [{"rule": error.rule, "why": str(error)} for error in made.refused]
        session.json({"plan": as_json(made.plan), "outcomes": did, "left_out": left_out, "refused": refused})
        return 1 if failures(outcomes) or made.refused else 0
    for one in made.left_out:
        session.say(f"left out {one.image_list}: {one.appliance}: {one.reason}")
    if not made.plan and not made.refused:
        session.say("Nothing to publish: every list says what is endorsed.")
    code = session.report(outcomes)
    for error in made.refused:
        show_error(session.err, error)
    return 1 if made.refused else code


def _setting(session: Session, given: Path | None, name: str, option: str) -> Path:
    """A path from its option, the environment or git config, in this order."""
    variable = f"VMKEEPER_{name.upper()}"
    found = given or os.environ.get(variable) or session.repository.config(f"vmkeeper.{name}")
    if not found:
        raise UserError(f"{option} is not given", hint=f"give {option}, set {variable}, or: git config vmkeeper.{name} PATH")
    return Path(found)

"""Commands for endorsers: endorse, withdraw."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from vmkeeper.cli.session import HERE, Directory, Session, StoreOption
from vmkeeper.errors import UserError
from vmkeeper.values import Duration, Version, format_time

if TYPE_CHECKING:
    from vmkeeper.execute.endorsement import Desk, Rebuild
    from vmkeeper.model.release import Release

Name = Annotated[str, typer.Argument(help="An appliance.")]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key",
        help="Sign with this key: a fingerprint, an SSH key file or an SSH public key. Default: git config user.signingKey.",
        show_default=False,
    ),
]
ListOption = Annotated[
    str | None, typer.Option("--list", help="The endorser list you speak for. Default: the one that knows your key.", show_default=False)
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before signing.")]


def endorse(
    name: Name,
    key: KeyOption = None,
    valid: Annotated[
        str | None, typer.Option("--valid", help="How long the endorsement is valid, such as 90d. Default: the list's maximum.", show_default=False)
    ] = None,
    list_name: ListOption = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build the image again and sign only if every byte is the same.")] = False,
    yes: YesOption = False,
    directory: Directory = HERE,
    store: StoreOption = None,
) -> int:
    """Show what speaks for and against a release, and put your name to it with a signed tag."""
    from vmkeeper.execute.endorsement import candidate
    from vmkeeper.execute.evidence import describe, evidence

    session = Session(directory, store)
    lifetime = _duration(valid)
    head = session.mainline
    chosen = candidate(session.repository, head, name)
    desk = _desk(session, head, key, name, list_name)
    for line in describe(evidence(chosen, desk.verdicts(), session.store, desk.attested(chosen))):
        session.say(line)
    session.say()
    _agree(session, yes, f"Endorse {name} {chosen.release.version} as {desk.role.endorser.name} of {desk.role.endorsers.name}?")
    done = desk.endorse(chosen, lifetime, _rebuilder(session) if rebuild else None)
    session.say(f"{'Signed' if done.new else 'Endorsed already:'} {done.tag}, valid until {format_time(done.statement.expires)}.")
    if done.new:
        session.say(f"Publish it with: git push origin refs/tags/{done.tag}")
    return 0


def withdraw(
    name: Name,
    version: Annotated[str, typer.Option("--version", help="The version to withdraw.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who run it.")],
    key: KeyOption = None,
    list_name: ListOption = None,
    yes: YesOption = False,
    directory: Directory = HERE,
) -> int:
    """Take a version back with a signed tag: sites stop offering it at their next run."""
    session = Session(directory)
    try:
        wanted = Version(version)
    except ValueError as error:
        raise UserError(str(error), where="--version") from None
    if not 1 <= len(reason) <= 1000:
        raise UserError("the reason has to have 1 to 1000 characters", where="--reason")
    desk = _desk(session, session.mainline, key, name, list_name)
    _agree(session, yes, f"Withdraw {name} {wanted} as {desk.role.endorser.name} of {desk.role.endorsers.name}?")
    done = desk.withdraw(name, wanted, reason)
    session.say(f"{'Signed' if done.new else 'Withdrawn already:'} {done.tag}.")
    if done.new:
        session.say(f"Publish it with: git push origin refs/tags/{done.tag}")
    return 0


def _desk(session: Session, head: str, key: str | None, name: str, list_name: str | None) -> Desk:
    from vmkeeper.execute.endorsement import Desk, Signatory
    from vmkeeper.execute.governance import Chamber, in_force
    from vmkeeper.execute.signing import role, signing_key

    def clock() -> datetime:
        return datetime.now(UTC)

    chosen = signing_key(session.repository, key, session.secret)
    judgement, pins = in_force(Chamber(session.repository, head, session.authorities, clock))
    found = role(judgement.enactments.current.policy, chosen, name, list_name)
    return Desk(session.repository, head, Signatory(chosen, found, pins, session.authorities, clock))


def _rebuilder(session: Session) -> Rebuild:
    from vmkeeper.cli.factory import cache_folder
    from vmkeeper.execute.factory import Factory
    from vmkeeper.execute.rebuild import rebuild

    def again(release: Release) -> dict[str, str]:
        return rebuild(Factory(session.repository, session.store, cache_folder(), session.progress()), release)

    return again


def _duration(text: str | None) -> Duration | None:
    try:
        return None if text is None else Duration.parse(text)
    except ValueError as error:
        raise UserError(str(error), where="--valid") from None


def _agree(session: Session, yes: bool, question: str) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError("nobody is here to confirm the signature", hint="read the evidence above, then give --yes")
    session.say(question)
    if not typer.confirm("Sign"):
        raise UserError("nothing was signed", hint="run the same command again when you have made up your mind")

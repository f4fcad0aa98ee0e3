"""Commands for those who govern: policy show, sign and revoke; approve; freshness."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from dataclasses import replace as replace_fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmkeeper.cli.session import HERE, Directory, Output, OutputOption, Session
from vmkeeper.errors import UserError
from vmkeeper.values import Duration, format_time, visible

if TYPE_CHECKING:
    from vmkeeper.execute.governance import Chamber, Proposed
    from vmkeeper.trust.policy import Policy
    from vmkeeper.trust.said import ListMark

commands = typer.Typer(no_args_is_help=True, help="Who may endorse: show what is in force, sign what is proposed, void stolen keys.")

KeyOption = Annotated[str | None, typer.Option("--key", help="Sign with this key. Default: git config user.signingKey.", show_default=False)]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before signing.")]
ValidOption = Annotated[str | None, typer.Option("--valid", help="How long it is valid, such as 90d. Default: the longest.", show_default=False)]


@commands.command("show")
def show(directory: Directory = HERE, output: OutputOption = Output.text) -> int:
    """Show the policy in force and what endorsers/ proposes."""
    from vmkeeper.execute.governance import proposed

    session = Session(directory)
    found = proposed(_chamber(session))
    before = found.previous
    if output is Output.json:
        in_force = {"number": before.number, "sha512": before.said.content, "expires": format_time(before.said.expires)} if before else None
        waiting = None if found.settled else {"number": found.number, "signed": list(found.signed), "missing": list(found.missing())}
        session.json({"version": 1, "in_force": in_force, "proposed": waiting})
        return 0
    for refusal in found.fallen:
        session.say(f"Nobody follows this repository: {refusal}")
        session.say(f"  → {refusal.hint}" if refusal.hint else "  → sign what is proposed below")
    if before is None:
        session.say("No policy is in force: nobody has signed one.")
    else:
        signers = ", ".join(sorted({read.tag.split("/")[-1] for read in before.signatures}))
        until = before.said.expires
        ended = f"in force, and has expired at {format_time(until)}" if until <= session.now else f"in force until {format_time(until)}"
        session.say(f"Policy {before.number} is {ended}, signed by {signers}.")
        if found.in_force:
            _say_policy(session, found.policy)
    if not found.settled:
        session.say(f"endorsers/ proposes policy {found.number}{', which renews it' if found.in_force else ''}.{_waiting(found)}")
        if not found.in_force:
            _say_policy(session, found.policy)
        session.say("Principals sign it with: vmkeeper policy sign")
    return 0


def _waiting(found: Proposed) -> str:
    """Who has signed what is proposed, and what it still needs."""
    signed = f" Signed by {', '.join(found.signed)}." if found.signed else ""
    return f"{signed} It needs {'; and '.join(found.missing()) or 'nothing more'}."


def _say_policy(session: Session, policy: Policy) -> None:
    from vmkeeper.trust.people import key_id

    session.say(f"  {policy.document.quorum} of {len(policy.principals)} principals decide:")
    for person in policy.principals:
        session.say(f"    {person.name} ({person.full_name} <{person.email}>): {', '.join(map(key_id, person.keys))}")
    for name, one in sorted(policy.lists.items()):
        session.say(f"  list {name}: {one.quorum} of {', '.join(person.name for person in one.endorsers) or 'nobody'}")
    for builder in policy.builders:
        session.say(f"  builder {builder.name}: {builder.id}")
    if policy.document.freshness:
        session.say(f"  freshness statements by {', '.join(policy.document.freshness.signers)}")


@commands.command("pins")
def pins(directory: Directory = HERE) -> int:
    """Print pins of the policy in force, for whoever audits or follows the repository. Compare the fingerprints by another way first."""
    from vmkeeper.execute.governance import in_force
    from vmkeeper.trust.pins import fingerprints, to_yaml

    session = Session(directory)
    judgement, own = in_force(_chamber(session))
    current = judgement.enactments.current
    held = {"policy": current.mark, "quorum": current.policy.document.quorum, "principals": current.policy.principals}
    made = own.model_copy(update=held)
    session.warn("compare this with what its principals told you by another way, before you trust it:")
    for line in fingerprints(made).splitlines():
        session.err.print(visible(line), markup=False)
    session.out.file.write(to_yaml(made))
    return 0


@commands.command("sign")
def sign(
    key: KeyOption = None,
    valid: ValidOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take back what you signed under this number, if it is not in force.")] = False,
    yes: YesOption = False,
    directory: Directory = HERE,
) -> int:
    """Sign the endorsers/ tree of the head as the next policy. It comes into force once enough principals have."""
    from vmkeeper.execute.governance import proposed, sign_policy
    from vmkeeper.execute.signing import signing_key

    session = Session(directory)
    chamber, chosen = _chamber(session), signing_key(session.repository, key, session.secret)
    found = proposed(chamber)
    if found.settled and valid is None:
        session.say(f"Nothing to sign: endorsers/ is policy {found.number - 1}, which is in force. Give --valid to renew it.")
        return 0
    until = f", signed by {', '.join(found.signed)}, until {format_time(found.said.expires)}" if found.said else ""
    session.say(f"Policy {found.number}, from endorsers/ at {chamber.head[:12]}{until}:")
    _say_policy(session, found.policy)
    _agree(yes, session, f"Sign it as policy {found.number}?")
    said = sign_policy(chamber, chosen, _duration(valid), replace=replace)
    after = proposed(chamber)
    in_force = after.previous is not None and after.previous.number >= said.number
    state = "It is in force." if in_force else f"It still needs {'; and '.join(after.missing())}."
    session.say(f"{'Signed already:' if said in found.signatures else 'Signed'} {said.ref}, valid until {format_time(said.expires)}. {state}")
    vanished = any(refusal.rule == "R4" for refusal in found.fallen)
    commit = f"{session.repository.config('vmkeeper.mainline') or 'main'} " if vanished else ""
    how = f"{'--atomic ' if vanished else ''}{'--force ' if replace else ''}origin {commit}"
    session.say(f"Publish it {'together with the commit' if vanished else 'with'}: git push {how}refs/tags/{said.ref}")
    return 0


@commands.command("revoke")
def revoke(
    holder: Annotated[str, typer.Argument(metavar="HOLDER", help="Whose key it is.")],
    revoked: Annotated[str, typer.Option("--void", help="The key, as vmkeeper policy show names it.")],
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
    since: Annotated[
        int,
        typer.Option(
            "--stands-by", min=0, help="The last serial of the holder's tags that is surely theirs (of who has none, the last policy); 0: nothing."
        ),
    ] = 0,
    key: KeyOption = None,
    yes: YesOption = False,
    directory: Directory = HERE,
) -> int:
    """Void a stolen or lost key with a signed tag: one principal is enough, or the key itself."""
    from vmkeeper.execute.revoking import revoke as sign_revocation
    from vmkeeper.execute.signing import signing_key

    session = Session(directory)
    chamber, chosen = _chamber(session), signing_key(session.repository, key, session.secret)
    kept = f"but for what it signed up to serial {since}" if since else "with everything that it has ever signed"
    _agree(yes, session, f"Void {revoked} of {holder} for ever, {kept}?")
    said = sign_revocation(chamber, chosen, holder, revoked, since, reason)
    session.say(f"Signed {said.ref}.")
    for refusal in chamber.standing()[1]:
        session.say(f"Sites will do nothing until a policy is signed again: {refusal}")
        session.say("Read what is proposed now with: vmkeeper policy show")
    session.say(f"Publish it with: git push origin refs/tags/{said.ref}")
    return 0


def approve(
    site: Annotated[str, typer.Argument(metavar="SITE", help="A site: sites/NAME.yaml.")],
    name: Annotated[
        str | None,
        typer.Option(
            "--as", help="Your name in the site's pins. Default: as the pins say, or git config vmkeeper.administrator.", show_default=False
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take back what you approved under this number, if it is not in force.")] = False,
    home: Annotated[
        Path | None,
        typer.Option("--home", help="The site's own folder, if it is here: its pins say whose approvals count.", show_default=False),
    ] = None,
    key: KeyOption = None,
    yes: YesOption = False,
    directory: Directory = HERE,
) -> int:
    """Put sites/SITE.yaml of the head in force at the site with a signed tag."""
    from vmkeeper.execute.approving import approve as sign_approval
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.signing import signing_key

    session, place = Session(directory), SiteHome.of(site, home)
    chamber = _chamber(session)
    pins = place.pins() if place.pinned() else None
    if pins is not None and pins.site is not None and pins.site.name == site:
        chamber, called = replace_fields(chamber, authorities=place.authorities(pins)), name
    else:
        pins, called = None, name or session.repository.config("vmkeeper.administrator")
    text = session.repository.at(chamber.head).read(f"sites/{site}.yaml")
    if text is None:
        raise UserError("there is no such file", where=f"sites/{site}.yaml", hint="write and commit it first")
    session.say(text.decode(errors="replace").rstrip())
    _agree(yes, session, f"Approve this for {site}{f' as {called}' if called else ''}?")
    said, new = sign_approval(chamber, signing_key(session.repository, key, session.secret), site, called, pins, replace=replace)
    session.say(f"{'Signed' if new else 'Approved already:'} {said.ref}.")
    if new:
        session.say(f"Publish it with: git push {'--force ' if replace else ''}origin refs/tags/{said.ref}")
    return 0


def freshness(
    key: Annotated[
        str | None,
        typer.Option("--key", help="The builder's key. Default: VMKEEPER_BUILDER_KEY or git config vmkeeper.builderKey.", show_default=False),
    ] = None,
    valid: ValidOption = None,
    public: Annotated[
        str | None,
        typer.Option("--public", help="Where lists are published: a folder or address. Default: git config vmkeeper.public.", show_default=False),
    ] = None,
    directory: Directory = HERE,
) -> int:
    """Say with a builder's key what is there now, so that nobody can show sites an old state unseen."""
    from vmkeeper.execute.fresh import published_marks
    from vmkeeper.execute.governance import vouch
    from vmkeeper.execute.publictarget import open_public
    from vmkeeper.execute.signing import signing_key
    from vmkeeper.execute.verification import FRESHNESS_REF

    session = Session(directory)
    name = key or os.environ.get("VMKEEPER_BUILDER_KEY") or session.repository.config("vmkeeper.builderKey")
    if not name:
        raise UserError("there is no builder's key", hint="give --key, set VMKEEPER_BUILDER_KEY, or: git config vmkeeper.builderKey KEY")
    address = public or session.repository.config("vmkeeper.public")
    credentials = session.repository.config("vmkeeper.publicCredentials")
    marks: tuple[ListMark, ...] = ()
    if address:
        with closing(open_public(address, Path(credentials).expanduser() if credentials else None, os.environ)) as target:
            marks = published_marks(target)
    said = vouch(_chamber(session), signing_key(session.repository, name, session.secret), marks, _duration(valid))
    known = ", ".join(f"{one.endorser} {one.serial}" for one in said.chains) or "none"
    counts = f"policy {said.policy.number}, endorsers' last tags {known}, {len(said.revocations)} revocations, {len(said.lists)} lists"
    session.say(f"Signed {FRESHNESS_REF}, good until {format_time(said.expires)}: {counts}.")
    session.say(f"Publish it with: git push --force origin {FRESHNESS_REF}")
    return 0


def _chamber(session: Session) -> Chamber:
    from vmkeeper.execute.governance import Chamber

    return Chamber(session.repository, session.mainline, session.authorities, lambda: datetime.now(UTC))


def _duration(text: str | None) -> Duration | None:
    try:
        return None if text is None else Duration.parse(text)
    except ValueError as error:
        raise UserError(str(error), where="--valid") from None


def _agree(yes: bool, session: Session, question: str) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError("nobody is here to confirm the signature", hint="read what is shown above, then give --yes")
    session.say(question)
    if not typer.confirm("Sign"):
        raise UserError("nothing was signed", hint="run the same command again when you have made up your mind")

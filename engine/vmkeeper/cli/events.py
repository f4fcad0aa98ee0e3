"""site events: what waits for a site's handlers, and why; try again, or leave an event out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkeeper.cli.session import HERE, Directory, Output, OutputOption, Session
from vmkeeper.cli.site import HomeOption, SiteName
from vmkeeper.errors import UserError
from vmkeeper.values import format_time

if TYPE_CHECKING:
    from vmkeeper.execute.delivery import Waiting


def events(
    name: SiteName,
    home: HomeOption = None,
    deliver: Annotated[bool, typer.Option("--deliver", help="Try now to have the handlers take what waits.")] = False,
    skip: Annotated[
        str | None, typer.Option("--skip", metavar="HANDLER", help="Leave out the first event that waits for this handler.", show_default=False)
    ] = None,
    directory: Directory = HERE,
    output: OutputOption = Output.text,
) -> int:
    """Show what waits for each handler of the site, since when, and what came of it last. Exit status 1 while anything waits."""
    from vmkeeper.execute.delivery import waiting
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.post import site_post
    from vmkeeper.execute.spool import Spool

    session = Session(directory)
    post = site_post(SiteHome.of(name, home), name)
    spool = Spool(post.spool)
    if skip is not None:
        handler = next((one for one in post.handlers if one.name == skip), None)
        if handler is None:
            raise UserError(f"the site has no handler {skip}", hint=f"it has {', '.join(one.name for one in post.handlers) or 'none'}")
        left_out = post.skip(spool, handler)
        session.warn(f"{skip} will not hear of {left_out.type} {left_out.subject}" if left_out else f"nothing waits for {skip}")
    notes = post.deliver(spool, lambda: session.now, session.progress()) if deliver and post.handlers else ()
    found = [waiting(spool, one) for one in post.handlers]
    if output is Output.json:
        session.json({"version": 1, "handlers": [_as_json(one) for one in found]})
    else:
        for note in notes:
            if not note.subject.startswith("handler "):
                session.warn(f"{note.subject}: {note.why}")
        for one in found:
            _say(session, one)
        if not found:
            session.say(f"{name} has no handlers (`events:` in its file).")
    return 1 if any(one.count or one.unreadable or (one.queue and one.queue.gone) for one in found) else 0


def _say(session: Session, found: Waiting) -> None:
    from vmkeeper.execute.delivery import counted, described

    head, queue = f"{found.handler.name} {described(found.handler)}", found.queue
    if queue is None:
        session.say(f"{head}: it hears from the next run on")
    elif found.unreadable:
        session.say(f"{head}: {found.unreadable}")
    elif queue.gone:
        session.say(f"{head}: it is not told anything any more")
    else:
        session.say(f"{head}: {counted(found) if found.count else 'nothing waits'}")
    if found.first is not None:
        session.say(f"  first: {found.first.type} {found.first.subject} ({found.first.id})")
    if queue is not None and queue.error:
        tries = f"tried {queue.attempts} time{'' if queue.attempts == 1 else 's'}, " if queue.attempts else ""
        session.say(f"  {tries}last at {format_time(queue.failed) if queue.failed else 'a time unknown'}: {queue.error}")
    if queue is not None and queue.lost:
        session.say(f"  {queue.lost} event{'' if queue.lost == 1 else 's'} it has never heard of, as too many waited or somebody left them out")


def _as_json(found: Waiting) -> dict[str, Any]:
    from vmkeeper.execute.delivery import described

    queue, first = found.queue, found.first
    return {
        "name": found.handler.name,
        "does": described(found.handler),
        "waiting": found.count,
        "more": found.more,
        "since": format_time(found.since) if found.since else None,
        "first": {"id": first.id, "type": first.type, "subject": first.subject} if first else None,
        "attempts": queue.attempts if queue else 0,
        "tried": format_time(queue.failed) if queue and queue.failed else None,
        "error": found.unreadable or (queue.error if queue else ""),
        "gone": bool(queue and queue.gone),
        "lost": queue.lost if queue else 0,
    }

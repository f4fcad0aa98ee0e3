"""Sign that a site's file is to be in force, as one of its administrators."""

from __future__ import annotations

from vmkeeper.errors import Refused, UserError
from vmkeeper.execute.governance import Chamber, write_tag
from vmkeeper.execute.signing import SigningKey, owner
from vmkeeper.execute.verification import judge
from vmkeeper.trust import statement, tagobject
from vmkeeper.trust.judge import Judgement, Sight
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.people import Holder
from vmkeeper.trust.pins import Pins
from vmkeeper.trust.said import SiteApproval
from vmkeeper.values import sha512_hex


def approve(chamber: Chamber, key: SigningKey, site: str, name: str | None, pins: Pins | None = None, *, replace: bool = False) -> tuple[SiteApproval, bool]:
    """Sign sites/NAME.yaml at the head as the site's next one; returns what was signed and whether it is new.

    name: how the site's pins call the administrator. pins: the site's, where they are at hand; they say who the key's owner is,
    which approval is in force and which of those that are not count. Without them all tags are taken as they lie, and
    only the site itself can say whose signatures count. replace: take an own signature back that is not in force yet.
    """
    seen = chamber.sight()
    path = f"{site}.yaml"
    data = seen.history.files(chamber.head, "sites").get(path)
    if data is None:
        raise UserError("there is no such file", where=f"sites/{path}", hint="write and commit it first")
    person, name = _administrator(pins, site, name, key)
    judgement = judge(seen, pins, Memory(), chamber.authorities, chamber.clock()) if pins is not None and person is not None else None
    last = _chain(seen, site, judgement, pins, name)
    file = sha512_hex(data)
    next_one = {"number": last[0].number + 1 if last else 1, "commit": chamber.head, "file": file, "previous": last[0].content if last else None}

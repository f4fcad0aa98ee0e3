"""Sign that a site's file is to be in force, as one of its administrators. Only the site itself can say whose signatures count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import ValidationError

from vmkeeper.errors import Refused, UserError
from vmkeeper.execute.governance import SKEW, Chamber, write_tag
from vmkeeper.execute.signing import SigningKey, owner
from vmkeeper.execute.verification import judge, verifiers
from vmkeeper.trust import statement, tagobject
from vmkeeper.trust.judge import Sight
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.people import Holder
from vmkeeper.trust.pins import Pins
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.said import SiteApproval
from vmkeeper.trust.signature import Authenticator
from vmkeeper.values import sha512_hex


class _Approvals(NamedTuple):
    """The approval that the next one follows, and what is signed with the next number."""

    before: SiteApproval | None
    pending: tuple[SiteApproval, ...]


def approve(
    chamber: Chamber, key: SigningKey, site: str, name: str | None = None, pins: Pins | None = None, *, replace: bool = False
) -> tuple[SiteApproval, bool]:
    """Sign sites/NAME.yaml at the head as the site's next one; returns what is signed and whether it is new.

    name: how the site's pins call the administrator. pins: the site's own, where they are at hand: then the administrator
    is the key's owner, and only what its administrators have signed counts. Without them tags are taken as they lie.
    replace: take back what one signed under the same number, if it is not in force.
    """
    seen = chamber.sight()
    path = f"sites/{site}.yaml"
    data = chamber.repository.at(chamber.head).read(path)
    if data is None:
        raise UserError("there is no such file", where=path, hint="write and commit it first")
    file = sha512_hex(data)
    if pins is not None and pins.site is not None and pins.site.name == site:
        if not pins.site.administrators:
            hint = f"accept it there: vmkeeper site init {site}; or pin administrators with --administrator NAME=FILE"
            raise UserError(f"nobody's approval counts at {site}: its pins name the one file that was accepted there", hint=hint)
        person: Holder | None = _administrator(pins.site.administrators, key, name)
        found = _verified(chamber, seen, pins, site)
        name = person.name if person else name
    else:
        person, found = None, _as_they_lie(seen, site, file)
    if not name:
        hint = "give --as NAME, as the site's pins call you, or: git config vmkeeper.administrator NAME"
        raise UserError("it is not said who you are", hint=hint)
    before = found.before
    if before is not None and before.file == file:
        return before, False
    alike = [one for one in found.pending if one.file == file]
    for one in alike:
        if one.administrator == name:
            return one, False
    if alike:
        shared = alike[0].model_dump(include={"number", "commit", "file", "previous"})
    else:
        number, previous = (before.number + 1, before.content) if before else (1, None)
        shared = {"number": number, "commit": chamber.head, "file": file, "previous": previous}
    try:
        made = SiteApproval(repository=seen.history.root()[0], key=key.id, issued=chamber.now(), site=site, administrator=name, **shared)
    except ValidationError as error:
        raise UserError(f"{name} is no name for an administrator", why=error.errors()[0]["msg"], hint="give --as NAME") from None
    if made.ref in seen.tags and not replace:
        hint = "take that one back, unless others have it in force: vmkeeper approve --replace"
        raise UserError(f"you have approved another file as number {made.number}", where=made.ref, hint=hint)
    write_tag(chamber, made, key, person, replace=replace)
    return made, True


def _administrator(administrators: Sequence[Holder], key: SigningKey, name: str | None) -> Holder:
    person = owner(administrators, key)
    if person is None or name not in (None, person.name):
        known = ", ".join(one.name for one in administrators)
        what = f"your key {key.id} belongs to no administrator" if person is None else f"your key is {person.name}'s, not {name}'s"
        raise UserError(f"{what} of the site", hint=f"administrators in its pins are: {known}")
    return person


def _verified(chamber: Chamber, seen: Sight, pins: Pins, site: str) -> _Approvals:
    """What the site's administrators have signed."""
    assert pins.site is not None
    consents = judge(seen, pins, Memory(), chamber.authorities, chamber.clock()).consents
    before = consents[-1].said if consents else None
    people = {one.name: one for one in pins.site.administrators}
    prefix = f"approve/{site}/{len(consents) + 1}/"
    tags = {name: raw for name, raw in seen.tags.items() if name.startswith(prefix)}
    with verifiers(chamber.authorities) as known:
        reader = Authenticator(pins.repository, seen.history, known, chamber.clock(), SKEW)
        reads = reader.read(tags, lambda name: people.get(name.signer) or Refusal("R20", f"{name.signer} is no administrator"))
    said = [one.said for one in reads if one.good and isinstance(one.said, SiteApproval)]
    return _Approvals(before, tuple(one for one in said if one.previous == (before.content if before else None)))


def _as_they_lie(seen: Sight, site: str, file: str) -> _Approvals:
    """What is signed for a site, number by number from 1 without a gap. Nothing is verified: sites do that."""
    by_number: dict[int, list[SiteApproval]] = {}
    for name, raw in seen.tags.items():
        said = _unverified(raw) if name.startswith(f"approve/{site}/") else None
        if isinstance(said, SiteApproval) and said.ref == name:
            by_number.setdefault(said.number, []).append(said)
    last = next(number for number in range(1, len(by_number) + 2) if number not in by_number) - 1
    alike = tuple(one for one in by_number.get(last, ()) if one.file == file)
    before = by_number.get(last - 1 if alike else last)
    return _Approvals(before[0] if before else None, alike)


def _unverified(raw: bytes | None) -> object:
    try:
        return statement.parse(tagobject.parse(raw).payload) if raw is not None else None
    except Refused:
        return None

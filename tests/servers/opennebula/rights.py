"""Who may do what: owner, group, others, and the ACL rules of a new OpenNebula."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace

from .failures import AUTHENTICATION, AUTHORIZATION, Failure
from .objects import Rule, Thing, User
from .store import Store

USE, MANAGE, ADMIN, CREATE = "USE", "MANAGE", "ADMIN", "CREATE"
_LEVEL = {USE: 1, MANAGE: 2, ADMIN: 3}
CREATABLE = ["VM", "IMAGE", "TEMPLATE", "DOCUMENT", "SECGROUP", "VROUTER", "VMGROUP", "BACKUPJOB"]
"""What members of the group `users` may create in a new OpenNebula."""


def digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def authenticate(store: Store, session: str) -> User:
    """`NAME:PASSWORD` or `NAME:TOKEN`. Raises Failure 256 with the same words whatever is wrong."""
    name, colon, password = session.partition(":")
    user = store.named("user", name) if colon else None
    if isinstance(user, User) and user.enabled:
        if user.password == digest(password):
            return user
        for token, ends, gid in user.tokens:
            if token == password and (ends == -1 or time.time() < ends):
                return user if gid == -1 else replace(user, gid=gid, gname=store.group(gid).name, groups=[gid])
    raise Failure(AUTHENTICATION, "User couldn't be authenticated, aborting call.")


@dataclass(frozen=True)
class Wish:
    """A right that a call needs, on an object or (id -1) on a kind."""

    operation: str
    upper: str
    thing: Thing | None = None
    locks: bool = True
    """Whether a lock takes the right away."""

    def __str__(self) -> str:
        return f"Not authorized to perform {self.operation} {self.upper}" + (f" [{self.thing.id}]" if self.thing else "")


def on(operation: str, thing: Thing, *, locks: bool = True) -> Wish:
    return Wish(operation, thing.upper, thing, locks)


def create(upper: str) -> Wish:
    return Wish(CREATE, upper)


def require(store: Store, user: User, *wishes: Wish) -> None:
    """Raises Failure 512 that names all that is not allowed."""
    if user.id == 0 or 0 in user.groups:
        for wish in wishes:
            if wish.thing is not None and _locked(wish):
                raise denied(user, f"{wish.upper} is locked. [{wish.thing.id}]")
        return
    if refused := [wish for wish in wishes if not allowed(store, user, wish)]:
        raise denied(user, "; ".join(map(str, refused)))


def denied(user: User, why: str) -> Failure:
    return Failure(AUTHORIZATION, f"User [{user.id}] : {why}.")


def _locked(wish: Wish) -> bool:
    return wish.locks and wish.thing is not None and wish.thing.lock is not None and wish.thing.lock[0] <= _LEVEL[wish.operation]


def allowed(store: Store, user: User, wish: Wish) -> bool:
    """Whether an ordinary user may."""
    thing = wish.thing
    if thing is not None:
        if _locked(wish):
            return False
        if thing.kind == "user" and thing.id == user.id:
            return True
        if thing.kind == "group" and thing.id in user.groups and wish.operation == USE:
            return True
        place = _LEVEL[wish.operation] - 1
        owns, grouped = thing.uid == user.id, thing.gid in user.groups
        if thing.kind not in ("user", "group", "host", "cluster") and (
            (owns and thing.rights[place]) or (grouped and thing.rights[3 + place]) or thing.rights[6 + place]
        ):
            return True
    return any(_covers(rule, user, wish) for rule in store.rules())


def _covers(rule: Rule, user: User, wish: Wish) -> bool:
    whom = {"*", f"#{user.id}", *(f"@{oid}" for oid in user.groups)}
    which = {"*"} if wish.thing is None else {"*", f"#{wish.thing.id}", f"@{wish.thing.gid}"}
    return rule.whom in whom and wish.upper in rule.kinds and rule.which in which and wish.operation in rule.operations


def group_rules(store: Store, gid: int) -> list[Rule]:
    """What a group may do in the default virtual data centre, to which each new group belongs."""
    rules = [(["NET", "DATASTORE", "CLUSTER"], [USE]), (["HOST"], [MANAGE])]
    if gid == 1:
        rules.insert(0, (CREATABLE, [CREATE]))
    first = store.next_id("acl")
    return [Rule(first + number, "", whom=f"@{gid}", kinds=kinds, operations=rights) for number, (kinds, rights) in enumerate(rules)]

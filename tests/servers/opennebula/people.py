"""one.user.*, one.group.*, one.acl.*: who there is."""

from __future__ import annotations

import secrets

from . import names
from .failures import ACTION, API, INTERNAL, NO_EXISTS, Failure
from .objects import Group, Rule, User
from .quotas import limits_xml, set_limits
from .registry import Call, method
from .render import element, pool, user, xml
from .rights import ADMIN, MANAGE, USE, create, digest, group_rules, on, require
from .template import cdata
from .things import got, parsed, touched

_RIGHTS = {1: USE, 2: MANAGE, 4: ADMIN, 8: "CREATE"}
_KINDS = [
    "VM",
    "HOST",
    "NET",
    "IMAGE",
    "USER",
    "TEMPLATE",
    "GROUP",
    "ACL",
    "DATASTORE",
    "CLUSTER",
    "DOCUMENT",
    "ZONE",
    "SECGROUP",
    "VDC",
    "VROUTER",
    "MARKETPLACE",
    "MARKETPLACEAPP",
    "VMGROUP",
]
_FIRST_KIND = 0x1000000000


@method("one.user.allocate", "sss|a")
def allocate_user(call: Call, name: str, password: str, driver: str, groups: list[int] | None = None) -> int:
    store = call.oned.store
    require(store, call.user, create("USER"))
    if wrong := names.invalid(name, modern=call.oned.modern) or names.taken(store, "user", name, 0):
        raise Failure(INTERNAL, wrong)
    if not password:
        raise Failure(INTERNAL, "Invalid password, it cannot be empty")
    of = [store.group(oid) for oid in groups or [1]]
    it = User(store.next_id("user"), name, password=digest(password), driver=driver or "core", groups=[group.id for group in of])
    it.gid, it.gname = of[0].id, of[0].name
    it.template.set("TOKEN_PASSWORD", digest(f"{name} {it.id}"))
    return store.add(it)


def _user(call: Call, oid: int, operation: str) -> User:
    it: User = got(call, "user", call.user.id if oid == -1 else oid, operation)
    return it


@method("one.user.info", "i|b")
def user_info(call: Call, oid: int, _decrypt: bool = False) -> str:
    return xml(_user(call, oid, USE), call.oned.store, modern=call.oned.modern)


@method("one.userpool.info")
def user_pool(call: Call) -> str:
    seen = [it for it in call.oned.store.users() if call.admin or it.id == call.user.id]
    quotas = [element("QUOTAS", element("ID", it.id), limits_xml(call.oned.store, it)) for it in seen]
    return pool("USER_POOL", [user(it) for it in seen], *quotas, element("DEFAULT_USER_QUOTAS", limits_xml(call.oned.store, Group(0, ""))))


@method("one.user.update", "isi")
def update_user(call: Call, oid: int, text: str, how: int) -> int:
    if how not in (0, 1):
        raise Failure(API, "Wrong update type")
    it = _user(call, oid, MANAGE)
    wanted = parsed(text, before="Cannot update template. ")
    if how == 0:
        it.template.items = wanted.items
    else:
        it.template.merge(wanted)
    return touched(call, it)


@method("one.user.delete", "i")
def delete_user(call: Call, oid: int) -> int:
    it = got(call, "user", oid, ADMIN)
    if oid == 0:
        raise Failure(ACTION, "Cannot delete user. oneadmin cannot be deleted.")
    call.oned.store.drop(it)
    return oid


@method("one.user.passwd", "is")
def passwd(call: Call, oid: int, password: str) -> int:
    it = _user(call, oid, MANAGE)
    if not password:
        raise Failure(INTERNAL, "Invalid password, it cannot be empty")
    it.password = digest(password)
    return touched(call, it)


@method("one.user.enable", "ib")
def enable_user(call: Call, oid: int, wanted: bool) -> int:
    it = _user(call, oid, ADMIN)
    it.enabled = wanted
    return touched(call, it)


@method("one.user.login", "ssi|i")
def login(call: Call, name: str, token: str, seconds: int, gid: int = -1) -> str:
    """A token good for that long (-1: always), for all groups or one; 0 seconds ends one, or with "" all."""
    store = call.oned.store
    it = store.named("user", name)
    if not isinstance(it, User):
        raise Failure(NO_EXISTS, f"Error getting user [{name}].")
    require(store, call.user, on(MANAGE, it))
    if seconds == 0:
        left = [one for one in it.tokens if token and one[0] != token]
        if token and len(left) == len(it.tokens):
            raise Failure(API, f"Could not find token: {token}")
        it.tokens = left
    elif seconds < -1:
        raise Failure(API, "Wrong valid period for token")
    elif gid != -1 and not call.admin and gid not in it.groups:
        raise Failure(API, "EGID is not in user group list")
    elif gid == -1 and sorted(it.groups) != sorted(call.user.groups):
        raise Failure(API, "Cannot create a full token with a specific group token")
    else:
        token = token or secrets.token_hex(20)
        it.tokens.append([token, seconds if seconds == -1 else call.oned.now() + seconds, gid])
    touched(call, it)
    return token


@method("one.user.quota", "is")
def user_quota(call: Call, oid: int, text: str) -> int:
    it = _user(call, oid, ADMIN)
    set_limits(it, parsed(text, single=False))
    return touched(call, it)


@method("one.user.chgrp", "ii")
def chgrp(call: Call, oid: int, gid: int) -> int:
    it = _user(call, oid, MANAGE)
    group = call.oned.store.group(gid)
    require(call.oned.store, call.user, on(MANAGE, group))
    it.groups = [gid, *(other for other in it.groups if other not in (gid, it.gid))]
    it.gid, it.gname = gid, group.name
    return touched(call, it)


@method("one.user.addgroup", "ii")
def add_group(call: Call, oid: int, gid: int) -> int:
    it = _user(call, oid, MANAGE)
    require(call.oned.store, call.user, on(MANAGE, call.oned.store.group(gid)))
    if gid in it.groups:
        raise Failure(INTERNAL, "User is already in this group")
    it.groups = sorted({*it.groups, gid})
    return touched(call, it)


@method("one.user.delgroup", "ii")
def delete_group_of_user(call: Call, oid: int, gid: int) -> int:
    it = _user(call, oid, MANAGE)
    require(call.oned.store, call.user, on(MANAGE, call.oned.store.group(gid)))
    if gid == it.gid:
        raise Failure(INTERNAL, "Cannot remove user from the primary group.")
    it.groups = [other for other in it.groups if other != gid]
    return touched(call, it)


@method("one.group.allocate", "s")
def allocate_group(call: Call, name: str) -> int:
    store = call.oned.store
    require(store, call.user, create("GROUP"))
    if wrong := names.invalid(name, modern=call.oned.modern) or names.taken(store, "group", name, 0):
        raise Failure(INTERNAL, wrong)
    oid = store.add(Group(store.next_id("group"), name))
    for rule in group_rules(store, oid):
        store.add(rule)
    return oid


@method("one.group.info", "i|b")
def group_info(call: Call, oid: int, _decrypt: bool = False) -> str:
    return xml(got(call, "group", call.user.gid if oid == -1 else oid, USE), call.oned.store, modern=call.oned.modern)


@method("one.grouppool.info")
def group_pool(call: Call) -> str:
    store = call.oned.store
    seen = [group for group in store.all("group") if call.admin or group.id in call.user.groups]
    body = [xml(group, store, modern=call.oned.modern) for group in seen]
    return pool("GROUP_POOL", body, element("DEFAULT_GROUP_QUOTAS", limits_xml(store, Group(0, ""))))


@method("one.group.update", "isi")
def update_group(call: Call, oid: int, text: str, how: int) -> int:
    group = got(call, "group", oid, MANAGE)
    wanted = parsed(text, before="Cannot update template. ")
    if how == 0:
        group.template.items = wanted.items
    else:
        group.template.merge(wanted)
    return touched(call, group)


@method("one.group.delete", "i")
def delete_group(call: Call, oid: int) -> int:
    group = got(call, "group", oid, ADMIN)
    if any(oid in it.groups for it in call.oned.store.users()):
        raise Failure(ACTION, f"Cannot delete group. Group {oid} is not empty.")
    call.oned.store.drop(group)
    return oid


@method("one.group.quota", "is")
def group_quota(call: Call, oid: int, text: str) -> int:
    group = got(call, "group", oid, ADMIN)
    set_limits(group, parsed(text, single=False))
    return touched(call, group)


@method("one.acl.addrule", "sss|s")
def add_rule(call: Call, whom: str, what: str, rights: str, _zone: str = "") -> int:
    """Hexadecimal, as oned takes them: flags of who or which (4: all, 1: an object, 2: a group) and kinds in the upper half."""
    store = call.oned.store
    require(store, call.user, create("ACL"))
    try:
        who, which, operations = (int(text, 16) for text in (whom, what, rights))
    except ValueError as error:
        raise Failure(INTERNAL, "Malformed rule") from error
    kinds = [name for place, name in enumerate(_KINDS) if which & (_FIRST_KIND << place)]
    allowed = [name for bit, name in _RIGHTS.items() if operations & bit]
    if not kinds or not allowed:
        raise Failure(INTERNAL, "Wrong rule components: [Rights] or [Resource] are missing.")
    return store.add(Rule(store.next_id("acl"), "", whom=_subject(who), kinds=kinds, which=_subject(which), operations=allowed))


def _subject(bits: int) -> str:
    oid = bits & 0xFFFFFFFF
    flags = (bits >> 32) & 0xF
    return f"#{oid}" if flags & 1 else f"@{oid}" if flags & 2 else "*"


@method("one.acl.delrule", "i")
def delete_rule(call: Call, oid: int) -> int:
    rule = got(call, "acl", oid, MANAGE)
    call.oned.store.drop(rule)
    return oid


@method("one.acl.info")
def rules(call: Call) -> str:
    body = []
    for rule in reversed(call.oned.store.rules()):
        text = f"{rule.whom} {'+'.join(rule.kinds)}/{rule.which} {'+'.join(rule.operations)}"
        body.append(element("ACL", element("ID", rule.id), element("STRING", cdata(text))))
    return pool("ACL_POOL", body)

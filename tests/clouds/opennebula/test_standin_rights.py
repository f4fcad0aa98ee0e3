"""Rights, owners, groups and listings of the stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from support.oneinside import Inside

ALICE, BOB, CAROL, DEVS = 2, 3, 4, 100


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Inside]:
    inside = Inside(tmp_path)
    yield inside
    inside.close()


def sees(one: Inside, user: str, *, flag: int = -2) -> list[str]:
    return [body.findtext("NAME", "") for body in ElementTree.fromstring(one.call("imagepool.info", flag, -1, -1, user=user))]


def test_a_new_image_is_its_owners(one: Inside) -> None:
    oid = one.image("a", user="alice")
    assert sees(one, "alice") == sees(one, "oneadmin") == ["a"]
    assert sees(one, "bob") == []
    assert one.refused("image.info", oid, user="bob") == (512, f"User [3] : Not authorized to perform USE IMAGE [{oid}].")


@pytest.mark.parametrize(("rights", "who"), [((1, 1, 0, 1, 0, 0, 0, 0, 0), ["bob", "dave"]), ((1, 1, 0, 0, 0, 0, 1, 0, 0), ["bob", "carol", "dave"])])
def test_the_group_or_others_may_use_it(one: Inside, rights: tuple[int, ...], who: list[str]) -> None:
    oid = one.image("a", user="alice")
    one.call("image.chmod", oid, *rights, user="alice")
    assert [name for name in ("bob", "carol", "dave") if sees(one, name)] == who
    for name in who:
        assert one.refused("image.update", oid, "K=v", 1, user=name)[0] == 512


def test_an_image_is_given_to_another_group(one: Inside) -> None:
    oid = one.image("a", user="dave")
    one.call("image.chmod", oid, 1, 1, 0, 1, 0, 0, 0, 0, 0, user="dave")
    one.call("image.chown", oid, -1, DEVS, user="dave")
    assert (sees(one, "carol"), sees(one, "bob")) == (["a"], [])
    assert one.said("image", oid, "GNAME", "GID") == ("devs", "100")


def test_only_members_give_to_a_group_and_only_administrators_to_a_user(one: Inside) -> None:
    oid = one.image("a", user="alice")
    assert one.refused("image.chown", oid, -1, DEVS, user="alice")[1] == "User [2] : Not authorized to perform USE GROUP [100]."
    assert one.refused("image.chown", oid, BOB, -1, user="alice")[1] == "User [2] : Not authorized to perform MANAGE USER [3]."
    one.call("image.chown", oid, BOB, DEVS)
    assert one.said("image", oid, "UNAME", "GNAME") == ("bob", "devs")


def test_rights_to_administrate_are_the_administrators_to_give(one: Inside) -> None:
    oid = one.image("a", user="alice")
    assert one.refused("image.chmod", oid, -1, -1, 1, *[-1] * 6, user="alice")[0] == 512
    one.call("image.chmod", oid, -1, -1, 1, *[-1] * 6)
    one.call("image.chmod", oid, -1, -1, -1, -1, -1, 1, -1, -1, -1, user="alice")


def test_a_lock_keeps_the_administrator_out_too(one: Inside) -> None:
    oid = one.image("a")
    one.call("image.lock", oid, 2, False)
    for method, given in (("update", ("K=v", 1)), ("rename", ("b",)), ("delete", ()), ("enable", (False,)), ("chmod", [1] * 9)):
        assert one.refused(f"image.{method}", oid, *given) == (512, f"User [0] : IMAGE is locked. [{oid}].")
    one.call("image.unlock", oid)
    one.call("image.rename", oid, "b")


def test_a_rule_lets_a_group_in(one: Inside) -> None:
    text = f'NAME="a"\nPATH="{one.file()}"'
    group = one.call("group.allocate", "guests")
    user = one.call("user.allocate", "erin", "opennebula", "core", [group])
    assert one.refused("image.allocate", text, 1, user="erin") == (512, f"User [{user}] : Not authorized to perform CREATE IMAGE.")
    rule = one.call("acl.addrule", f"{(2 << 32) + group:x}", f"{0x8000000000 + (4 << 32):x}", "8")
    one.call("image.allocate", text, 1, user="erin")
    one.call("acl.delrule", rule)
    assert one.refused("image.allocate", text.replace('"a"', '"b"'), 1, user="erin")[0] == 512


def test_an_unknown_or_disabled_user_is_not_let_in(one: Inside) -> None:
    words = (256, "User couldn't be authenticated, aborting call.")
    assert one.refused("system.version", user="nobody") == words
    one.call("user.enable", ALICE, False)
    assert one.refused("system.version", user="alice") == words


def test_users_see_themselves_and_their_groups(one: Inside) -> None:
    users = ElementTree.fromstring(one.call("userpool.info", user="dave"))
    groups = ElementTree.fromstring(one.call("grouppool.info", user="dave"))
    assert [body.findtext("NAME") for body in users.iterfind("USER")] == ["dave"]
    assert [body.findtext("NAME") for body in groups.iterfind("GROUP")] == ["devs", "users"]
    assert one.refused("user.info", ALICE, user="dave")[0] == 512


def test_listings_by_owner(one: Inside) -> None:
    one.image("mine", user="alice")
    theirs = one.image("theirs", user="bob")
    one.call("image.chmod", theirs, 1, 1, 0, 1, 0, 0, 0, 0, 0)
    assert (sees(one, "alice", flag=-3), sees(one, "alice", flag=-1), sees(one, "alice", flag=BOB)) == (["mine"], ["theirs", "mine"], ["theirs"])
    assert sees(one, "carol", flag=-1) == sees(one, "carol", flag=ALICE) == []


def test_pages_cover_a_listing_newest_first(one: Inside) -> None:
    names = [f"image-{number:02}" for number in range(25)]
    for name in names:
        one.image(name, datastore=101, settle=False)
    one.settle()

    def page(offset: int, size: int) -> list[str]:
        found = ElementTree.fromstring(one.call("imagepool.info", -2, offset, -size))
        return [body.findtext("NAME", "") for body in found]

    assert [name for offset in range(0, 40, 10) for name in page(offset, 10)] == names[::-1]


def test_furnishing_again_changes_nothing(tmp_path: Path) -> None:
    first = Inside(tmp_path)
    before = [first.call(f"{kind}pool.info") for kind in ("user", "group", "datastore", "host")]
    first.close()
    second = Inside(tmp_path)
    assert [second.call(f"{kind}pool.info") for kind in ("user", "group", "datastore", "host")] == before
    second.close()


@pytest.mark.parametrize(("umask", "admin", "rights"), [("022", False, "110100100"), ("137", False, "110100000"), ("000", True, "111111111")])
def test_what_is_new_has_the_rights_that_its_makers_umask_leaves(one: Inside, umask: str, admin: bool, rights: str) -> None:
    user = "oneadmin" if admin else "alice"
    one.call("user.update", 0 if admin else ALICE, f'UMASK="{umask}"', 1)
    given = one.info("image", one.image("a", user=user)).find("PERMISSIONS")
    assert given is not None
    assert "".join(child.text or "" for child in given) == rights


def test_a_lock_is_its_owners_and_the_administrators(one: Inside) -> None:
    oid = one.image("a", user="alice")
    one.call("image.chmod", oid, 1, 1, 0, 1, 1, 0, 0, 0, 0, user="alice")
    one.call("image.lock", oid, 3, False, user="alice")
    assert one.refused("image.lock", oid, 1, False, user="bob") == (2048, "Error trying to lock the resource.")
    assert one.refused("image.unlock", oid, user="bob") == (2048, "Cannot unlock: Lock is owned by another user")
    one.call("image.unlock", oid)
    assert one.info("image", oid).find("LOCK") is None


def version(one: Inside, session: str) -> int:
    """0, or the code of the failure."""
    answer = one.oned.answer("one.system.version", [session])
    return 0 if answer[0] else answer[2]


def test_a_token_stands_for_the_password_until_it_ends(one: Inside) -> None:
    token = one.call("user.login", "alice", "", 3600, -1, user="alice")
    ended = one.call("user.login", "alice", "mine", -1, -1, user="alice")
    assert version(one, f"alice:{token}") == version(one, f"alice:{ended}") == 0
    assert version(one, f"bob:{token}") == 256
    one.call("user.login", "alice", "mine", 0, -1, user="alice")
    assert (version(one, f"alice:{token}"), version(one, f"alice:{ended}")) == (0, 256)
    one.oned.tamper("user", ALICE, {"tokens": [[token, 1, -1]]})
    assert version(one, f"alice:{token}") == 256


def test_a_token_for_one_group_sees_and_makes_what_is_that_groups(one: Inside) -> None:
    token = one.call("user.login", "dave", "", 3600, DEVS, user="dave")
    answer = one.oned.answer("one.image.allocate", [f"dave:{token}", f'NAME="a"\nPATH="{one.file()}"', 1])
    assert answer[0], answer
    one.settle()
    assert one.said("image", answer[1], "UNAME", "GNAME") == ("dave", "devs")
    assert one.refused("user.login", "carol", "", 3600, 1, user="carol") == (4096, "EGID is not in user group list")


def test_what_an_administrator_wrote_is_kept_by_users(one: Inside) -> None:
    oid = one.template("t", more='CONTEXT=[FILES="/etc/motd",A="1"]\nRAW=[TYPE="kvm"]')
    one.call("template.chown", oid, ALICE, -1)
    for text, how in (('CONTEXT=[FILES="/etc/passwd"]', 1), ('RAW=[TYPE="other"]', 1), ('CPU="1"', 0)):
        code, why = one.refused("template.update", oid, text, how, user="alice")
        assert (code, why.rpartition(": ")[0]) == (8192, "Cannot update template. Tried to change restricted attribute")
    one.call("template.update", oid, 'CONTEXT=[FILES="/etc/motd",A="2"]\nRAW=[TYPE="kvm"]\nCPU="1"', 0, user="alice")

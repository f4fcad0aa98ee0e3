"""From lists and decisions to offers and standings."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from support.keys import ISSUED, ssh_key, ssh_signer
from support.repo import uuid
from support.sitescenario import FAR, NOW
from support.trust import LIST as ENDORSERS
from support.trust import first_world, person
from support.trust import release as made_release
from vmkeeper.lists.hepix import HepixEndorser, HepixImage, HepixList
from vmkeeper.model.site import Site, Subscription
from vmkeeper.plan.offers import offers_of, standing_of
from vmkeeper.plan.wanted import Allowed, NotAllowed
from vmkeeper.trust.approval import Stance, decide
from vmkeeper.trust.keys.ssh import SSHVerifier
from vmkeeper.values import Size, Version

NAMES = {uuid("a"): "a", uuid("b"): "b"}
IMAGE = HepixImage(
    uuid=uuid("a"), uri="https://images.example.org/a", version="2026.11.1", size=Size(10), sha512="a" * 128, format="qcow2", expires=FAR
)
LIST = HepixList(
    uuid=uuid("list"),
    title="L",
    description="",
    source="s",
    version="1",
    uri="https://images.example.org/list",
    created=NOW,
    expires=NOW + timedelta(days=1),
    endorser=HepixEndorser(dn="/CN=x", ca="/CN=y"),
)


def offers(*images: HepixImage, appliances: tuple[str, ...] = ("*",)):
    return offers_of(replace(LIST, images=images), Subscription(list="l", appliances=appliances), NAMES)


def test_an_entry_becomes_an_offer() -> None:
    ((offer,), notes) = offers(replace(IMAGE, title="A", mpuri="https://m.example.org/a", osname="Debian", arch="aarch64"))
    assert notes == ()
    assert offer.supply.uri == IMAGE.uri
    assert (offer.spec.name, offer.spec.appliance, offer.spec.version, offer.spec.list) == ("a-2026.11.1", "a", Version("2026.11.1"), LIST.uuid)
    assert (offer.spec.expires, offer.spec.architecture) == (FAR, "aarch64")
    assert offer.spec.properties == {"title": "A", "ad:mpuri": "https://m.example.org/a", "sl:osname": "Debian", "sl:arch": "aarch64"}


def test_least_and_recommended_sizes_are_passed_on_in_mib() -> None:
    image = replace(
        IMAGE,
        ram_minimum=Size.parse("1GiB"),
        ram_recommended=Size(1024**3 + 1),
        core_minimum=2,
        core_recommended=4,
        appid="484",
        base_mpuri="https://example.org/base",
    )
    (offer,), _ = offers(image)
    sizes = {"hv:ram_minimum": "1024", "ad:ram_recommended": "1025", "hv:core_minimum": "2", "ad:core_recommended": "4"}
    assert offer.spec.properties.items() >= {**sizes, "ad:appid": "484", "ad:base_mpuri": "https://example.org/base"}.items()
    assert not offers(IMAGE)[0][0].spec.properties.keys() & sizes.keys()


def test_an_entry_without_an_expiry_expires_with_the_list() -> None:
    ((offer,), _) = offers(replace(IMAGE, expires=None))
    assert offer.spec.expires == LIST.expires


def test_an_appliance_without_a_name_is_called_by_its_uuid() -> None:
    ((offer,), _) = offers(replace(IMAGE, uuid=uuid("stranger")))
    assert offer.spec.appliance == uuid("stranger")


def test_only_what_is_subscribed_to_is_offered() -> None:
    found, _ = offers(IMAGE, replace(IMAGE, uuid=uuid("b")), appliances=("b*",))
    assert [offer.spec.appliance for offer in found] == ["b"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": "v1"}, "not a version"),
        ({"format": "floppy"}, "its format is floppy"),
        ({"format": None}, "its format is not said"),
        ({"uuid": "X Y"}, "pattern"),
    ],
)
def test_an_entry_that_cannot_be_taken_is_noted_and_stops_no_other(changes: dict, why: str) -> None:
    found, (note,) = offers(replace(IMAGE, **changes), replace(IMAGE, uuid=uuid("b")))
    assert [offer.spec.appliance for offer in found] == ["b"]
    assert why in note.why


@pytest.mark.parametrize(("written", "read"), [("QCOW2", "qcow2"), ("Raw", "raw"), ("OVA", "ova"), ("img", "raw")])
def test_formats_are_read_as_lists_write_them(written: str, read: str) -> None:
    ((offer,), _) = offers(replace(IMAGE, format=written))
    assert offer.spec.format == read


# -- standings


@pytest.fixture
def trust(tmp_path):
    alice, bob, root = (ssh_signer(ssh_key(tmp_path)) for _ in range(3))
    return first_world(root, person("alice", alice), person("bob", bob)), alice, bob


def standing(trust, quorum: int = 1, now=None, **fields):
    world = trust[0]
    site = Site.model_validate({"title": "Here", "platform": {"type": "local"}, "approve": [{"appliance": "*"}], **fields})
    judgement = world.judge({"ssh": SSHVerifier()}, **({"now": now} if now else {}))
    people = judgement.enactments.current.policy.lists[ENDORSERS].model_copy(update={"quorum": quorum})
    verdicts = judgement.verdicts[ENDORSERS]
    (decision,) = decide(verdicts, endorsers=people, site=Stance(site.approve, site.block, NOW), releases=[("debian-12", Version("2026.5.1.7"))])
    return standing_of(decision, people, verdicts)


def test_what_is_endorsed_and_approved_is_allowed_until_the_quorum_ends(trust) -> None:
    world, alice, bob = trust
    commit = world.record_release(made_release())
    world.endorse(alice, commit)
    world.endorse(bob, commit, "bob", expires=ISSUED + timedelta(days=20))
    two, one = standing(trust, quorum=2), standing(trust)
    assert isinstance(two, Allowed)
    assert isinstance(one, Allowed)
    assert (two.expires, one.expires) == (ISSUED + timedelta(days=20), ISSUED + timedelta(days=30))
    assert {file.format for file in one.files} == {"raw", "qcow2"}


def ground(found) -> str:
    assert isinstance(found, NotAllowed)
    assert found.why
    return found.ground


def test_the_gravest_reason_is_the_ground(trust) -> None:
    world, alice, _ = trust
    assert ground(standing(trust)) == "unendorsed"
    commit = world.record_release(made_release())
    world.endorse(alice, commit)
    assert ground(standing(trust, quorum=2)) == "unendorsed"
    assert ground(standing(trust, approve=[])) == "unapproved"
    assert ground(standing(trust, now=ISSUED + timedelta(days=31))) == "expired"
    blocked = {"block": [{"appliance": "debian-*", "reason": "no"}], "approve": []}
    assert ground(standing(trust, **blocked)) == "blocked"
    world.withdraw(alice, commit)
    assert ground(standing(trust, **blocked)) == "withdrawn"

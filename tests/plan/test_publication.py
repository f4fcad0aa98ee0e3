"""What is published: which releases, when a list is written again, in which order, and what is taken away."""

import json
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.publication import DAY, NOW, SIGNER, URL, Folder, appliance, decision, desired, kinds, plan, the_list, uuid_of
from vmkeeper.errors import UserError
from vmkeeper.lists.hepix import missing, same_content, version_key
from vmkeeper.plan.publication_actions import PublishImage, RemoveImage, SignList, WriteIndex
from vmkeeper.values import Size


def versions(made):
    return {image.uri.split("/")[-1].rsplit("-", 1)[0]: image.version for image in made.images}


def reasons(made):
    return {one.appliance: one.reason for one in made.left_out}


def test_first_publication_puts_images_then_list_then_index():
    made = plan(desired(decision("debian-12 2"), decision("docker 1")))
    assert kinds(made) == ["publish", "publish", "sign", "index"]
    assert made.plan.actions[2].needs == tuple(action.id for action in made.plan.actions[:2])
    assert made.plan.actions[3].needs == (made.plan.actions[2].id,)
    assert made.left_out == ()
    assert versions(the_list(made)) == {"debian-12": "2", "docker": "1"}


def test_second_publication_does_nothing():
    folder, wanted = Folder(), desired(decision("debian-12 2"))
    folder.publish(wanted)
    assert not folder.publish(wanted).plan
    assert not folder.publish(wanted, now=NOW + 10 * DAY).plan


def test_what_a_list_says():
    made = the_list(plan(desired(decision("debian-12 2"))))
    assert missing(made) == ()
    assert (made.endorser.dn, made.endorser.ca) == (SIGNER.dn, SIGNER.ca)
    assert made.uri == f"{URL}/science/imagelist.signed"
    assert made.expires == NOW + 28 * DAY
    (image,) = made.images
    assert image.uri == f"{URL}/science/images/{uuid_of('debian-12')}/2/debian-12-2.qcow2"
    assert image.mpuri == f"{URL}/science/images/{uuid_of('debian-12')}/"
    assert (image.uuid, image.format, image.osname, image.osversion) == (uuid_of("debian-12"), "qcow2", "Debian", "12")
    assert image.expires == NOW + 90 * DAY
    assert image.ram_minimum == image.ram_recommended == Size(512 << 20)


def test_community_stands_for_a_missing_vo():
    assert the_list(plan(desired(decision("debian-12 2"), vo=""))).vo == "example"


def test_newest_endorsed_version_is_listed_and_newer_ones_say_why_not():
    made = plan(desired(decision("debian-12 2.9"), decision("debian-12 2.10"), decision("debian-12 2.11", refused="0 of 1 endorsers endorse it")))
    assert versions(the_list(made)) == {"debian-12": "2.10"}
    assert reasons(made) == {"debian-12": "2.11: 0 of 1 endorsers endorse it"}


@pytest.mark.parametrize(
    ("decisions", "appliances", "why"),
    [
        ([], {}, "no such appliance"),
        ([], {"debian-12": appliance("debian-12")}, "no release of it is endorsed"),
        ([], {"debian-12": appliance("debian-12", abstract=True)}, "abstract"),
        ([decision("debian-12 1", refused="alice has withdrawn it: bug")], None, "withdrawn"),
        ([decision("debian-12 1", expires=(NOW,))], None, "expired"),
        ([decision("debian-12 1", uuid=uuid_of("other"))], None, "another UUID"),
    ],
    ids=["unknown", "unendorsed", "abstract", "withdrawn", "expired", "other-uuid"],
)
def test_what_is_left_out_says_why(decisions, appliances, why):
    wanted = desired(*decisions, appliances=appliances)
    wanted = replace(wanted, spec=wanted.spec.model_copy(update={"appliances": desired(decision("debian-12 1")).spec.appliances}))
    made = plan(wanted)
    assert why in reasons(made)["debian-12"]
    assert the_list(made).images == ()


def test_empty_list_withdraws_everything():
    folder = Folder()
    folder.publish(desired(decision("debian-12 2")))
    made = folder.publish(desired(), now=NOW + DAY)
    assert kinds(made) == ["sign", "remove"]
    assert folder.lists["science"].images == ()
    assert folder.files == {}


def test_update_puts_the_new_image_first_and_takes_the_old_one_away_last():
    folder = Folder()
    folder.publish(desired(decision("debian-12 2")))
    made = folder.publish(desired(decision("debian-12 2"), decision("debian-12 3")), now=NOW + DAY)
    assert kinds(made) == ["publish", "sign", "remove"]
    publish, sign, remove = made.plan.actions
    assert sign.needs == (publish.id,)
    assert remove.needs == (sign.id,)
    assert remove.destroys
    assert list(folder.files) == [f"science/images/{uuid_of('debian-12')}/3/debian-12-3.qcow2"]


def test_appliance_that_is_listed_twice_is_published_once():
    wanted = desired(decision("debian-12 2"), decision("docker 1"))
    twice = (*wanted.spec.appliances, wanted.spec.appliances[0])
    made = plan(replace(wanted, spec=wanted.spec.model_copy(update={"appliances": twice})))
    assert versions(the_list(made)) == {"debian-12": "2", "docker": "1"}
    assert kinds(made) == ["publish", "publish", "sign", "index"]


def test_withdrawn_version_falls_back_to_the_one_before():
    folder = Folder()
    folder.publish(desired(decision("debian-12 2"), decision("debian-12 3")))
    made = folder.publish(desired(decision("debian-12 2"), decision("debian-12 3", refused="withdrawn")), now=NOW + DAY)
    assert kinds(made) == ["publish", "sign", "remove"]
    assert versions(folder.lists["science"]) == {"debian-12": "2"}


def test_expired_endorsement_takes_the_image_off_the_list():
    folder, wanted = Folder(), desired(decision("debian-12 2", expires=(NOW + 5 * DAY,)))
    folder.publish(wanted)
    assert not folder.publish(wanted, now=NOW + 4 * DAY).plan
    assert kinds(folder.publish(wanted, now=NOW + 5 * DAY)) == ["sign", "remove"]


def test_new_endorsement_of_the_same_bits_keeps_the_image_and_its_version():
    folder = Folder()
    folder.publish(desired(decision("debian-12 2")))
    before = folder.lists["science"]
    made = folder.publish(desired(decision("debian-12 2", expires=(NOW + 120 * DAY,))), now=NOW + DAY)
    assert kinds(made) == ["sign"]
    after = folder.lists["science"]
    assert version_key(after.version) > version_key(before.version)
    assert (after.images[0].version, after.images[0].uri, after.images[0].sha512) == (
        before.images[0].version,
        before.images[0].uri,
        before.images[0].sha512,
    )
    assert after.images[0].expires == NOW + 120 * DAY


@pytest.mark.parametrize(("quorum", "ends"), [(1, 90), (2, 60), (3, 30)])
def test_image_expires_when_its_quorum_ends(quorum, ends):
    one = decision("debian-12 2", by=("alice", "bob", "carol"), expires=(NOW + 30 * DAY, NOW + 90 * DAY, NOW + 60 * DAY))
    assert the_list(plan(desired(one, quorum=quorum))).images[0].expires == NOW + ends * DAY


@pytest.mark.parametrize(("formats", "listed"), [(("raw", "qcow2"), "qcow2"), (("vmdk", "raw"), "raw"), (("ova", "vdi"), "vdi")])
def test_qcow2_is_preferred(formats, listed):
    assert the_list(plan(desired(decision("debian-12 2", formats=formats)))).images[0].format == listed


def test_list_is_renewed_before_it_expires():
    folder, wanted = Folder(), desired(decision("debian-12 2"), lifetime="28d", renew_before="7d")
    folder.publish(wanted)
    assert not folder.publish(wanted, now=NOW + 21 * DAY).plan
    made = folder.publish(wanted, now=NOW + 21 * DAY + timedelta(seconds=1))
    assert kinds(made) == ["sign"]
    assert "expires" in made.plan.actions[0].reason
    assert folder.lists["science"].expires == NOW + 49 * DAY + timedelta(seconds=1)


def test_list_never_outlives_the_certificate_and_is_not_written_again_and_again_because_of_it():
    signer = replace(SIGNER, not_after=NOW + 3 * DAY)
    folder, wanted = Folder(), desired(decision("debian-12 2"))
    folder.publish(wanted, signer=signer)
    assert folder.lists["science"].expires == signer.not_after
    assert not folder.publish(wanted, signer=signer, now=NOW + DAY).plan
    assert kinds(folder.publish(wanted, now=NOW + DAY)) == ["sign"]


def test_expired_certificate_publishes_nothing():
    with pytest.raises(UserError, match="certificate has expired"):
        plan(desired(decision("debian-12 2")), signer=replace(SIGNER, not_after=NOW))


def test_other_signer_signs_again():
    folder, wanted = Folder(), desired(decision("debian-12 2"))
    folder.publish(wanted)
    made = folder.publish(wanted, signer=replace(SIGNER, dn="/DC=org/CN=Other"), now=NOW + DAY)
    assert kinds(made) == ["sign"]


def test_missing_or_cut_image_is_put_back_without_touching_the_list():
    folder, wanted = Folder(), desired(decision("debian-12 2"))
    folder.publish(wanted)
    ((path, (size, digest)),) = folder.files.items()
    for damaged in ({}, {path: (size - 1, digest)}):
        folder.files = damaged
        assert kinds(folder.publish(wanted)) == ["publish"]


def test_file_that_no_list_names_is_removed():
    folder, wanted = Folder(), desired(decision("debian-12 2"))
    folder.publish(wanted)
    folder.files["science/images/old/1/old-1.qcow2"] = (1, "x")
    made = folder.publish(wanted)
    assert [action.path for action in made.plan.actions] == ["science/images/old/1/old-1.qcow2"]


def test_same_version_with_other_bytes_is_refused():
    folder = Folder()
    folder.publish(desired(decision("debian-12 2")))
    made = folder.publish(desired(decision("debian-12 2", salt="other")))
    assert [error.rule for error in made.refused] == ["R14"]
    assert not made.plan


def listing_all(wanted):
    """The same list of appliances whatever is decided about them."""
    names = ("debian-12", "docker")
    listed = desired(*[decision(f"{name} 1") for name in names]).spec.appliances
    made = {name: appliance(name) for name in names}
    return replace(wanted, spec=wanted.spec.model_copy(update={"appliances": listed}), appliances=made)


def test_clone_without_tags_takes_nothing_off_the_list():
    folder = Folder()
    folder.publish(listing_all(desired(decision("debian-12 2"), decision("docker 1"))))
    made = folder.publish(listing_all(desired()), desired(decision("debian-12 2"), name="teaching"), now=NOW + DAY)
    assert [error.rule for error in made.refused] == ["R8"]
    assert "fetch --tags" in made.refused[0].hint
    assert len(folder.lists["science"].images) == 2
    assert "teaching" in folder.lists


def test_lost_tags_of_a_newer_version_do_not_bring_back_an_older_one():
    folder = Folder()
    folder.publish(listing_all(desired(decision("debian-12 2"), decision("debian-12 3"))))
    made = folder.publish(listing_all(desired(decision("debian-12 2"))), now=NOW + DAY)
    assert [error.rule for error in made.refused] == ["R8"]


@pytest.mark.parametrize(
    "later",
    [
        listing_all(desired(decision("debian-12 2", refused="withdrawn"))),
        listing_all(desired(decision("debian-12 3"))),
        desired(),
        replace(listing_all(desired()), appliances={"debian-12": appliance("debian-12", uuid=uuid_of("new"))}),
    ],
    ids=["withdrawn", "newer", "taken out of the list", "another appliance of that name"],
)
def test_images_go_where_something_says_why(later):
    folder = Folder()
    folder.publish(listing_all(desired(decision("debian-12 2"))))
    made = folder.publish(later, now=NOW + DAY)
    assert made.refused == ()
    assert "remove" in kinds(made)


def test_tags_of_an_expired_image_may_be_gone():
    folder = Folder()
    folder.publish(listing_all(desired(decision("debian-12 2", expires=(NOW + DAY,)))))
    made = folder.publish(listing_all(desired()), now=NOW + DAY)
    assert made.refused == ()
    assert folder.lists["science"].images == ()


def test_several_lists_in_one_plan():
    folder = Folder()
    made = folder.publish(desired(decision("debian-12 2")), desired(decision("debian-12 2"), name="teaching"))
    assert kinds(made).count("sign") == 2
    assert set(folder.index) == {"science", "teaching"}
    assert kinds(folder.publish(desired(decision("debian-12 3"), name="teaching"), now=NOW + DAY)) == ["publish", "sign", "remove"]
    assert set(folder.index) == {"science", "teaching"}


def test_version_rises_within_one_second_and_with_the_clock_set_back():
    folder, seen = Folder(), []
    for number, now in enumerate([NOW, NOW, NOW - 100 * DAY, NOW]):
        folder.publish(desired(decision(f"debian-12 {number}")), now=now)
        seen.append(version_key(folder.lists["science"].version))
    assert seen == sorted(set(seen))


def test_plan_wholly_describes_what_is_done():
    made = plan(desired(decision("debian-12 2"))).plan
    for action in made.actions:
        assert type(action).model_validate(action.model_dump()) == action
    publish = made.actions[0]
    assert isinstance(publish, PublishImage)
    assert publish.cause.path == "appliances/debian-12/release.yaml"
    assert json.loads(made.actions[1].text)["hv:imagelist"]["hv:version"] == "20261120120000"
    assert re.fullmatch("[0-9a-f]{64}", made.digest())


STATES = st.lists(
    st.tuples(
        st.sampled_from(["debian-12", "docker", "worker"]),
        st.integers(1, 4),
        st.sampled_from(["", "", "withdrawn"]),
        st.integers(1, 60),
    ),
    max_size=6,
    unique_by=lambda item: item[:2],
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(STATES, st.integers(0, 30), st.none() | st.integers(0, 6)), min_size=1, max_size=5))
def test_any_history_converges_and_never_names_what_is_not_there(history):
    """Each step: what is endorsed, days that pass, and after how many actions the run is killed."""
    folder, now = Folder(), NOW
    tagged = {}
    for state, days, stop in history:
        now += days * DAY
        tagged |= {(name, version): (refused, ends) for name, version, refused, ends in state}
        decisions = [
            decision(f"{name} {version}", refused=refused, expires=(NOW + ends * DAY,)) for (name, version), (refused, ends) in tagged.items()
        ]
        wanted = desired(*decisions, name="science", appliances={name: appliance(name) for name in ("debian-12", "docker", "worker")})
        wanted = replace(
            wanted,
            spec=wanted.spec.model_copy(
                update={"appliances": desired(*[decision(f"{n} 1") for n in ("debian-12", "docker", "worker")]).spec.appliances}
            ),
        )
        before = folder.lists.get("science")
        folder.publish(wanted, now=now, stop=stop)
        after = folder.lists.get("science")
        if before and after and before != after:
            assert version_key(after.version) > version_key(before.version)
        folder.publish(wanted, now=now)
        assert not folder.publish(wanted, now=now).plan
        final = folder.lists["science"]
        assert {image.uri.removeprefix(f"{URL}/") for image in final.images} == set(folder.files)
        assert all(image.expires > now for image in final.images)
        if before is not None and same_content(before, final) and before.expires - now >= 7 * DAY:
            assert stop is not None or final == before


def test_actions_are_of_four_kinds():
    assert [kind.kind for kind in (PublishImage, SignList, WriteIndex, RemoveImage)] == ["publish", "sign", "index", "remove"]

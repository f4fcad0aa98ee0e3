"""A site that takes other organisations' lists: real signed lists, a real web server, a cloud in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from support.foreign import Organisation, Subscriber, approved, disk, found, image_uuid, later
from support.here import kinds, notes
from support.producer import NOW, Authority
from support.webserver import WebServer
from vmkeeper.errors import Transient
from vmkeeper.execute.observe import look
from vmkeeper.plan.supply import SuppliedFile
from vmkeeper.plan.wanted import Unusable
from vmkeeper.values import Size, format_time


@pytest.fixture
def site(tmp_path: Path, server: WebServer, org: Organisation) -> Subscriber:
    made = Subscriber(tmp_path, server)
    made.trusts(org.authority)
    made.takes(org.entry(), approve=approved("science-*"))
    return made


# What a vmcatcher administrator expects


def test_an_approved_image_comes_and_the_second_run_asks_once_and_does_nothing(site: Subscriber, org: Organisation) -> None:
    assert kinds(site.run()) == ["register science-debian-12 1.0"]
    (image,) = site.world.images.values()
    spec = image.spec
    assert spec is not None
    assert (spec.uuid, spec.list, spec.expires) == (image_uuid("science-Debian 12"), org.uuid, later(20))
    assert (spec.format, spec.size, spec.virtual_size) == ("raw", 4096, 4096)
    said = {"title": "Debian 12", "ad:mpuri": "https://marketplace.example.org/Debian 12", "ad:vo": "science.example.org"}
    assert said.items() <= spec.properties.items()
    assert "If-None-Match" not in org.requests()[0]
    calls, before, asked = len(site.world.calls), site.files(), len(org.requests())
    done = site.run()
    assert (done.outcomes, done.made.notes) == ((), ())
    assert site.world.calls[calls:] == ["images"]
    assert [request["If-None-Match"] for request in org.requests()[asked:]] == [org.page.etag]
    assert site.files() == before


def test_a_new_image_waits_for_a_decision_and_the_note_says_how_to_decide(site: Subscriber, org: Organisation) -> None:
    site.takes(org.entry())
    done = site.run()
    assert done.outcomes == ()
    assert "science-debian-12 1.0: it waits for a decision: put {appliance: science-debian-12} under" in notes(done)
    site.takes(org.entry(), approve=approved("science-debian-12"))
    assert kinds(site.run()) == ["register science-debian-12 1.0"]


def test_many_waiting_images_are_one_note(site: Subscriber, org: Organisation) -> None:
    for number in range(30):
        org.offer(f"image {number}", serve=False)
    org.publish()
    site.takes(org.entry())
    (note,) = site.run().made.notes
    assert note.subject == "list science"
    assert "31 images wait for a decision: science-debian-12, science-image-0," in note.why
    assert "and 21 more" in note.why
    assert '{appliance: "science-*"} for all' in note.why


def test_new_images_run_at_once_where_the_site_says_so(site: Subscriber, org: Organisation) -> None:
    site.takes(org.entry(new="approve"))
    assert kinds(site.run()) == ["register science-debian-12 1.0"]


def test_new_images_are_passed_over_without_a_word_where_the_site_says_so(site: Subscriber, org: Organisation) -> None:
    site.takes(org.entry(new="refuse"))
    done = site.run()
    assert (done.outcomes, done.made.notes) == ((), ())
    (decision,) = done.view.decisions
    assert "passes over what it does not approve of science" in decision.refusals[0].why


APPROVALS = {
    "its name": ({"appliance": "science-debian-12"}, True),
    "a pattern that begins with the list's name": ({"appliance": "science-deb*"}, True),
    "its UUID": ({"appliance": image_uuid("science-Debian 12")}, True),
    "the list as endorser": ({"appliance": "*", "endorser": "science"}, True),
    "a version that fits": ({"appliance": "science-*", "version": ">=1"}, True),
    "a version that does not fit": ({"appliance": "science-*", "version": ">=2"}, False),
    "everything": ({"appliance": "*"}, False),
    "a pattern for another list's names": ({"appliance": "sci*"}, False),
    "another endorser": ({"appliance": "science-*", "endorser": "alice"}, False),
    "another image": ({"appliance": "science-debian-11"}, False),
}


@pytest.mark.parametrize(("approval", "runs"), APPROVALS.values(), ids=APPROVALS)
def test_an_approval_counts_where_it_names_the_list_s_image(site: Subscriber, org: Organisation, approval: dict, runs: bool) -> None:
    site.takes(org.entry(), approve=[approval])
    assert kinds(site.run()) == (["register science-debian-12 1.0"] if runs else [])


@pytest.mark.parametrize("pattern", ["science-debian-12", "science-*", "*", image_uuid("science-Debian 12")])
def test_a_block_wins_over_every_approval_and_hides_what_is_there(site: Subscriber, org: Organisation, pattern: str) -> None:
    site.run()
    site.takes(org.entry(new="approve"), approve=approved("science-*"), block=[{"appliance": pattern, "reason": "eats our disks"}])
    done = site.run()
    assert kinds(done) == ["hide science-debian-12 1.0"]
    assert "eats our disks" in done.outcomes[0].action.reason


def test_an_approval_taken_back_hides_the_image(site: Subscriber, org: Organisation) -> None:
    site.run()
    site.takes(org.entry())
    assert kinds(site.run()) == ["hide science-debian-12 1.0"]


CHOICES = {
    "by name": "science-deb*",
    "by UUID": image_uuid("science-Debian 12"),
    "by title": "Debian?12",
    "by marketplace address": "https://marketplace.example.org/Debian*",
}


@pytest.mark.parametrize("pattern", CHOICES.values(), ids=CHOICES)
def test_only_the_chosen_images_are_taken(site: Subscriber, org: Organisation, pattern: str) -> None:
    org.offer("Fedora 40")
    org.publish()
    site.takes(org.entry(images=[pattern], new="approve"))
    assert kinds(site.run()) == ["register science-debian-12 1.0"]
    site.takes(org.entry(images=["*fedora*"], new="approve"), retire={"limit": "100%"})
    done = site.run()
    assert sorted(kinds(done)) == ["hide science-debian-12 1.0", "register science-fedora-40 1.0"]
    assert any("does not take it from science (images:)" in outcome.action.reason for outcome in done.outcomes)


# vmcatcher's and its successors' faults


def test_a_list_that_expires_in_place_expires_its_images(site: Subscriber) -> None:
    site.run()
    done = site.run(at=later(20))
    assert kinds(done) == ["hide science-debian-12 1.0"]
    assert f"expired at {format_time(later(20))}" in done.outcomes[0].action.reason
    assert site.run().outcomes == ()


def test_a_list_that_expires_while_its_server_is_away_expires_its_images(site: Subscriber, server: WebServer, org: Organisation) -> None:
    site.run()
    org.page.statuses = [503] * 9
    assert kinds(site.run(at=later(20))) == ["hide science-debian-12 1.0"]


def test_an_image_that_expires_before_its_list_goes_before_it(site: Subscriber, org: Organisation) -> None:
    org.offer("Debian 12", expires=later(5))
    org.publish()
    site.run()
    assert site.run(at=later(4.9)).outcomes == ()
    assert kinds(site.run(at=later(5))) == ["hide science-debian-12 1.0"]


def test_an_update_comes_before_the_old_image_goes(site: Subscriber, org: Organisation) -> None:
    site.run()
    org.offer("Debian 12", "1.1")
    org.publish()
    done = site.run()
    assert kinds(done) == ["register science-debian-12 1.1", "hide science-debian-12 1.0"]
    assert done.outcomes[1].action.needs == ("register:science-debian-12 1.1",)


def test_an_update_that_cannot_be_had_leaves_the_old_image(site: Subscriber, org: Organisation) -> None:
    site.run()
    org.offer("Debian 12", "1.1", serve=False)
    org.publish()
    assert found(site.run().outcomes) == ["failed register science-debian-12 1.1", "blocked hide science-debian-12 1.0"]
    assert site.usable() == ["science-debian-12 1.0"]


def test_an_update_that_is_not_approved_leaves_the_old_image(site: Subscriber, org: Organisation) -> None:
    site.takes(org.entry(), approve=[{"appliance": "science-*", "version": "<=1.0"}])
    site.run()
    org.offer("Debian 12", "1.1")
    org.publish()
    done = site.run()
    assert done.outcomes == ()
    assert "does not approve science-debian-12 1.1" in notes(done)


def test_other_bytes_under_the_same_version_replace_the_image_without_a_gap(site: Subscriber, org: Organisation) -> None:
    site.run()
    org.offer("Debian 12", data=disk("Debian 12", "other"))
    org.publish()
    done = site.run()
    assert kinds(done) == ["register science-debian-12 1.0", "hide science-debian-12 1.0"]
    assert "gave this version other bytes" in notes(done)
    done = site.run()
    assert (done.outcomes, len(site.usable())) == ((), 1)


def test_keys_in_another_order_upload_nothing_again(site: Subscriber, org: Organisation) -> None:
    site.run()

    def reorder(body: dict) -> None:
        for item in body["hv:images"]:
            item["hv:image"] = dict(reversed(item["hv:image"].items()))

    org.publish_json(reorder)
    assert site.run().outcomes == ()


def test_an_image_at_another_address_is_not_fetched_again(site: Subscriber, org: Organisation) -> None:
    site.run()
    org.offer("Debian 12", serve=False, uri="https://elsewhere.example.org/debian.raw")
    org.publish()
    assert site.run().outcomes == ()


def test_an_image_that_left_the_list_is_hidden_and_the_empty_list_withdraws_it(site: Subscriber, org: Organisation) -> None:
    site.run()
    org.images.clear()
    org.publish()
    done = site.run()
    assert kinds(done) == ["hide science-debian-12 1.0"]
    assert "the list science does not offer the appliance any more" in done.outcomes[0].action.reason


def test_a_list_that_goes_back_is_refused_and_its_images_stay(site: Subscriber, org: Organisation) -> None:
    org.publish()
    site.run()
    org.offer("Debian 12", "0.9")
    org.publish(version="2026.11.20.1")
    done = site.run()
    assert done.outcomes == ()
    assert "went back to an older version" in notes(done)
    assert "[R15]" in notes(done)
    assert "its images stay as they are" in notes(done)


def test_the_same_version_with_other_content_is_refused(site: Subscriber, org: Organisation) -> None:
    site.run()
    org.offer("Evil 1")
    org.publish(version="2026.11.20.1")
    done = site.run()
    assert done.outcomes == ()
    assert "has other content than it had before" in notes(done)


def test_the_same_version_signed_anew_with_the_same_content_is_taken(site: Subscriber, org: Organisation) -> None:
    made = org.list(version="5", images=tuple(org.images.values()))
    from vmkeeper.lists import hepix

    org.publish_text(hepix.write(made))
    site.run()
    org.publish_text(hepix.write(made))
    done = site.run()
    assert (done.outcomes, done.made.notes) == ((), ())


# Who may sign


def test_a_list_by_somebody_else_of_the_same_authority_is_refused(site: Subscriber, org: Organisation) -> None:
    org.publish(signer=org.authority.signer("Mallory"))
    done = site.run()
    assert done.outcomes == ()
    assert "the signer is not the pinned one" in notes(done)
    assert "change endorser: in the site's file" in notes(done)


def test_a_list_by_the_same_name_of_a_stranger_s_authority_is_refused(site: Subscriber, org: Organisation) -> None:
    org.publish(signer=Authority("Foreign Authority").signer("Publisher"))
    assert "R19" in notes(site.run()) or "R17" in notes(site.run())
    assert site.usable() == []


def test_the_list_s_uuid_is_pinned_at_first_sight(site: Subscriber, org: Organisation) -> None:
    site.run()
    org.publish(uuid=image_uuid("another list"))
    done = site.run()
    assert done.outcomes == ()
    assert "this is another list than the pinned one" in notes(done)


def test_a_given_uuid_counts_from_the_first_look(site: Subscriber, org: Organisation) -> None:
    site.takes(org.entry(uuid=image_uuid("another list")), approve=approved("science-*"))
    assert "this is another list than the pinned one" in notes(site.run())
    assert site.usable() == []


def test_a_new_signer_in_the_site_s_file_is_believed_and_the_uuid_is_pinned_anew(site: Subscriber, org: Organisation) -> None:
    site.run()
    org.signer = org.authority.signer("Successor")
    org.publish()
    assert "the signer is not the pinned one" in notes(site.run())
    site.takes(org.entry(), approve=approved("science-*"))
    done = site.run()
    assert (done.outcomes, done.made.notes) == ((), ())
    assert site.usable() == ["science-debian-12 1.0"]


def test_a_changed_address_that_cannot_be_reached_retires_nothing(site: Subscriber, org: Organisation) -> None:
    site.run()
    site.takes(org.entry(url=org.server.url + "/gone"), approve=approved("science-*"))
    done = site.run()
    assert done.outcomes == ()
    assert "the server answered 404; its images stay as they are" in notes(done)


def test_an_endorser_that_cannot_be_read_is_told_and_stops_only_its_list(site: Subscriber, org: Organisation, server: WebServer) -> None:
    other = Organisation(server, org.authority, name="other")
    other.offer("Fedora")
    other.publish()
    site.takes(org.entry(endorser={"dn": "CN=x,=", "ca": "/CN=y"}), other.entry(new="approve"))
    done = site.run()
    assert kinds(done) == ["register other-fedora 1.0"]
    assert "is not a distinguished name" in notes(done)


# Lists beside each other


def test_two_entries_with_one_list_are_refused_the_second_time(site: Subscriber, org: Organisation) -> None:
    site.takes(org.entry(), org.entry(name="again", new="approve"), approve=approved("science-*"))
    done = site.run()
    assert kinds(done) == ["register science-debian-12 1.0"]
    assert "its UUID is that of the list science" in notes(done)


def test_a_list_cannot_pass_for_the_site_s_own_list(site: Subscriber, org: Organisation) -> None:
    org.publish(uuid=site.home.pins().image_lists[0].uuid if site.home.pins().image_lists else "")
    site.takes(org.entry(new="approve"), subscribe=[{"list": "main"}])
    site.run()
    org.publish(uuid=site.home.pins().image_lists[0].uuid)
    done = site.run()
    assert "its UUID is that of the list main" in notes(done)
    assert site.usable() == []


def test_a_uuid_that_is_given_to_two_lists_is_the_first_one_s_and_costs_it_nothing(site: Subscriber, org: Organisation) -> None:
    site.run()
    for entries in ([org.entry(uuid=org.uuid), org.entry(name="again", uuid=org.uuid)], [org.entry(), org.entry(name="again", uuid=org.uuid)]):
        site.takes(*entries, approve=approved("science-*"))
        done = site.run()
        assert done.outcomes == ()
        assert "its UUID is that of the list science" in notes(done)
    assert site.usable() == ["science-debian-12 1.0"]


def test_the_uuid_of_an_own_list_given_to_a_foreign_one_costs_the_own_one_nothing(site: Subscriber, org: Organisation) -> None:
    site.producer.all("debian-12", "2026.11.1")
    site.takes(subscribe=[{"list": "main"}], approve=approved("debian-12"))
    site.run()
    own = site.home.pins().image_lists[0].uuid
    site.takes(org.entry(uuid=own), subscribe=[{"list": "main"}], approve=approved("debian-12"))
    for broken in (False, True):
        org.page.statuses = [503] * 3 * broken
        assert site.run().outcomes == ()
    assert site.usable() == ["debian-12 2026.11.1"]


def test_a_list_cannot_take_over_an_image_of_the_site_s_own(site: Subscriber, org: Organisation) -> None:
    site.producer.all("debian-12", "2026.11.1")
    site.takes(org.entry(), subscribe=[{"list": "main"}], approve=approved("debian-12", "science-*"))
    site.run()
    assert site.usable() == ["debian-12 2026.11.1", "science-debian-12 1.0"]
    own = site.producer.images["debian-12"].uuid
    org.images.clear()
    org.offer("Debian 12", "9999.1", uuid=own)
    org.publish()
    done = site.run()
    assert site.usable() == ["debian-12 2026.11.1"]
    assert f"its UUID {own} is that of an image of debian-12" in notes(done)


@pytest.mark.parametrize("first", [True, False], ids=["listed first", "listed last"])
def test_a_list_cannot_take_over_an_image_that_the_site_has_from_another(site: Subscriber, org: Organisation, server: WebServer, first: bool) -> None:
    site.run()
    thief = Organisation(server, org.authority, name="thief", common_name="Thief")
    thief.offer("Debian 12", "9.0", uuid=image_uuid("science-Debian 12"))
    thief.publish()
    entries = (thief.entry(new="approve"), org.entry())
    site.takes(*(entries if first else reversed(entries)), approve=approved("science-*"))
    done = site.run()
    assert done.outcomes == ()
    assert "is that of an image of the list science" in notes(done)
    assert site.usable() == ["science-debian-12 1.0"]


def test_the_same_image_on_two_lists_is_one_image(site: Subscriber, org: Organisation, server: WebServer) -> None:
    other = Organisation(server, org.authority, name="other", common_name="Other")
    other.images = dict(org.images)
    other.publish()
    site.takes(org.entry(new="approve"), other.entry(new="approve"))
    assert kinds(site.run()) == ["register science-debian-12 1.0"]
    assert site.run().outcomes == ()
    # The first list lets it go; the second one still has it.
    org.images.clear()
    org.publish()
    site.run()
    assert [name.partition("-")[2] for name in site.usable()] == ["debian-12 1.0"]
    site.run()
    assert site.run().outcomes == ()


def test_names_stay_with_their_images_whatever_titles_become(site: Subscriber, org: Organisation) -> None:
    site.run()
    org.images["Debian 12"] = replace(org.images["Debian 12"], title="Debian 12 (old)")
    org.offer("Evil", title="Debian 12", serve=False)
    org.publish()
    done = site.run()
    new = f"science-debian-12-{image_uuid('science-Evil')[:8]}"
    # An approval by name is for the image that had the name when it was given.
    assert [kind for kind in kinds(done) if kind.startswith("register")] == []
    assert site.home.memory().foreign["science"].names == {image_uuid("science-Debian 12"): "science-debian-12", image_uuid("science-Evil"): new}


def test_an_image_s_former_name_is_given_to_no_other(site: Subscriber, org: Organisation) -> None:
    site.takes(org.entry(), approve=approved("science-debian-12"))
    site.run()
    org.images.clear()
    org.offer("Other", title="Debian 12")
    org.publish()
    done = site.run()
    assert kinds(done) == ["hide science-debian-12 1.0"]
    assert f"science-debian-12-{image_uuid('science-Other')[:8]} 1.0: it waits for a decision" in notes(done)


# Odd entries


def test_an_image_with_an_odd_field_is_told_and_the_others_go_on(site: Subscriber, org: Organisation) -> None:
    org.offer("Fedora 40")

    def spoil(body: dict) -> None:
        body["hv:images"][1]["hv:image"]["hv:size"] = "many"

    org.publish_json(spoil)
    done = site.run()
    assert kinds(done) == ["register science-debian-12 1.0"]
    assert "hv:images[1].hv:size: must be a whole number" in notes(done)


def test_an_image_that_becomes_odd_stays_as_it_is(site: Subscriber, org: Organisation) -> None:
    site.run()
    for spoil in ({"hv:version": "next"}, {"hv:format": "floppy"}, {"sl:checksum:sha512": "?"}, {"hv:uri": "ftp://a.example.org/b"}):
        org.publish_json(lambda body, spoil=spoil: body["hv:images"][0]["hv:image"].update(spoil))
        done = site.run()
        assert done.outcomes == (), spoil
        assert done.made.notes


def test_limits_of_a_list(site: Subscriber, org: Organisation) -> None:
    org.offer("Big", size=Size(1 << 40), serve=False)
    org.publish()
    done = site.run()
    assert kinds(done) == ["register science-debian-12 1.0"]
    assert "is larger than the 32GiB that the site takes from science" in notes(done)
    site.takes(org.entry(limits={"images": 1}), approve=approved("science-*"))
    done = site.run()
    assert done.outcomes == ()
    assert "2 images on the list, where at most 1 are taken" in notes(done)
    site.takes(org.entry(limits={"virtual_size": "1KiB"}), approve=approved("science-*"))
    org.offer("Small")
    org.publish()
    assert "failed register science-small 1.0" in found(site.run().outcomes)


def test_an_image_in_another_format_is_converted_once(site: Subscriber, org: Organisation) -> None:
    org.images.clear()
    data = disk("Debian 12", "1.0", size=1 << 20)
    org.offer("Debian 12", data=data, format="RAW")
    org.publish()
    site.takes(org.entry(), approve=approved("science-*"), formats=["qcow2"])
    done = site.run()
    assert kinds(done) == ["register science-debian-12 1.0"], [str(getattr(one, "error", "")) for one in done.outcomes]
    (image,) = site.world.images.values()
    assert image.spec is not None
    assert (image.spec.format, image.spec.signed.format, image.spec.signed.size) == ("qcow2", "raw", 1 << 20)
    assert site.run().outcomes == ()
    org.offer("Debian 12", data=data, format="raw", expires=later(3))
    org.publish()
    assert kinds(site.run()) == ["update science-debian-12 1.0"]
    assert site.run().outcomes == ()


def test_the_extension_field_says_how_else_an_image_can_be_had(site: Subscriber, org: Organisation) -> None:
    ways = {
        "compressed": {"uri": "https://a.example.org/x.zst", "size": 10, "sha512": "c" * 128},
        "patches": [
            {"uri": "https://a.example.org/p", "size": 5, "sha512": "d" * 128, "base:sha512": "e" * 128, "base:size": 9, "memory": 1 << 20},
            7,
        ],
    }
    org.offer("Debian 12", extra={"vk:supply": ways})
    org.publish()
    view = look(site.producer.repo.repository, site.home, "here", NOW, connect=lambda _: {"": _cloud(site)})
    (offer,) = view.lists[0].state.offers  # type: ignore[union-attr]
    assert offer.supply.compressed == SuppliedFile(uri="https://a.example.org/x.zst", size=Size(10), sha512="c" * 128)
    (patch,) = offer.supply.patches
    assert (patch.base_sha512, patch.memory) == ("e" * 128, 1 << 20)
    assert offer.supply.max_virtual == Size.parse("256GiB")


def _cloud(site: Subscriber):
    from support.here import OWNER
    from vmkeeper.clouds.memory import MemoryCloud

    return MemoryCloud(OWNER, site.world)


# A look that changes nothing, and errors that stop one list


def test_a_list_beside_broken_ones_is_taken(site: Subscriber, org: Organisation, server: WebServer) -> None:
    def broken(name: str, **how: object) -> dict:
        other = Organisation(server, org.authority, name=name, common_name=name)
        other.offer("x", serve=False)
        message = other.publish()
        other.put(how.pop("message", message), **how)  # type: ignore[arg-type]
        return other.entry(new="approve")

    stranger = Organisation(server, name="stranger")
    stranger.publish()
    entries = [
        broken("absent", statuses=[404]),
        broken("forbidden", statuses=[401]),
        broken("busy", statuses=[503]),
        broken("html", message=b"<html>moved</html>"),
        broken("empty", message=b""),
        broken("cut", cuts=[100]),
        broken("packed", headers={"Content-Encoding": "gzip"}),
        broken("elsewhere", location="http://169.254.169.254/latest/meta-data/"),
        broken("inward", location="http://[::1]/"),
        broken("round", location="/round/image.list"),
        broken("file", location="file:///etc/passwd"),
        broken("unasked", unchanged="always"),
        {"name": "dead", "url": "http://127.0.0.1:1/x", "endorser": org.endorser()},
        {"name": "private", "url": "http://10.255.255.1/x", "endorser": org.endorser()},
        stranger.entry(new="approve"),
        org.entry(new="approve"),
    ]
    site.takes(*entries)
    done = site.run()
    assert kinds(done) == ["register science-debian-12 1.0"]
    why = {one.name: one.state.why for one in done.view.lists if isinstance(one.state, Unusable)}
    assert why.keys() == {entry["name"] for entry in entries} - {"science"}
    expected = {
        "absent": "404",
        "forbidden": "401",
        "busy": "503",
        "html": "R17",
        "empty": "R17",
        "cut": "the connection failed",
        "packed": "gzip",
        "elsewhere": "not a public address",
        "inward": "R27",
        "round": "more than 5 redirects",
        "file": "R27",
        "unasked": "304",
        "dead": "the connection failed",
        "private": "not a public address",
        "stranger": "R19",
    }
    for name, text in expected.items():
        assert text in why[name], why[name]
    assert site.kept_lists() == ["science"]


def test_a_json_that_is_none_is_refused_after_its_signature_was_verified(site: Subscriber, org: Organisation) -> None:
    for text in ("{", '{"hv:imagelist": {"hv:version": "1", "hv:version": "2"}}', '{"hv:imagelist": []}', "[]", '{"a": NaN}'):
        org.publish_text(text)
        done = site.run()
        assert done.outcomes == ()
        assert done.made.notes


def test_a_look_changes_nothing_that_is_remembered(site: Subscriber, org: Organisation) -> None:
    before = site.home.memory()
    look(site.producer.repo.repository, site.home, "here", NOW, connect=lambda _: {"": _cloud(site)})
    assert site.home.memory() == before
    assert len(org.requests()) == 1


def test_a_fetch_that_is_given_takes_the_place_of_network_and_cache(site: Subscriber, org: Organisation) -> None:
    site.run()
    asked = len(org.requests())

    def nothing(url: str) -> bytes:
        raise Transient("no network here", where=url)

    done = site.run(fetch=nothing)
    assert done.outcomes == ()
    assert len(org.requests()) == asked
    assert site.usable() == ["science-debian-12 1.0"]
    message = org.page.data
    assert site.run(fetch=lambda _url: message).made.notes == ()


def test_lists_the_site_no_longer_takes_are_forgotten_and_their_images_go(site: Subscriber, org: Organisation) -> None:
    site.run()
    assert site.kept_lists() == ["science"]
    site.takes()
    done = site.run()
    assert kinds(done) == ["hide science-debian-12 1.0"]
    assert "does not subscribe to its list" in done.outcomes[0].action.reason
    assert site.kept_lists() == []


def test_the_clock_of_a_publisher_may_not_be_ahead(site: Subscriber, org: Organisation) -> None:
    org.publish(created=NOW + timedelta(hours=1))
    assert "the list was made in the future" in notes(site.run())

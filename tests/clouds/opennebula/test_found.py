"""What oned lists, as it was recorded from real ones, and what an image is to us."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree.ElementTree import fromstring

import pytest

from conformance.setting import DISK, THEN, spec_of
from vmkeeper.clouds.interface import NoRoom
from vmkeeper.clouds.opennebula.found import Image, image_of, machine_of, template_of
from vmkeeper.clouds.opennebula.marks import image_attributes, read_mark
from vmkeeper.clouds.opennebula.rights import Rights
from vmkeeper.clouds.opennebula.uploading import _check, _is_given
from vmkeeper.errors import Transient

RIGHTS = "".join(f"<{who}_{what}>{int(who == 'OWNER' and what != 'A')}</{who}_{what}>" for who in ("OWNER", "GROUP", "OTHER") for what in "UMA")
HEAD = f"<UID>2</UID><GID>100</GID><UNAME>alice</UNAME><GNAME>devs</GNAME><NAME>img</NAME>%s<PERMISSIONS>{RIGHTS}</PERMISSIONS>"
LOCKED = "<LOCK><LOCKED>2</LOCKED><OWNER>0</OWNER><TIME>1795164576</TIME><REQ_ID>1504</REQ_ID></LOCK>"
IMAGE = f"""<IMAGE><ID>7</ID>{HEAD}<TYPE>0</TYPE><DISK_TYPE>0</DISK_TYPE><PERSISTENT>0</PERSISTENT><REGTIME>1795164574</REGTIME>
<SOURCE><![CDATA[/var/lib/one/datastores/1/x]]></SOURCE><PATH><![CDATA[/var/tmp/x]]></PATH><FORMAT><![CDATA[raw]]></FORMAT><FS><![CDATA[]]></FS>
<SIZE>1</SIZE><STATE>1</STATE><PREV_STATE>1</PREV_STATE><RUNNING_VMS>2</RUNNING_VMS><DATASTORE_ID>1</DATASTORE_ID><DATASTORE>default</DATASTORE>
<VMS><ID>1</ID><ID>2</ID></VMS><CLONES></CLONES><TEMPLATE><DEV_PREFIX><![CDATA[sd]]></DEV_PREFIX><V><A><![CDATA[1]]></A></V><X>1</X><X>2</X></TEMPLATE></IMAGE>"""


def image(**fields: object) -> Image:
    made = image_of(fromstring(IMAGE % ""))
    attributes = image_attributes("vmkeeper:here", spec_of(DISK))
    return replace(made, **{"attributes": attributes, "mark": read_mark(attributes), "vms": (), **fields})  # type: ignore[arg-type]


def test_an_image_is_read() -> None:
    found = image_of(fromstring(IMAGE % LOCKED))
    assert (found.id, found.uid, found.uname, found.gid, found.gname, found.name, found.mode, found.lock) == (
        7,
        2,
        "alice",
        100,
        "devs",
        "img",
        "600",
        2,
    )
    assert (found.size, found.state, found.datastore, found.datastore_name, found.vms) == (1, 1, 1, "default", (1, 2))
    assert found.attributes == {"DEV_PREFIX": "sd", "V": {"A": "1"}, "X": ["1", "2"]}
    assert found.mark is None
    assert image_of(fromstring(IMAGE % "")).lock == 0


@pytest.mark.parametrize("tag", ["ID", "UID", "NAME", "STATE", "SIZE", "SOURCE", "DATASTORE_ID", "PERMISSIONS", "TEMPLATE", "OWNER_U", "PERSISTENT"])
def test_an_image_of_which_something_is_missing_is_none(tag: str) -> None:
    cut = re.sub(rf"<{tag}>.*?</{tag}>", "", IMAGE % "", flags=re.DOTALL)
    with pytest.raises(ValueError, match=tag):
        image_of(fromstring(cut))


def test_templates_and_machines_are_read() -> None:
    template = template_of(
        fromstring(
            f"<VMTEMPLATE><ID>1</ID>{HEAD % ''}<TEMPLATE><DISK><IMAGE_ID>7</IMAGE_ID></DISK><DISK><SIZE>1</SIZE></DISK></TEMPLATE></VMTEMPLATE>"
        )
    )
    assert template.images == ("7",)
    machine = machine_of(
        fromstring(
            "<VM><ID>1</ID><NAME>a</NAME><UID>2</UID><STATE>3</STATE><LCM_STATE>3</LCM_STATE><TEMPLATE/><USER_TEMPLATE><A>1</A></USER_TEMPLATE></VM>"
        )
    )
    assert (machine.id, machine.state, machine.lcm, machine.template, machine.said) == (1, 3, 3, {}, {"A": "1"})


@pytest.mark.parametrize(
    ("state", "fields", "complete"),
    [(1, {}, True), (2, {}, True), (3, {}, True), (4, {}, True), (6, {}, True), (9, {}, True), (0, {}, False), (5, {}, False), (7, {}, False), (1, {"source": ""}, False), (1, {"size": 0}, False)],
)  # fmt: skip
def test_an_image_is_complete_when_its_bytes_are_there(state: int, fields: dict[str, object], complete: bool) -> None:
    assert image(state=state, **fields).complete() is complete


def test_an_image_that_is_smaller_than_it_should_be_is_not_complete() -> None:
    spec = spec_of(DISK).model_copy(update={"virtual_size": 10 << 20})
    attributes = image_attributes("vmkeeper:here", spec)
    assert not image(attributes=attributes, mark=read_mark(attributes)).complete()
    assert image(attributes=attributes, mark=read_mark(attributes), size=10).complete()


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"state": 4}, Transient, "did not come to an end"),
        ({"state": 5, "attributes": {"ERROR": "Hash does\n not match"}}, Transient, "Hash does not match"),
        ({"state": 5, "attributes": {"ERROR": "dd: No space left on device"}}, NoRoom, "No space left"),
        ({"state": 3}, Transient, "somebody disabled it"),
        ({"source": ""}, Transient, "not where"),
        ({"size": 0}, Transient, "not where"),
        ({"size": 3}, Transient, "3 MiB, not 5"),
    ],
)
def test_what_oned_did_not_take_is_told(fields: dict[str, object], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        _check(image(**fields), 5 << 20)


def test_sizes_that_drivers_round_up_are_right() -> None:
    for size in (5, 6, 1024):
        _check(image(size=size), (5 << 20) - 7)


@pytest.mark.parametrize(
    ("unfinished", "path", "state", "given"),
    [
        ("COMING", "/var/tmp/x", 1, True),
        ("COMING", "http://h/t/image.raw", 1, False),
        ("VERIFIED", "http://h/t/image.raw", 1, True),
        ("VERIFIED", "http://h/t/image.raw", 5, False),
        ("COMING", "/var/tmp/x", 4, False),
        ("?", "", 1, True),
    ],
)
def test_an_unfinished_upload_is_finished_only_where_its_bytes_are_sure(unfinished: str, path: str, state: int, given: bool) -> None:
    attributes = {**image_attributes("vmkeeper:here", spec_of(DISK)), "VMKEEPER_UNFINISHED": unfinished}
    assert _is_given(image(attributes=attributes, mark=read_mark(attributes), path=path, state=state), spec_of(DISK)) is given


def test_what_is_otherwise_is_told_in_words() -> None:
    assert image().rights_drift(Rights("644", "bob", "users")) == (
        "its owner is alice, not bob",
        "its group is devs, not users",
        "its permissions are 600, not 644",
    )
    assert image().rights_drift(Rights("600", "2", "100")) == ()
    assert image(state=3, persistent=True, type=2).made_drift() == ("it is disabled", "it is persistent", "its type is not OS")
    hidden = image_attributes("vmkeeper:here", spec_of(DISK), THEN)
    assert image(mark=read_mark(hidden)).made_drift() == ("it is enabled",)
    assert image(mark=read_mark(hidden), state=2).made_drift() == (), "one in use cannot be disabled"

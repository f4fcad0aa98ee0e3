"""The forms in which an event is told."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.sitescenario import NOW, spec, uuid_of
from vmkeeper.clouds.interface import SourceFile
from vmkeeper.lists.events import Event, cloudevent, cloudevent_json, concerns, environment, event_id, event_image, make
from vmkeeper.model.base import Inconsistent
from vmkeeper.model.handler import Handler
from vmkeeper.values import Size

SESSION = "3f0c5a44-6c8a-4f0e-9d70-6f2f0f7f2c11"
FOLDERS: Any = {"CACHE": "/srv/images", "DOWNLOAD": "/srv/images/partial/", "EXPIRE": "/srv/images/expired"}
SAID = {
    "title": "Debian",
    "dc:description": "A Debian",
    "hv:hypervisor": "kvm",
    "sl:comments": "none",
    "sl:os": "linux",
    "sl:osname": "Debian",
    "sl:osversion": "12",
    "ad:mpuri": "https://m.example.org/1",
    "ad:group": "General group",
    "ad:vo": "atlas",
}


def event(kind: Any = "AvailablePostfix", words: str = "debian-12 2026.11.1", replaced: bool = False, **properties: str) -> Event:
    image = event_image(spec(words, properties=properties), uri="https://images.example.org/a", filename=uuid_of("debian-12"))
    return make(kind, SESSION, "here", NOW, key=spec(words).key, image=image, replaced=replaced)


def test_vmcatchers_variables_all_of_them() -> None:
    made = environment(event(**SAID), FOLDERS)
    said = spec("debian-12 2026.11.1")
    assert made == {
        "VMCATCHER_EVENT_TYPE": "AvailablePostfix",
        "VMCATCHER_EVENT_ID": event_id(SESSION, "AvailablePostfix", said.key),
        "VMCATCHER_EVENT_UUID_SESSION": SESSION,
        "VMCATCHER_EVENT_DC_DESCRIPTION": "A Debian",
        "VMCATCHER_EVENT_DC_IDENTIFIER": said.uuid,
        "VMCATCHER_EVENT_DC_TITLE": "Debian",
        "VMCATCHER_EVENT_HV_HYPERVISOR": "kvm",
        "VMCATCHER_EVENT_HV_SIZE": str(int(said.size)),
        "VMCATCHER_EVENT_HV_URI": "https://images.example.org/a",
        "VMCATCHER_EVENT_HV_FORMAT": "qcow2",
        "VMCATCHER_EVENT_HV_VERSION": "2026.11.1",
        "VMCATCHER_EVENT_SL_ARCH": "x86_64",
        "VMCATCHER_EVENT_SL_CHECKSUM_SHA512": said.sha512,
        "VMCATCHER_EVENT_SL_COMMENTS": "none",
        "VMCATCHER_EVENT_SL_OS": "linux",
        "VMCATCHER_EVENT_SL_OSVERSION": "12",
        "VMCATCHER_EVENT_FILENAME": said.uuid,
        "VMCATCHER_EVENT_IL_DC_IDENTIFIER": said.list,
        "VMCATCHER_EVENT_AD_MPURI": "https://m.example.org/1",
        "VMCATCHER_EVENT_VO": "atlas",
        "VMCATCHER_CACHE_DIR_CACHE": "/srv/images/",
        "VMCATCHER_CACHE_DIR_DOWNLOAD": "/srv/images/partial/",
        "VMCATCHER_CACHE_DIR_EXPIRE": "/srv/images/expired/",
    }


def test_what_is_empty_has_no_variable() -> None:
    made = environment(event(), FOLDERS)
    assert not {f"VMCATCHER_EVENT_{name}" for name in ("DC_TITLE", "DC_DESCRIPTION", "SL_COMMENTS", "VO", "AD_MPURI")} & made.keys()
    begins = environment(make("ProcessPrefix", SESSION, "here", NOW), FOLDERS)
    assert {name for name in begins if name.startswith("VMCATCHER_EVENT_")} == {f"VMCATCHER_EVENT_{name}" for name in ("TYPE", "ID", "UUID_SESSION")}


def test_a_converted_image_is_told_as_it_was_signed() -> None:
    source = SourceFile(format="ova", size=Size(77), sha512="7" * 128)
    image = event_image(spec("debian-12 1").model_copy(update={"source": source}))
    assert (image.format, image.size, image.sha512) == ("ova", 77, "7" * 128)


@given(st.dictionaries(st.sampled_from(sorted(SAID)), st.text(max_size=40) | st.just("x" * 300_000)))
def test_whatever_a_list_says_a_program_can_be_started_and_a_terminal_is_safe(said: dict[str, str]) -> None:
    made = environment(event(**said), FOLDERS)
    for value in made.values():
        assert value
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", value)
        assert len(os.fsencode(value)) < 100_000
        assert b"\0" not in os.fsencode(value)
    json.loads(cloudevent_json(event(**said)))


def test_variables_as_long_as_can_be_still_start_a_program() -> None:
    made = environment(event(**dict.fromkeys(SAID, "\N{GRINNING FACE}" * 300_000)), FOLDERS)
    assert subprocess.run(["/bin/true"], env=made, check=False).returncode == 0


def test_cloudevents_json_has_what_the_standard_requires() -> None:
    made = cloudevent(event(**SAID))
    assert {name: made[name] for name in ("specversion", "source", "type", "time", "datacontenttype", "subject")} == {
        "specversion": "1.0",
        "source": "vmkeeper:here",
        "type": "vmkeeper.AvailablePostfix",
        "time": "2026-11-20T10:00:00Z",
        "datacontenttype": "application/json",
        "subject": f"{uuid_of('debian-12')}/2026.11.1",
    }
    assert all(re.fullmatch(r"[a-z0-9]{1,20}", name) for name in made)
    data = made["data"]
    assert data["hv:size"] == int(spec("debian-12 2026.11.1").size)
    assert data["session"] == SESSION
    assert {name for name in data if ":" in name} == (set(SAID) - {"title"}) | {
        "dc:title", "dc:identifier", "hv:version", "hv:format", "hv:size", "hv:uri", "sl:arch", "sl:checksum:sha512", "hv:imagelist.dc:identifier",
    }  # fmt: skip
    assert "replaced" not in data
    assert cloudevent(event("ExpirePostfix", replaced=True))["data"]["replaced"] is True
    assert "subject" not in cloudevent(make("ProcessPrefix", SESSION, "here", NOW))


def test_a_line_of_json_is_one_line_of_ascii() -> None:
    line = cloudevent_json(event(title="Grüße\n\u202e\ud800"))
    assert line.isascii()
    assert b"\n" not in line
    assert json.loads(line)["data"]["dc:title"] == "Grüße\n\u202e\ud800"


@given(st.sampled_from(["AvailablePostfix", "ExpirePostfix", "ProcessPrefix"]), st.booleans())
def test_an_event_that_is_read_back_is_the_same(kind: str, replaced: bool) -> None:
    made = event(kind, replaced=replaced, **SAID)
    assert Event.model_validate_json(made.model_dump_json(exclude_defaults=True)) == made


def test_the_id_is_that_of_the_happening() -> None:
    assert event().id == event().id
    others = [event("ExpirePostfix"), event(words="debian-12 2"), make("AvailablePostfix", SESSION.replace("3", "4"), "here", NOW)]
    assert len({event().id, *(other.id for other in others)}) == 4


@pytest.mark.parametrize(
    ("wishes", "kind", "replaced", "heard"),
    [
        ({}, "ProcessPrefix", False, True),
        ({"events": ["AvailablePostfix"]}, "ProcessPrefix", False, False),
        ({"events": ["AvailablePostfix"]}, "AvailablePostfix", False, True),
        ({}, "ExpirePostfix", True, True),
        ({"replaced": False}, "ExpirePostfix", True, False),
        ({"replaced": False}, "ExpirePostfix", False, True),
    ],
)
def test_a_handler_hears_what_it_wants_to(wishes: dict[str, Any], kind: Any, replaced: bool, heard: bool) -> None:
    assert concerns(Handler.model_validate({"name": "one", "file": "a.jsonl", **wishes}), event(kind, replaced=replaced)) is heard


@pytest.mark.parametrize("file", ["spool", "mail.log", "mail.log.1"])
def test_a_file_handler_cannot_take_a_name_that_is_used(file: str) -> None:
    with pytest.raises(ValueError, match="a name that vmkeeper uses") as refused:
        Handler(name="one", file=file)
    assert isinstance(refused.value.errors()[0]["ctx"]["error"], Inconsistent)  # type: ignore[attr-defined]

"""Image lists: list → model → list, what is read and refused, and what the programs that read lists need."""

import copy
import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.lists import IMAGES, LISTS, NOW, VERSIONS, image, image_list
from vmkeeper.errors import Problems, Refused
from vmkeeper.lists.hepix import missing, next_version, publish_text, read, same_content, version_key, write
from vmkeeper.values import Size

SAMPLE = Path(__file__).parents[1] / "fixtures" / "cloudkeeper" / "lists" / "imagelist01.unsigned"

# What each program insists on, as read from its source.
ATROPE_LIST = [
    "dc:date:created",
    "dc:date:expires",
    "hv:endorser",
    "dc:identifier",
    "dc:description",
    "dc:title",
    "hv:images",
    "dc:source",
    "hv:version",
    "hv:uri",
]
ATROPE_IMAGE = [
    "ad:group",
    "ad:mpuri",
    "ad:user:fullname",
    "ad:user:guid",
    "ad:user:uri",
    "dc:description",
    "dc:identifier",
    "dc:title",
    "hv:hypervisor",
]
ATROPE_IMAGE += ["hv:format", "hv:size", "hv:uri", "hv:version", "sl:arch", "sl:checksum:sha512", "sl:comments", "sl:os", "sl:osname", "sl:osversion"]
CLOUDKEEPER_IMAGE = ["dc:identifier", "ad:mpuri", "hv:uri", "sl:checksum:sha512", "hv:size", "dc:date:expires"]
VMCATCHER_IMAGE = ["dc:title", "dc:identifier", "dc:description", "hv:hypervisor", "hv:size", "hv:uri", "hv:version", "sl:arch", "sl:checksum:sha512"]
VMCATCHER_IMAGE += ["sl:comments", "sl:os", "sl:osversion"]


def document(made=None):
    return json.loads(write(made or image_list()))


def changed(change, made=None):
    value = document(made)
    change(value["hv:imagelist"])
    return json.dumps(value).encode()


def first(value):
    return value["hv:images"][0]["hv:image"]


def problems(data):
    with pytest.raises(Problems) as caught:
        read(data)
    return [(problem.place.field, problem.what) for problem in caught.value.problems]


@settings(max_examples=100, deadline=None)
@given(LISTS)
def test_list_to_text_to_list_is_the_identity(made):
    assert read(write(made).encode()) == made
    assert write(read(write(made).encode())) == write(made)


@settings(max_examples=50, deadline=None)
@given(LISTS, st.randoms())
def test_order_of_keys_means_nothing(made, random):
    def shuffled(value):
        if isinstance(value, dict):
            items = [(key, shuffled(item)) for key, item in value.items()]
            random.shuffle(items)
            return dict(items)
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    assert read(json.dumps(shuffled(json.loads(write(made)))).encode()) == made


def test_cloudkeepers_sample_keeps_its_meaning():
    before = json.loads(SAMPLE.read_bytes())
    after = json.loads(write(read(SAMPLE.read_bytes())))
    numbers = {"hv:size", "hv:ram_minimum", "ad:ram_recommended", "hv:core_minimum", "ad:core_recommended"}

    def plain(value):
        if isinstance(value, dict):
            return {key: int(item) if key in numbers else plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list) else value

    assert plain(before) == plain(after)


def test_sample_is_complete():
    assert missing(read(SAMPLE.read_bytes())) == ()


@settings(max_examples=50, deadline=None)
@given(st.lists(IMAGES, max_size=3, unique_by=lambda one: one.uuid), st.booleans())
def test_published_lists_have_all_that_every_reader_needs(images, full):
    filled = [image(uuid=one.uuid, version=one.version, size=one.size, sha512=one.sha512, ram_minimum=one.ram_minimum) for one in images]
    made = image_list(*(filled if full else images)) if images else image_list(images=())
    if not full and missing(made):
        with pytest.raises(ValueError, match="must have"):
            publish_text(made)
        return
    text = publish_text(made)
    body = json.loads(text)["hv:imagelist"]
    assert text.isascii()
    assert "\r" not in text
    assert all(key in body for key in [*ATROPE_LIST, "ad:vo"])
    assert isinstance(body["hv:endorser"], dict)
    assert set(body["hv:endorser"]["hv:x509"]) >= {"hv:dn", "hv:ca", "hv:email", "dc:creator"}
    for entry in body["hv:images"]:
        assert all(key in entry["hv:image"] for key in {*ATROPE_IMAGE, *CLOUDKEEPER_IMAGE, *VMCATCHER_IMAGE})
        assert isinstance(entry["hv:image"]["hv:size"], int)
        assert all(entry["hv:image"][key] for key in CLOUDKEEPER_IMAGE)
        for key, value in entry["hv:image"].items():
            if key.startswith("dc:date"):
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value)


@pytest.mark.parametrize("field", ["vo", "title", "source", "uri"])
@pytest.mark.parametrize("value", [None, ""])
def test_list_that_says_too_little_is_not_published(field, value):
    with pytest.raises(ValueError, match="must have"):
        publish_text(image_list(**{field: value}))


@pytest.mark.parametrize(
    "field", ["expires", "format", "osname", "group", "mpuri", "user_fullname", "user_guid", "user_uri", "arch", "hypervisor", "comments"]
)
def test_image_that_says_too_little_is_not_published(field):
    with pytest.raises(ValueError, match=r"hv:images\[1\]"):
        publish_text(image_list(image(), image(uuid="11111111-2222-4333-8444-666666666666", **{field: None})))


def test_names_that_are_not_ascii_are_not_published():
    made = image_list()
    with pytest.raises(ValueError, match="ASCII"):
        publish_text(replace(made, endorser=replace(made.endorser, dn="/CN=Ünï")))


def test_keys_come_in_one_order():
    names = [pair[0] for pair in json.loads(publish_text(image_list()), object_pairs_hook=lambda pairs: pairs)[0][1]]
    assert names[:3] == ["dc:date:created", "dc:date:expires", "dc:identifier"]
    assert names[-2:] == ["hv:endorser", "hv:images"]


def test_memory_is_written_in_mib_and_read_in_both_ways():
    assert first(document()["hv:imagelist"])["hv:ram_minimum"] == 512
    for said in (512, "512", 536870912, "536870912"):
        assert read(changed(lambda body, said=said: first(body).update({"hv:ram_minimum": said}))).images[0].ram_minimum == Size(512 << 20)
    assert read(changed(lambda body: first(body).update({"hv:ram_minimum": 1048576}))).images[0].ram_minimum == 1 << 20
    assert first(document(image_list(image(ram_minimum=Size(2 << 40))))["hv:imagelist"])["hv:ram_minimum"] == 2 << 40
    assert first(document(image_list(image(ram_minimum=Size((512 << 20) + 1))))["hv:imagelist"])["hv:ram_minimum"] == 513


def test_what_is_not_known_is_kept():
    def change(body):
        body["x:list"] = {"deep": [1, None, "ü"]}
        first(body)["x:image"] = True
        body["hv:images"][0]["x:beside"] = 1
        body["hv:endorser"]["hv:x509"]["x:endorser"] = "y"

    again = json.loads(write(read(changed(change))))["hv:imagelist"]
    assert again["x:list"] == {"deep": [1, None, "ü"]}
    assert first(again)["x:image"] is True
    assert again["hv:images"][0]["x:beside"] == 1
    assert again["hv:endorser"]["hv:x509"]["x:endorser"] == "y"


ACCEPTED = {
    "empty list": lambda body: body.update({"hv:images": []}),
    "size as a string": lambda body: first(body).update({"hv:size": "123"}),
    "version as a number": lambda body: body.update({"hv:version": 12}),
    "no vo": lambda body: body.pop("ad:vo"),
    "vmcaster's fields only": lambda body: [first(body).pop(key) for key in list(first(body)) if key.startswith("ad:")],
    "no image expiry": lambda body: first(body).pop("dc:date:expires"),
    "no format": lambda body: first(body).pop("hv:format"),
    "sha512 in capitals": lambda body: first(body).update({"sl:checksum:sha512": "AB" * 64}),
    "far future": lambda body: body.update({"dc:date:expires": "2499-12-31T22:00:00Z"}),
}


@pytest.mark.parametrize("change", ACCEPTED.values(), ids=ACCEPTED)
def test_lists_of_others_that_are_read(change):
    data = changed(change)
    made = read(data)
    assert read(write(made).encode()) == made


@pytest.mark.parametrize("ascii_only", [True, False])
def test_utf8_raw_and_escaped(ascii_only):
    value = document(image_list(title="Größe 🖥"))
    assert read(json.dumps(value, ensure_ascii=ascii_only).encode()).title == "Größe 🖥"


BAD_TIMES = [
    "2026-11-20T12:00:00.000Z",
    "2026-11-20T12:00:00+00:00",
    "2026-11-20",
    "2026-11-20 12:00:00Z",
    "2026-13-01T00:00:00Z",
    "",
    "1763640000",
    1763640000,
    None,
]
REFUSED = {f"time {said!r}": (lambda body, said=said: body.update({"dc:date:expires": said}), "hv:imagelist.dc:date:expires") for said in BAD_TIMES}
REFUSED |= {f"image time {said!r}": (lambda body, said=said: first(body).update({"dc:date:expires": said}), "dc:date:expires") for said in BAD_TIMES}
REFUSED |= {f"no {key}": (lambda body, key=key: body.pop(key), f"hv:imagelist.{key}") for key in ATROPE_LIST}
REFUSED |= {
    f"image without {key}": (lambda body, key=key: first(body).pop(key), key)
    for key in ("dc:identifier", "hv:uri", "hv:version", "hv:size", "sl:checksum:sha512")
}
REFUSED |= {
    "several endorsers": (lambda body: body.update({"hv:endorser": [body["hv:endorser"]]}), "hv:endorser"),
    "endorser without dn": (lambda body: body["hv:endorser"]["hv:x509"].pop("hv:dn"), "hv:dn"),
    "endorser as text": (lambda body: body.update({"hv:endorser": "me"}), "hv:endorser"),
    "images as object": (lambda body: body.update({"hv:images": {}}), "hv:images"),
    "image as text": (lambda body: body.update({"hv:images": ["x"]}), "hv:images[0]"),
    "image without its wrapper": (lambda body: body.update({"hv:images": [first(body)]}), "hv:images[0]"),
    "the same image twice": (lambda body: body["hv:images"].append(body["hv:images"][0]), "hv:images[1].dc:identifier"),
    "path as identifier": (lambda body: first(body).update({"dc:identifier": "../../etc/passwd"}), "dc:identifier"),
    "list identifier": (lambda body: body.update({"dc:identifier": "x"}), "hv:imagelist.dc:identifier"),
    "short sha512": (lambda body: first(body).update({"sl:checksum:sha512": "ab"}), "sl:checksum:sha512"),
    "size 0": (lambda body: first(body).update({"hv:size": 0}), "hv:size"),
    "negative size": (lambda body: first(body).update({"hv:size": -1}), "hv:size"),
    "size true": (lambda body: first(body).update({"hv:size": True}), "hv:size"),
    "size with a point": (lambda body: first(body).update({"hv:size": 1.5}), "hv:size"),
    "size in words": (lambda body: first(body).update({"hv:size": "1 GB"}), "hv:size"),
    "endless size": (lambda body: first(body).update({"hv:size": 10**30}), "hv:size"),
    "empty uri": (lambda body: first(body).update({"hv:uri": " "}), "hv:uri"),
    "version with spaces": (lambda body: body.update({"hv:version": "1 2"}), "hv:version"),
    "title as a list": (lambda body: body.update({"dc:title": []}), "dc:title"),
}


@pytest.mark.parametrize(("change", "place"), REFUSED.values(), ids=REFUSED)
def test_lists_that_are_refused_say_where(change, place):
    found = problems(changed(change))
    assert any(field.endswith(place) for field, _ in found), found


def test_all_problems_are_told_at_once():
    def change(body):
        body.pop("dc:title")
        first(body)["hv:size"] = 0
        body["dc:date:created"] = "today"

    assert len(problems(changed(change))) == 3


NO_JSON = [b"", b"{", b"[]{}", b'{"a":1,"a":2}', b'{"hv:imagelist":{"a":1,"a":1}}', b'{"a":NaN}', b'{"a":Infinity}', b"\xff\xfe", b'{"a":"\\ud800"}']
NO_JSON += [
    b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a":' + b"[" * 50 + b"]" * 50 + b"}",
    b'{"a":' + b"9" * 10_000 + b"}",
    b'{"a":1e999}',
]


@pytest.mark.parametrize("data", NO_JSON, ids=range(len(NO_JSON)))
def test_json_with_two_readings_is_refused(data):
    with pytest.raises(Refused) as caught:
        read(data)
    assert caught.value.rule == "R22"


def test_endless_list_is_refused():
    with pytest.raises(Refused) as caught:
        read(b" " * ((16 << 20) + 1))
    assert caught.value.rule == "R25"


@pytest.mark.parametrize("data", [b"[]", b"1", b"null", b'"x"', b"{}", b'{"hv:imagelist":[]}', b'{"imagelist":{}}'])
def test_json_that_is_no_list(data):
    assert problems(data)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_value_anywhere_is_read_or_refused_with_a_typed_error(data):
    value = document()
    spots = []

    def walk(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            spots.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(value)
    node, key = data.draw(st.sampled_from(range(len(spots))).map(spots.__getitem__))
    node[key] = data.draw(st.sampled_from([None, True, 0, -1, 1.5, 10**40, "", " ", "x", [], {}, [1], {"a": 1}, "\x00", "\x1b[31m"]))
    try:
        made = read(json.dumps(value).encode())
    except (Problems, Refused):
        return
    assert read(write(made).encode()) == made


ORDER = ["abc", "0.9", "1", "1.0", "1.0-1", "1.2", "1.10", "3.3.0-1", "3.3.0-2", "2015", "20150618211400", "20261120120000"]


def test_versions_compare_as_numbers():
    assert sorted(ORDER, key=version_key) == ORDER
    assert version_key("1,2") == version_key("1.2") == version_key("1-2") == version_key("1/2") == version_key("01.02")
    assert version_key("1.rc9") < version_key("1.rc10") < version_key("1.0")


@given(st.none() | VERSIONS)
def test_next_version_is_greater(previous):
    later = next_version(previous, NOW)
    assert previous is None or version_key(later) > version_key(previous)


def test_next_version_is_the_time_and_rises_within_a_second_and_with_the_clock_set_back():
    assert next_version(None, NOW) == "20261120120000"
    assert next_version("20261120120000", NOW) == "20261120120001"
    assert next_version("20261120120001", NOW) == "20261120120002"
    assert next_version("20991231000000", NOW) == "20991231000001"
    assert next_version("7", NOW) == "20261120120000"
    assert next_version("99999999999999.1", NOW) == "99999999999999.2"


def test_same_content_sees_all_but_version_and_dates():
    one = image_list()
    assert same_content(one, replace(one, version="9", created=NOW + timedelta(1), expires=NOW + timedelta(2)))
    assert not same_content(one, replace(one, title="Other"))
    assert not same_content(one, replace(one, images=(image(expires=NOW),)))
    assert not same_content(one, replace(one, extra={"x": 1}))
    assert copy.deepcopy(one) == one

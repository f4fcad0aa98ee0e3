"""What is written reads back as an equal document, in one way only, for every YAML reader."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from support.documents import TEXT, document
from vmkeeper.documents.dump import dump
from vmkeeper.documents.examples import EXAMPLES, examples
from vmkeeper.documents.guard import UNSEEN
from vmkeeper.documents.kinds import KINDS, Kind
from vmkeeper.documents.load import load
from vmkeeper.model.base import Document
from vmkeeper.model.context import Context
from vmkeeper.model.lock import LockedPackage, PackagesLock
from vmkeeper.model.release import LintFinding
from vmkeeper.values import Size, parse_time

LOCKED = LockedPackage(name="bash", version="5.2-1", architecture="amd64", archive="debian", path="pool/b/bash.deb", size=Size(5), sha256="0" * 64)


def lock(*packages: LockedPackage) -> PackagesLock:
    return PackagesLock(inputs="a" * 64, date=parse_time("2026-11-20T10:00:00Z"), archives=(), packages=packages)


def reread(kind: Kind, written: bytes) -> Document:
    return load(kind, written, "elsewhere")


@pytest.mark.parametrize("name", examples())
def test_the_examples_read_back_equal(name: str) -> None:
    kind = KINDS[examples()[name][0]]
    first = reread(kind, examples()[name][1].encode())
    written = dump(first)
    assert reread(kind, written) == first
    assert dump(reread(kind, written)) == written


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@given(data=st.data())
@settings(deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))
def test_any_document_reads_back_equal(kind: Kind, data: st.DataObject) -> None:
    value = data.draw(document(kind.model))
    try:
        first = kind.model.model_validate_json(json.dumps(value), strict=True)
    except ValidationError:
        assume(False)
    written = dump(first)
    assert reread(kind, written) == first
    assert dump(reread(kind, written)) == written


@given(
    TEXT
    | st.sampled_from(
        [
            "yes",
            "No",
            "null",
            "~",
            "12",
            "1.5",
            "1e3",
            "0x1f",
            "0777",
            "12:30:00",
            "2026-11-20",
            "=",
            "<<",
            "- a",
            "a: b",
            "#x",
            "*",
            "&a",
            "!b",
            "|",
            "",
            " a",
            "a ",
        ]
    )
)
@settings(deadline=None, max_examples=300)
def test_any_text_stays_the_same_text_for_readers_of_yaml_1_1_and_1_2(text: str) -> None:
    assume("\x85" not in text)
    written = dump(Context(title="x", instructions=text, cloud_init={text: [text, {text: text}]}))
    assert reread(KINDS["context"], written).model_dump()["cloud_init"] == {text: [text, {text: text}]}
    for version in ((1, 1), (1, 2)):
        reader = YAML(typ="safe", pure=True)
        reader.version = version
        assert reader.load(written)["cloud_init"] == {text: [text, {text: text}]}


def test_a_lock_has_one_line_for_each_package() -> None:
    more = LOCKED.model_copy(update={"name": "zsh", "version": "1:5.9-4+b2"})
    text = dump(lock(LOCKED, more)).decode()
    assert text == (
        'version: 1\ninputs: "' + "a" * 64 + '"\ndate: "2026-11-20T10:00:00Z"\narchives: []\npackages:\n'
        '- {name: bash, version: "5.2-1", architecture: amd64, archive: debian, path: pool/b/bash.deb, size: 5B, sha256: "' + "0" * 64 + '"}\n'
        '- {name: zsh, version: "1:5.9-4+b2", architecture: amd64, archive: debian, path: pool/b/bash.deb, size: 5B, sha256: "' + "0" * 64 + '"}\n'
    )
    assert set(text.splitlines()) - set(dump(lock(LOCKED)).decode().splitlines()) == {text.splitlines()[-1]}


def test_defaults_are_left_out_and_the_format_s_mark_is_not() -> None:
    assert b"version: 1\n" in dump(lock())
    assert dump(Context()) == b"{}\n"
    assert dump(Context(title="x", visibility="private")) == b"title: x\n"


def test_the_key_of_a_renamed_field_is_the_file_s() -> None:
    cluster = reread(KINDS["cluster"], EXAMPLES["cluster"].encode())
    assert b"\n    with:\n" in dump(cluster)
    assert b"values" not in dump(cluster)


def test_control_characters_are_escaped_in_findings_and_refused_elsewhere() -> None:
    finding = LintFinding(rule="odd-name", path="/tmp/\x1b[31m\udce9", what="a\nb")
    assert finding.path == "/tmp/\\u001b[31m\\udce9"
    assert not UNSEEN.search(finding.path + finding.what)
    with pytest.raises(ValueError, match="control characters"):
        dump(Context(title="\x1b[31m"))


def test_a_thousand_packages_stay_within_the_limit() -> None:
    packages = [
        LOCKED.model_copy(update={"name": f"library-of-number-{n}", "path": f"pool/main/l/library/library-{n}_1.2.3_amd64.deb"}) for n in range(1000)
    ]
    written = dump(lock(*packages))
    assert len(reread(KINDS["lock"], written).model_dump()["packages"]) == 1000


def test_a_decision_about_everything_says_so() -> None:
    site = reread(
        KINDS["site"],
        b'title: x\nplatform: {type: local}\napprove:\n- {appliance: "*"}\n- {list: a, version: "*"}\nblock:\n- {appliance: "*", until: "2026-12-01T00:00:00Z", reason: r}\n',
    )
    written = dump(site)
    assert (
        written.decode().split("approve:\n")[1]
        == '- {appliance: "*"}\n- {list: a}\nblock:\n- {appliance: "*", until: "2026-12-01T00:00:00Z", reason: r}\n'
    )
    assert reread(KINDS["site"], written) == site

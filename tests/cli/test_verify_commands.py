"""`vmkeeper verify …` as a person meets it: what it prints, with which exit code; the rules' cases are in conformance/trust."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.trust.cases_images import appliance, raw, tar
from conformance.trust.cases_lists import arguments, by_openssl, document, remembered, signed
from conformance.trust.cases_lists import text as list_text
from vmkeeper.trust.memory import Memory


def vmkeeper(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "vmkeeper", *map(str, words)], cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_list_is_shown_with_its_images(tmp_path: Path) -> None:
    done = vmkeeper(*arguments(tmp_path, signed()), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("accepted  list.signed\n")
    assert "11111111-2222-4333-8444-555555555555" in done.stdout
    shown = json.loads(vmkeeper(*arguments(tmp_path, signed()), "--output", "json", cwd=tmp_path).stdout)
    assert (shown["uuid"], shown["version"], shown["expires"], shown["sha1"]) == (
        document()["dc:identifier"],
        "20261120110000",
        "2026-12-18T11:00:00Z",
        False,
    )
    assert {"uuid", "version", "format", "size", "sha512", "uri", "expires"} <= set(shown["images"][0])
    assert shown["images"][0]["size"] == 450887680


def test_a_refusal_says_rule_reason_and_way_out(tmp_path: Path) -> None:
    done = vmkeeper(*arguments(tmp_path, signed(), dn="CN=Somebody,DC=org"), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("REFUSED   list.signed\n  R15: the signer is not the pinned one (")
    assert "→" in done.stdout


def test_sha1_is_marked(tmp_path: Path) -> None:
    words = by_openssl("-md", "sha1")(tmp_path)
    assert json.loads(vmkeeper(*words, "--allow-sha1", "-o", "json", cwd=tmp_path).stdout)["sha1"] is True


def test_a_refused_list_leaves_the_memory_as_it_was(tmp_path: Path) -> None:
    for words in remembered(document())(tmp_path):
        assert vmkeeper(*words, cwd=tmp_path).returncode == 0
    memory = tmp_path / "memory.json"
    before = memory.read_bytes()
    assert list(Memory.model_validate_json(before).lists) == [document()["dc:identifier"]]
    assert memory.stat().st_mode & 0o777 == 0o600
    other = arguments(tmp_path, signed(list_text(document(**{"dc:title": "Other"}))), "--memory", "memory.json")
    assert vmkeeper(*other, cwd=tmp_path).returncode == 1
    expired = arguments(tmp_path, signed(list_text(document(**{"hv:version": "3"}))), "--memory", "memory.json", at="2027-01-01T00:00:00Z")
    assert vmkeeper(*expired, cwd=tmp_path).returncode == 1
    assert memory.read_bytes() == before


def test_an_image_is_described(tmp_path: Path) -> None:
    (tmp_path / "box.ova").write_bytes(tar(appliance()))
    shown = json.loads(vmkeeper("verify", "image", "box.ova", "--output", "json", cwd=tmp_path).stdout)
    assert (shown["accepted"], shown["format"], shown["virtual_size"], shown["size"]) == (True, "ova", len(raw()), len(tar(appliance())))
    assert shown["disk"] == {"name": "disk.vmdk", "format": "vmdk"}
    assert shown["hints"] == {"cpus": 2, "memory": 512 << 20}
    assert len(shown["sha512"]) == 128
    assert "virtual_size: " in vmkeeper("verify", "image", "box.ova", cwd=tmp_path).stdout


def test_what_is_rendered_is_printed(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("hello {{ name }}{% for n in l %} {{ n }}{% endfor %}\n")
    done = vmkeeper("verify", "template", "t", "--with", "name=you", "--with", "l:=[1, 2]", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "accepted  t\nhello you 1 2\n\n")
    (tmp_path / "c.yaml").write_text("parameters: {n: {type: integer}, l: {type: list}}\ncloud_init: {a: '${param.n}', b: '${param.l}'}\n")
    done = vmkeeper("verify", "context", "c.yaml", "--with", "n=3", "--with", "l=x,y", "-o", "json", cwd=tmp_path)
    assert json.loads(done.stdout)["rendered"] == '#cloud-config\na: 3\nb:\n- "x"\n- "y"\n'


@pytest.mark.parametrize(
    "words",
    [
        ["list", "gone", "--ca-dir", "gone", "--endorser-dn", "/CN=x", "--endorser-ca", "/CN=y"],
        ["list", "gone", "--ca-dir", ".", "--endorser-dn", "x", "--endorser-ca", "/CN=y"],
        ["list", "gone", "--ca-dir", ".", "--endorser-dn", "/CN=x", "--endorser-ca", "/CN=y", "--at", "yesterday"],
        ["list", "gone", "--ca-dir", ".", "--endorser-dn", "/CN=x", "--endorser-ca", "/CN=y", "--uuid", "1"],
        ["image", "gone"],
        ["image", ".", "--max-virtual", "large"],
        ["document", "gone.yaml", "--kind", "novel"],
        ["template", "gone", "--with", "x"],
        ["context", "gone.yaml"],
        ["document", "\udcff\n"],
    ],
)
def test_what_cannot_be_judged_is_refused_in_the_same_form(words: list[str], tmp_path: Path) -> None:
    done = vmkeeper("verify", *words, "--output", "json", cwd=tmp_path)
    shown = json.loads(done.stdout)
    assert (done.returncode, done.stderr, shown["accepted"]) == (1, "", False)
    assert [set(refusal) - {"hint"} for refusal in shown["refusals"]] == [{"rule", "why", "evidence"}]
    assert shown["refusals"][0]["rule"] in ("input", "R23")


def test_pins_must_be_named(tmp_path: Path) -> None:
    done = vmkeeper("verify", cwd=tmp_path)
    assert done.returncode == 1
    assert "--pins" in done.stderr
    shown = json.loads(vmkeeper("verify", "--pins", "gone", "--output", "json", cwd=tmp_path).stdout)
    assert [(one["accepted"], one["refusals"][0]["rule"]) for one in shown] == [(False, "input")]

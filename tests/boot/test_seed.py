"""The NoCloud seed: what is in it, that it is always the same, what is refused."""

from __future__ import annotations

import io
import json
import os
import time

import pycdlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkeeper.boot.seed import LIMIT, seed, write_seed
from vmkeeper.errors import UserError


def contents(image: bytes, *, joliet: bool) -> dict[str, bytes]:
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(image))
    found = {}
    where = "joliet_path" if joliet else "iso_path"
    for child in iso.list_children(**{where: "/"}):
        if child.is_file():
            name = child.file_identifier().decode("utf-16-be" if joliet else "ascii")
            out = io.BytesIO()
            iso.get_file_from_iso_fp(out, **{where: f"/{name}"})
            found[name] = out.getvalue()
    iso.close()
    return found


@pytest.mark.parametrize("joliet", [False, True])
def test_seed_holds_what_cloud_init_reads(joliet: bool) -> None:
    image = seed("#cloud-config\n{}\n", name="vm-1", public_keys=("ssh-ed25519 AAAA x",), network_config="version: 2\n")
    found = contents(image, joliet=joliet)
    assert set(found) == {"user-data", "meta-data", "network-config"}
    assert found["user-data"] == b"#cloud-config\n{}\n"
    assert found["network-config"] == b"version: 2\n"
    assert json.loads(found["meta-data"]) == {"instance-id": "vm-1", "local-hostname": "vm-1", "public-keys": ["ssh-ed25519 AAAA x"]}


def test_seed_is_labelled_cidata() -> None:
    image = seed("", name="vm")
    assert image[16 * 2048 + 40 :].startswith(b"cidata ")


def test_empty_user_data_and_no_network_config_are_fine() -> None:
    found = contents(seed("", name="vm", instance="i-2"), joliet=False)
    assert set(found) == {"user-data", "meta-data"}
    assert found["user-data"] == b""
    assert json.loads(found["meta-data"])["instance-id"] == "i-2"


def test_same_data_gives_the_same_bytes_whenever_and_wherever(monkeypatch: pytest.MonkeyPatch) -> None:
    first = seed("#!/bin/sh\n", name="vm")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 40_000_123)
    monkeypatch.setitem(os.environ, "TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        assert seed("#!/bin/sh\n", name="vm") == first
    finally:
        monkeypatch.undo()
        time.tzset()


@settings(max_examples=25, deadline=None)
@given(data=st.binary(max_size=9000), network=st.none() | st.binary(max_size=3000))
def test_any_bytes_come_out_as_they_went_in(data: bytes, network: bytes | None) -> None:
    found = contents(seed(b"#!" + data, name="vm", network_config=network), joliet=False)
    assert found["user-data"] == b"#!" + data
    assert found.get("network-config") == network


def test_user_data_that_cloud_init_would_ignore_is_refused() -> None:
    with pytest.raises(UserError, match="would be ignored") as refused:
        seed("password: hush-hush\n", name="vm")
    assert "hush" not in f"{refused.value}{refused.value.hint}"


@pytest.mark.parametrize("part", ["user-data", "network-config"])
def test_too_big_a_part_is_refused(part: str) -> None:
    big = b"#!" + b"x" * LIMIT
    with pytest.raises(UserError, match=part):
        seed(big if part == "user-data" else b"", name="vm", network_config=big)


def test_seed_file_is_private(tmp_path) -> None:
    write_seed(tmp_path / "seed.iso", seed("", name="vm"))
    assert (tmp_path / "seed.iso").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["seed.iso"]

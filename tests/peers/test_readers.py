"""Our lists read by other programs: what they verify, whom they take for the signer, and what each image comes out as. See README.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.peers import READERS, VARIETY, Publication, accounts, checkout, differences, environment, hostile, program, publications, trust
from support.webserver import Page, WebServer
from support.x509 import openssl
from vmkeeper.errors import Refused
from vmkeeper.lists.hepix import publish_text, read, version_key
from vmkeeper.lists.smime import verify
from vmkeeper.values import format_time

ATROPE = "atrope==2.0.0"


@pytest.fixture(scope="module")
def ca_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trust().ca_dir(tmp_path_factory.mktemp("peers") / "certificates")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The good lists by their number, then the hostile ones."""
    folder = tmp_path_factory.mktemp("lists")
    found = {one.number: one.write(folder) for one in publications()}
    for number, message in enumerate(hostile(), start=len(found)):
        found[number] = folder / f"{number}.signed"
        found[number].write_bytes(message)
    return found


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as made:
        yield made


def agree(said: list[dict[str, Any]], published: tuple[Publication, ...]) -> None:
    """Each list is verified, its signer is trusted, and it means what was published; the hostile ones, which come last, are refused."""
    assert len(published) == VARIETY >= 20
    said, refused = said[:VARIETY], said[VARIETY:]
    assert ["refused" in one for one in refused] == [True] * len(hostile())
    for one, expected in zip(said, published, strict=True):
        assert "refused" not in one, f"{expected.number} ({expected.kind}): {one['refused']}"
        assert one.pop("verified", True) is True
        assert one.pop("trusted", True) is True
        assert one.pop("expired", False) is False
        assert {"dc:identifier", "dc:date:expires", "images"} <= one.keys()
        assert all({"dc:identifier", "hv:uri", "hv:size", "sl:checksum:sha512", "ad:mpuri"} <= image.keys() for image in one["images"])
        assert differences(one, expected.list) == [], expected.kind


def test_they_differ_in_all_that_matters() -> None:
    made = publications()
    assert {len(one.list.images) for one in made} == {0, 1, 2, 3, 5, 8, 13, 20, 35, 50}
    kinds = " ".join(one.kind for one in made)
    for word in ("RSA 2048", "RSA 3072", "P-256", "P-384", "in a chain", "sha256", "sha512"):
        assert word in kinds
    assert {bool(one.list.extra) for one in made} == {True, False}
    text = "".join(publish_text(one.list) for one in made)
    assert "\\ud83d\\udda5" in text
    assert max(len(image.description or "") for one in made for image in one.list.images) > 1000


def test_we_read_them_ourselves(ca_dir: Path) -> None:
    for one in publications():
        signed = verify(one.message, ca_dir, one.list.created)
        assert read(signed.content) == one.list
        assert signed.certificate == one.signer.certificate
    for message in hostile():
        with pytest.raises(Refused):
            verify(message, ca_dir, publications()[0].list.created)


@pytest.mark.parametrize("how", ["smime", "cms"])
def test_openssl_verifies_them(how: str, ca_dir: Path, files: dict[int, Path], tmp_path: Path) -> None:
    for one in publications():
        out, who = tmp_path / "out", tmp_path / "who.pem"
        openssl(how, "-verify", "-in", files[one.number], "-CApath", ca_dir, "-out", out, "-signer", who)
        assert read(out.read_bytes()) == one.list
        assert who.read_bytes() == one.signer.pem
        assert out.read_bytes().replace(b"\r\n", b"\n").decode() == publish_text(one.list)
    for number in range(VARIETY, len(files)):
        assert openssl(how, "-verify", "-in", files[number], "-CApath", ca_dir, "-out", tmp_path / "out", check=False).returncode != 0


@pytest.mark.network
def test_atrope_takes_them(ca_dir: Path, files: dict[int, Path], server: WebServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """atrope 2.0.0's own fetch: download, `openssl smime -verify`, its list and image classes, its check of the endorser."""
    python = environment(tmp_path_factory.mktemp("environment"), "atrope", ATROPE)
    wanted = []
    for one in publications():
        server.pages[f"/{one.number}"] = Page(one.message)
        wanted.append({"url": f"{server.url}/{one.number}", "dn": one.list.endorser.dn, "ca": one.list.endorser.ca})
    for number, message in enumerate(hostile(), start=VARIETY):
        server.pages[f"/{number}"] = Page(message)
        wanted.append({**wanted[1], "url": f"{server.url}/{number}"})
    agree(list(accounts([python, READERS / "atrope_reader.py", ca_dir], wanted)), publications())


def test_vmcatcher_takes_them(ca_dir: Path, files: dict[int, Path]) -> None:
    """smimeX509validation (CRLs, namespaces, M2Crypto) and hepixvmitrust's decoder, under Python 2.7."""
    modules = checkout("hepixvmitrust", "smimeX509validation", "python2")
    command = [program("python2.7"), READERS / "vmcatcher_reader.py", ca_dir, *files.values()]
    agree(list(accounts(command, PYTHONPATH=":".join(map(str, modules)))), publications())


def test_cloudkeepers_verification_with_rubys_openssl(ca_dir: Path, files: dict[int, Path]) -> None:
    """The calls of cloudkeeper's list manager (`PKCS7.read_smime`, `verify` against a store with the CA folder, `JSON.parse data`)
    and what its appliances need, in a reader of our own."""
    command = [program("ruby"), READERS / "cloudkeeper_equivalent.rb", ca_dir, *files.values()]
    agree(list(accounts(command)), publications())


def test_cloudkeepers_own_classes_take_them(ca_dir: Path, files: dict[int, Path]) -> None:
    (sources,) = checkout("cloudkeeper")
    command = [program("ruby"), READERS / "cloudkeeper_reader.rb", sources, ca_dir, *files.values()]
    said = list(accounts(command))
    agree([{key: value for key, value in one.items() if key != "digests"} for one in said], publications())


def test_cloudkeeper_sees_no_change_where_there_is_none(ca_dir: Path, tmp_path: Path) -> None:
    """Its digest of an appliance hangs on the keys' order: a list that is written again gives the same digests."""
    (sources,) = checkout("cloudkeeper")
    one = publications()[3]
    again = tmp_path / "again.json"
    first = tmp_path / "first.json"
    first.write_text(publish_text(one.list))
    again.write_text(publish_text(read(publish_text(one.list).encode())))
    said = list(accounts([program("ruby"), READERS / "cloudkeeper_reader.rb", sources, "-", first, again]))
    assert said[0]["digests"] == said[1]["digests"]
    assert len(said[0]["digests"]) == len(one.list.images)


ORDERS = [
    "1",
    "2",
    "10",
    "1.0",
    "1.9",
    "1.10",
    "1.2",
    "1.2.1",
    "1.2-1",
    "1-2",
    "1,2",
    "1/2",
    "3.3.0-1",
    "3.3.0-2",
    "20150618211400",
    "20261120120000",
]
ORDERS += ["abc", "abd", "rc9", "rc10", "1.rc9", "1.rc10", "v1", "1a", "1b", "1..2", "-1", "0.0.12", "0.0.9", "2026.11.20.7", "2026.11.20.10"]


def _between(version: str) -> str:
    """What stands between the parts of a version."""
    return re.sub(r"[^-,./]", "", version)


def test_versions_compare_as_vmcatcher_compares_them() -> None:
    """Wherever both write the same signs between the parts: vmcatcher orders these too, and for us `1-2` is `1.2`."""
    (sources, _) = checkout("vmcatcher", "python2")
    place = sources / "vmcatcher" / "vmcatcher_subscribe" / "stringsort.py"
    pairs = [
        (one, other) for one in ORDERS for other in ORDERS if _between(one).startswith(_between(other)) or _between(other).startswith(_between(one))
    ]
    said = list(accounts([program("python2.7"), READERS / "vmcatcher_reader.py", "--versions", place], pairs))
    assert len(said) == len(pairs) > 500
    for (one, other), answer in zip(pairs, said, strict=True):
        ours = (version_key(other) > version_key(one)) - (version_key(other) < version_key(one))
        assert ours == answer["order"], (one, other)


def test_the_times_that_they_are_judged_at_are_now() -> None:
    one = publications()[0]
    assert json.loads(publish_text(one.list))["hv:imagelist"]["dc:date:created"] == format_time(one.list.created)

"""A folder that was really published, with all signatures, as programs of others find it: coreutils, OpenSSL, GnuPG, simplestreams."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from support.certificates import NOW, PUBLISHER, authority, issue
from support.publication import DAY, content, decision, desired
from support.readers import program
from support.webserver import WebServer
from vmkeeper.execute.digests import public_digests
from vmkeeper.execute.feedsigning import Hands, openpgp_key
from vmkeeper.execute.listkey import FileKey
from vmkeeper.execute.publication import Place
from vmkeeper.execute.publish import publish
from vmkeeper.execute.walk import Done
from vmkeeper.images.store import Store
from vmkeeper.images.targets_folder import FolderTarget
from vmkeeper.lists import catalogue_json
from vmkeeper.lists.feeds import feeds
from vmkeeper.lists.smime import Signer
from vmkeeper.values import sha512_hex

SCHEMA = Path(__file__).parents[2] / "docs" / "feeds" / "catalogue.schema.json"


def run(*words: object, cwd: Path | None = None, check: bool = False) -> subprocess.CompletedProcess[bytes]:
    if shutil.which(str(words[0])) is None:
        pytest.skip(f"{words[0]} is not here")
    return subprocess.run([*map(str, words)], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=check)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`public/` with two versions published one after the other, `ca.pem`, `ring.gpg`, `gnupg/`."""
    made = tmp_path_factory.mktemp("published")
    home = made / "gnupg"
    home.mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNUPGHOME", str(home))
        run("gpg", "--batch", "--passphrase", "", "--quick-generate-key", "Publisher <p@example.org>", "ed25519", "sign", "never", check=True)
        (made / "ring.gpg").write_bytes(run("gpg", "--batch", "--export", check=True).stdout)
        trusted = authority()
        (made / "ca.pem").write_bytes(trusted.pem)
        person = issue(PUBLISHER, trusted)
        store = Store(made / "store")
        for words in ("debian-12 2026.11.1.2", "debian-12 2026.11.2.3", "docker 2026.11.2.1"):
            store.put_bytes(content(*words.split()))
        hands = Hands(FileKey(Signer(person.certificate, person.key)), openpgp_key("p@example.org"))
        older = desired(decision("debian-12 2026.11.1.2"))
        newer = desired(decision("debian-12 2026.11.1.2"), decision("debian-12 2026.11.2.3"), decision("docker 2026.11.2.1"))
        for now, wanted in ((NOW, older), (NOW + DAY, newer)):
            done = publish(Place(FolderTarget(made / "public"), store, hands, now), [wanted]).outcomes
            assert all(isinstance(outcome, Done) for outcome in done), done
        yield made
        run("gpgconf", "--kill", "all")


def test_every_feed_has_the_signatures_that_the_docs_name(folder: Path) -> None:
    there = {str(path.relative_to(folder / "public")) for path in (folder / "public").rglob("*") if path.is_file()}
    signed = {
        "catalogue.json": (".p7s", ".gpg"),
        "science/SHA512SUMS": (".p7s", ".gpg"),
        "streams/v1/index.json": (".gpg",),
        "streams/v1/science.download.json": (".gpg",),
        "torrents.yaml": (".signed",),
    }
    wanted = {path + suffix for path, suffixes in signed.items() for suffix in ("", *suffixes)}
    assert wanted | {"streams/v1/index.sjson", "streams/v1/science.download.sjson", "science/imagelist.signed"} <= there


def test_sha512sum_finds_every_published_file(folder: Path) -> None:
    done = run("sha512sum", "-c", "--strict", "--quiet", "SHA512SUMS", cwd=folder / "public" / "science")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    named = {line.split("  ")[1] for line in (folder / "public/science/SHA512SUMS").read_text().splitlines()}
    there = {str(path.relative_to(folder / "public/science")) for path in (folder / "public/science/images").rglob("*") if path.is_file()}
    assert named == there


@pytest.mark.parametrize("path", ["catalogue.json", "science/SHA512SUMS"])
def test_openssl_verifies_detached_signatures(folder: Path, path: str) -> None:
    words = ["cms", "-verify", "-binary", "-inform", "DER", "-CAfile", folder / "ca.pem", "-attime", int(NOW.timestamp())]
    signature = folder / "public" / f"{path}.p7s"
    assert run("openssl", *words, "-in", signature, "-content", folder / "public" / path).returncode == 0
    assert run("openssl", *words, "-in", signature, "-content", folder / "public" / "torrents.yaml").returncode != 0


def test_openssl_verifies_the_torrent_index_and_yaml_reads_what_it_gives(folder: Path, tmp_path: Path) -> None:
    words = ["cms", "-verify", "-CAfile", folder / "ca.pem", "-attime", int(NOW.timestamp())]
    assert run("openssl", *words, "-in", folder / "public" / "torrents.yaml.signed", "-out", tmp_path / "index.yaml").returncode == 0
    index = YAML(typ="safe", pure=True).load((tmp_path / "index.yaml").read_bytes())
    assert index == YAML(typ="safe", pure=True).load((folder / "public" / "torrents.yaml").read_bytes())
    for entry in index["torrents"]:
        data = (folder / "public" / entry["torrent"].removesuffix(".torrent")).read_bytes()
        assert (sha512_hex(data), len(data)) == (entry["hash"], entry["size"])


@pytest.mark.parametrize("path", ["catalogue.json", "science/SHA512SUMS", "streams/v1/index.json"])
def test_gpgv_verifies_detached_signatures(folder: Path, path: str) -> None:
    assert run("gpgv", "--keyring", folder / "ring.gpg", folder / "public" / f"{path}.gpg", folder / "public" / path).returncode == 0
    assert run("gpgv", "--keyring", folder / "ring.gpg", folder / "public" / f"{path}.gpg", folder / "public" / "torrents.yaml").returncode != 0


def test_simplestreams_verifies_the_signed_streams(folder: Path) -> None:
    query = program("sstream-query", "simplestreams")
    with WebServer(folder / "public") as server:
        done = query.run("--keyring", folder / "ring.gpg", "--json", f"{server.url}/streams/v1/index.sjson", "ftype=disk1.img")
    assert done.returncode == 0, done.stderr
    assert sorted(item["pubname"] for item in json.loads(done.stdout)) == ["debian-12-2026.11.2.3", "docker-2026.11.2.1"]


def test_simplestreams_mirrors_the_published_folder(folder: Path, tmp_path: Path) -> None:
    mirror = program("sstream-mirror", "simplestreams")
    with WebServer(folder / "public") as server:
        done = mirror.run("--keyring", folder / "ring.gpg", f"{server.url}/streams/v1/index.sjson", tmp_path)
    assert done.returncode == 0, done.stderr
    shelves, _ = catalogue_json.read((folder / "public" / "catalogue.json").read_bytes())
    for image in shelves[0].images:
        assert (tmp_path / image.path).read_bytes() == (folder / "public" / image.path).read_bytes()


def test_the_catalogue_fits_its_schema_and_names_what_is_there(folder: Path) -> None:
    data = (folder / "public" / "catalogue.json").read_bytes()
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(json.loads(data))
    (shelf,), _ = catalogue_json.read(data)
    for image in shelf.images:
        for file in (image, *image.patches, *([image.compressed] if image.compressed else [])):
            held = (folder / "public" / file.path).read_bytes()
            assert (sha512_hex(held), len(held)) == (file.sha512, file.size)


def test_all_other_forms_can_be_made_again_from_the_catalogue(folder: Path) -> None:
    shelves, base = catalogue_json.read((folder / "public" / "catalogue.json").read_bytes())
    for feed in feeds(shelves, base, public_digests(folder / "public", shelves)):
        assert (folder / "public" / feed.path).read_bytes() == feed.content, feed.path

"""The other forms of a publication and their signatures: made once, made again only where they have to be."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from support.certificates import NOW, PUBLISHER, Identity, authority, issue
from support.keys import BORN, GpgHome
from support.publication import DAY, content, decision, desired
from vmkeeper.errors import UserError
from vmkeeper.execute.feedsigning import Hands, openpgp_key
from vmkeeper.execute.listkey import FileKey
from vmkeeper.execute.publication import Place
from vmkeeper.execute.publish import publish
from vmkeeper.execute.walk import Done
from vmkeeper.images.store import Store
from vmkeeper.images.targets_folder import FolderTarget
from vmkeeper.lists.smime import Signer

WANTED = desired(decision("debian-12 2"), decision("docker 1"))


@pytest.fixture(scope="module")
def trusted() -> Identity:
    return authority()


@pytest.fixture(scope="module")
def gpg() -> Iterator[tuple[GpgHome, str]]:
    home = GpgHome()
    yield home, home.make("publisher")
    home.close()


class Press:
    def __init__(self, folder: Path, trusted: Identity, until: timedelta = 365 * DAY) -> None:
        person = issue(PUBLISHER, trusted, end=NOW + until)
        self.root, self.store = folder / "public", Store(folder / "store")
        self.key = FileKey(Signer(person.certificate, person.key))
        (folder / "ca.pem").write_bytes(trusted.pem)
        self.ca = folder / "ca.pem"
        for words in ("debian-12 2", "docker 1", "debian-12 3"):
            self.store.put_bytes(content(*words.split()))

    def publish(self, *lists: object, now: object = NOW, openpgp: str | None = None, key: FileKey | None = None) -> list[str]:
        place = Place(FolderTarget(self.root), self.store, Hands(key or self.key, openpgp), now)  # type: ignore[arg-type]
        outcomes = publish(place, lists or [WANTED]).outcomes  # type: ignore[arg-type]
        assert all(isinstance(outcome, Done) for outcome in outcomes), outcomes
        return [f"{outcome.action.kind} {outcome.action.subject}" for outcome in outcomes if outcome.action.kind != "digest"]

    def files(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def verified(self) -> None:
        """Every signature there is, by independent programs, at the tests' time."""
        at = ["-attime", str(int(NOW.timestamp())), "-CAfile", str(self.ca)]
        for file in self.root.rglob("*.p7s"):
            command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", file, "-content", file.with_suffix(""), *at]
            done = subprocess.run([*command, "-out", "/dev/null"], check=False, capture_output=True)
            assert done.returncode == 0, (file, done.stderr)
        for file in self.root.rglob("*.signed"):
            done = subprocess.run(["openssl", "smime", "-verify", "-in", file, *at], check=False, capture_output=True)
            assert done.returncode == 0, (file, done.stderr)
            if file.name != "imagelist.signed":
                assert done.stdout.replace(b"\r\n", b"\n") == file.with_suffix("").read_bytes()


@pytest.fixture
def press(tmp_path: Path, trusted: Identity) -> Press:
    return Press(tmp_path, trusted)


def test_every_form_is_there_and_its_signatures_verify(press: Press) -> None:
    press.publish()
    files = press.files()
    assert {"catalogue.json", "catalogue.json.p7s", "science/SHA512SUMS", "science/SHA512SUMS.p7s", "torrents.yaml", "torrents.yaml.signed"} <= set(
        files
    )
    assert not [name for name in files if name.endswith((".gpg", ".sjson"))]
    press.verified()
    done = subprocess.run(["sha512sum", "-c", "SHA512SUMS"], cwd=press.root / "science", check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nothing_is_signed_again_where_nothing_changed(press: Press) -> None:
    press.publish()
    before = press.files()
    assert press.publish(now=NOW + DAY) == []
    assert press.files() == before


def test_only_what_changed_is_signed_again(press: Press) -> None:
    press.publish(WANTED, desired(decision("debian-12 2"), name="teaching"))
    before = press.files()
    done = press.publish(
        desired(decision("debian-12 2"), decision("debian-12 3"), decision("docker 1")), desired(decision("debian-12 2"), name="teaching")
    )
    assert "sign science" in done
    assert "feed science/SHA512SUMS" in done
    assert "feed teaching/SHA512SUMS" not in done
    after = press.files()
    assert {name for name in before if name.startswith("teaching/")} <= {name for name in after if after[name] == before.get(name)}
    press.verified()


@pytest.mark.parametrize("damage", ["missing", "garbage", "other content", "stranger"])
def test_a_signature_that_is_not_good_is_made_again(press: Press, trusted: Identity, damage: str) -> None:
    press.publish()
    before = press.files()
    for name in ("catalogue.json.p7s", "torrents.yaml.signed"):
        file = press.root / name
        if damage == "missing":
            file.unlink()
        elif damage == "garbage":
            file.write_bytes(b"garbage")
        elif damage == "other content":
            text = "other\n"
            file.write_bytes(press.key.detached(text.encode(), NOW) if name.endswith("p7s") else press.key.message(text, NOW))
        else:
            person = issue(PUBLISHER, trusted)
            other = FileKey(Signer(person.certificate, person.key))
            data = file.with_suffix("").read_bytes()
            file.write_bytes(other.detached(data, NOW) if name.endswith("p7s") else other.message(data.decode(), NOW))
    touched = {name: (press.root / name).stat().st_mtime_ns for name in ("catalogue.json", "torrents.yaml")}
    assert press.publish() == ["feed catalogue.json", "feed torrents.yaml"]
    assert {name: (press.root / name).stat().st_mtime_ns for name in touched} == touched
    assert press.files().keys() == before.keys()
    press.verified()


def test_a_feed_that_was_changed_is_written_again(press: Press) -> None:
    press.publish()
    (press.root / "catalogue.json").write_bytes(b"{}")
    (press.root / "streams/v1/index.json").unlink()
    assert press.publish() == ["feed catalogue.json", "feed streams/v1/index.json"]
    press.verified()


def test_signatures_are_made_again_by_the_next_certificate(tmp_path: Path, trusted: Identity) -> None:
    first, second = Press(tmp_path, trusted, 40 * DAY), issue(PUBLISHER, trusted, end=NOW + 300 * DAY)
    first.publish()
    done = first.publish(now=NOW + 10 * DAY, key=FileKey(Signer(second.certificate, second.key)))
    assert "sign science" in done
    assert "feed catalogue.json" in done


def test_openpgp_signatures_where_a_key_is_named(press: Press, gpg: tuple[GpgHome, str], monkeypatch: pytest.MonkeyPatch) -> None:
    home, fingerprint = gpg
    monkeypatch.setenv("GNUPGHOME", str(home.path))
    assert openpgp_key("publisher@example.org") == fingerprint
    assert openpgp_key(None) is None
    with pytest.raises(UserError, match="no secret key"):
        openpgp_key("nobody@example.org")
    press.publish(openpgp=fingerprint)
    files = press.files()
    assert {"catalogue.json.gpg", "streams/v1/index.json.gpg", "streams/v1/index.sjson"} <= set(files)
    for name in [name for name in files if name.endswith(".gpg")]:
        home.run("--verify", str(press.root / name), str(press.root / name.removesuffix(".gpg")), at=NOW)
    clear = home.run("--decrypt", str(press.root / "streams/v1/index.sjson"), at=NOW)
    assert json.loads(clear)["format"] == "index:1.0"
    assert press.publish(openpgp=fingerprint, now=NOW + DAY) == []
    (press.root / "streams/v1/index.sjson").write_bytes(b"-----BEGIN PGP SIGNED MESSAGE-----\n\n")
    (press.root / "catalogue.json.gpg").write_bytes(files["streams/v1/index.json.gpg"])
    assert press.publish(openpgp=fingerprint, now=NOW + DAY) == ["feed catalogue.json", "feed streams/v1/index.json"]


def test_openpgp_signatures_go_with_their_key(press: Press, gpg: tuple[GpgHome, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a signature would stay that does not fit what it lies beside."""
    home, fingerprint = gpg
    monkeypatch.setenv("GNUPGHOME", str(home.path))
    press.publish(openpgp=fingerprint)
    press.publish()
    assert not [name for name in press.files() if name.endswith((".gpg", ".sjson"))]
    assert press.publish() == []
    press.verified()


def test_a_signature_that_expired_is_made_again(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    home = GpgHome()
    try:
        fingerprint = home.make("publisher")
        monkeypatch.setenv("GNUPGHOME", str(home.path))
        press.publish(openpgp=fingerprint)
        home.run("--passphrase", "", "--pinentry-mode", "loopback", "--quick-set-expire", fingerprint, "30d", at=BORN + DAY)
        with pytest.raises(AssertionError, match="Failed"):
            press.publish(openpgp=fingerprint)
        home.run("--passphrase", "", "--pinentry-mode", "loopback", "--quick-set-expire", fingerprint, "0", at=BORN + 2 * DAY)
        assert press.publish(openpgp=fingerprint) == []
    finally:
        home.close()

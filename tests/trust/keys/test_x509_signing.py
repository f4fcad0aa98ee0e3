"""Signing with certificates: gpgsm, key files and tokens of the user's sign; what they make is turned into the form that tags carry."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from support.certificates import Identity, rsa_key
from support.keys import ISSUED, NOW
from support.x509 import GpgsmHome, Grid, digest_of, held, openssl
from vmkeeper.errors import Refused, UserError
from vmkeeper.run import ProgramFailed
from vmkeeper.trust.keys import x509
from vmkeeper.trust.keys.armour import dearmour
from vmkeeper.trust.keys.interface import Claim
from vmkeeper.trust.keys.x509 import CertificateName, X509Verifier, identity_of, sign

CONTENT = b"object 1\n\n{}\n"


@pytest.fixture(scope="module")
def grid() -> Grid:
    return Grid()


@pytest.fixture(scope="module")
def gpgsm(grid: Grid) -> Iterator[GpgsmHome]:
    home = GpgsmHome(grid.root)
    home.add(grid.alice, grid.middle, grid.root)
    yield home
    home.close()


def good(grid: Grid, person: Identity, signature: str) -> bool:
    found = X509Verifier(grid.authorities()).verify(Claim(held(person), CONTENT, signature), NOW)
    read = x509.read(dearmour("CMS", signature))
    return found.key == f"x509:{digest_of(person)}" and read.others == ()


# gpgsm


def test_gpgsm_signs(grid: Grid, gpgsm: GpgsmHome) -> None:
    program = str(gpgsm.wrapper(ISSUED))
    fingerprint = grid.alice.certificate.fingerprint(x509.hashes.SHA1()).hex().upper()
    for key in (fingerprint, "Alice", "/CN=Alice,O=People,DC=grid,DC=org", f"0x{fingerprint}"):
        assert identity_of(key, gpgsm=program) == CertificateName.of(grid.alice.certificate)
        assert good(grid, grid.alice, sign(key, CONTENT, gpgsm=program))
    signed = x509.read(dearmour("CMS", sign("Alice", CONTENT, gpgsm=program)))
    assert signed.signing_time is not None
    assert abs(signed.signing_time - ISSUED).days == 0


def test_gpgsm_is_the_program_that_the_caller_names(gpgsm: GpgsmHome, grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNUPGHOME", str(gpgsm.path))
    assert identity_of("Alice").sha256 == digest_of(grid.alice)
    monkeypatch.setenv("GNUPGHOME", str(gpgsm.path / "nowhere"))
    with pytest.raises(UserError, match="gpgsm has no secret key for Alice"):
        identity_of("Alice")


def test_gpgsm_knows_no_such_key_or_several(grid: Grid) -> None:
    home = GpgsmHome(grid.root)
    try:
        home.add(grid.alice, grid.middle, grid.root)
        home.run("--import", data=grid.erin.pem)
        program = str(home.wrapper(ISSUED))
        for key in ("Nobody", "Erin", "Grid Root", "--version"):
            with pytest.raises(UserError, match=f"gpgsm has no secret key for {key}") as caught:
                sign(key, CONTENT, gpgsm=program)
            assert "gpgsm --list-secret-keys" in caught.value.hint
        second = grid.person("Alice", key=rsa_key())
        home.add(second, grid.middle, grid.root)
        with pytest.raises(UserError, match="gpgsm has several secret keys for Alice") as several:
            sign("Alice", CONTENT, gpgsm=program)
        fingerprints = {one.certificate.fingerprint(x509.hashes.SHA1()).hex().upper() for one in (grid.alice, second)}
        assert set(several.value.why.split(", ")) == fingerprints
    finally:
        home.close()


def test_gpgsm_that_cannot_sign(gpgsm: GpgsmHome, grid: Grid, tmp_path: Path) -> None:
    program = tmp_path / "gpgsm"
    program.write_text(f'#!/bin/sh\ncase "$*" in *detach-sign*) echo no token >&2; exit 2;; esac\nexec {gpgsm.wrapper(ISSUED)} "$@"\n')
    program.chmod(0o755)
    with pytest.raises(ProgramFailed, match="no token") as caught:
        sign("Alice", CONTENT, gpgsm=str(program))
    assert "check that gpgsm can sign" in caught.value.hint
    program.write_text(f'#!/bin/sh\ncase "$*" in *export*) exit 0;; esac\nexec {gpgsm.wrapper(ISSUED)} "$@"\n')
    with pytest.raises(UserError, match="Alice: there is no certificate that can be read"):
        identity_of("Alice", gpgsm=str(program))


def test_what_gpgsm_is_told(gpgsm: GpgsmHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the signer's certificate is put in, and a pinentry finds where to ask."""
    program = tmp_path / "gpgsm"
    program.write_text(f'#!/bin/sh\necho "$* [$GPG_TTY] [$DISPLAY] [$PATH]" >> {tmp_path}/asked\nexec {gpgsm.wrapper(ISSUED)} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.delenv("GPG_TTY", raising=False)
    monkeypatch.setattr(os, "ttyname", lambda handle: f"/dev/of-{handle}")
    sign("Alice", CONTENT, gpgsm=str(program))
    listed, signed = (tmp_path / "asked").read_text().splitlines()
    assert listed.startswith("--batch --with-colons --list-secret-keys -- Alice ")
    assert signed.startswith("--batch --armor --include-certs 1 --local-user ")
    assert " --detach-sign [/dev/of-2] [:7]" in signed
    monkeypatch.setenv("GPG_TTY", "/dev/mine")
    sign("Alice", CONTENT, gpgsm=str(program))
    assert "[/dev/mine]" in (tmp_path / "asked").read_text().splitlines()[-1]

    def no_terminal(handle: int) -> str:
        raise OSError(handle)

    monkeypatch.delenv("GPG_TTY")
    monkeypatch.setattr(os, "ttyname", no_terminal)
    sign("Alice", CONTENT, gpgsm=str(program))
    assert "--detach-sign [] [:7]" in (tmp_path / "asked").read_text().splitlines()[-1]


# key files


def globus(folder: Path, person: Identity, *chain: Identity, password: bytes = b"") -> Path:
    """A grid user's folder."""
    folder.mkdir(exist_ok=True)
    (folder / "usercert.pem").write_bytes(person.pem + b"".join(one.pem for one in chain))
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    (folder / "userkey.pem").write_bytes(person.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return folder / "usercert.pem"


@pytest.fixture(params=["alice", "erin"])
def person(request: pytest.FixtureRequest, grid: Grid) -> Identity:
    found: Identity = getattr(grid, request.param)
    return found


def test_key_files_of_a_grid_user(grid: Grid, person: Identity, tmp_path: Path) -> None:
    certificate = globus(tmp_path, person, grid.middle)
    assert identity_of(str(certificate)) == CertificateName.of(person.certificate)
    made = sign(str(certificate), CONTENT)
    assert good(grid, person, made)
    assert x509.read(dearmour("CMS", made)).digest == "sha512"


def test_key_files_under_other_names(grid: Grid, tmp_path: Path) -> None:
    certificate, _ = grid.alice.write(tmp_path, "alice")
    assert good(grid, grid.alice, sign(str(certificate), CONTENT))
    _, other = grid.alice.write(tmp_path / "away", "secret")
    certificate.with_suffix(".key").unlink()
    assert good(grid, grid.alice, sign(f"{certificate},{other}", CONTENT))
    with pytest.raises(UserError, match=r"alice\.key: there is no key file") as caught:
        sign(str(certificate), CONTENT)
    assert "CERTIFICATE.pem,KEY.pem" in caught.value.hint
    with pytest.raises(UserError, match="nowhere: there is no key file"):
        identity_of(f"{certificate},{tmp_path}/nowhere")
    (tmp_path / "certs").mkdir()
    mine, _ = grid.alice.write(tmp_path / "certs", "mycert")
    shutil.move(mine.with_suffix(".key"), mine.with_name("mykey.pem"))
    assert good(grid, grid.alice, sign(str(mine), CONTENT))


def test_the_home_folder_is_known(grid: Grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    globus(tmp_path / ".globus", grid.alice)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert good(grid, grid.alice, sign("~/.globus/usercert.pem", CONTENT))
    assert good(grid, grid.alice, sign("~/.globus/usercert.pem,~/.globus/userkey.pem", CONTENT))


def test_key_with_a_passphrase(grid: Grid, person: Identity, tmp_path: Path) -> None:
    certificate = globus(tmp_path, person, password=b"open sesame")
    asked: list[str] = []

    def secret(key: str) -> str:
        asked.append(key)
        return "open sesame"

    assert good(grid, person, sign(str(certificate), CONTENT, secret=secret))
    assert asked == [str(tmp_path / "userkey.pem")]
    for wrong in (lambda key: "another", None):
        with pytest.raises(ProgramFailed) as caught:
            sign(str(certificate), CONTENT, secret=wrong)
        assert "passphrase" in caught.value.hint


def test_key_without_a_passphrase_asks_nobody(grid: Grid, tmp_path: Path) -> None:
    def secret(key: str) -> str:
        raise AssertionError(key)

    assert good(grid, grid.alice, sign(str(globus(tmp_path, grid.alice)), CONTENT, secret=secret))


def test_key_of_somebody_else(grid: Grid, tmp_path: Path) -> None:
    certificate = globus(tmp_path, grid.alice)
    globus(tmp_path / "erin", grid.erin)
    with pytest.raises(ProgramFailed) as caught:
        sign(f"{certificate},{tmp_path}/erin/userkey.pem", CONTENT)
    assert "belongs to the certificate" in caught.value.hint


def test_file_that_is_no_certificate(grid: Grid, tmp_path: Path) -> None:
    certificate = globus(tmp_path, grid.alice)
    certificate.write_text("junk")
    with pytest.raises(UserError, match=r"usercert\.pem: there is no certificate that can be read") as caught:
        identity_of(str(certificate))
    assert caught.value.hint == "give the signer's certificate as PEM"


def test_a_broken_signature_is_not_handed_out(grid: Grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = globus(tmp_path, grid.alice)
    program = tmp_path / "openssl"
    program.write_text(f'#!/bin/sh\ncase "$*" in *-sign*) echo junk;; *) exec {x509.program("openssl")} "$@";; esac\n')
    program.chmod(0o755)
    monkeypatch.setattr(x509, "program", lambda name: str(program))
    with pytest.raises(Refused) as caught:
        sign(str(certificate), CONTENT)
    assert caught.value.rule == "R10"


# tokens

_MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")
PIN = "5678"


class Token:
    """A token in software with one RSA key and its certificate."""

    def __init__(self, folder: Path, person: Identity) -> None:
        self.env = {**os.environ, "SOFTHSM2_CONF": str(folder / "softhsm2.conf")}
        self.folder, self.person = folder, person
        (folder / "tokens").mkdir()
        (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
        (folder / "key.pem").write_bytes(person.key_pem)
        (folder / "certificate.der").write_bytes(person.certificate.public_bytes(Encoding.DER))
        module = next(one for one in _MODULES if Path(one).exists())
        self.run("softhsm2-util", "--init-token", "--free", "--label", "vmk", "--so-pin", "1234", "--pin", PIN)
        self.run("softhsm2-util", "--import", "key.pem", "--token", "vmk", "--label", "me", "--id", "01", "--pin", PIN)
        to = ["--login", "--pin", PIN, "--token-label", "vmk", "--id", "01", "--label", "me"]
        self.run("pkcs11-tool", "--module", module, *to, "--write-object", "certificate.der", "--type", "cert")

    def run(self, *words: str) -> None:
        subprocess.run(words, cwd=self.folder, env=self.env, check=True, capture_output=True, timeout=60)


def engine() -> bool:
    return openssl("engine", "pkcs11", check=False).returncode == 0


@pytest.fixture
def token(grid: Grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Token:
    missing = [one for one in ("softhsm2-util", "pkcs11-tool", "p11tool") if shutil.which(one) is None]
    missing += [] if any(Path(one).exists() for one in _MODULES) else ["libsofthsm2.so"]
    missing += [] if engine() else ["openssl's engine pkcs11"]
    if missing:
        pytest.skip(f"{', '.join(missing)} is missing: apt-get install softhsm2 opensc gnutls-bin libengine-pkcs11-openssl")
    folder = tmp_path / "token"
    folder.mkdir()
    made = Token(folder, grid.alice)
    monkeypatch.setenv("SOFTHSM2_CONF", made.env["SOFTHSM2_CONF"])
    return made


@pytest.mark.parametrize("uri", ["pkcs11:token=vmk;object=me", "pkcs11:token=vmk;id=%01;type=private", "pkcs11:token=vmk;type=private;object=me"])
def test_token_signs(grid: Grid, token: Token, uri: str) -> None:
    asked: list[str] = []

    def secret(key: str) -> str:
        asked.append(key)
        return PIN

    assert identity_of(uri) == CertificateName.of(grid.alice.certificate)
    assert asked == []
    assert good(grid, grid.alice, sign(uri, CONTENT, secret=secret))
    assert asked == [uri]


def test_token_whose_pin_is_in_its_name(grid: Grid, token: Token) -> None:
    uri = f"pkcs11:token=vmk;object=me?pin-value={PIN}"
    assert identity_of(uri) == CertificateName.of(grid.alice.certificate)
    assert good(grid, grid.alice, sign(uri, CONTENT))


def test_token_with_the_certificate_in_a_file(grid: Grid, token: Token, tmp_path: Path) -> None:
    certificate = globus(tmp_path / "globus", grid.alice)
    assert good(grid, grid.alice, sign(f"{certificate},pkcs11:token=vmk;object=me", CONTENT, secret=lambda key: PIN))


def test_token_without_its_pin(token: Token) -> None:
    for secret in (None, lambda key: "0000"):
        with pytest.raises(ProgramFailed) as caught:
            sign("pkcs11:token=vmk;object=me", CONTENT, secret=secret)
        assert "libengine-pkcs11-openssl" in caught.value.hint


def test_token_that_is_not_there(token: Token) -> None:
    with pytest.raises(ProgramFailed):
        identity_of("pkcs11:token=other;object=me")

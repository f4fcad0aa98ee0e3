"""Who signs lists: key files, PKCS #12, and programs that sign well, badly, slowly or not at all."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption, pkcs12

from support.certificates import NOW, PUBLISHER, Identity, authority, issue, rsa_key
from vmkeeper.errors import EnvironmentLacks, Refused, UserError
from vmkeeper.execute.listkey import CommandKey, KeyFiles, list_key
from vmkeeper.lists import smime
from vmkeeper.lists.smime import canonical, verify
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.keys.x509 import verify_detached

TEXT = '{"hv:imagelist": {"dc:title": "Ä list"}}\n'
YAML = "images:\n- name: one\n"


@pytest.fixture(scope="module")
def trusted() -> Identity:
    return authority()


@pytest.fixture(params=["ec", "rsa"])
def person(request: pytest.FixtureRequest, trusted: Identity, tmp_path: Path) -> Identity:
    made = issue(PUBLISHER, trusted, key=rsa_key()) if request.param == "rsa" else issue(PUBLISHER, trusted)
    made.write(tmp_path, "person")
    return made


def signs(tmp_path: Path, *options: str, tool: str = "cms", file: str = "person") -> str:
    """An openssl command that signs what it reads."""
    words = ["openssl", tool, "-sign", "-signer", f"{tmp_path}/{file}.pem", "-inkey", f"{tmp_path}/{file}.key", "-md", "sha256", *options]
    return shlex.join(words)


def key(tmp_path: Path, command: str) -> CommandKey:
    made = list_key(KeyFiles(certificate=tmp_path / "person.pem", signer=command), {})
    assert isinstance(made, CommandKey)
    return made


def good(made: object, trusted: Identity, text: str = TEXT) -> None:
    """What it signs verifies for everybody, and is over the text."""
    message = made.message(text, NOW)  # type: ignore[attr-defined]
    assert verify(message, [trusted.certificate], NOW).content == canonical(text)
    assert (
        subprocess.run(["openssl", "smime", "-verify", "-noverify", "-out", "/dev/null"], input=message, capture_output=True, check=False).returncode
        == 0
    )
    data = b"line\nother \xc3\xa4\r\nlast"
    signature = made.detached(data, NOW)  # type: ignore[attr-defined]
    assert verify_detached(signature, data, Authorities((trusted.certificate,)), NOW)


def test_key_files(person: Identity, trusted: Identity, tmp_path: Path) -> None:
    good(list_key(KeyFiles(tmp_path / "person.pem", tmp_path / "person.key"), {}), trusted)


@pytest.mark.parametrize("way", ["none", "file", "environment"])
def test_pkcs12_with_its_password_from_a_file_or_the_environment(person: Identity, trusted: Identity, tmp_path: Path, way: str) -> None:
    hidden = NoEncryption() if way == "none" else BestAvailableEncryption(b"open sesame")
    file, password = tmp_path / "person.p12", tmp_path / "password"
    file.write_bytes(pkcs12.serialize_key_and_certificates(b"me", person.key, person.certificate, None, hidden))
    password.write_text("open sesame\n")
    environ = {"VMKEEPER_PKCS12_PASSWORD": "open sesame"} if way == "environment" else {}
    good(list_key(KeyFiles(pkcs12=file, password_file=password if way == "file" else None), environ), trusted)
    if way != "none":
        with pytest.raises(UserError, match="PKCS #12"):
            list_key(KeyFiles(pkcs12=file), {"VMKEEPER_PKCS12_PASSWORD": "other"})


@pytest.mark.parametrize(
    "options",
    [("-binary", "-outform", "DER"), ("-binary", "-outform", "PEM"), ("-binary",), ("-binary", "-nosmimecap", "-outform", "DER")],
    ids=["DER", "PEM", "S/MIME", "fewer attributes"],
)
@pytest.mark.parametrize("tool", ["cms", "smime"])
def test_a_program_may_write_every_form(person: Identity, trusted: Identity, tmp_path: Path, options: tuple[str, ...], tool: str) -> None:
    good(key(tmp_path, signs(tmp_path, *options, tool=tool)), trusted)


def test_other_texts_than_lists_are_signed_too(person: Identity, trusted: Identity, tmp_path: Path) -> None:
    message = key(tmp_path, signs(tmp_path, "-binary", "-outform", "DER")).message(YAML, NOW)
    done = subprocess.run(["openssl", "smime", "-verify", "-noverify"], input=message, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, canonical(YAML))


def test_a_program_that_signs_with_another_key_is_found_out(person: Identity, trusted: Identity, tmp_path: Path) -> None:
    issue(PUBLISHER, trusted).write(tmp_path, "other")
    issue(PUBLISHER).write(tmp_path, "stranger")
    for file in ("other", "stranger"):
        with pytest.raises(Refused, match="not good"):
            key(tmp_path, signs(tmp_path, "-binary", "-outform", "DER", file=file)).message(TEXT, NOW)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import sys; sys.stdout.write('hello')", "not good"),
        ("", "not good"),
        ("import sys; sys.stdout.buffer.write(b'0' * 100)", "not good"),
        ("import sys; sys.exit('the token is not plugged in')", "did not sign"),
    ],
    ids=["text", "nothing", "garbage", "fails"],
)
def test_a_program_that_does_not_sign(person: Identity, tmp_path: Path, program: str, why: str) -> None:
    with pytest.raises((Refused, UserError), match=why) as caught:
        key(tmp_path, shlex.join([sys.executable, "-c", program])).message(TEXT, NOW)
    assert caught.value.hint
    if why == "did not sign":
        assert "not plugged in" in caught.value.why


@pytest.mark.parametrize("options", [("-binary", "-nodetach", "-outform", "DER"), ("-outform", "DER"), ("-binary", "-outform", "DER", "-md", "sha1")])
def test_a_signature_of_another_form_is_refused(person: Identity, tmp_path: Path, options: tuple[str, ...]) -> None:
    """Not detached; over other bytes than those that were given; with SHA-1."""
    with pytest.raises(Refused):
        key(tmp_path, signs(tmp_path, *options)).detached(b"one\ntwo\n", NOW)


def test_a_program_that_hangs_is_ended(person: Identity, tmp_path: Path) -> None:
    made = key(tmp_path, f"{sys.executable} -c 'import time; time.sleep(600)' --pin 4321")
    with pytest.raises(UserError, match="did not sign") as caught:
        CommandKey(made.certified, made.command, 0.5).message(TEXT, NOW)
    assert "within 0.5 s" in caught.value.why
    assert "4321" not in str(caught.value)


def test_no_shell_and_no_secrets_for_the_program(person: Identity, trusted: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMKEEPER_PKCS12_PASSWORD", "open sesame")
    monkeypatch.setenv("PKCS11_MODULE_PATH", "/x")
    script = tmp_path / "sign er"
    script.write_text(f"#!/bin/sh\nenv > '{tmp_path}/seen'\necho \"$1\" > '{tmp_path}/told'\nexec {signs(tmp_path, '-binary', '-outform', 'DER')}\n")
    script.chmod(0o755)
    good(key(tmp_path, shlex.join([str(script), "a; touch b $HOME"])), trusted)
    assert (tmp_path / "told").read_text() == "a; touch b $HOME\n"
    seen = (tmp_path / "seen").read_text()
    assert "open sesame" not in seen
    assert "PKCS11_MODULE_PATH=/x" in seen


@pytest.mark.parametrize(
    ("files", "what"),
    [
        (KeyFiles(), "--certificate is not given"),
        (KeyFiles(certificate=Path("person.pem")), "--key is not given"),
        (KeyFiles(certificate=Path("person.pem"), signer="'"), "command line"),
        (KeyFiles(certificate=Path("person.pem"), signer=" "), "not named"),
        (KeyFiles(pkcs12=Path("person.p12"), password_file=Path("none")), "password's file"),
    ],
)
def test_what_is_missing_is_named(person: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: KeyFiles, what: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=what) as caught:
        list_key(files, {})
    assert "--signer" in caught.value.hint or "given" not in what


def test_a_program_that_is_not_there(person: Identity, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacks, match="not on this machine"):
        key(tmp_path, "no-such-signer-program").message(TEXT, NOW)


_MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
_ENGINES = ("/usr/lib/x86_64-linux-gnu/engines-3/pkcs11.so", "/usr/lib/aarch64-linux-gnu/engines-3/pkcs11.so")


def test_a_token_signs_through_openssl(trusted: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command of docs/image-lists.md, with a token in software."""
    module = next((one for one in _MODULES if Path(one).exists()), None)
    if module is None or shutil.which("softhsm2-util") is None or not any(Path(one).exists() for one in _ENGINES):
        pytest.skip("a token is missing: apt-get install softhsm2 libengine-pkcs11-openssl")
    person = issue(PUBLISHER, trusted, key=rsa_key())
    person.write(tmp_path, "person")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    monkeypatch.setenv("PKCS11_MODULE_PATH", module)
    for words in (
        ("--init-token", "--free", "--label", "vmk", "--so-pin", "1234", "--pin", "4321"),
        ("--import", str(tmp_path / "person.key"), "--token", "vmk", "--label", "me", "--id", "01", "--pin", "4321"),
    ):
        subprocess.run(["softhsm2-util", *words], check=True, capture_output=True, env=os.environ)
    (tmp_path / "person.key").unlink()
    where = "pkcs11:token=vmk;object=me;type=private;pin-value=4321"
    words = ["openssl", "cms", "-sign", "-binary", "-outform", "DER", "-md", "sha256", "-signer", f"{tmp_path}/person.pem"]
    good(key(tmp_path, shlex.join([*words, "-engine", "pkcs11", "-keyform", "engine", "-inkey", where])), trusted)


def test_the_loaded_chain_is_the_signers_own(tmp_path: Path, trusted: Identity) -> None:
    middle = authority(subject=PUBLISHER, issuer=trusted)
    person = issue(PUBLISHER, middle)
    (tmp_path / "chain.pem").write_bytes(person.pem + middle.pem)
    certified, chain = smime.load_certificate(tmp_path / "chain.pem")
    assert certified.certificate == person.certificate
    assert chain == (middle.certificate,)

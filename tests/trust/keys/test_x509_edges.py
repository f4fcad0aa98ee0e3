"""What openssl, gpgsm and p11tool are started with, within which limits, and what becomes of their words."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from support.keys import NOW
from support.x509 import Grid, detached, digest_of, x509_signer
from vmkeeper.errors import Refused, UserError
from vmkeeper.trust.keys import x509
from vmkeeper.trust.keys.interface import Claim
from vmkeeper.trust.keys.x509 import X509Verifier, identity_of, sign, verify_detached

CONTENT = b"object 1\n\n{}\n"
ASKING = ("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "PINENTRY_USER_DATA", "PKCS11_MODULE_PATH", "SOFTHSM2_CONF")


@pytest.fixture(scope="module")
def grid() -> Grid:
    return Grid()


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Only programs of this folder are found, but for `/usr/bin`."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def tool(folder: Path, name: str, script: str) -> None:
    """A program that notes its words, its input, its surroundings and its limits, one file each, and then does `script`."""
    notes = folder.parent
    asked = f'for one; do printf "%s\\n" "$one"; done > {notes}/{name}.words\ncat > {notes}/{name}.input\nenv > {notes}/{name}.env'
    limits = f"{{ ulimit -v; ulimit -f; ulimit -t; }} > {notes}/{name}.limits"
    (folder / name).write_text(f"#!/bin/bash\n{asked}\n{limits}\n{script}\n")
    (folder / name).chmod(0o755)


def words(folder: Path, name: str) -> list[str]:
    return (folder.parent / f"{name}.words").read_text().splitlines()


def environment(folder: Path, name: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (folder.parent / f"{name}.env").read_text().splitlines() if "=" in line)


def refused(signature: bytes, grid: Grid) -> Refused:
    with pytest.raises(Refused) as caught:
        verify_detached(signature, CONTENT, grid.authorities(), NOW)
    return caught.value


def test_openssl_verifies_files_of_ours_against_our_authorities_within_limits(grid: Grid, tools: Path) -> None:
    tool(tools, "openssl", "exit 4")
    refused(detached(grid.alice, CONTENT), grid)
    asked = words(tools, "openssl")
    folder = Path(asked[asked.index("-in") + 1]).parent
    assert folder.name.startswith("vmkeeper-cms-")
    assert not folder.exists()
    assert asked == [
        *("cms", "-verify", "-binary", "-inform", "DER", "-in", f"{folder}/signature", "-content", f"{folder}/content"),
        *("-CAfile", f"{folder}/known", "-no-CApath", "-no-CAstore", "-auth_level", "2"),
        *("-attime", str(int(NOW.timestamp())), "-purpose", "smimesign", "-out", f"{folder}/out", "-signer", f"{folder}/signer"),
    ]
    memory, file, cpu = (tools.parent / "openssl.limits").read_text().split()
    assert (int(memory) * 1024, int(file) * 1024, int(cpu)) == (1 << 30, 64 << 20, 30)


def test_openssl_that_never_ends_is_ended(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    really = x509.run

    def noted(*command: object, timeout: float = 600, **how: object) -> object:
        given.append(timeout)
        return really(*command, timeout=timeout, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(x509, "run", noted)
    assert verify_detached(detached(grid.alice, CONTENT), CONTENT, grid.authorities(), NOW)
    assert given == [60]


@pytest.mark.parametrize(
    ("said", "rule", "why"),
    [
        (r"\377 is no text", "R32", "\ufffd is no text"),
        ("a" + "b" * 300, "R32", "b" * 300),
        (r"  at the end  \n", "R32", "at the end"),
        (r"first\nVerify error: bad \377 day \nVerify error: another", "R19", "bad \ufffd day"),
    ],
)
def test_words_of_openssl_are_cut_and_made_text(grid: Grid, tools: Path, said: str, rule: str, why: str) -> None:
    tool(tools, "openssl", f"printf '{said}' >&2; exit 1")
    error = refused(detached(grid.alice, CONTENT), grid)
    assert (error.rule, error.why) == (rule, why)


# -- signing


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a tool needs to find a token and to ask for its PIN, and something that is nobody's business."""
    monkeypatch.setenv("SECRET", "x")
    found = {name: f"the {name}" for name in (*ASKING, "GPG_TTY")}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def assert_given(folder: Path, name: str, surroundings: dict[str, str]) -> None:
    seen = environment(folder, name)
    assert {one: seen.get(one) for one in surroundings} == surroundings
    assert "SECRET" not in seen


def locked(folder: Path, grid: Grid) -> Path:
    """A certificate with a key beside it that has a passphrase."""
    key = grid.alice.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open"))
    (folder / "usercert.pem").write_bytes(grid.alice.pem)
    (folder / "userkey.pem").write_bytes(key)
    return folder / "usercert.pem"


def test_openssl_signs_a_copy_with_the_key_where_it_lies(grid: Grid, tools: Path, surroundings: dict[str, str], tmp_path: Path) -> None:
    tool(tools, "openssl", f'[ "$1" = pkey ] && exit 1; while [ $# -gt 0 ]; do [ "$1" = -in ] && cp "$2" {tmp_path}/content; shift; done')
    certificate = locked(tmp_path, grid)
    with pytest.raises(Refused) as caught:
        sign(str(certificate), CONTENT, secret=lambda _key: "open")
    assert caught.value.rule == "R10"
    asked = words(tools, "openssl")
    folder = Path(asked[asked.index("-in") + 1]).parent
    assert folder.name.startswith("vmk-")
    assert not folder.exists()
    assert asked == [
        *("cms", "-sign", "-binary", "-md", "sha512", "-nosmimecap", "-outform", "DER", "-in", f"{folder}/signed"),
        *("-signer", f"{folder}/signer.pem", "-inkey", f"{tmp_path}/userkey.pem", "-passin", "stdin"),
    ]
    assert (tmp_path / "content").read_bytes() == CONTENT
    assert (tmp_path / "openssl.input").read_bytes() == b"open\n"
    assert_given(tools, "openssl", surroundings)


def test_whether_a_key_has_a_passphrase_is_asked_of_openssl(grid: Grid, tools: Path, tmp_path: Path) -> None:
    tool(tools, "openssl", "exit 0")
    certificate = locked(tmp_path, grid)
    (tools / "openssl").write_text((tools / "openssl").read_text().replace("openssl.words", "openssl.$1.words"))
    with pytest.raises(Refused):
        sign(str(certificate), CONTENT, secret=pytest.fail)
    assert words(tools, "openssl.pkey") == ["pkey", "-noout", "-in", f"{tmp_path}/userkey.pem", "-passin", "pass:"]
    assert "-passin" not in words(tools, "openssl.cms")


URI = "pkcs11:token=vmk;type=private;object=me"


def test_a_token_is_asked_for_its_certificate_and_signs_by_its_engine(grid: Grid, tools: Path, surroundings: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "certificate").write_bytes(grid.alice.pem)
    tool(tools, "p11tool", f"cat {tmp_path}/certificate")
    tool(tools, "openssl", "exit 0")
    assert identity_of(f"{URI}?pin-value=1").sha256 == digest_of(grid.alice)
    assert words(tools, "p11tool") == ["--export", "pkcs11:token=vmk;object=me;type=cert"]
    assert_given(tools, "p11tool", surroundings)
    for key, secret, end, stdin in (
        (URI, "1234", ["-passin", "stdin"], b"1234\n"),
        (f"{URI}?pin-value=1", "1234", [], b""),
    ):
        with pytest.raises(Refused):
            sign(key, CONTENT, secret=lambda _key, secret=secret: secret)  # type: ignore[misc]
        assert words(tools, "openssl")[-6 - len(end) :] == ["-engine", "pkcs11", "-keyform", "engine", "-inkey", key, *end]
        assert (tmp_path / "openssl.input").read_bytes() == stdin
        assert_given(tools, "openssl", surroundings)


LISTING = "crs::2048:1:AAAA::::::\\nfpr:::::::::{fingerprint}:\\nuid:::::::::/CN=Alice fpr::\\n"


def test_gpgsm_is_asked_by_the_fingerprint_that_it_lists(grid: Grid, tools: Path, surroundings: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "certificate").write_bytes(grid.alice.pem)
    listing = LISTING.format(fingerprint="F" * 40)
    tool(tools, "gpgsm", f'case "$*" in *--list-secret-keys*) printf "{listing}"; exit 2;; *--export*) cat {tmp_path}/certificate;; esac')
    assert identity_of("Alice").sha256 == digest_of(grid.alice)
    assert words(tools, "gpgsm") == ["--batch", "--armor", "--export", "F" * 40]
    with pytest.raises(Refused) as caught:
        sign("Alice", CONTENT)
    assert caught.value.rule == "R10"
    assert words(tools, "gpgsm") == ["--batch", "--armor", "--include-certs", "1", "--local-user", "F" * 40, "--detach-sign"]
    assert (tmp_path / "gpgsm.input").read_bytes() == CONTENT
    assert_given(tools, "gpgsm", surroundings)


def test_a_gpgsm_that_lists_several_keys_signs_with_none(tools: Path) -> None:
    listing = LISTING.format(fingerprint="A" * 40) + LISTING.format(fingerprint="B" * 40)
    tool(tools, "gpgsm", f'printf "{listing}"')
    with pytest.raises(UserError) as caught:
        sign("Alice", CONTENT)
    assert caught.value.why == f"{'A' * 40}, {'B' * 40}"


def test_what_is_verified_by_one_certificate_is_nothing_for_another(grid: Grid) -> None:
    verifier = X509Verifier(grid.read(grid.erin))
    for signer in map(x509_signer, (grid.alice, grid.erin, grid.alice)):
        claim = Claim(signer.key, CONTENT, signer.sign(CONTENT))
        if signer.id == f"x509:{digest_of(grid.alice)}":
            assert verifier.verify(claim, NOW).key == signer.id
        else:
            with pytest.raises(Refused) as caught:
                verifier.verify(claim, NOW)
            assert caught.value.rule == "R12"

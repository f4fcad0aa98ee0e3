"""OpenPGP through gpg: what is accepted, what gpg alone would have let through, and what becomes of odd keys."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.keys import BORN, ISSUED, NOW, GpgHome, Signer
from support.openpgp import PacketKey
from support.refusals import refusal
from vmkeeper.errors import Refused, UserError
from vmkeeper.run import ProgramFailed
from vmkeeper.trust.keys.armour import armour, dearmour, decode_public_key
from vmkeeper.trust.keys.interface import Claim, HeldOpenPGPKey, SignedBy
from vmkeeper.trust.keys.openpgp import GpgVerifier, primary_fingerprint, short_folder, sign
from vmkeeper.trust.keys.packets import normalised, read_certificate, read_signature

DATA = b"object 0123\n\nwhat is signed\n"


@pytest.fixture(scope="module")
def home() -> Iterator[GpgHome]:
    made = GpgHome()
    yield made
    made.close()


@pytest.fixture(scope="module")
def gpg() -> Iterator[GpgVerifier]:
    with GpgVerifier() as made:
        yield made


@pytest.fixture(scope="module")
def alice(home: GpgHome) -> Signer:
    return home.signer(home.make("alice"))


def pgp_key(signer: Signer) -> HeldOpenPGPKey:
    assert isinstance(signer.key, HeldOpenPGPKey)
    return signer.key


def verified(gpg: GpgVerifier, key: HeldOpenPGPKey, signed: bytes, signature: str, now: datetime) -> SignedBy:
    return gpg.verify(Claim(key, signed, signature), now)


@pytest.mark.parametrize("algorithm", ["ed25519", "nistp256", "nistp384", "nistp521", "brainpoolP256r1", "rsa2048", "rsa3072"])
def test_keys_of_the_common_kinds_are_accepted(home: GpgHome, gpg: GpgVerifier, algorithm: str) -> None:
    signer = home.signer(home.make(algorithm.lower(), algorithm))
    for number in range(3):
        data = DATA + bytes([65 + number])
        signature = signer.sign(data)
        assert normalised(signature, data) == signature
        assert verified(gpg, pgp_key(signer), data, signature, NOW).key == signer.id


@pytest.mark.parametrize("algorithm", ["secp256k1", "dsa2048", "rsa1024"])
def test_other_kinds_are_refused_as_weak(home: GpgHome, gpg: GpgVerifier, algorithm: str) -> None:
    signer = home.signer(home.make(f"weak{algorithm}", algorithm))
    found = refusal(lambda: verified(gpg, pgp_key(signer), DATA, signer.sign(DATA), NOW))
    what = "the signature's algorithm is not taken" if algorithm == "dsa2048" else "the key is too weak"
    why = {"secp256k1": "a curve that is not taken, 2b8104000a", "dsa2048": "OpenPGP algorithm number 17", "rsa1024": "RSA of 1024 bits"}[algorithm]
    assert found == ("R11", what, why)


def test_a_strong_subkey_of_a_weak_primary_key_is_refused_as_weak(gpg: GpgVerifier) -> None:
    weak, strong = (PacketKey(rsa.generate_private_key(65537, bits)) for bits in (1024, 2048))
    for primary, subkey in ((weak, strong), (strong, weak)):
        key = primary.certificate(subkeys=[subkey])
        assert refusal(lambda: verified(gpg, key, DATA, subkey.sign(DATA), NOW)) == ("R11", "the key is too weak", "RSA of 1024 bits")  # noqa: B023


def test_another_text_or_another_key_is_refused(home: GpgHome, gpg: GpgVerifier, alice: Signer) -> None:
    other = home.signer(home.make("other"))
    signature = alice.sign(DATA)
    for key, data in ((alice.key, DATA + b"x"), (alice.key, DATA.replace(b"\n", b"\r\n")), (other.key, DATA)):
        assert isinstance(key, HeldOpenPGPKey)
        with pytest.raises(Refused) as caught:
            verified(gpg, key, data, signature, NOW)
        assert caught.value.rule == "R10"


def test_a_forged_signature_that_begins_right_is_refused_by_gpg(gpg: GpgVerifier, alice: Signer) -> None:
    packet = bytearray(dearmour("PGP", alice.sign(DATA)))
    packet[-1] ^= 1
    signature = armour("PGP", bytes(packet))
    read_signature(signature, DATA)
    with pytest.raises(Refused, match="gpg does not call"):
        verified(gpg, pgp_key(alice), DATA, signature, NOW)


def test_disagreement_gpg_takes_changes_to_the_unsigned_part_of_a_signature(home: GpgHome, alice: Signer, tmp_path: Path) -> None:
    packet = dearmour("PGP", alice.sign(DATA))
    keyid = bytes.fromhex(pgp_key(alice).fingerprint[-16:])
    at = packet.rindex(keyid) - 2
    longer = packet[:at] + bytes([9]) + packet[at + 1 : at + 10] + packet[at + 10 :]
    changed = longer.replace(b"\x00\x0a\x09\x10" + keyid, b"\x00\x0d\x09\x10" + keyid + b"\x02\x64\x00", 1)
    changed = changed[:1] + bytes([changed[1] + 3]) + changed[2:]
    (tmp_path / "s").write_bytes(changed)
    home.run("--verify", str(tmp_path / "s"), "-", data=DATA, at=NOW)
    with pytest.raises(Refused, match="unsigned data"):
        read_signature(armour("PGP", changed), DATA)


def test_disagreement_gpg_takes_a_new_format_packet_header(home: GpgHome, gpg: GpgVerifier, alice: Signer, tmp_path: Path) -> None:
    packet = dearmour("PGP", alice.sign(DATA))
    changed = b"\xc2" + packet[1:]
    (tmp_path / "s").write_bytes(changed)
    home.run("--verify", str(tmp_path / "s"), "-", data=DATA, at=NOW)
    with pytest.raises(Refused, match="not in the form we write"):
        read_signature(armour("PGP", changed), DATA)
    assert normalised(armour("PGP", changed), DATA) == armour("PGP", packet)


def test_disagreement_gpg_takes_text_signatures(home: GpgHome, alice: Signer, tmp_path: Path) -> None:
    fingerprint = pgp_key(alice).fingerprint
    text = home.signer(fingerprint, "--textmode").sign(DATA)
    (tmp_path / "s").write_text(text)
    home.run("--verify", str(tmp_path / "s"), "-", data=DATA, at=NOW)
    with pytest.raises(Refused, match="binary document") as caught:
        read_signature(text, DATA)
    assert caught.value.rule == "R11"


def test_a_signature_with_a_notation_is_accepted_because_that_is_signed(home: GpgHome, gpg: GpgVerifier, alice: Signer) -> None:
    signer = home.signer(pgp_key(alice).fingerprint, "--sig-notation", "a@example.org=b")
    assert verified(gpg, pgp_key(alice), DATA, signer.sign(DATA), NOW)


def test_an_expired_signature_is_refused(home: GpgHome, gpg: GpgVerifier, alice: Signer) -> None:
    signer = home.signer(pgp_key(alice).fingerprint, "--default-sig-expire", "2d")
    signature = signer.sign(DATA)
    assert verified(gpg, pgp_key(alice), DATA, signature, ISSUED)
    with pytest.raises(Refused):
        verified(gpg, pgp_key(alice), DATA, signature, NOW.replace(day=10))


def test_verifying_leaves_the_users_keyring_alone(home: GpgHome, alice: Signer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GNUPGHOME", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with GpgVerifier() as gpg:
        verified(gpg, pgp_key(alice), DATA, alice.sign(DATA), NOW)
        (made,) = gpg._homes.values()
        assert made.folder.stat().st_mode & 0o777 == 0o700
    assert not made.folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_long_temporary_folder_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    made = short_folder()
    made.rmdir()
    assert len(str(made)) < 60
    assert made.name.startswith("vmk-")
    assert list(long.iterdir()) == []


def test_key_files_that_hold_something_else_are_refused(home: GpgHome, alice: Signer) -> None:
    home.make("somebody-else")
    both = home.run("--armor", "--export").decode()
    secret = home.run("--armor", "--export-secret-keys", pgp_key(alice).fingerprint).decode()
    good = pgp_key(alice).armour
    for text in (
        both,
        secret,
        secret.replace("PRIVATE", "PUBLIC"),
        good + good,
        good[:200],
        "",
        good.replace("PUBLIC KEY BLOCK", "MESSAGE"),
        alice.sign(DATA),
    ):
        with pytest.raises(Refused) as caught:
            read_certificate(text)
        assert caught.value.rule == "R10"


def test_comments_in_a_key_file_do_no_harm(alice: Signer) -> None:
    good = pgp_key(alice)
    with_comment = good.armour.replace("BLOCK-----\n", "BLOCK-----\nComment: Alice's key\nVersion: 1\n", 1)
    assert read_certificate(with_comment).fingerprint == good.fingerprint
    assert read_certificate(good.armour.replace("\n", "\r\n")).fingerprint == good.fingerprint


def test_a_pinned_fingerprint_that_is_not_the_keys_is_refused(gpg: GpgVerifier, alice: Signer) -> None:
    wrong = pgp_key(alice).model_copy(update={"fingerprint": "A" * 40})
    why = f"{pgp_key(alice).fingerprint}, not {'A' * 40}"
    found = refusal(lambda: verified(gpg, wrong, DATA, alice.sign(DATA), NOW))
    assert found == ("R10", "the pinned key has another fingerprint than the pins say", why)


def test_a_key_that_gpg_does_not_take_is_refused(gpg: GpgVerifier, alice: Signer) -> None:
    first = decode_public_key(pgp_key(alice).armour)
    bare = first[: 2 + first[1]]
    text = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n" + base64.b64encode(bare).decode() + "\n-----END PGP PUBLIC KEY BLOCK-----\n"
    assert read_certificate(text).fingerprint == pgp_key(alice).fingerprint
    with pytest.raises(Refused, match="does not take"):
        verified(gpg, HeldOpenPGPKey(type="openpgp", fingerprint=pgp_key(alice).fingerprint, armour=text), DATA, alice.sign(DATA), NOW)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=120), st.binary(max_size=6))
def test_any_bytes_as_a_signature_are_refused(data: bytes, head: bytes) -> None:
    for tried in (data, b"\x88" + bytes([len(data)]) + data, b"\x88" + bytes([len(data) + 4]) + b"\x04\x00\x16\x0a" + data, head + data):
        with pytest.raises(Refused):
            read_signature(armour("PGP", tried), DATA)
        with pytest.raises(Refused):
            normalised(armour("PGP", tried), DATA)


def test_every_byte_of_a_signature_counts(gpg: GpgVerifier, alice: Signer) -> None:
    packet = dearmour("PGP", alice.sign(DATA))
    for at in range(len(packet)):
        changed = bytearray(packet)
        changed[at] ^= 1 << (at % 8)
        with pytest.raises(Refused):
            verified(gpg, pgp_key(alice), DATA, armour("PGP", bytes(changed)), NOW)


def test_signing_asks_the_users_gpg(home: GpgHome, gpg: GpgVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNUPGHOME", str(home.path))
    fingerprint = home.make("now")
    assert primary_fingerprint("now@example.org") == fingerprint
    assert primary_fingerprint(fingerprint[-16:]) == fingerprint
    assert primary_fingerprint(fingerprint + "!") == fingerprint
    key = HeldOpenPGPKey(type="openpgp", fingerprint=fingerprint, armour=home.export(fingerprint))
    (home.path / "gpg.conf").write_text("comment hello\nemit-version\nno-armor\n")
    try:
        signature = sign(fingerprint, DATA)
    finally:
        (home.path / "gpg.conf").unlink()
    assert verified(gpg, key, DATA, signature, datetime.now(UTC)).key == f"openpgp:{fingerprint}"
    home.make("twin")
    home.run("--passphrase", "", "--pinentry-mode", "loopback", "--quick-generate-key", "Second <twin@example.org>", "ed25519", "sign", "0", at=BORN)
    for name, count, found in (("nobody@example.org", "no secret key", 0), ("twin@example.org", "several secret keys", 2)):
        with pytest.raises(UserError) as caught:
            primary_fingerprint(name)
        assert caught.value.what == f"gpg has {count} for {name}"
        assert len([part for part in caught.value.why.split(", ") if len(part) == 40]) == found
        assert caught.value.hint == "name the key by its full fingerprint (gpg --list-secret-keys), with --key or git config user.signingKey"


def recorder(folder: Path, monkeypatch: pytest.MonkeyPatch, last: str) -> Callable[[], list[list[str]]]:
    """A gpg that writes down its arguments, one call a line, and then does `last`; gives what it wrote."""
    log, script = folder / "log", folder / "gpg"
    script.write_text(f'#!/bin/sh\nfor word; do printf "%s\\t" "$word"; done >> {log}\necho >> {log}\n{last}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return lambda: [line.split("\t")[:-1] for line in log.read_text().splitlines()]


def test_gpg_is_asked_apart_from_everything_the_user_has(alice: Signer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    signature = alice.sign(DATA)
    calls = recorder(tmp_path, monkeypatch, f'exec {shutil.which("gpg")} "$@"')
    with GpgVerifier() as gpg:
        assert verified(gpg, pgp_key(alice), DATA, signature, NOW)
        (home,) = gpg._homes.values()
    options = ["--homedir", str(home.folder), "--no-options", "--no-tty", "--no-autostart", "--no-auto-key-retrieve", "--no-auto-check-trustdb"]
    options += ["--disable-dirmngr", "--trust-model", "always", "--weak-digest", "SHA1", "--faked-system-time"]
    at = f"{int(NOW.timestamp())}!"
    assert calls() == [
        [*options, f"{int(BORN.timestamp())}!", "--batch", "--import"],
        [*options, at, "--status-fd", "2", "--logger-fd", "1", "--multifile", "--verify"],
        [*options, at, "--batch", "--with-colons", "--list-keys"],
    ]


def test_the_users_gpg_is_asked_plainly_and_may_ask_for_a_pin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asking = ("GPG_TTY", "DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "PINENTRY_USER_DATA")
    calls = recorder(tmp_path, monkeypatch, f"env > {tmp_path}/env; echo no card >&2; exit 2")
    for name in asking:
        monkeypatch.setenv(name, f"the {name}")
    monkeypatch.setenv("SECRET", "x")
    with pytest.raises(ProgramFailed) as caught:
        sign("ABCD", DATA)
    assert (caught.value.what, caught.value.why) == ("gpg failed with status 2", "no card")
    assert caught.value.hint == "check that gpg can sign: echo test | gpg --clearsign; for a token, that it is plugged in"
    options = ["--batch", "--armor", "--no-comments", "--no-emit-version", "--digest-algo", "SHA512"]
    assert calls() == [[*options, "--detach-sign", "--local-user", "ABCD"]]
    given = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert {name: given.get(name) for name in asking} == {name: f"the {name}" for name in asking}
    assert "SECRET" not in given


def test_a_missing_gpg_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from vmkeeper.errors import EnvironmentLacks

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentLacks, match="gpg") as caught:
        GpgVerifier()
    assert caught.value.hint == "apt-get install gnupg"


def _key_text(packets: bytes) -> str:
    return "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n" + base64.b64encode(packets).decode() + "\n-----END PGP PUBLIC KEY BLOCK-----\n"


@pytest.mark.parametrize(
    "packets",
    [
        b"\x98\x06\x05\0\0\0\0\x16",
        b"\x98\x02\x04\0",
        b"\x98\x09\x04\0\0\0\0\x01",
        b"\xc6\xe1\x00",
        b"\xc6\xff\0\0\0\x01",
        b"\xc6\xc0",
        b"\x9b\x04",
        b"\x04",
        b"\xb4\x01x",
        b"\xc6\xff\0\x01\0\0\x04" + b"\0" * 0xFFFF,
    ],
)
def test_broken_key_packets_are_refused(packets: bytes) -> None:
    with pytest.raises(Refused) as caught:
        read_certificate(_key_text(packets))
    assert caught.value.rule == "R10"
    with pytest.raises(Refused):
        read_certificate(_key_text(packets).replace("=", "!"))


def test_keys_in_new_packets_of_every_length_are_read(alice: Signer) -> None:
    first = decode_public_key(pgp_key(alice).armour)
    body = first[2 : 2 + first[1]]
    for length in (bytes([len(body)]), b"\xff" + len(body).to_bytes(4, "big")):
        assert read_certificate(_key_text(b"\xc6" + length + body)).fingerprint == pgp_key(alice).fingerprint
    rsa = b"\x04\0\0\0\0\x01" + (2048).to_bytes(2, "big") + b"\x80" + b"\0" * 255 + b"\0\x11\x01\0\x01"
    (key,) = read_certificate(_key_text(b"\xc6" + bytes([192 + (len(rsa) - 192 >> 8), len(rsa) - 192 & 0xFF]) + rsa)).keys
    assert key.weakness == ""
    (key,) = read_certificate(_key_text(b"\x99" + len(rsa).to_bytes(2, "big") + rsa.replace(b"\x08\x00\x80", b"\x07\xff\x40", 1))).keys
    assert key.weakness == "RSA of 2047 bits"


def test_public_keys_that_are_not_base64_are_refused(alice: Signer) -> None:
    with pytest.raises(Refused, match="not base64"):
        read_certificate(pgp_key(alice).armour.replace("BLOCK-----\n\n", "BLOCK-----\n\n=", 1))


@pytest.mark.parametrize(
    "hashed",
    [
        b"\x05\x02\0\0\0\0",
        b"\x05\x02\0\0\0\0\x05\x02\0\0\0\0",
        b"\0",
        b"\x30\x02",
        b"\xff\0\0\0\x05\x02\0\0\0\0",
        b"\xc0\x00\x02",
        b"\xff\0",
    ],
)
def test_broken_parts_of_a_signature_are_refused(hashed: bytes) -> None:
    body = b"\x04\0\x16\x0a" + len(hashed).to_bytes(2, "big") + hashed + b"\0\0" + b"\0" * 20
    with pytest.raises(Refused) as caught:
        read_signature(armour("PGP", b"\x88" + bytes([len(body)]) + body), DATA)
    assert caught.value.rule == "R10"


@pytest.mark.parametrize("change", [lambda body: b"\x03" + body[1:], lambda body: b"\x05" + body[1:], lambda body: b"\x04\0\x16\x0a\0\0\0\0"])
def test_signatures_of_other_versions_are_refused(alice: Signer, change: Callable[[bytes], bytes]) -> None:
    body = change(dearmour("PGP", alice.sign(DATA))[2:])
    with pytest.raises(Refused) as caught:
        read_signature(armour("PGP", b"\x88" + bytes([len(body)]) + body), DATA)
    assert caught.value.rule == "R10"


@pytest.mark.parametrize("numbers", [b"", b"\x01\0\xff", b"\0\x07\xff" * 2, b"\0\x09\0\xff" * 2, b"\0\0" * 2, b"\0\x08\xff" * 3, b"\0\x08\xff"])
def test_numbers_that_lie_about_their_length_are_refused(alice: Signer, numbers: bytes) -> None:
    body = dearmour("PGP", alice.sign(DATA))[2:]
    end = 6 + int.from_bytes(body[4:6], "big")
    changed = body[: end + 14] + numbers
    with pytest.raises(Refused) as caught:
        read_signature(armour("PGP", b"\x88" + bytes([len(changed)]) + changed), DATA)
    assert caught.value.rule == "R10"


def test_an_empty_signature_packet_is_refused() -> None:
    with pytest.raises(Refused, match="empty"):
        read_signature(armour("PGP", b"\x88\0"), DATA)


@given(st.binary(max_size=100), st.sampled_from([b"", b"\x98\x20\x04", b"\xc6\x20\x04", b"\x98\x09\x04\0\0\0\0"]))
def test_any_bytes_as_a_key_are_a_key_or_refused(data: bytes, head: bytes) -> None:
    try:
        certificate = read_certificate(_key_text(head + data))
    except Refused:
        return
    assert len(certificate.fingerprint) == 40


@given(st.text(max_size=80))
def test_any_text_as_a_key_is_refused(text: str) -> None:
    for tried in (text, f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n{text}\n-----END PGP PUBLIC KEY BLOCK-----\n"):
        with pytest.raises(Refused):
            read_certificate(tried)


def test_the_terminal_is_named_for_the_pinentry_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from vmkeeper.trust.keys import openpgp

    monkeypatch.setattr("os.ttyname", lambda _: "/dev/pts/7")
    assert openpgp._terminal() == {"GPG_TTY": "/dev/pts/7"}

    def none(_: int) -> str:
        raise OSError("not a terminal")

    monkeypatch.setattr("os.ttyname", none)
    assert openpgp._terminal() == {}

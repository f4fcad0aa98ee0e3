"""SSHSIG: our verifier and ssh-keygen on the same signatures, and everything that must not pass."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from support.keys import NOW, SecurityKey, Signer, ssh_key, ssh_public, ssh_signer, sshsig, to_sign
from support.refusals import refusal
from vmkeeper.errors import Refused, UserError
from vmkeeper.run import ProgramFailed
from vmkeeper.trust.keys import ssh
from vmkeeper.trust.keys.armour import armour, dearmour, decode_signature
from vmkeeper.trust.keys.interface import Claim, SignedBy
from vmkeeper.trust.keys.primitives import verify_ecdsa, verify_ed25519, verify_rsa

DATA = b"object 0123\n\nwhat is signed\n"
KINDS = [("ed25519", None), ("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521), ("rsa", 2048), ("rsa", 3072)]


def text(signer: Signer) -> str:
    return str(getattr(signer.key, "key"))  # noqa: B009 - either kind of key


def keygen_accepts(folder: Path, key: str, data: bytes, signature: str) -> bool:
    allowed, file = folder / "allowed", folder / "signature"
    allowed.write_text(f'alice namespaces="git" {key}\n')
    file.write_text(signature)
    command = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "alice", "-n", "git", "-s", str(file)]
    return subprocess.run(command, input=data, capture_output=True, check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(("kind", "bits"), KINDS)
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_signatures_of_ssh_keygen_are_accepted(tmp_path: Path, kind: str, bits: int | None, algorithm: str) -> None:
    signer = ssh_signer(ssh_key(tmp_path, kind, bits), "-O", f"hashalg={algorithm}")
    signature = signer.sign(DATA)
    assert ssh.verify(text(signer), DATA, signature).key == signer.id
    with pytest.raises(Refused):
        ssh.verify(text(signer), DATA + b"x", signature)


def test_fingerprints_are_those_of_ssh_keygen(tmp_path: Path) -> None:
    file = ssh_key(tmp_path)
    shown = subprocess.run(["ssh-keygen", "-l", "-f", str(file)], check=True, capture_output=True, text=True, timeout=60).stdout
    assert ssh.read_public_key(ssh_public(file)).fingerprint == shown.split()[1]


@pytest.mark.parametrize("flags", [1, 5])
def test_a_touched_security_key_is_accepted_as_ssh_keygen_does(tmp_path: Path, flags: int) -> None:
    signer = SecurityKey().signer(flags, counter=0xFFFFFFFF)
    signature = signer.sign(DATA)
    assert ssh.verify(text(signer), DATA, signature).key == signer.id
    assert keygen_accepts(tmp_path, text(signer), DATA, signature)


def test_an_ecdsa_security_key_is_accepted_as_ssh_keygen_does(tmp_path: Path) -> None:
    kind, application = b"sk-ecdsa-sha2-nistp256@openssh.com", b"ssh:"
    private = ec.generate_private_key(ec.SECP256R1())
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    blob = b"".join(map(_string, (kind, b"nistp256", point, application)))
    key = f"{kind.decode()} {base64.b64encode(blob).decode()}"
    tail = b"\x01\x00\x00\x00\x02"
    token = hashlib.sha256(application).digest() + tail + hashlib.sha256(to_sign(DATA)).digest()
    r, s = decode_dss_signature(private.sign(token, ec.ECDSA(hashes.SHA256())))
    signature = sshsig(blob, _string(kind) + _string(_string(_mpint(r)) + _string(_mpint(s))) + tail)
    assert ssh.verify(key, DATA, signature).key.startswith("ssh:SHA256:")
    assert keygen_accepts(tmp_path, key, DATA, signature)


def test_disagreement_ssh_keygen_takes_a_security_key_that_nobody_touched(tmp_path: Path) -> None:
    signer = SecurityKey().signer(flags=0)
    signature = signer.sign(DATA)
    assert keygen_accepts(tmp_path, text(signer), DATA, signature)
    found = refusal(lambda: ssh.verify(text(signer), DATA, signature))
    assert found == ("R10", "the security key signed without anybody touching it", "flags 00")


def test_disagreement_ssh_keygen_check_novalidate_is_good_for_any_key(tmp_path: Path) -> None:
    signer, pinned = ssh_signer(ssh_key(tmp_path)), ssh_signer(ssh_key(tmp_path))
    signature = signer.sign(DATA)
    (tmp_path / "s").write_text(signature)
    command = ["ssh-keygen", "-Y", "check-novalidate", "-n", "git", "-s", str(tmp_path / "s")]
    assert subprocess.run(command, input=DATA, capture_output=True, check=False, timeout=60).returncode == 0
    with pytest.raises(Refused, match="another key"):
        ssh.verify(text(pinned), DATA, signature)


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _mpint(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


ED = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
POINT = ED.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
BLOB = _string(b"ssh-ed25519") + _string(POINT)
KEY = f"ssh-ed25519 {base64.b64encode(BLOB).decode()}"
RAW = ED.sign(to_sign(DATA))
GOOD = _string(b"ssh-ed25519") + _string(RAW)


def test_the_parts_that_the_refusals_below_change_are_good() -> None:
    assert ssh.verify(KEY, DATA, sshsig(BLOB, GOOD))


CUT, FOLLOW = "the SSH data is cut off", "bytes follow the SSH data"
NOT_OVER, OTHER_KEY = "the SSH signature is not over this tag by the pinned key", "the signature is by another key than the pinned one"
OTHER_TYPE, VERSION = "the signature has another type than its key", "this is not an SSH signature of version 1"
NAMESPACE = "the SSH signature was made for something else than git"


@pytest.mark.parametrize(
    ("signature", "rule", "what"),
    [
        (sshsig(BLOB, GOOD, namespace=b"file"), "R10", NAMESPACE),
        (sshsig(BLOB, GOOD, namespace=b""), "R10", NAMESPACE),
        (sshsig(BLOB, GOOD, digest=b"sha1"), "R11", "the SSH signature uses a hash that is not taken"),
        (sshsig(BLOB, GOOD, digest=b"sha256"), "R10", NOT_OVER),
        (sshsig(BLOB, GOOD, version=0), "R10", VERSION),
        (sshsig(BLOB, GOOD, version=2), "R10", VERSION),
        (sshsig(BLOB, GOOD, reserved=b"x"), "R10", "the SSH signature has data in its reserved field"),
        (sshsig(BLOB, GOOD, magic=b"SSHSIH"), "R10", VERSION),
        (sshsig(BLOB, GOOD + b"x"), "R10", FOLLOW),
        (sshsig(BLOB, GOOD[:-1]), "R10", CUT),
        (sshsig(BLOB, _string(b"ssh-rsa") + _string(RAW)), "R10", OTHER_TYPE),
        (sshsig(BLOB, _string(b"sk-ssh-ed25519@openssh.com") + _string(RAW) + b"\x01\0\0\0\0"), "R10", OTHER_TYPE),
        (sshsig(BLOB, _string(b"ssh-ed25519") + _string(RAW + b"\0")), "R10", NOT_OVER),
        (sshsig(BLOB, _string(b"ssh-ed25519") + _string(b"")), "R10", NOT_OVER),
        (sshsig(BLOB, b""), "R10", CUT),
        (sshsig(BLOB + b"x", GOOD), "R10", OTHER_KEY),
        (sshsig(BLOB[:-1] + bytes([BLOB[-1] ^ 1]), GOOD), "R10", OTHER_KEY),
        (sshsig(b"", GOOD), "R10", CUT),
        (armour("SSH", dearmour("SSH", sshsig(BLOB, GOOD)) + b"x"), "R10", FOLLOW),
        (armour("SSH", b""), "R10", CUT),
        (armour("SSH", b"SSHSIG"), "R10", CUT),
    ],
)
def test_other_structures_are_refused(signature: str, rule: str, what: str) -> None:
    assert refusal(lambda: ssh.verify(KEY, DATA, signature))[:2] == (rule, what)


def test_refusals_say_what_was_found() -> None:
    def why(key: str, signature: str) -> str:
        return refusal(lambda: ssh.verify(key, DATA, signature))[2]

    stranger = SecurityKey().plain_signer()
    assert why(KEY, stranger.sign(DATA)) == ssh.read_public_key(text(stranger)).fingerprint
    assert why(KEY, sshsig(BLOB, GOOD, namespace=b"file")) == "namespace b'file'"
    assert why(KEY, sshsig(BLOB, GOOD, digest=b"sha1")) == "b'sha1'"
    assert why(KEY, sshsig(BLOB, GOOD + b"xyz")) == "3 bytes"
    assert why(KEY, sshsig(BLOB, GOOD, digest=b"sha256")) == ssh.read_public_key(KEY).fingerprint
    untouched = SecurityKey().signer(flags=4)
    assert why(text(untouched), untouched.sign(DATA)) == "flags 04"


def test_a_verifier_takes_ssh_keys(tmp_path: Path) -> None:
    signer, verifier = ssh_signer(ssh_key(tmp_path)), ssh.SSHVerifier()
    claim = Claim(signer.key, DATA, signer.sign(DATA))
    verifier.prepare([claim], NOW)
    assert verifier.verify(claim, NOW) == SignedBy(signer.id, ssh.read_public_key(text(signer)).material)
    with pytest.raises(Refused):
        verifier.verify(Claim(signer.key, DATA + b"x", claim.signature), NOW)


@pytest.mark.parametrize(
    "change",
    [
        lambda armoured: armoured.replace("\n", "\r\n"),
        lambda armoured: armoured[:-1],
        lambda armoured: armoured + "\n",
        lambda armoured: armoured.replace("=\n", "\n"),
        lambda armoured: armoured.replace("U1NIU0lH", "U1NI\nU0lH", 1),
        lambda armoured: armoured.replace("U1NIU0lH", "U1NIU0lH ", 1),
        lambda armoured: armoured.replace("BEGIN SSH SIGNATURE", "BEGIN SSH  SIGNATURE", 1),
        lambda armoured: armoured.replace("U1NIU0lH", "Ü1NIU0lH", 1),
    ],
)
def test_other_armour_is_refused(change: object) -> None:
    assert callable(change)
    good = sshsig(BLOB, GOOD)
    assert change(good) != good
    with pytest.raises(Refused, match="signature block"):
        ssh.verify(KEY, DATA, change(good))


LIES = "the SSH key says one type and holds another"


def test_a_public_key_of_another_type_than_it_says_is_refused() -> None:
    found = refusal(lambda: ssh.verify("ssh-rsa " + KEY.split()[1], DATA, sshsig(BLOB, GOOD)))
    assert found == ("R10", LIES, "ssh-rsa")


@pytest.mark.parametrize("comment", ["", "someone@example.org"])
@pytest.mark.parametrize(
    "broken", ["ssh-ed25519", "ssh-ed25519 !!!", "ssh-rsa " + KEY.split()[1], KEY + "=", "ssh-ed25519 " + base64.b64encode(BLOB[:-40]).decode()]
)
def test_public_keys_that_lie_about_themselves_are_refused(broken: str, comment: str) -> None:
    rule, what, why = refusal(lambda: ssh.verify(f"{broken} {comment}".strip(), DATA, sshsig(BLOB, GOOD)))
    assert (rule, what) in {("R10", "the SSH key is not base64"), ("R10", LIES), ("R10", CUT)}
    assert what != LIES or why == broken.split(maxsplit=1)[0]


def _ecdsa(r: bytes, s: bytes, kind: bytes = b"ecdsa-sha2-nistp256", curve: bytes = b"nistp256", point: bytes = b"") -> tuple[str, str]:
    private = ec.derive_private_key(7, ec.SECP256R1())
    point = point or private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    blob = b"".join(map(_string, (kind, curve, point)))
    if not r:
        one, two = decode_dss_signature(private.sign(to_sign(DATA), ec.ECDSA(hashes.SHA256())))
        r, s = _mpint(one), _mpint(two)
    return f"{kind.decode()} {base64.b64encode(blob).decode()}", sshsig(blob, _string(kind) + _string(_string(r) + _string(s)))


def test_ecdsa_numbers_that_are_not_in_their_shortest_form_are_refused() -> None:
    key, signature = _ecdsa(b"", b"")
    assert ssh.verify(key, DATA, signature)
    for r, s in ((b"\0", b"\0"), (b"\xff" * 32, b"\x01"), (b"\0\0\x01", b"\x01"), (b"\x01", b"\0\x01"), (b"", b"\x01")):
        key, signature = _ecdsa(r or b"\x80", s)
        with pytest.raises(Refused) as caught:
            ssh.verify(key, DATA, signature)
        assert caught.value.rule == "R10"


@pytest.mark.parametrize(
    "lie",
    [
        {"curve": b"nistp384"},
        {"curve": b""},
        {"curve": b"256"},
        {"point": b"\x02" + b"\x01" * 32},
        {"point": b"\x04" + b"\x01" * 64},
        {"point": b"\0"},
    ],
)
def test_ecdsa_keys_that_are_no_points_of_their_curve_are_refused(lie: dict[str, bytes]) -> None:
    key, signature = _ecdsa(b"", b"", **lie)
    expected = "the SSH key says one curve and holds another" if "curve" in lie else NOT_OVER
    assert refusal(lambda: ssh.verify(key, DATA, signature))[:2] == ("R10", expected)


def test_bytes_after_the_parts_of_a_signature_are_refused() -> None:
    """A security key's counter and an ECDSA signature's second number end what the signature holds."""
    key = SecurityKey()
    inner = _inner(key.signer().sign(DATA))
    assert ssh.verify(text(key.signer()), DATA, sshsig(key.blob, inner))
    assert refusal(lambda: ssh.verify(text(key.signer()), DATA, sshsig(key.blob, inner + b"x"))) == ("R10", FOLLOW, "1 bytes")
    public, signature = _ecdsa(b"", b"")
    kind, numbers = (_strings(_inner(signature))[place] for place in (0, 1))
    longer = sshsig(base64.b64decode(public.split()[1]), _string(kind) + _string(numbers + b"xy"))
    assert refusal(lambda: ssh.verify(public, DATA, longer)) == ("R10", FOLLOW, "2 bytes")


def _strings(data: bytes) -> list[bytes]:
    found = []
    while data:
        length = 4 + int.from_bytes(data[:4], "big")
        found.append(data[4:length])
        data = data[length:]
    return found


def _inner(signature: str) -> bytes:
    """The last string of an SSHSIG: type and signature."""
    return _strings(dearmour("SSH", signature)[10:])[4]


def test_unknown_key_types_are_refused_by_name() -> None:
    for kind in (b"ssh-dss", b"ssh-xmss@openssh.com", b"webauthn-sk-ecdsa-sha2-nistp256@openssh.com", b"ssh-ed25519-cert-v01@openssh.com"):
        blob = _string(kind) + _string(b"x")
        key, signature = f"{kind.decode()} {base64.b64encode(blob).decode()}", sshsig(blob, _string(kind) + _string(b"x"))
        assert refusal(lambda: ssh.verify(key, DATA, signature)) == ("R11", "SSH keys of this type are not taken", repr(kind))  # noqa: B023


def _rsa_key() -> tuple[rsa.RSAPrivateKey, bytes]:
    private = rsa.generate_private_key(65537, 2048)
    numbers = private.public_key().public_numbers()
    return private, b"".join(map(_string, (b"ssh-rsa", _mpint(numbers.e), _mpint(numbers.n))))


def test_rsa_with_sha1_is_refused() -> None:
    private, blob = _rsa_key()
    key = f"ssh-rsa {base64.b64encode(blob).decode()}"
    for name, algorithm, rule in ((b"rsa-sha2-256", hashes.SHA256(), ""), (b"rsa-sha2-512", hashes.SHA512(), ""), (b"ssh-rsa", hashes.SHA1(), "R11")):
        signature = sshsig(blob, _string(name) + _string(private.sign(to_sign(DATA), padding.PKCS1v15(), algorithm)))
        if not rule:
            assert ssh.verify(key, DATA, signature)
            continue
        found = refusal(lambda: ssh.verify(key, DATA, signature))  # noqa: B023
        assert found == (rule, "the RSA signature uses a hash that is not taken", "b'ssh-rsa'")


def test_wrappers_say_yes_and_no() -> None:
    assert verify_ed25519(POINT, to_sign(DATA), RAW) is True
    assert verify_ed25519(POINT[:-1], to_sign(DATA), RAW) is False
    assert verify_ed25519(POINT, b"", RAW) is False
    private = ec.derive_private_key(7, ec.SECP384R1())
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    signature = private.sign(DATA, ec.ECDSA(hashes.SHA384()))
    assert verify_ecdsa(b"nistp384", point, DATA, signature) is True
    assert verify_ecdsa(b"nistp384", point, DATA, encode_dss_signature(1, 1)) is False
    assert verify_ecdsa(b"nistp384", point, DATA, b"") is False
    key, _ = _rsa_key()
    numbers, made = key.public_key().public_numbers(), key.sign(DATA, padding.PKCS1v15(), hashes.SHA256())
    assert verify_rsa(numbers.e, numbers.n, b"rsa-sha2-256", DATA, made) is True
    assert verify_rsa(numbers.e, numbers.n, b"rsa-sha2-512", DATA, made) is False
    assert verify_rsa(1, numbers.n, b"rsa-sha2-256", DATA, made) is False
    assert verify_rsa(numbers.e, numbers.n, b"rsa-sha2-256", DATA, b"\0" + made) is False


@pytest.mark.parametrize(("bits", "taken"), [(2047, False), (2048, True), (16384, True), (16385, False)])
def test_rsa_keys_have_between_2048_and_16384_bits(bits: int, taken: bool) -> None:
    blob = b"".join(map(_string, (b"ssh-rsa", _mpint(65537), _mpint((1 << (bits - 1)) + 1))))
    key, signature = f"ssh-rsa {base64.b64encode(blob).decode()}", sshsig(blob, _string(b"rsa-sha2-512") + _string(bytes(bits // 8)))
    found = refusal(lambda: ssh.verify(key, DATA, signature))
    assert found[:2] == (("R10", NOT_OVER) if taken else ("R11", "the RSA key has a length that is not taken"))
    assert taken or found[2] == f"{bits} bits"


@pytest.mark.parametrize("number", [b"", b"\0", b"\0\x01", b"\x80"])
def test_rsa_numbers_in_another_form_are_refused(number: bytes) -> None:
    blob = b"".join(map(_string, (b"ssh-rsa", _mpint(65537), number)))
    with pytest.raises(Refused) as caught:
        ssh.verify(f"ssh-rsa {base64.b64encode(blob).decode()}", DATA, sshsig(blob, GOOD))
    assert caught.value.rule == ("R11" if number == b"\0" else "R10")


PARTS = st.binary(max_size=40) | st.sampled_from(
    [b"git", b"sha512", b"sha256", RAW, POINT, GOOD, BLOB, b"ssh-ed25519", b"ssh-rsa", b"nistp256", b"\x01", b"rsa-sha2-256", b"\0" * 300]
)
TYPES = st.sampled_from(
    [b"ssh-ed25519", b"ssh-rsa", b"rsa-sha2-512", b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp521", b"sk-ssh-ed25519@openssh.com", b"sk-ecdsa-sha2-nistp256@openssh.com"]
)  # fmt: skip


@given(st.lists(PARTS, max_size=7), st.binary(max_size=4), st.sampled_from([0, 1, 2]))
def test_any_parts_as_a_signature_are_refused(parts: list[bytes], tail: bytes, version: int) -> None:
    data = b"SSHSIG" + version.to_bytes(4, "big") + b"".join(map(_string, parts)) + tail
    with pytest.raises(Refused):
        ssh.verify(KEY, b"other", armour("SSH", data))


@given(kind=TYPES, parts=st.lists(PARTS, max_size=4), inner_kind=TYPES, inner=st.lists(PARTS, max_size=3), tail=st.binary(max_size=6))
def test_any_parts_as_a_key_are_refused(kind: bytes, parts: list[bytes], inner_kind: bytes, inner: list[bytes], tail: bytes) -> None:
    blob = b"".join(map(_string, (kind, *parts)))
    signature = sshsig(blob, b"".join(map(_string, (inner_kind, *inner))) + tail)
    with pytest.raises(Refused):
        ssh.verify(f"{kind.decode()} {base64.b64encode(blob).decode()}", b"other", signature)


@given(st.binary(max_size=200))
def test_any_bytes_as_a_signature_are_refused(data: bytes) -> None:
    for tried in (data, b"SSHSIG\0\0\0\1" + data):
        with pytest.raises(Refused):
            ssh.verify(KEY, DATA, armour("SSH", tried))


@given(
    st.binary(max_size=100),
    st.sampled_from([b"ssh-ed25519", b"ssh-rsa", b"ecdsa-sha2-nistp256", b"sk-ssh-ed25519@openssh.com", b"sk-ecdsa-sha2-nistp256@openssh.com"]),
)
def test_any_bytes_as_a_key_are_refused(data: bytes, kind: bytes) -> None:
    blob = _string(kind) + data
    with pytest.raises(Refused):
        ssh.verify(f"{kind.decode()} {base64.b64encode(blob).decode()}", DATA, sshsig(blob, _string(kind) + _string(RAW) + b"\x01\0\0\0\0"))


def test_signing_with_a_key_file_gives_the_form_we_verify(tmp_path: Path) -> None:
    file = ssh_key(tmp_path)
    for name in (str(file), f"{file}.pub"):
        assert ssh.verify(ssh_public(file), DATA, ssh.sign(name, DATA))


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An ssh-agent of its own."""
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    yield
    process.terminate()
    process.communicate()


@pytest.mark.usefixtures("agent")
def test_signing_with_a_key_in_the_agent_gives_the_form_we_verify(tmp_path: Path) -> None:
    file = ssh_key(tmp_path)
    subprocess.run(["ssh-add", "-q", str(file)], check=True, timeout=60)
    public = ssh_public(file)
    file.unlink()
    for name in (f"key::{public}", f"{public} a comment"):
        assert ssh.verify(public, DATA, ssh.sign(name, DATA))


def test_the_public_half_is_found_however_git_names_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ssh_key(tmp_path)
    expected = ssh_public(file)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (str(file), f"{file}.pub", f"~/{file.name}", f"key::{expected}", f"{expected} a comment"):
        assert ssh.public_key_of(name) == expected
    file.with_name(file.name + ".pub").unlink()
    assert ssh.public_key_of(str(file)) == expected
    (tmp_path / "empty.pub").write_text("nothing\n")
    for name in (str(tmp_path / "nowhere"), str(tmp_path / "nowhere.pub"), str(tmp_path / "empty.pub")):
        with pytest.raises(UserError) as caught:
            ssh.public_key_of(name)
        file = name.endswith("empty.pub")
        assert caught.value.what == ("this is not an SSH public key" if file else "there is no SSH key file")
        assert caught.value.hint == (
            "a public key reads TYPE BASE64 COMMENT" if file else "name a public key file, or key::TYPE BASE64 for a key in your agent"
        )
        assert caught.value.where == name


def test_signatures_are_written_again_in_our_form(tmp_path: Path) -> None:
    made = ssh_signer(ssh_key(tmp_path)).sign(DATA)
    assert armour("SSH", decode_signature("SSH", made)) == made


def test_a_key_that_nobody_can_unlock_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    file = ssh_key(tmp_path)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-P", "", "-f", str(file)], check=True, capture_output=True, timeout=60)
    with pytest.raises(ProgramFailed) as caught:
        ssh.sign(str(file), DATA)
    assert caught.value.hint == "add the key to your agent: ssh-add FILE; for a token, check that it is plugged in"

"""One key pair is one, whatever file it came in: as SSH key, as OpenPGP key or subkey, in a certificate (rule R5)."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from support.keys import BORN, NOW, SecurityKey, sshsig, to_sign
from support.openpgp import OIDS, PacketKey, Private, ec_numbers, key_text, mpi, packet
from vmkeeper.errors import Refused
from vmkeeper.model.keys import SSHKey, X509Key
from vmkeeper.trust.keys import ssh
from vmkeeper.trust.keys.interface import Claim, HeldOpenPGPKey
from vmkeeper.trust.keys.material import materials, of_public_key
from vmkeeper.trust.keys.openpgp import GpgVerifier
from vmkeeper.trust.keys.packets import KeyPacket, read_certificate

ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
P256 = ec.derive_private_key(7, ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
CURVES: list[ec.EllipticCurve] = [
    ec.SECP256R1(),
    ec.SECP384R1(),
    ec.SECP521R1(),
    ec.BrainpoolP256R1(),
    ec.BrainpoolP384R1(),
    ec.BrainpoolP512R1(),
]


def as_ssh(private: Private) -> SSHKey:
    kind, blob = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode().split(" ")
    return SSHKey.model_validate({"type": "ssh", "key": f"{kind} {blob}"})


def certificate(private: Private) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Somebody")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1).not_valid_before(BORN).not_valid_after(NOW)
    algorithm = None if isinstance(private, Ed25519PrivateKey) else hashes.SHA256()
    der = made.public_key(private.public_key()).sign(private, algorithm).public_bytes(Encoding.DER)
    return x509.load_der_x509_certificate(der)


@pytest.mark.parametrize("private", [ED25519, P256, RSA], ids=["ed25519", "nistp256", "rsa"])
def test_r5_a_key_pair_is_one_in_every_form(private: Private) -> None:
    public = certificate(private).public_key()
    assert isinstance(public, type(private.public_key()))
    expected = frozenset({of_public_key(public)})  # type: ignore[arg-type] - one of the three kinds
    assert materials(as_ssh(private)) == expected
    assert materials(PacketKey(private).certificate()) == expected
    assert materials(PacketKey(private, created=NOW).certificate()) == expected


@pytest.mark.parametrize("private", [ED25519, P256, RSA], ids=["ed25519", "nistp256", "rsa"])
def test_r5_who_signed_is_told_by_the_key_that_did(private: Private) -> None:
    """A subkey of one certificate, the primary key of another, and an SSH key that are one pair."""
    (expected,) = materials(as_ssh(private))
    other = PacketKey(ec.derive_private_key(9, ec.SECP384R1()))
    key = PacketKey(private)
    with GpgVerifier() as gpg:
        assert gpg.verify(key.claim(b"x"), NOW).material == expected
        by_subkey = gpg.verify(Claim(other.certificate(subkeys=[key]), b"x", key.sign(b"x")), NOW)
    assert (by_subkey.material, by_subkey.key) == (expected, f"openpgp:{other.fingerprint}")
    assert materials(other.certificate(subkeys=[key])) == {expected, *materials(other.certificate())}
    if isinstance(private, Ed25519PrivateKey):
        blob = base64.b64decode(as_ssh(private).key.split()[1])
        inner = _string(b"ssh-ed25519") + _string(private.sign(to_sign(b"x")))
        found = ssh.SSHVerifier().verify(Claim(as_ssh(private), b"x", sshsig(blob, inner)), NOW)
        assert (found.material, found.made, found.valid_until) == (expected, None, None)


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def test_a_security_key_is_the_plain_key_with_its_point() -> None:
    key = SecurityKey()
    assert materials(key.signer().key) == materials(key.plain_signer().key) == {f"ed25519:{key.point.hex()}"}
    point = P256.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    kind = b"sk-ecdsa-sha2-nistp256@openssh.com"
    blob = b"".join(map(_string, (kind, b"nistp256", point, b"ssh:")))
    assert materials(SSHKey(type="ssh", key=f"{kind.decode()} {base64.b64encode(blob).decode()}")) == materials(as_ssh(P256))


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: str(curve.name))
def test_every_curve_has_the_name_that_cryptography_gives_it(curve: ec.EllipticCurve) -> None:
    private = ec.derive_private_key(11, curve)
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert materials(PacketKey(private).certificate()) == {of_public_key(private.public_key())} == {f"{curve.name}:{point.hex()}"}
    (part,) = read_certificate(PacketKey(private).plain.armour).keys
    assert part.weakness == ""


def test_the_forms() -> None:
    point = ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    modulus = RSA.public_key().public_numbers().n
    assert of_public_key(ED25519.public_key()) == f"ed25519:{point.hex()}"
    assert of_public_key(RSA.public_key()) == f"rsa:{hashlib.sha256(modulus.to_bytes(256, 'big')).hexdigest()}"
    assert of_public_key(rsa.RSAPublicNumbers(3, modulus).public_key()) == of_public_key(RSA.public_key())


def part(algorithm: int, numbers: bytes, created: datetime = BORN) -> KeyPacket:
    body = b"\x04" + int(created.timestamp()).to_bytes(4, "big") + bytes([algorithm]) + numbers
    (key,) = read_certificate(key_text(packet(6, body))).keys
    assert (key.algorithm, key.created) == (algorithm, int(created.timestamp()))
    assert key.fingerprint == hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False).hexdigest().upper()
    return key


POINT = P256.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
COMPRESSED = P256.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
EDWARDS = ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
OTHER_FORM = "a point in another form than GnuPG writes"


@pytest.mark.parametrize(
    ("algorithm", "numbers", "weakness"),
    [
        (19, ec_numbers("secp256r1", COMPRESSED), OTHER_FORM),
        (19, ec_numbers("secp256r1", POINT[:-1]), OTHER_FORM),
        (19, ec_numbers("secp256r1", POINT + b"\0"), OTHER_FORM),
        (19, ec_numbers("secp256r1", b"\x05" + POINT[1:]), OTHER_FORM),
        (19, ec_numbers("secp384r1", POINT), OTHER_FORM),
        (22, ec_numbers("ed25519", EDWARDS), OTHER_FORM),
        (22, ec_numbers("ed25519", b"\x04" + EDWARDS + EDWARDS), OTHER_FORM),
        (22, ec_numbers("ed25519", b"\x41" + EDWARDS), OTHER_FORM),
        (22, ec_numbers("ed25519", b"\x40" + EDWARDS[:-1]), OTHER_FORM),
        (22, ec_numbers("secp256r1", b"\x40" + EDWARDS), f"a curve that is not taken, {OIDS['secp256r1']}"),
        (19, b"\x05\x2b\x81\x04\x00\x0a" + mpi(int.from_bytes(POINT, "big")), "a curve that is not taken, 2b8104000a"),
        (19, ec_numbers("ed25519", POINT), f"a curve that is not taken, {OIDS['ed25519']}"),
        (18, b"\x05\x2b\x81\x04\x00\x0a" + mpi(int.from_bytes(POINT, "big")), "a key for encryption only"),
        (17, mpi(1) * 4, "OpenPGP algorithm number 17"),
        (3, mpi(1 << 2047) + mpi(3), "OpenPGP algorithm number 3"),
    ],
)
def test_numbers_in_no_form_that_is_taken_are_weak_and_like_no_other(algorithm: int, numbers: bytes, weakness: str) -> None:
    found = part(algorithm, numbers)
    assert (found.weakness, found.material) == (weakness, f"openpgp:{found.fingerprint}")


@pytest.mark.parametrize(
    ("algorithm", "numbers", "weakness", "material"),
    [
        (19, ec_numbers("secp256r1", POINT) + b"x", "1 bytes after its point", f"secp256r1:{POINT.hex()}"),
        (22, ec_numbers("ed25519", b"\x40" + EDWARDS) + b"xy", "2 bytes after its point", f"ed25519:{EDWARDS.hex()}"),
        (18, ec_numbers("secp256r1", POINT) + b"\x03\x01\x08\x07", "a key for encryption only", f"secp256r1:{POINT.hex()}"),
        (18, b"\x0a\x2b\x06\x01\x04\x01\x97\x55\x01\x05\x01" + mpi(int.from_bytes(b"\x40" + EDWARDS, "big")) + b"\x03\x01\x08\x07",
         "a key for encryption only", f"x25519:{EDWARDS.hex()}"),
        (22, ec_numbers("secp256r1", POINT), f"a curve that is not taken, {OIDS['secp256r1']}", f"secp256r1:{POINT.hex()}"),
        (1, mpi((1 << 2047) - 1) + mpi(3), "RSA of 2047 bits", f"rsa:{hashlib.sha256(((1 << 2047) - 1).to_bytes(256, 'big')).hexdigest()}"),
        (1, mpi(1 << 2047) + mpi(3), "", f"rsa:{hashlib.sha256((1 << 2047).to_bytes(256, 'big')).hexdigest()}"),
    ],
)  # fmt: skip
def test_numbers_that_cannot_sign_for_us_are_seen_all_the_same(algorithm: int, numbers: bytes, weakness: str, material: str) -> None:
    found = part(algorithm, numbers)
    assert (found.weakness, found.material) == (weakness, material)


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        (b"\x08\x00" + bytes(255) + b"\x01" + mpi(3), "a number in the OpenPGP data has another length than it says"),
        (mpi(1 << 2047) + mpi(3) + b"x", "bytes follow the numbers in the OpenPGP data"),
        (mpi(1 << 2047) + b"\0\0", "a number in the OpenPGP data has another length than it says"),
        (mpi(1 << 2047) + b"\0\2", "a number in the OpenPGP data has another length than it says"),
        (mpi(1 << 2047), "the OpenPGP data is cut off"),
    ],
)
def test_rsa_numbers_have_one_form(numbers: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why) as caught:
        part(1, numbers)
    assert caught.value.rule == "R10"


def test_an_encryption_subkey_counts_as_the_same_key_pair() -> None:
    subkey = b"\x04\0\0\0\0\x12" + ec_numbers("secp256r1", POINT) + b"\x03\x01\x08\x07"
    alice = PacketKey(ED25519)
    held = HeldOpenPGPKey(type="openpgp", fingerprint=alice.fingerprint, armour=key_text(packet(6, alice.body) + packet(14, subkey)))
    assert materials(held) == materials(as_ssh(P256)) | materials(as_ssh(ED25519))


def test_a_certificates_holder_is_known_by_both_names() -> None:
    def held(subject: str, issuer: str, **fields: str) -> X509Key:
        return X509Key.model_validate({"type": "x509", "subject": subject, "issuer": issuer, **fields})

    one = held("/DC=org/CN=Some Body", "/C=CH/CN=Authority")
    assert materials(one) == {"dn:/DC=org/CN=Some Body issuer:/C=CH/CN=Authority"}
    assert materials(held("/dc=org/cn=Some Body", "/c=CH/cn=Authority", certificate="0" * 64)) == materials(one)
    assert materials(held("/DC=org/CN=Some Body", "/C=CH/CN=Other")) != materials(one)
    assert materials(held("/DC=org/CN=Other", "/C=CH/CN=Authority")) != materials(one)
    broken = held("/DC=org/CN=Some Body", "/C=CH/CN=Authority").model_copy(update={"subject": "nobody"})
    with pytest.raises(Refused, match="not a distinguished name") as caught:
        materials(broken)
    assert (caught.value.rule, "nobody" in caught.value.why) == ("R10", True)


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("ssh-ed25519 AAAA", "R10"),
        ("ssh-dss " + base64.b64encode(_string(b"ssh-dss") + b"x").decode(), "R11"),
        ("ssh-ed25519 " + base64.b64encode(_string(b"ssh-ed25519") + _string(EDWARDS) + b"x").decode(), "R10"),
        ("ecdsa-sha2-nistp256 " + base64.b64encode(_string(b"ecdsa-sha2-nistp256") + _string(b"") + _string(EDWARDS)).decode(), "R10"),
    ],
)
def test_malformed_ssh_keys_have_no_material(key: str, rule: str) -> None:
    with pytest.raises(Refused) as caught:
        materials(SSHKey.model_construct(type="ssh", key=key))
    assert caught.value.rule == rule

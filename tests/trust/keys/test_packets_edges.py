"""Public numbers of OpenPGP keys at the edges: points in odd forms, curves without a name, RSA of just enough bits."""

from __future__ import annotations

import pytest

from support.keys import ISSUED
from support.openpgp import ec_numbers, key_text, mpi, packet, subpackets
from support.refusals import refusal
from vmkeeper.trust.keys.armour import armour
from vmkeeper.trust.keys.packets import KeyPacket, normalised, read_certificate
from vmkeeper.trust.keys.public_form import of_modulus

X25519 = bytes.fromhex("0a2b060104019755010501")
ECDH, ECDSA, EDDSA = 18, 19, 22


def key(algorithm: int, numbers: bytes) -> KeyPacket:
    body = b"\x04" + int(ISSUED.timestamp()).to_bytes(4, "big") + bytes([algorithm]) + numbers
    (found,) = read_certificate(key_text(packet(6, body))).keys
    assert (found.algorithm, found.created) == (algorithm, int(ISSUED.timestamp()))
    return found


def point(size: int, first: bytes = b"\x04") -> bytes:
    return first + bytes(size - 1) + b"\x07"


@pytest.mark.parametrize("bits", [2047, 2048, 4096])
def test_rsa_is_weak_below_2048_bits(bits: int) -> None:
    modulus = (1 << bits - 1) + 1
    found = key(1, mpi(modulus) + mpi(65537))
    assert (found.material, found.weakness) == (of_modulus(modulus), "RSA of 2047 bits" if bits == 2047 else "")
    assert refusal(lambda: key(1, mpi(modulus)))[1] == "the OpenPGP data is cut off"
    assert refusal(lambda: key(1, mpi(modulus) + mpi(3) + mpi(5)))[1] == "bytes follow the numbers in the OpenPGP data"


@pytest.mark.parametrize(
    ("algorithm", "numbers", "material", "weakness"),
    [
        (ECDSA, ec_numbers("secp256r1", point(64)), "secp256r1:" + point(64).hex(), ""),
        (ECDSA, ec_numbers("secp256r1", point(64)) + b"x", "secp256r1:" + point(64).hex(), "1 bytes after its point"),
        (ECDSA, ec_numbers("secp256r1", point(63)), "", "a point in another form than GnuPG writes"),
        (ECDSA, ec_numbers("secp256r1", point(65)), "", "a point in another form than GnuPG writes"),
        (ECDSA, ec_numbers("secp256r1", point(64, b"\x02")), "", "a point in another form than GnuPG writes"),
        (ECDSA, ec_numbers("secp256r1", point(64, b"\x84")), "", "a point in another form than GnuPG writes"),
        (ECDSA, ec_numbers("secp256r1", point(64, b"\x84")) + b"xy", "", "2 bytes after its point"),
        (ECDSA, b"\x01\x2b" + mpi(4), "", "a curve that is not taken, 2b"),
        (ECDSA, b"\x01\x2b" + mpi(int.from_bytes(point(64), "big")), "", "a curve that is not taken, 2b"),
        (ECDSA, ec_numbers("ed25519", point(32, b"\x40")), "ed25519:" + point(32).hex()[2:], "a curve that is not taken, 2b06010401da470f01"),
        (EDDSA, ec_numbers("ed25519", point(32, b"\x40")), "ed25519:" + point(32).hex()[2:], ""),
        (EDDSA, ec_numbers("ed25519", point(31, b"\x40")), "", "a point in another form than GnuPG writes"),
        (EDDSA, ec_numbers("ed25519", point(33, b"\x40")), "", "a point in another form than GnuPG writes"),
        (EDDSA, ec_numbers("ed25519", point(32, b"\x41")), "", "a point in another form than GnuPG writes"),
        (EDDSA, ec_numbers("secp256r1", point(64)), "secp256r1:" + point(64).hex(), "a curve that is not taken, 2a8648ce3d030107"),
        (EDDSA, b"\x01\x2b" + mpi(int.from_bytes(point(32, b"\x40"), "big")), "", "a curve that is not taken, 2b"),
        (ECDH, X25519 + mpi(int.from_bytes(point(32, b"\x40"), "big")), "x25519:" + point(32).hex()[2:], "a key for encryption only"),
        (ECDH, ec_numbers("secp521r1", point(132)) + b"\x03\x01\x08\x07", "secp521r1:" + point(132).hex(), "a key for encryption only"),
    ],
)
def test_points_have_one_form(algorithm: int, numbers: bytes, material: str, weakness: str) -> None:
    found = key(algorithm, numbers)
    assert (found.material, found.weakness) == (material or f"openpgp:{found.fingerprint}", weakness)


def test_other_algorithms_have_no_numbers_of_ours() -> None:
    found = key(17, b"anything")
    assert (found.material, found.weakness) == (f"openpgp:{found.fingerprint}", "OpenPGP algorithm number 17")


def test_a_signature_that_names_no_key_is_not_brought_into_our_form() -> None:
    body = bytes([4, 0, 22, 10]) + subpackets([(2, int(ISSUED.timestamp()).to_bytes(4, "big"))]) + b"\0\0" + b"xx" + mpi(1) + mpi(2)
    expected = "the signature does not name its time and the full fingerprint of its key"
    assert refusal(lambda: normalised(armour("PGP", packet(2, body)), b"x"))[:2] == ("R10", expected)


@pytest.mark.parametrize("first", [0x00, 0x01, 0x09, 0x49, 0x7F])
def test_what_has_not_its_first_bit_set_is_no_packet(first: int) -> None:
    data = bytes([first, 0, 3]) + b"abc"
    expected = ("R10", "the OpenPGP data does not consist of packets", f"byte {first:02x} at 0")
    assert refusal(lambda: normalised(armour("PGP", data), b"x")) == expected

"""OpenPGP packets read strictly: one certificate, one signature, one form, and a refusal that says what else was found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from support.keys import ISSUED
from support.openpgp import PacketKey, ec_numbers, key_text, mpi, packet, subpackets
from support.refusals import refusal
from vmkeeper.errors import Refused
from vmkeeper.trust.keys.armour import armour, dearmour
from vmkeeper.trust.keys.packets import literal, normalised, read_certificate, read_signature

DATA = b"what is signed\n"
ALICE, BOB = (PacketKey(Ed25519PrivateKey.from_private_bytes(bytes([number] * 32))) for number in (1, 2))
MADE = int(ISSUED.timestamp()).to_bytes(4, "big")
GOOD = ALICE.sign(DATA)
BODY = dearmour("PGP", GOOD)[2:]
END = 6 + int.from_bytes(BODY[4:6], "big")
Change = Callable[[bytes], bytes]


def short(body: bytes) -> bytes:
    """A signature packet with the header that we write."""
    return bytes([0x88, len(body)]) + body if len(body) < 256 else b"\x89" + len(body).to_bytes(2, "big") + body


def signature(body: bytes) -> str:
    return armour("PGP", short(body))


def with_hashed(*parts: tuple[int, bytes]) -> bytes:
    """A signature body with these subpackets and nothing else hashed; the digest's first bytes are right."""
    head = bytes([4, 0, 22, 10]) + subpackets(parts)
    return head + b"\0\x0a\x09\x10" + bytes.fromhex(ALICE.fingerprint)[-8:] + _left(head) + mpi(1) + mpi(2)


def _left(head: bytes) -> bytes:
    return hashlib.sha512(DATA + head + b"\x04\xff" + len(head).to_bytes(4, "big")).digest()[:2]


FINGERPRINT, TIME = (33, b"\x04" + bytes.fromhex(ALICE.fingerprint)), (2, MADE)
INCOMPLETE = "the signature does not name its time and the full fingerprint of its key"
CUT_SIGNATURE, CUT_PART, CUT = "an OpenPGP signature is cut off", "a part of the OpenPGP signature is cut off", "the OpenPGP data is cut off"
UNSIGNED, LENGTH = "the OpenPGP signature holds unsigned data beside its key id", "a number in the OpenPGP data has another length than it says"


def test_a_good_signature_is_read() -> None:
    read = read_signature(GOOD, DATA)
    assert (read.algorithm, read.hash, read.created, read.issuer) == (22, "sha512", int(ISSUED.timestamp()), ALICE.fingerprint)
    assert read.data == dearmour("PGP", GOOD)
    assert read_signature(signature(with_hashed(FINGERPRINT, TIME)), DATA).issuer == ALICE.fingerprint
    for digest, name in ((8, "sha256"), (9, "sha384"), (10, "sha512")):
        assert read_signature(ALICE.sign(DATA, digest=digest), DATA).hash == name


@pytest.mark.parametrize(
    ("body", "rule", "what", "why"),
    [
        (b"\x03" + BODY[1:], "R10", "an OpenPGP signature of version 3 is not taken", ""),
        (BODY[:9], "R10", "an OpenPGP signature of version 4 is not taken", ""),
        (BODY[:10], "R10", CUT_SIGNATURE, ""),
        (BODY[:1] + b"\x01" + BODY[2:], "R11", "the OpenPGP signature is not over a binary document", "class 01"),
        (BODY[:1] + b"\x10" + BODY[2:], "R11", "the OpenPGP signature is not over a binary document", "class 10"),
        (BODY[:3] + b"\x02" + BODY[4:], "R11", "the signature uses a weak hash", "OpenPGP hash number 2"),
        (BODY[:3] + b"\x0b" + BODY[4:], "R11", "the signature uses a weak hash", "OpenPGP hash number 11"),
        (BODY[:2] + b"\x11" + BODY[3:], "R11", "the signature's algorithm is not taken", "OpenPGP algorithm number 17"),
        (BODY[:4] + b"\xff\xff" + BODY[6:], "R10", CUT_SIGNATURE, ""),
        (BODY[: END + 1], "R10", CUT_SIGNATURE, ""),
        (BODY[: END + 2], "R10", UNSIGNED, ""),
        (BODY[:END] + b"\0\0" + BODY[END + 12 :], "R10", UNSIGNED, ""),
        (BODY[: END + 11] + bytes([BODY[END + 11] ^ 1]) + BODY[END + 12 :], "R10", UNSIGNED, ""),
        (BODY[: END + 12] + b"\0\0" + BODY[END + 14 :], "R10", "the signature is not over this tag", "its digest begins with other bytes"),
        (BODY[: END + 14], "R10", CUT, ""),
        (BODY + b"xyz", "R10", "bytes follow the numbers in the OpenPGP data", "3 bytes"),
        (BODY[:-1], "R10", LENGTH, ""),
        (with_hashed(TIME), "R10", INCOMPLETE, ""),
        (with_hashed(FINGERPRINT), "R10", INCOMPLETE, ""),
        (with_hashed(TIME, (33, b"\x05" + FINGERPRINT[1][1:])), "R10", INCOMPLETE, ""),
        (with_hashed(TIME, (33, FINGERPRINT[1] + b"x")), "R10", INCOMPLETE, ""),
        (with_hashed((2, MADE[1:]), FINGERPRINT), "R10", INCOMPLETE, ""),
        (with_hashed(TIME, FINGERPRINT, TIME), "R10", "a part of the OpenPGP signature is there twice", "subpacket type 2"),
        (with_hashed(TIME, FINGERPRINT, (2 | 0x80, MADE)), "R10", "a part of the OpenPGP signature is there twice", "subpacket type 2"),
    ],
)
def test_other_signatures_are_refused_by_name(body: bytes, rule: str, what: str, why: str) -> None:
    assert refusal(lambda: read_signature(signature(body), DATA)) == (rule, what, why)


@pytest.mark.parametrize(
    ("hashed", "what"),
    [
        (b"\0", CUT_PART),
        (b"\x02\x02", CUT_PART),
        (b"\xbf" + bytes(190), CUT_PART),
        (b"\xc0", CUT),
        (b"\xc0\x00" + b"\x64" + bytes(190), CUT_PART),
        (b"\xff\0\0\0", CUT),
        (b"\xff\0\0\0\x03\x64\0", CUT_PART),
        (b"\xff\0\0\0\0", CUT_PART),
    ],
)
def test_parts_that_are_cut_off_are_refused(hashed: bytes, what: str) -> None:
    body = b"\x04\0\x16\x0a" + len(hashed).to_bytes(2, "big") + hashed + bytes(30)
    assert refusal(lambda: read_signature(signature(body), DATA)) == ("R10", what, "")


@pytest.mark.parametrize("size", [0, 1, 190, 191, 192, 193, 8382, 8383, 8384, 9000])
def test_parts_of_every_length_are_read(size: int) -> None:
    """Lengths in one, two and five bytes, RFC 9580 section 5.2.3.1."""

    def part(kind: int, data: bytes) -> bytes:
        length = len(data) + 1
        if length < 192:
            return bytes([length, kind]) + data
        if length < 16320:
            return bytes([192 + (length - 192 >> 8), length - 192 & 0xFF, kind]) + data
        return b"\xff" + length.to_bytes(4, "big") + bytes([kind]) + data

    hashed = part(100, bytes(size)) + part(*FINGERPRINT) + part(*TIME)
    head = bytes([4, 0, 22, 10]) + len(hashed).to_bytes(2, "big") + hashed
    body = head + b"\0\x0a\x09\x10" + bytes.fromhex(ALICE.fingerprint)[-8:] + _left(head) + mpi(1) + mpi(2)
    assert read_signature(signature(body), DATA).issuer == ALICE.fingerprint


@pytest.mark.parametrize(
    ("data", "what", "why"),
    [
        (b"", "the block holds something else than one OpenPGP signature", "0 packets"),
        (short(BODY) * 2, "the block holds something else than one OpenPGP signature", "2 packets"),
        (packet(13, b"Alice"), "the block holds something else than one OpenPGP signature", "1 packets"),
        (b"\x88\0", "the OpenPGP signature is empty", ""),
        (packet(2, BODY), "the OpenPGP signature packet is not in the form we write", ""),
        (b"\xc2" + short(BODY)[1:], "the OpenPGP signature packet is not in the form we write", ""),
        (b"\x89\0" + short(BODY)[1:], "the OpenPGP signature packet is not in the form we write", ""),
        (b"\x8b" + BODY, "the OpenPGP data does not consist of packets", "byte 8b at 0"),
        (short(BODY) + b"\x08x", "the OpenPGP data does not consist of packets", f"byte 08 at {len(BODY) + 2}"),
        (short(BODY)[:-1], "an OpenPGP packet is cut off", ""),
        (b"\xc2\xe0" + BODY, "an OpenPGP packet of unknown length is not taken", ""),
        (b"\xc2\xfe" + BODY, "an OpenPGP packet of unknown length is not taken", ""),
        (b"\xc2", CUT, ""),
        (b"\x89\0", CUT, ""),
    ],
)
def test_other_blocks_are_refused_by_name(data: bytes, what: str, why: str) -> None:
    assert refusal(lambda: read_signature(armour("PGP", data), DATA)) == ("R10", what, why)


def test_what_another_program_wrote_is_brought_into_our_form() -> None:
    unhashed = subpackets([(16, bytes(8)), (100, b"x")])
    theirs = packet(2, BODY[:END] + unhashed + BODY[END + 12 :])
    text = armour("PGP", theirs).replace("\n\n", "\nVersion: x\nComment: y\n\n", 1)
    assert normalised(text, DATA) == GOOD
    assert refusal(lambda: normalised(text, DATA + b"x"))[:2] == ("R10", "the signature is not over this tag")
    assert refusal(lambda: normalised(armour("PGP", packet(2, BODY[:END] + b"\xff\xff" + BODY[END + 2 :])), DATA))[0] == "R10"


def test_a_long_signature_has_a_longer_header() -> None:
    for size, width in ((1, 1), (60, 2), (16000, 2)):
        made = ALICE.sign(DATA, *[(100 + number, bytes(size)) for number in range(4)])
        read = read_signature(made, DATA)
        assert read.data[0] == 0x87 + width
        assert int.from_bytes(read.data[1 : 1 + width], "big") == len(read.data) - 1 - width
        assert normalised(made, DATA) == made


@pytest.mark.parametrize(("length", "head"), [(255, b"\x88\xff"), (256, b"\x89\x01\x00"), (65535, b"\x89\xff\xff"), (65536, b"\x8a\0\x01\0\0")])
def test_headers_are_the_shortest_that_hold_the_length(length: int, head: bytes) -> None:
    """What follows the header is no signature: a header in another form would be refused before that is seen."""
    body = b"\x03" + bytes(length - 1)
    assert refusal(lambda: read_signature(armour("PGP", head + body), DATA))[1] == "an OpenPGP signature of version 3 is not taken"


def test_a_literal_packet_holds_binary_data_without_a_name_or_a_date() -> None:
    assert literal(b"ab") == b"\xcb\xff\0\0\0\x08b\0\0\0\0\0ab"
    assert literal(b"") == b"\xcb\xff\0\0\0\x06b\0\0\0\0\0"


def test_a_certificate_has_its_primary_key_first() -> None:
    read = read_certificate(ALICE.certificate(subkeys=[BOB]).armour)
    assert (read.fingerprint, [key.fingerprint for key in read.keys]) == (ALICE.fingerprint, [ALICE.fingerprint, BOB.fingerprint])
    assert (read.key(BOB.fingerprint), read.key("A" * 40)) == (read.keys[1], None)


ELSE = "the file holds something else than one OpenPGP public key"
VERSION = "only OpenPGP keys of version 4 are taken"


@pytest.mark.parametrize(
    ("packets", "what", "why"),
    [
        (b"", "the file holds no OpenPGP public key", ""),
        (packet(6, ALICE.body) * 2, ELSE, "packet of type 6"),
        (packet(13, b"Alice"), ELSE, "packet of type 13"),
        (packet(14, ALICE.body), ELSE, "packet of type 14"),
        (packet(6, ALICE.body) + packet(11, b"x"), ELSE, "packet of type 11"),
        (packet(5, ALICE.body), "the file holds a secret key", ""),
        (packet(6, ALICE.body) + packet(7, BOB.body), "the file holds a secret key", ""),
        (packet(6, b"\x05" + ALICE.body[1:]), VERSION, ""),
        (packet(6, ALICE.body[:7]), VERSION, ""),
        (b"\xc6\xff\0\x01\0\0\x04" + bytes(0xFFFF), VERSION, ""),
        (packet(6, ALICE.body)[:-1], "an OpenPGP packet is cut off", ""),
        (packet(6, ALICE.body[:17]), CUT, ""),
    ],
)
def test_other_key_files_are_refused_by_name(packets: bytes, what: str, why: str) -> None:
    assert refusal(lambda: read_certificate(key_text(packets))) == ("R10", what, why)


def test_packets_that_belong_to_a_certificate_are_passed_over() -> None:
    packets = packet(6, ALICE.body) + packet(2, b"x") + packet(12, b"x") + packet(13, b"x") + packet(17, b"x")
    assert len(read_certificate(key_text(packets)).keys) == 1


def test_the_shortest_and_the_longest_key_are_read() -> None:
    assert read_certificate(key_text(packet(6, b"\x04\0\0\0\0\x11\0\0"))).keys[0].weakness == "OpenPGP algorithm number 17"
    longest = b"\x04\0\0\0\0\x11" + bytes(0xFFFF - 6)
    assert len(read_certificate(key_text(b"\xc6\xff" + len(longest).to_bytes(4, "big") + longest)).keys) == 1


KINDS = st.sampled_from([2, 5, 6, 7, 12, 13, 14, 17, 63])
BODIES = st.binary(max_size=60) | st.sampled_from(
    [ALICE.body, BOB.body, BODY, b"\x04\0\0\0\0\x01" + mpi(1 << 2047) + mpi(3), b"\x04\0\0\0\0\x13" + ec_numbers("secp256r1", b"\x04" + bytes(64))]
)


@given(st.lists(st.tuples(KINDS, BODIES), max_size=4), st.binary(max_size=3))
def test_any_packets_as_a_certificate_are_read_or_refused(parts: list[tuple[int, bytes]], tail: bytes) -> None:
    data = b"".join(packet(kind, body) for kind, body in parts) + tail
    try:
        read = read_certificate(key_text(data))
    except Refused:
        return
    assert [key.fingerprint for key in read.keys]
    assert all(key.material for key in read.keys)


@given(st.integers(0, len(BODY)), st.integers(0, len(BODY)), st.binary(max_size=20), st.booleans())
def test_any_changed_signature_is_refused(start: int, stop: int, piece: bytes, ours: bool) -> None:
    changed = BODY[:start] + piece + BODY[max(start, stop) :]
    text = signature(changed) if ours else armour("PGP", packet(2, changed))
    for call in (read_signature, normalised):
        try:
            call(text, DATA)
        except Refused:
            continue
        assert changed[:END] == BODY[:END]


@pytest.mark.parametrize(
    ("size", "head"),
    [(8, b"\x08"), (191, b"\xbf"), (192, b"\xc0\x00"), (193, b"\xc0\x01"), (447, b"\xc0\xff"), (448, b"\xc1\x00"), (8383, b"\xdf\xff")],
)
def test_new_headers_of_one_and_two_bytes_of_length_are_read(size: int, head: bytes) -> None:
    body = b"\x04\0\0\0\0\x11" + bytes(size - 6)
    for length in (head, b"\xff" + size.to_bytes(4, "big")):
        (key,) = read_certificate(key_text(b"\xc6" + length + body)).keys
        assert key.fingerprint == hashlib.sha1(b"\x99" + size.to_bytes(2, "big") + body, usedforsecurity=False).hexdigest().upper()


@pytest.mark.parametrize(
    ("size", "head"), [(8, b"\x98\x08"), (255, b"\x98\xff"), (256, b"\x99\x01\x00"), (65535, b"\x99\xff\xff"), (300, b"\x9a\0\0\x01\x2c")]
)
def test_old_headers_of_every_length_are_read(size: int, head: bytes) -> None:
    body = b"\x04\0\0\0\0\x11" + bytes(size - 6)
    assert len(read_certificate(key_text(head + body)).keys) == 1

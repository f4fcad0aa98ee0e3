"""The text form of CMS signatures: gpgsm's, and no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkeeper.errors import Refused
from vmkeeper.trust.keys.armour import LABELS, armour, dearmour, decode_public_key, decode_signature

LINE = "MIIFwwYJKoZIhvcNAQcCoIIFtDCCBbACAQExDTALBglghkgBZQMEAgEwCwYJKoZI"


def test_the_form_of_gpgsm() -> None:
    data = decode_signature("CMS", f"-----BEGIN SIGNED MESSAGE-----\n{LINE}\nhvc=\n-----END SIGNED MESSAGE-----\n")
    assert len(data) == 48 + 2
    assert armour("CMS", data) == f"-----BEGIN SIGNED MESSAGE-----\n{LINE}\nhvc=\n-----END SIGNED MESSAGE-----\n"


@given(st.sampled_from(sorted(LABELS)), st.binary(min_size=1, max_size=300))
def test_what_is_armoured_is_read_back(kind: str, data: bytes) -> None:
    text = armour(kind, data)
    assert dearmour(kind, text) == data
    assert text.startswith(f"-----BEGIN {LABELS[kind]}-----\n")
    assert text.endswith(f"\n-----END {LABELS[kind]}-----\n")


CHANGES = {
    "another line length": lambda text: text.replace("\n" + LINE, "\n" + LINE[:60] + "\n" + LINE[60:]),
    "one line": lambda text: text.replace(LINE + "\n", LINE),
    "a comment": lambda text: text.replace("MESSAGE-----\n", "MESSAGE-----\nComment: x\n", 1),
    "an empty line": lambda text: text.replace("MESSAGE-----\n", "MESSAGE-----\n\n", 1),
    "spare bits": lambda text: text.replace("hvc=", "hvd="),
    "spaces": lambda text: text.replace("hvc=", " hvc="),
    "returns": lambda text: text.replace("\n", "\r\n"),
    "no newline at its end": lambda text: text[:-1],
    "another label": lambda text: text.replace("SIGNED MESSAGE", "CMS"),
    "no base64": lambda text: text.replace("hvc=", "hv*="),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_other_texts_are_refused(change) -> None:  # type: ignore[no-untyped-def]
    text = f"-----BEGIN SIGNED MESSAGE-----\n{LINE}\nhvc=\n-----END SIGNED MESSAGE-----\n"
    assert dearmour("CMS", text)
    assert change(text) != text
    with pytest.raises(Refused) as caught:
        dearmour("CMS", change(text))
    assert caught.value.rule == "R10"


@pytest.mark.parametrize("kind", sorted(LABELS))
def test_what_is_no_base64_is_not_read_around(kind: str) -> None:
    """Characters of another alphabet are no reason to read the others."""
    for body in ("aGVs*bG8=", "aGVs-bG8=", "aGVsbG8", "aGVsbG8=é"):
        with pytest.raises(Refused) as caught:
            decode_signature(kind, f"-----BEGIN {LABELS[kind]}-----\n{body}\n-----END {LABELS[kind]}-----\n")
        assert caught.value.rule == "R10"


def test_comment_lines_of_other_programs_are_passed_over() -> None:
    block = "-----BEGIN PGP SIGNATURE-----\nVersion: x\nComment: y\n\naGVsbG8=\n=abcd\n-----END PGP SIGNATURE-----\n"
    assert decode_signature("PGP", block) == b"hello"
    assert decode_signature("SSH", block.replace("PGP", "SSH").replace("\n=abcd", "")) == b"hello"


def test_the_checksum_is_that_of_openpgp() -> None:
    """The check value of CRC-24/OPENPGP: 0x21CF02 for the digits 1 to 9; of nothing, its initial value 0xB704CE."""
    assert armour("PGP", b"123456789").splitlines()[-2:] == ["=Ic8C", "-----END PGP SIGNATURE-----"]
    assert armour("PGP", b"").splitlines()[-2] == "=twTO"


KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: x\n\naGVs\nbG8=\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n"


def test_a_public_key_block_is_read_without_its_comments_and_checksum() -> None:
    assert decode_public_key(KEY) == decode_public_key(KEY.replace("\n=abcd", "").replace("\n", "\r\n")) == b"hello"


@pytest.mark.parametrize(
    "text",
    ["", KEY + KEY, KEY.replace("PUBLIC", "PRIVATE"), KEY.replace("aGVs", "aG*s"), KEY.replace("bG8=", "bG8"), KEY.replace("bG8=", "bG8=aGVs")],
)
def test_other_key_blocks_are_refused(text: str) -> None:
    with pytest.raises(Refused) as caught:
        decode_public_key(text)
    assert caught.value.rule == "R10"

"""The text form of CMS signatures: gpgsm's, and no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkeeper.errors import Refused
from vmkeeper.trust.keys.armour import LABELS, armour, dearmour, decode_signature

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

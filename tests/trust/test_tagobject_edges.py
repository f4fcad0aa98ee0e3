"""Every refusal of the tag parser by its rule and words: what stands in the bytes, not what somebody meant by them."""

from __future__ import annotations

import pytest

from vmkeeper.errors import Refused
from vmkeeper.trust import tagobject
from vmkeeper.trust.keys.armour import armour
from vmkeeper.trust.tagobject import Tagger, parse, unsigned

ALICE = Tagger("Alice Example", "alice@example.org", 1780000000)
COMMIT = "0123456789" * 4
BODY = unsigned(COMMIT, "v1", ALICE, b"{}")
SIGNATURE = armour("SSH", b"signature").encode()
HEADERS = "the tag has other headers than object, type, tag, tagger"
FORM = "the tag's name or its tagger line (NAME <EMAIL> SECONDS +0000) has another form"
CONTROL = "the tag object holds a NUL or a carriage return"
MESSAGE = "the tag's message is not one line of JSON before the signature"
SEVERAL = "the tag carries more than one signature block"


def changed(old: bytes, new: bytes) -> bytes:
    assert BODY.count(old) == 1
    return BODY.replace(old, new) + SIGNATURE


@pytest.mark.parametrize(
    ("raw", "rule", "what", "why"),
    [
        (b"x" * (tagobject.MAXIMUM + 1), "R32", "the tag object is too large", "65537 bytes, at most 65536 are read"),
        (changed(b"{}", b"\0"), "R32", CONTROL, "programs disagree about where such a message ends"),
        (changed(b"{}", b"\r"), "R32", CONTROL, "programs disagree about where such a message ends"),
        (changed(b"type commit", b"type tree"), "R7", "the tag points to a tree, not to a commit", ""),
        (changed(b"object 0", b"object O"), "R7", "the tag's target is not a commit id", "O" + COMMIT[1:]),
        (changed(b"tag v1", b"tag v\x7f"), "R32", FORM, f"v\x7f, {ALICE}"),
        (changed(b"Alice ", b"Alice\x7f"), "R32", FORM, f"v1, {ALICE}".replace("Alice ", "Alice\x7f", 1)),
        (changed(b"+0000", b"+0100"), "R32", FORM, f"v1, {ALICE}".replace("+0000", "+0100")),
        (changed(b"tag v1", b"label v1"), "R32", HEADERS, "object type label tagger"),
        (changed(b"tag v1", b"tag "), "R32", HEADERS, "object type tag tagger"),
        (BODY, "R10", "the tag carries no signature", ""),
        (BODY + SIGNATURE * 2, "R10", SEVERAL, "2 blocks"),
        (BODY + SIGNATURE * 3, "R10", SEVERAL, "3 blocks"),
        (changed(b"{}", b"{}\n{}"), "R32", MESSAGE, ""),
        (changed(b"{}\n", b"{}\n\n"), "R32", MESSAGE, ""),
        (changed(b"{}\n", b""), "R32", MESSAGE, ""),
        (changed(b"{}", b"\xff"), "R32", "the tag object is not UTF-8", "byte 0"),
        (changed(b"Alice", b"\xe9"), "R32", "the tag object is not UTF-8", f"byte {BODY.index(b'Alice')}"),
    ],
)
def test_what_is_not_taken_is_refused_by_rule(raw: bytes, rule: str, what: str, why: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(raw)
    assert (caught.value.rule, caught.value.what, caught.value.why) == (rule, what, why)


def test_a_block_begins_its_own_line() -> None:
    with pytest.raises(Refused, match="carries no signature"):
        parse(BODY.removesuffix(b"\n") + SIGNATURE)
    assert parse(BODY + SIGNATURE).signed == BODY

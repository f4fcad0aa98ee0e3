"""The tag parser takes what the builder makes, and no other bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkeeper.errors import Refused
from vmkeeper.trust import tagobject
from vmkeeper.trust.keys.armour import armour
from vmkeeper.trust.tagobject import Tagger, parse, unsigned

ALICE = Tagger("Alice Example", "alice@example.org", 1780000000)
COMMIT = "0123456789" * 4


@pytest.mark.parametrize("kind", ["PGP", "SSH", "CMS"])
def test_what_is_built_is_read(kind: str) -> None:
    body, signature = unsigned(COMMIT, "endorse/a/1/alice/1", ALICE, b'{"a":1}'), armour(kind, b"signature" * 20)
    tag = parse(body + signature.encode())
    assert (tag.commit, tag.name, tag.tagger, tag.payload) == (COMMIT, "endorse/a/1/alice/1", ALICE, b'{"a":1}')
    assert (tag.kind, tag.signature, tag.signed) == (kind, signature, body)


@pytest.mark.parametrize(
    "arguments",
    [
        ("x" * 40, "a", ALICE, b"{}"),
        (COMMIT[:39], "a", ALICE, b"{}"),
        (COMMIT, "a\nb", ALICE, b"{}"),
        (COMMIT, "a", Tagger("Al\nice", "a@b", 1), b"{}"),
        (COMMIT, "a", Tagger("Al<ice", "a@b", 1), b"{}"),
        (COMMIT, "a", Tagger("", "a@b", 1), b"{}"),
        (COMMIT, "a", Tagger("A", "a b", 1), b"{}"),
        (COMMIT, "a", ALICE, b"{\n}"),
    ],
)
def test_parts_that_make_no_tag_are_not_signed(arguments: tuple[str, str, Tagger, bytes]) -> None:
    with pytest.raises(ValueError, match="does not make a tag object"):
        unsigned(*arguments)


def test_a_tag_of_exactly_the_largest_size_is_read() -> None:
    signature = armour("SSH", b"x").encode()
    room = tagobject.MAXIMUM - len(unsigned(COMMIT, "a", ALICE, b"")) - len(signature)
    parse(unsigned(COMMIT, "a", ALICE, b"x" * room) + signature)
    with pytest.raises(Refused, match="too large"):
        parse(unsigned(COMMIT, "a", ALICE, b"x" * (room + 1)) + signature)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_tag_or_refused(data: bytes) -> None:
    with pytest.raises(Refused) as caught:
        parse(data)
    assert caught.value.rule in ("R7", "R10", "R32")


@given(st.data())
def test_any_change_to_the_structure_is_refused_or_read_back(data: st.DataObject) -> None:
    raw = unsigned(COMMIT, "endorse/a/1/alice/1", ALICE, b'{"a":1}') + armour("SSH", b"signature" * 9).encode()
    at = data.draw(st.integers(0, len(raw)))
    cut = data.draw(st.integers(0, 3))
    changed = raw[:at] + data.draw(st.binary(max_size=4)) + raw[at + cut :]
    try:
        tag = parse(changed)
    except Refused:
        return
    assert tag.signed + tag.signature.encode() == changed
    assert unsigned(tag.commit, tag.name, tag.tagger, tag.payload) == tag.signed


@pytest.mark.parametrize("kind", ["PGP", "SSH", "CMS"])
def test_a_block_must_end_as_it_began(kind: str) -> None:
    body, signature = unsigned(COMMIT, "a", ALICE, b"{}"), armour(kind, b"signature" * 20).encode()
    end = signature.rindex(b"-----END ")
    for other in ("PGP", "SSH", "CMS"):
        mixed = signature[:end] + armour(other, b"x").encode().partition(b"-----END ")[2].join([b"-----END ", b""])
        if other == kind:
            assert parse(body + mixed).kind == kind
        else:
            with pytest.raises(Refused, match="does not end in one OpenPGP, SSH or CMS signature block") as caught:
                parse(body + mixed)
            assert caught.value.rule == "R10"


def test_blocks_of_other_kinds_are_no_signatures() -> None:
    body = unsigned(COMMIT, "a", ALICE, b"{}")
    for label in ("PGP MESSAGE", "CMS", "CMS SIGNATURE", "PKCS7", "CERTIFICATE", "SIGNED MESSAGES"):
        with pytest.raises(Refused, match="does not end in one OpenPGP, SSH or CMS signature block"):
            parse(body + f"-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n".encode())

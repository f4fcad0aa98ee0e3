"""Our own S/MIME packaging around any text and signature: what is put together comes apart as it was."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkeeper.errors import Refused
from vmkeeper.lists.mime import package, split
from vmkeeper.lists.smime import canonical, signature_in

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1)


@given(TEXT, st.binary(min_size=1, max_size=300), st.sampled_from(["sha256", "sha384", "sha512"]))
def test_what_is_packaged_comes_apart(text, signature, digest):
    message = package(text, signature, digest)
    assert b"\r" not in message.replace(b"\r\n", b"")
    parts = split(message, begins=b"")
    assert (parts.content, parts.signature) == (canonical(text), signature)
    assert message == package(text, signature, digest)


def test_line_ends_are_the_same_whatever_they_were():
    assert package('{"a": 1}\r\n', b"x", "sha256") == package('{"a": 1}\n', b"x", "sha256")


def test_a_list_must_begin_as_one():
    message = package("a: 1\n", b"x", "sha256")
    with pytest.raises(Refused, match="not a message"):
        split(message)
    assert split(message, begins=b"a:").content == b"a: 1\r\n"


@given(st.binary(min_size=1, max_size=200))
def test_a_signature_is_found_in_every_form(rest):
    signature = b"\x30" + rest
    pem = b"-----BEGIN %b-----\n" + base64.encodebytes(signature) + b"-----END %b-----\n"
    assert signature_in(signature) == signature
    for kind in (b"PKCS7", b"CMS"):
        assert signature_in(pem % (kind, kind)) == signature
    assert signature_in(package('{"a": 1}', signature, "sha256")) == signature


@given(st.binary(max_size=200).filter(lambda data: not data.startswith(b"\x30")))
def test_anything_else_is_refused(data):
    with pytest.raises(Refused):
        signature_in(data)
    with pytest.raises(Refused):
        signature_in(b"-----BEGIN CMS-----\n!" + data + b"\n-----END CMS-----\n")

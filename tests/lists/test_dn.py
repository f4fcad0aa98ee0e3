"""Names as people copy them, read for comparing."""

from __future__ import annotations

from contextlib import suppress

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from support.certificates import PUBLISHER
from support.certificates import name as x509_name
from vmkeeper.lists.dn import readings
from vmkeeper.trust.keys.names import DistinguishedName

NAME = DistinguishedName.of(PUBLISHER)


@pytest.mark.parametrize(
    "text",
    [
        "/DC=org/DC=example/O=Images/CN=Image Publisher",
        "CN=Image Publisher,O=Images,DC=example,DC=org",
        "cn=Image Publisher,o=Images,dc=example,dc=org",
        "CN=Image Publisher, O=Images, DC=example, DC=org",
        "DC = org, DC = example, O = Images, CN = Image Publisher",
        "DC=org, DC=example, O=Images, CN=Image Publisher",
        'CN="Image Publisher",O=Images,DC=example,DC=org',
        "CN=Image\\20Publisher,O=Images,DC=example,DC=org",
        "  CN=Image Publisher;O=Images;DC=example;DC=org ",
    ],
)
def test_every_usual_form_is_read(text: str) -> None:
    assert NAME in readings(text)


@pytest.mark.parametrize(
    "text",
    [
        "/CN=Image Publisher/O=Images/DC=example/DC=org",
        "DC=org,DC=example,O=Images,CN=Image Publisher",
        "CN=Image Publisher,O=Images,DC=org,DC=example",
        "CN=Image Publisher,O=Images",
        'O="Images/CN=Image Publisher",DC=example,DC=org',
        "CN=Image Publisher+O=Images,DC=example,DC=org",
        "CN=Image publisher,O=Images,DC=example,DC=org",
        "CN=Image Publisher\\,O=Images,DC=example,DC=org",
    ],
)
def test_another_name_is_another_name(text: str) -> None:
    assert NAME not in readings(text)


@pytest.mark.parametrize("text", ["", " ", "x", "/", "CN", "CN=x,", "CN=x,,O=y", "=x", "CN=x+", ",CN=x", 'CN="x', "CN=x\\", "/CN=a b=c,/"])
def test_what_is_no_name_is_an_error(text: str) -> None:
    with suppress(ValueError):
        assert NAME not in readings(text)


def test_only_names_with_spaces_have_two_readings() -> None:
    assert len(readings("CN=x,O=y")) == len(readings("/CN=x/O=y")) == 1
    assert len(readings("CN=x, O=y")) == 2


_VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12).filter(lambda text: text.strip() == text)


@given(st.lists(st.tuples(st.sampled_from(["CN", "O", "OU", "DC"]), _VALUES), min_size=1, max_size=4))
def test_what_rfc_4514_writes_is_read_back(parts: list[tuple[str, str]]) -> None:
    name = x509_name(*parts)
    assert DistinguishedName.of(name) in readings(name.rfc4514_string())
    assert DistinguishedName.of(name) in readings(x509.Name(name.rdns).rfc4514_string())


@given(st.text('CNO=,;+\\"/ xé\n', max_size=30))
def test_any_text_is_read_or_an_error(text: str) -> None:
    with suppress(ValueError):
        assert all(isinstance(found, DistinguishedName) for found in readings(text))

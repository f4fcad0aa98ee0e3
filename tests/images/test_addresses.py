"""The URL policy on any text: accepted by one reading, or refused by its rule; and what resolving changes nothing about."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkeeper.errors import Refused, UserError
from vmkeeper.execute.single import single_url
from vmkeeper.images.addresses import UrlPolicy

_PIECES = st.sampled_from(
    ["http", "https", "file", "://", "//", "/", "@", ":", "[", "]", "%25", "%2e", "\\", " ", "\t", "\n", "?", "#", ".", "localhost", "127.0.0.1", "0x7f", "017", "::1",
     "::ffff:", "8.8.8.8", "2130706433", "xn--", "example.org", "é", "１２７", "\u202e", "\0", "user:word@", "80", "99999", "..", "a" * 64]
)  # fmt: skip


@given(
    st.lists(_PIECES, max_size=9).map("".join) | st.lists(_PIECES, max_size=6).map(lambda parts: "http://" + "".join(parts)) | st.text(max_size=30)
)
@settings(max_examples=1500)
def test_any_text_is_refused_or_has_one_reading(url: str) -> None:
    try:
        UrlPolicy().check(url)
    except (Refused, UserError):
        return
    parts = urlsplit(url)
    assert url.isascii()
    assert url.isprintable()
    if parts.scheme != "file":
        assert httpx.URL(url).raw_host.decode() == parts.hostname
        assert httpx.URL(url).userinfo == b""


@given(st.ip_addresses())
@settings(max_examples=500)
def test_only_public_addresses_are_connected_to(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    url = f"http://{address}/" if address.version == 4 else f"http://[{address}]/"
    try:
        found = single_url(url, resolve=lambda host: [host])
    except Refused as refusal:
        assert refusal.rule == "R27"  # noqa: PT017 - which rule, for each of very many
        return
    assert ipaddress.ip_address(found["connect"]).is_global


@pytest.mark.parametrize("answers", [["8.8.8.8", "127.0.0.1"], ["127.0.0.1"], ["8.8.8.8", "::ffff:10.0.0.1"], ["fe80::1%lo"], ["64:ff9b::a00:1"]])
def test_a_name_with_one_private_address_is_refused(answers: list[str]) -> None:
    with pytest.raises(Refused, match="R27"):
        single_url("https://images.example.org/x", resolve=lambda _: answers)


def test_a_name_in_its_ascii_form_is_taken_as_it_is() -> None:
    asked: list[str] = []
    single_url("https://xn--strae-oqa.example.org/", resolve=lambda host: asked.append(host) or ["8.8.8.8"])
    assert asked == ["xn--strae-oqa.example.org"]


def test_a_name_is_resolved_once() -> None:
    asked: list[str] = []

    def resolve(host: str) -> list[str]:
        asked.append(host)
        return ["8.8.8.8", "8.8.4.4"]

    assert single_url("https://images.example.org:8443/x?token=secret", resolve=resolve) == {
        "url": "https://images.example.org:8443/x",
        "addresses": ["8.8.8.8", "8.8.4.4"],
        "connect": "8.8.8.8",
    }
    assert asked == ["images.example.org"]


def test_an_allowed_host_may_be_anywhere_but_not_another_one() -> None:
    private = ["10.1.2.3"]
    assert single_url("http://mirror.example.org/", ["mirror.example.org"], lambda _: private)["connect"] == "10.1.2.3"
    assert single_url("http://other.example.org/", ["10.0.0.0/8"], lambda _: private)["connect"] == "10.1.2.3"
    with pytest.raises(Refused):
        single_url("http://other.example.org/", ["mirror.example.org", "192.168.0.0/16"], lambda _: private)

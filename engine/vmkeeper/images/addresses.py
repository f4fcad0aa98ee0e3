"""Which addresses may be connected to (rule R27), and an httpx transport that holds to it.

A name is resolved once, every address it has is checked, and the connection goes to a checked address, so a
second answer of the name server changes nothing. Addresses that are not globally routable are refused
unless the caller lists the host, the address or a network that holds it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from collections.abc import Callable, Collection, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import httpx

from vmkeeper.errors import Refused, Transient, UserError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str], Sequence[str]]

_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class UrlPolicy:
    """What a caller may fetch.

    allow: host names, addresses, networks (`10.0.0.0/8`) that are fine although not global, and absolute
    folders out of which `file:` URLs may be read.
    """

    def __init__(self, allow: Collection[str] = ()) -> None:
        self._folders = tuple(Path(entry).resolve() for entry in allow if entry.startswith("/"))
        self._hosts = frozenset(entry.lower() for entry in allow)
        self._networks = tuple(network for entry in allow if (network := _network(entry)))

    def check(self, url: str) -> None:
        """Refuse a URL by what it says: scheme, user information, a host that is missing or that two readers read differently.

        Raises Refused (R27), UserError (no URL).
        """
        if not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>^`{|}'):
            raise Refused("R27", "an address with characters that do not belong in one", why=url[:200], hint="write it with %XX, host names in ASCII")
        parts = _split(url)
        if parts.scheme not in ("http", "https", "file"):
            raise Refused("R27", "only http, https and file are fetched", where=public(url))
        if parts.username is not None or parts.password is not None:
            raise Refused("R27", "an address that carries a user name or password", where=public(url))
        if parts.scheme != "file" and not parts.hostname:
            raise Refused("R27", "an address without a host", where=public(url))
        if parts.scheme != "file" and not _one_reading(url, parts.hostname or ""):
            hint = "write a name, four decimal numbers with dots, or an IPv6 address in brackets"
            raise Refused("R27", "an address whose host can be read in more than one way", where=public(url), hint=hint)

    def file(self, url: str) -> Path:
        """The local file of a `file:` URL, inside an allowed folder. Raises Refused (R27)."""
        parts = _split(url)
        path = Path(unquote(parts.path)).resolve()
        if parts.netloc not in ("", "localhost") or not any(path.is_relative_to(folder) for folder in self._folders):
            raise Refused(
                "R27", "a local file outside the folders that may be read", where=public(url), hint="list its folder as allowed, or use http"
            )
        return path

    def lists(self, host: str) -> bool:
        """Whether the caller listed this host or, where it is an address, a network that holds it."""
        host = host.strip("[]")
        if host.lower() in self._hosts:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def addresses(self, host: str, resolve: Resolver) -> tuple[str, ...]:
        """The addresses of a host, each checked. Raises Refused (R27) if one of them is not allowed, Transient."""
        found = tuple(resolve(host))
        if host.lower() not in self._hosts:
            for text in found:
                address = _inner(ipaddress.ip_address(text.partition("%")[0]))
                if not (address.is_global and not address.is_multicast) and not any(address in network for network in self._networks):
                    hint = f"if this host is meant, list {host} or its network as allowed"
                    raise Refused("R27", f"{host} is at {text}, which is not a public address", where=host, hint=hint)
        return found


class CheckedTransport(httpx.BaseTransport):
    """Sends requests to checked addresses only; the host's own name stays in `Host` and in TLS."""

    def __init__(self, policy: UrlPolicy, tls: ssl.SSLContext | None = None, resolve: Resolver | None = None) -> None:
        self._policy = policy
        self._resolve = resolve or resolved
        # No connection is used twice: one that was verified for a name must not serve another name at its address.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._inner = httpx.HTTPTransport(verify=tls or _system_tls(), trust_env=False, limits=limits)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Resolve, check, connect; the host's addresses are tried in order."""
        # `host` would be decoded from its xn-- form, and the system's resolver may encode it to another name.
        host = request.url.raw_host.decode()
        failure: httpx.TransportError = httpx.ConnectError(f"{host} has no address", request=request)
        for address in self._policy.addresses(host, self._resolve):
            url = request.url.copy_with(host=address)
            extensions = {**request.extensions, "sni_hostname": host}
            attempt = httpx.Request(request.method, url, headers=request.headers, stream=request.stream, extensions=extensions)
            try:
                return self._inner.handle_request(attempt)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


@cache
def _system_tls() -> ssl.SSLContext:
    """The authorities of the system; reading them takes as long as fetching a small file."""
    return ssl.create_default_context()


def resolved(host: str) -> tuple[str, ...]:
    """The addresses of a host, in the system's order. Raises Transient where the name has none now."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Transient(f"the name {host} cannot be resolved", why=str(error)) from None
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def origin(url: str) -> str:
    """Scheme, host and port of a URL, each in one form: `https://images.example.org:443` (RFC 6454, 4)."""
    parts = _split(url)
    return f"{parts.scheme}://{parts.hostname or ''}:{parts.port or {'http': 80, 'https': 443}.get(parts.scheme, 0)}"


def public(url: str) -> str:
    """A URL for messages: without user information, query and fragment."""
    parts = _split(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise UserError("this is not a URL", where=url.rpartition("@")[2][:200]) from None
    return parts


def _one_reading(url: str, host: str) -> bool:
    """Whether all readers of a URL find the same host in it: no `2130706433`, `0x7f.1`, `010.0.0.1` or IPv4 inside IPv6."""
    if not _HOST.fullmatch(host) or len(host) > 253:
        return False
    try:
        if httpx.URL(url).raw_host != host.lower().encode():
            return False
    except httpx.InvalidURL:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ":" not in host and not _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2])
    return _inner(address) == address


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _inner(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one, where there is one: it is what would be reached."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)

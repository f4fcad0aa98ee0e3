"""Addresses to fetch from: which schemes, hosts and forms a site's URL policy takes. Names resolve on the machine itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from conformance.trust.case import Case


def of(url: str, *allowed: str) -> Callable[[Path], list[str]]:
    return lambda _: ["verify", "url", *(word for host in allowed for word in ("--allow-host", host)), "--", url]


def local_file(folder: Path) -> list[str]:
    return ["verify", "url", f"file://{folder}/image.qcow2", "--allow-host", str(folder)]


def outside(folder: Path) -> list[str]:
    return ["verify", "url", f"file://{folder}/../secret", "--allow-host", str(folder)]


def through_a_link(folder: Path) -> list[str]:
    (folder / "link").symlink_to("/etc")
    return ["verify", "url", f"file://{folder}/link/passwd", "--allow-host", str(folder)]


ACCEPTED = {
    "public-address": ("https://8.8.8.8/image",),
    "public-ipv6": ("https://[2606:4700:4700::1111]/image",),
    "port-and-query": ("http://8.8.8.8:8080/a%20b?c=d&e=%F0",),
    "allowed-host": ("http://localhost/image", "localhost"),
    "allowed-address": ("http://127.0.0.1:8000/image", "127.0.0.1"),
    "allowed-network": ("http://10.1.2.3/image", "10.0.0.0/8"),
    "allowed-ipv6": ("http://[::1]/image", "::1"),
    "capitals": ("HTTPS://8.8.8.8/Image",),
}
REFUSED = {
    "loopback": ("http://127.0.0.1/",),
    "loopback-name": ("http://localhost/",),
    "whole-loopback-network": ("http://127.9.8.7/",),
    "metadata": ("http://169.254.169.254/latest/meta-data/",),
    "private-10": ("http://10.0.0.1/",),
    "private-172": ("http://172.16.0.1/",),
    "private-192": ("http://192.168.1.1/",),
    "shared-100": ("http://100.64.0.1/",),
    "zero": ("http://0.0.0.0/",),
    "broadcast": ("http://255.255.255.255/",),
    "multicast": ("http://224.0.0.1/",),
    "decimal": ("http://2130706433/",),
    "decimal-metadata": ("http://2852039166/",),
    "hex": ("http://0x7f000001/",),
    "hex-parts": ("http://0x7f.0x0.0x0.0x1/",),
    "octal": ("http://0177.0.0.1/",),
    "leading-zero": ("http://010.0.0.1/",),
    "short": ("http://127.1/",),
    "trailing-dot": ("http://127.0.0.1./",),
    "decimal-public": ("http://134744072/",),
    "ipv6-loopback": ("http://[::1]/",),
    "ipv6-unspecified": ("http://[::]/",),
    "ipv6-local": ("http://[fe80::1]/",),
    "ipv6-unique-local": ("http://[fd00::1]/",),
    "mapped": ("http://[::ffff:127.0.0.1]/",),
    "mapped-hex": ("http://[::ffff:7f00:1]/",),
    "mapped-metadata": ("http://[::ffff:169.254.169.254]/",),
    "mapped-public": ("http://[::ffff:8.8.8.8]/",),
    "nat64": ("http://[64:ff9b::7f00:1]/",),
    "6to4": ("http://[2002:7f00:1::]/",),
    "zone": ("http://[fe80::1%25lo]/",),
    "another-address-is-allowed": ("http://10.0.0.1/", "10.0.0.2"),
    "another-network-is-allowed": ("http://10.0.0.1/", "192.168.0.0/16"),
    "user": ("http://user@8.8.8.8/",),
    "user-and-password": ("https://user:word@8.8.8.8/",),
    "user-that-looks-like-a-host": ("http://8.8.8.8@127.0.0.1/",),
    "empty-user": ("http://@8.8.8.8/",),
    "backslash": ("http://8.8.8.8\\@127.0.0.1/",),
    "space": ("http://8.8.8.8 /",),
    "tab": ("http://127.0.0.1\t/",),
    "line-feed": ("http://8.8.8.8/\r\nHost: x",),
    "nothing": ("",),
    "no-host": ("http:///image",),
    "no-scheme": ("8.8.8.8/image",),
    "ftp": ("ftp://8.8.8.8/image",),
    "gopher": ("gopher://8.8.8.8/",),
    "ext": ("ext::sh -c id",),
    "data": ("data:text/plain,x",),
    "file": ("file:///etc/passwd",),
    "file-on-a-host": ("file://example.org/etc/passwd", "/etc"),
    "not-ascii": ("http://ex\u00e4mple.org/",),
    "full-width-digits": ("http://\uff11\uff12\uff17.0.0.1/",),
    "circled-digits": ("http://\u2460\u2461\u2466.0.0.1/",),
    "percent-in-host": ("http://127%2e0.0.1/",),
    "broken-brackets": ("http://[::1/",),
    "port-out-of-range": ("http://8.8.8.8:99999/",),
    "port-of-letters": ("http://8.8.8.8:x/",),
    "bidirectional": ("http://8.8.8.8/\u202egpj.exe",),
    "escape": ("http://8.8.8.8/\x1b[31m",),
}

CASES = [
    *(Case(name, "R27", "accept", of(*words)) for name, words in ACCEPTED.items()),
    Case("file-in-an-allowed-folder", "R27", "accept", local_file),
    *(Case(name, "R27", "refuse", of(*words)) for name, words in REFUSED.items()),
    Case("file-outside-by-dots", "R27", "refuse", outside),
    Case("file-outside-by-a-link", "R27", "refuse", through_a_link),
]

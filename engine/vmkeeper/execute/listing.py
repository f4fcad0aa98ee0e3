"""Fetch one image list and verify it against what the site pinned, before anything in it is read."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urljoin

import httpx

from vmkeeper.errors import Refused, Transient, UserError
from vmkeeper.images.addresses import CheckedTransport, UrlPolicy, public
from vmkeeper.lists import hepix, smime
from vmkeeper.lists.hepix import HepixList
from vmkeeper.lists.names import DistinguishedName
from vmkeeper.plan.publication import LIST_FILE
from vmkeeper.trust.memory import Memory, SeenList, with_list
from vmkeeper.trust.pins import PinnedImageList
from vmkeeper.values import Duration, format_time, sha512_hex

LIMIT = 24 << 20
"""Bytes of a signed list."""
_REDIRECTS = 5


def list_url(base: str, name: str) -> str:
    """Where a published list lies below its base address."""
    return f"{base.rstrip('/')}/{name}/{LIST_FILE}"


def verified_list(message: bytes, pin: PinnedImageList, authorities: Path, memory: Memory, now: datetime, skew: Duration) -> tuple[HepixList, Memory]:
    """Judge a fetched list: signature, signer, UUID, version (R11, R13, R15, R17, R19). Gives it and the memory with it.

    An expired list is still a verified one; what follows from its expiry is the plan's matter.
    """
    signed = smime.verify(message, authorities, now)
    for what, found, pinned in (("signer", signed.subject, pin.signer), ("signer's issuer", signed.issuer, pin.ca)):
        if found != DistinguishedName.parse(pinned):
            hint = "if the publisher has another certificate now, pin the site again: vmkeeper site init"
            raise Refused("R15", f"the {what} is not the pinned one", where=pin.name, why=f"{found}, not {pinned}", hint=hint)
    found_list = hepix.read(signed.content)
    if found_list.uuid != pin.uuid:
        raise Refused("R15", "this is another list than the pinned one", where=pin.name, why=f"{found_list.uuid}, not {pin.uuid}")
    if found_list.created > now + timedelta(seconds=skew):
        raise Refused(
            "R13", "the list was made in the future", where=pin.name, why=format_time(found_list.created), hint="check the clock here, with: date -u"
        )
    seen = SeenList(version=found_list.version, sha512=sha512_hex(signed.content), expires=found_list.expires)
    return found_list, with_list(memory, pin.uuid, seen, hepix.version_key)


def read_url(url: str, *, limit: int, allow: Collection[str], timeout: float = 60) -> bytes:
    """A small file. Raises Refused (R25 too long, R27 address), Transient, UserError (the server does not have it)."""
    policy = UrlPolicy(allow)
    try:
        with httpx.Client(transport=CheckedTransport(policy), timeout=timeout, follow_redirects=False, trust_env=False) as client:
            for _ in range(_REDIRECTS + 1):
                policy.check(url)
                if url.startswith("file:"):
                    return _read_file(policy.file(url), limit)
                with client.stream("GET", url, headers={"Accept-Encoding": "identity", "User-Agent": "vmkeeper"}) as answer:
                    if answer.is_redirect:
                        url = _redirected(url, answer.headers.get("Location", ""))
                        continue
                    return _body(answer, url, limit)
    except httpx.TransportError as error:
        raise Transient("the connection failed", where=public(url), why=str(error) or type(error).__name__) from None
    raise Refused("R27", f"more than {_REDIRECTS} redirects", where=public(url))


def _body(answer: httpx.Response, url: str, limit: int) -> bytes:
    if answer.status_code >= 500 or answer.status_code in (408, 425, 429):
        raise Transient(f"the server answered {answer.status_code}", where=public(url))
    if answer.status_code != 200:
        raise UserError(f"the server answered {answer.status_code}", where=public(url))
    data = bytearray()
    for chunk in answer.iter_raw():
        data += chunk
        if len(data) > limit:
            raise Refused("R25", f"more than {limit} bytes", where=public(url))
    return bytes(data)


def _redirected(url: str, location: str) -> str:
    there = urljoin(url, location)
    if not there.startswith("https:") and not (there.startswith("http:") and url.startswith("http:")):
        raise Refused("R27", f"a redirect to {public(there)}", where=public(url))
    return there


def _read_file(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UserError("cannot be read", where=str(path), why=error.strerror or "") from None
    if len(data) > limit:
        raise Refused("R25", f"more than {limit} bytes", where=str(path))
    return data

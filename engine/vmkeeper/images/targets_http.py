"""A publication behind an HTTP server that takes PUT (or POST) and DELETE, such as WebDAV. Such a server lists nothing and has no
lock: what was published is in a manifest of ours there (`published.json`), which names a file before it is sent and once it is
whole. Redirects are not followed; what proves who we are is never sent in the clear but to this machine.
"""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import BinaryIO, Literal
from urllib.parse import urlsplit

import httpx

from vmkeeper.errors import Refused, Transient, UserError
from vmkeeper.images.addresses import public
from vmkeeper.images.targets import verified
from vmkeeper.images.web import TRY_LATER
from vmkeeper.model.release import Blob
from vmkeeper.values import Size, canonical_json

MANIFEST = "published.json"
_MANIFEST_LIMIT = 64 << 20
_AT_ONCE = 8
_MISSING = -1
_HINTS = {401: "give credentials", 403: "see what the credentials allow", 404: "check the address", 405: "the server does not take this method here"}
_HINTS |= {
    409: "the folder above it is not there: have the server make folders",
    413: "the server takes no file of this size",
    507: "make room there",
}


class HttpTarget:
    """See `Target`. Several publishers at once are kept apart as far as the server honours If-Match (RFC 9110, 13.1.1).

    client: with base_url, credentials and timeouts; `url` without credentials. digests: whether a file that was sent is read
    back and hashed; else its size is asked for.
    """

    def __init__(self, client: httpx.Client, url: str, *, method: Literal["PUT", "POST"] = "PUT", digests: bool = False) -> None:
        self._client, self._url, self._method, self._digests = client, url.rstrip("/"), method, digests
        self.name = public(self._url)
        self._held: dict[str, Blob | None] | None = None
        """The manifest; None for a file that may be half there."""
        self._tag: str | None = None
        self._unsaved = False

    def files(self, below: str = "") -> dict[str, int]:
        """See `Target.files`: what the manifest names and the server has with the size that it says."""
        prefix = f"{below}/" if below else ""
        named = {path: blob for path, blob in self._manifest().items() if blob is not None and path.startswith(prefix)}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            sizes = zip(named, pool.map(self._size, named), strict=True)
            return {path: int(named[path].size) if size is None else size for path, size in sizes if size != _MISSING}

    def read(self, path: str, limit: int) -> bytes | None:
        """See `Target.read`."""
        with self._answer("GET", path) as answer:
            if answer.status_code in (404, 410):
                return None
            self._good(answer, path, (200,))
            data = bytearray()
            for chunk in answer.iter_bytes():
                data += chunk
                if len(data) >= limit:
                    break
        return bytes(data[:limit])

    def put(self, path: str, source: BinaryIO, blob: Blob) -> None:
        """See `Target.put`. Whether a name ever shows half a file is up to the server."""
        self._manifest()[path] = None
        self._save()
        self._send(path, verified(source, blob, path), int(blob.size))
        self._check(path, blob)
        self._manifest()[path] = blob
        self._unsaved = True

    def remove(self, path: str) -> None:
        """See `Target.remove`."""
        with self._answer("DELETE", path) as answer:
            if answer.status_code not in (404, 410):
                self._good(answer, path, (200, 202, 204))
        self._unsaved = self._manifest().pop(path, self) is not self or self._unsaved

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See `Target.alone`. What changes the manifest after it was read ends the run."""
        known = self._held
        self._held = None
        if known is not None and self._manifest() != known:
            raise Transient("another run is publishing there", where=self.name, hint="wait for it to end, run again")
        try:
            yield
        finally:
            if self._unsaved:
                self._save()

    def leftovers(self) -> bool:
        """See `Target.leftovers`. A file that is half there is sent again or has been removed; there is nothing else to clear."""
        return False

    def close(self) -> None:
        """See `Target.close`."""
        self._client.close()

    # -- the manifest

    def _manifest(self) -> dict[str, Blob | None]:
        if self._held is None:
            self._held, self._tag = {}, None
            with self._answer("GET", MANIFEST) as answer:
                if answer.status_code not in (404, 410):
                    self._good(answer, MANIFEST, (200,))
                    self._held = _read_manifest(answer.read()[:_MANIFEST_LIMIT])
                    self._tag = answer.headers.get("ETag")
        return self._held

    def _save(self) -> None:
        held = {path: blob and {"size": int(blob.size), "sha512": blob.sha512} for path, blob in self._manifest().items()}
        data = canonical_json({"format": 1, "files": held}) + b"\n"
        condition = {"If-Match": self._tag} if self._tag and not self._tag.startswith("W/") else {}
        self._tag = self._send(MANIFEST, iter([data]), len(data), condition)
        self._unsaved = False

    # -- requests

    def _send(self, path: str, pieces: Iterator[bytes], size: int, headers: Mapping[str, str] | None = None) -> str | None:
        said = {"Content-Length": str(size), "Content-Type": "application/octet-stream", **(headers or {})}
        with self._answer(self._method, path, said, pieces) as answer:
            if answer.status_code == 412:
                raise Transient("another run is publishing there", where=self.name, hint="wait for it to end, run again")
            self._good(answer, path, (200, 201, 202, 204))
            tag: str | None = answer.headers.get("ETag")
            return tag

    def _size(self, path: str) -> int | None:
        """Bytes of a file, `_MISSING` where it is not there, None where the server does not say."""
        with self._answer("HEAD", path) as answer:
            if answer.status_code in (404, 410):
                return _MISSING
            if answer.status_code in (405, 501):
                return None
            self._good(answer, path, (200, 204))
            length = answer.headers.get("Content-Length", "")
            return int(length) if length.isdecimal() and "Content-Encoding" not in answer.headers else None

    def _check(self, path: str, blob: Blob) -> None:
        size = self._size(path)
        if self._digests or size is None:
            there = self._read_back(path)
            if there != blob:
                why = f"{int(there.size)} bytes of {int(blob.size)}" if there.size != blob.size else "other bytes"
                raise Transient("the server does not give what it was sent", where=f"{self.name}/{path}", why=why, hint="run again")
        elif size != blob.size:
            why = "nothing is there" if size == _MISSING else f"{size} bytes of {int(blob.size)}"
            raise Transient(
                "the server does not have what it was sent", where=f"{self.name}/{path}", why=why, hint="see whether it has room, run again"
            )

    def _read_back(self, path: str) -> Blob:
        digest, size = hashlib.sha512(), 0
        with self._answer("GET", path) as answer:
            self._good(answer, path, (200,))
            for chunk in answer.iter_bytes():
                digest.update(chunk)
                size += len(chunk)
        return Blob(size=Size(size), sha512=digest.hexdigest())

    @contextmanager
    def _answer(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, content: Iterator[bytes] | None = None
    ) -> Iterator[httpx.Response]:
        asked = {"Accept-Encoding": "identity", "User-Agent": "vmkeeper", "Cache-Control": "no-cache", **(headers or {})}
        try:
            with self._client.stream(method, f"{self._url}/{path}", headers=asked, content=content) as answer:
                yield answer
        except httpx.TransportError as error:
            raise Transient("the connection failed", where=f"{self.name}/{path}", why=str(error) or type(error).__name__, hint="run again") from None

    def _good(self, answer: httpx.Response, path: str, good: tuple[int, ...]) -> None:
        status = answer.status_code
        if status in good:
            return
        where, what = f"{self.name}/{path}", f"the server answered {status} to {answer.request.method}"
        if status in TRY_LATER:
            raise Transient(what, where=where, hint="run again")
        raise UserError(what, where=where, hint="give the address that it redirects to" if answer.has_redirect_location else _HINTS.get(status, ""))


def http_client(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    secret: bool | None = None,
    idle: float = 60,
) -> httpx.Client:
    """A client for one server. Raises Refused (R27) where a secret would be sent in the clear over a network.

    tls: authorities and, where one is used, our own certificate. secret: whether headers or tls prove who we are.
    """
    host = urlsplit(url).hostname or ""
    secret = bool(headers or auth) if secret is None else secret
    if secret and not url.startswith("https:") and host not in ("127.0.0.1", "::1", "localhost"):
        raise Refused("R27", "credentials would be sent in the clear", where=public(url), hint="publish to an https address")
    timeout = httpx.Timeout(idle, connect=15)
    return httpx.Client(
        headers=dict(headers or {}), auth=auth, verify=tls or ssl.create_default_context(), timeout=timeout, follow_redirects=False, trust_env=False
    )


def _read_manifest(data: bytes) -> dict[str, Blob | None]:
    """What a manifest names; of one that is damaged nothing, for everything is then sent again."""
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        files = json.loads(data)["files"]
        return {str(path): None if about is None else Blob.model_validate(about) for path, about in files.items()}
    return {}

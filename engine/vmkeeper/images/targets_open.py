"""Which target an address means, and what may be said to open it. Libraries that only one kind needs are loaded with it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import fsspec.core
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from vmkeeper.errors import EnvironmentLacks, UserError
from vmkeeper.images.addresses import public
from vmkeeper.images.targets import Target
from vmkeeper.images.targets_files import FilesTarget
from vmkeeper.images.targets_folder import FolderTarget
from vmkeeper.images.targets_http import HttpTarget, http_client

OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss")
"""Protocols of fsspec where a put is whole or not there."""

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "s3": ("key", "secret", "token", "endpoint_url", "profile", "region", "anon", "acl"),
    "sftp": ("username", "password", "key_filename", "passphrase", "known_hosts", "port"),
    "http": ("username", "password", "token", "headers", "ca", "certificate", "certificate_key", "method", "verify"),
}
"""What may be said for each kind of address; `s3` also stands for others that fsspec knows, whose own names are taken as they are."""
_ALIASES = {"s3a": "s3", "ssh": "sftp", "https": "http"}


def open_target(address: str, options: Mapping[str, Any] | None = None) -> Target:
    """The target at a folder's path or an URL (`file:`, `s3://BUCKET/FOLDER`, `sftp://USER@HOST/FOLDER`, `https://…`).

    options: see `OPTIONS`; they are never shown. Raises UserError (no such address, an option that is not known, a password in
    the address), EnvironmentLacks (a library is missing), Refused (R27), and what connecting raises.
    """
    given = dict(options or {})
    if "://" not in address and not address.startswith("file:"):
        return FolderTarget(Path(address).expanduser().absolute())
    parts = urlsplit(address)
    kind = _ALIASES.get(parts.scheme, parts.scheme)
    if parts.password is not None:
        hint = "keep them in a file: git config vmkeeper.publicCredentials FILE"
        raise UserError("credentials do not belong in an address, where others see them", where=public(address), hint=hint)
    if unknown := sorted(given.keys() - set(OPTIONS.get(kind, given))):
        raise UserError(f"{', '.join(unknown)} is not known for this target", where=public(address), hint=f"there are {', '.join(OPTIONS[kind])}")
    match kind:
        case "file":
            return FolderTarget(Path(parts.path))
        case "http":
            return _http(address, given)
        case "sftp":
            return _sftp(address, given)
    return _files(address, kind, given)


def _http(address: str, given: dict[str, Any]) -> HttpTarget:
    headers = {str(name): str(text) for name, text in dict(given.get("headers") or {}).items()}
    if "token" in given:
        headers["Authorization"] = f"Bearer {given['token']}"
    auth = (str(given["username"]), str(given.get("password", ""))) if "username" in given else None
    try:
        tls = ssl.create_default_context(cafile=given.get("ca"))
        if "certificate" in given:
            tls.load_cert_chain(given["certificate"], given.get("certificate_key"))
    except OSError as error:
        where = str(given.get("certificate") or given.get("ca"))
        raise UserError("the certificates for this target cannot be read", where=where, why=str(error)) from None
    method, digests = str(given.get("method", "PUT")).upper(), given.get("verify") == "digest"
    if method not in ("PUT", "POST"):
        raise UserError(f"files are not sent with {method}", where=public(address), hint="method is PUT or POST")
    client = http_client(address, headers=headers, auth=auth, tls=tls)
    return HttpTarget(client, address, method=cast(Literal["PUT", "POST"], method), digests=digests)


def _sftp(address: str, given: dict[str, Any]) -> FilesTarget:
    try:
        import paramiko
        from paramiko.ssh_exception import NoValidConnectionsError

        from vmkeeper.images.targets_sftp import KnownSftp
    except ImportError as error:
        raise _missing("sftp", error) from None
    parts = urlsplit(address)
    how = {name: value for name, value in {"username": parts.username, "port": parts.port}.items() if value is not None} | given
    path = parts.path or "/"

    def connect() -> FilesTarget:
        fs = KnownSftp(parts.hostname or "", **how)
        return FilesTarget(fs, path, public(address), failures=(paramiko.SSHException,))

    refused = (paramiko.BadHostKeyException, paramiko.AuthenticationException)
    return _connected(connect, address, refused, (paramiko.SSHException, NoValidConnectionsError, OSError))


def _connected(
    connect: Callable[[], FilesTarget], address: str, refused: tuple[type[Exception], ...], failures: tuple[type[Exception], ...]
) -> FilesTarget:
    try:
        return connect()
    except refused as error:
        raise UserError("the server and we do not know each other", where=public(address), why=str(error), hint=_KNOWN) from None
    except failures as error:
        raise UserError("the server cannot be reached", where=public(address), why=f"{type(error).__name__}: {error}", hint=_KNOWN) from None


_KNOWN = "its key must be in ~/.ssh/known_hosts (ssh-keyscan shows it, its owner confirms it), ours in its authorized_keys"


def _files(address: str, kind: str, given: dict[str, Any]) -> Target:
    how, failures = dict(given), cast("tuple[type[Exception], ...]", ())
    if kind == "s3":
        try:
            from aiohttp import ClientError
            from botocore.exceptions import BotoCoreError
        except ImportError as error:
            raise _missing("s3", error) from None
        failures = (BotoCoreError, ClientError)
        how |= {"client_kwargs": {"region_name": how.pop("region")}} if "region" in how else {}
        how |= {"s3_additional_kwargs": {"ACL": how.pop("acl")}} if "acl" in how else {}
        how |= {"skip_instance_cache": True, "version_aware": False}
    try:
        fs, root = fsspec.core.url_to_fs(address, use_listings_cache=False, **how)
    except (ImportError, ValueError) as error:
        why = str(error)
        raise EnvironmentLacks(
            f"nothing can be published to {public(address)}", why=why, hint="name a folder, or install the library it names"
        ) from None
    if isinstance(fs, LocalFileSystem):
        return FolderTarget(Path(root))
    if kind not in (*OBJECT_STORES, "memory") and type(fs).mv is AbstractFileSystem.mv:
        why = "it neither takes a file as a whole nor renames one, so half a file would have its name"
        raise EnvironmentLacks(f"nothing can be published to {public(address)}", why=why, hint="name a folder, s3://, sftp:// or https://")
    return FilesTarget(fs, str(root), public(address), whole=kind in OBJECT_STORES, failures=failures)


def _missing(extra: str, error: ImportError) -> EnvironmentLacks:
    return EnvironmentLacks(f"publishing over {extra} takes a library that is not here", why=str(error), hint=f"pip install 'vmkeeper[{extra}]'")

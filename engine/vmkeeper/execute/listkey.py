"""Who signs image lists: a key in a file, or a program that has the key, such as one that asks a token or a signing service.

What a program gives is put into our own packaging and verified against the certificate before anybody else sees it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from vmkeeper.errors import Refused, UserError
from vmkeeper.lists import smime
from vmkeeper.lists.smime import Certified, Signer
from vmkeeper.run import ProgramFailed, run
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.keys.x509 import verify_detached

TIMEOUT = 120.0
"""Seconds that a signer program has; it may wait for a person to touch a token."""
_SECRETS = ("VMKEEPER_PKCS12_PASSWORD", "VMKEEPER_KEY_PASSWORD")


class ListKey(Protocol):
    """What signs lists and feeds; `certified` is whose certificate it is."""

    @property
    def certified(self) -> Certified:
        """The certificate."""

    def message(self, text: str, now: datetime) -> bytes:
        """The S/MIME message around a text. Raises UserError, ProgramFailed, Refused where the signature is not good."""

    def detached(self, data: bytes, now: datetime) -> bytes:
        """A detached CMS signature (DER) over the bytes as they are. Raises the same."""


@dataclass(frozen=True, slots=True)
class FileKey:
    """A certificate with its key at hand."""

    signer: Signer

    @property
    def certified(self) -> Certified:
        """See `ListKey`."""
        return self.signer

    def message(self, text: str, now: datetime) -> bytes:  # noqa: ARG002 - a key at hand asks no clock
        """See `ListKey`."""
        return smime.sign(text, self.signer)

    def detached(self, data: bytes, now: datetime) -> bytes:  # noqa: ARG002
        """See `ListKey`."""
        return smime.detached(data, self.signer)


@dataclass(frozen=True, slots=True)
class CommandKey:
    """A certificate and the command that signs for it: it reads what is to be signed and writes a detached PKCS#7 signature or an S/MIME message.

    The command is run without a shell, and within `timeout` seconds. It gets the bytes that are signed as they are, with CRLF line
    ends where the signature is one of S/MIME, and must not change them (`openssl cms -sign -binary`).
    """

    certified: Certified
    command: tuple[str, ...]
    timeout: float = TIMEOUT

    def message(self, text: str, now: datetime) -> bytes:
        """See `ListKey`."""
        return smime.packaged(text, self._signature(smime.canonical(text), now))

    def detached(self, data: bytes, now: datetime) -> bytes:
        """See `ListKey`."""
        return self._signature(data, now)

    def _signature(self, data: bytes, now: datetime) -> bytes:
        environment = {name: text for name, text in os.environ.items() if name not in _SECRETS}
        hint = "run it by hand: it reads from its standard input and writes the signature to its standard output"
        try:
            said = run(self.command, stdin=data, env=environment, timeout=self.timeout, hint=hint).stdout
        except ProgramFailed as error:
            # The command line stays out of it: a PIN may be on it.
            raise UserError(
                "the signer program did not sign", where=self.command[0], why=error.why if error.result else error.what, hint=hint
            ) from None
        try:
            signature = smime.signature_in(said)
            check_signature(signature, data, self.certified, now)
        except Refused as error:
            way = (
                "it must sign the bytes that it reads as they are (openssl cms: -binary), detached, with the key of --certificate, SHA-256 or better"
            )
            raise Refused(error.rule, "the signer program's signature is not good", where=self.command[0], why=str(error), hint=way) from None
        return signature


def check_signature(signature: bytes, content: bytes, by: Certified, now: datetime) -> None:
    """That a detached signature over `content` is by this very certificate and good now. Raises Refused."""
    found = verify_detached(signature, content, Authorities((by.certificate,)), now, anchor="any")
    if found != by.certificate:
        raise Refused("R15", "it is by another certificate", why=str(Certified(found).subject))


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Where a publisher's key is, as options and settings name it. Passwords come from `password_file` or the environment."""

    certificate: Path | None = None
    key: Path | None = None
    pkcs12: Path | None = None
    password_file: Path | None = None
    signer: str | None = None
    """A command line."""


def list_key(files: KeyFiles, environ: Mapping[str, str]) -> ListKey:
    """The publisher's key. A PKCS #12 file goes before a signer program, and that before a certificate with its key.

    environ: VMKEEPER_PKCS12_PASSWORD or VMKEEPER_KEY_PASSWORD is a password that no file holds. Raises UserError.
    """
    if files.pkcs12 is not None:
        return FileKey(smime.load_pkcs12(files.pkcs12, _password(files, environ, "VMKEEPER_PKCS12_PASSWORD")))
    if files.certificate is None:
        raise _missing("--certificate", "certificate")
    if files.signer is not None:
        return CommandKey(smime.load_certificate(files.certificate)[0], _words(files.signer))
    if files.key is None:
        raise _missing("--key", "key")
    return FileKey(smime.load_signer(files.certificate, files.key, _password(files, environ, "VMKEEPER_KEY_PASSWORD")))


def _words(command: str) -> tuple[str, ...]:
    try:
        words: Sequence[str] = shlex.split(command)
    except ValueError as error:
        raise UserError("the signer program's command line cannot be read", where=command, why=str(error)) from None
    if not words:
        raise UserError("the signer program is not named", hint="give --signer 'PROGRAM ARGUMENTS'")
    return tuple(words)


def _password(files: KeyFiles, environ: Mapping[str, str], variable: str) -> bytes | None:
    if files.password_file is None:
        return environ[variable].encode() if variable in environ else None
    try:
        return files.password_file.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise UserError("the password's file cannot be read", where=str(files.password_file), why=error.strerror or "") from None


def _missing(option: str, name: str) -> UserError:
    hint = f"give {option}, set VMKEEPER_{name.upper()}, or: git config vmkeeper.{name} PATH"
    return UserError(f"{option} is not given", hint=f"{hint}; or give --pkcs12 FILE, or --signer COMMAND with --certificate")

"""OpenPGP through gpg: the user's own agent signs, a throw-away home verifies.

Verifying never touches the user's keyring, network or configuration, and accepts only what gpg's status lines and
our own reading of the packets say alike (rule R32). gpg's exit status alone is never taken for a verdict.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import gnupg

from vmkeeper.errors import Refused, UserError
from vmkeeper.run import environment, program, run
from vmkeeper.trust.keys.interface import PinnedOpenPGPKey, SignedBy
from vmkeeper.trust.keys.packets import HASHES, Certificate, normalised, read_certificate, read_signature
from vmkeeper.values import sha256_hex

_OPTIONS = (
    "--no-options",
    "--no-autostart",
    "--no-auto-key-retrieve",
    "--no-auto-check-trustdb",
    "--disable-dirmngr",
    "--trust-model",
    "always",
    "--weak-digest",
    "SHA1",
)
_SOCKET_PATH = 107
"""Bytes that the address of a Unix socket has room for on Linux."""
_VALIDSIG = re.compile(
    r"^\[GNUPG:\] VALIDSIG (?P<key>[0-9A-F]{40}) \S+ [0-9]+ \S+ \S+ \S+ [0-9]+ (?P<hash>[0-9]+) (?P<kind>[0-9A-F]{2}) (?P<primary>[0-9A-F]{40})$",
    re.MULTILINE,
)
_ASKING = ("GPG_TTY", "DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "PINENTRY_USER_DATA")
"""What gpg-agent needs to ask a person for a PIN."""


class GpgVerifier:
    """Verifies through gpg with one temporary home a certificate; a context manager that removes them."""

    def __init__(self) -> None:
        self._program = program("gpg", package="gnupg")
        self._homes: dict[str, tuple[Any, Certificate, Path]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary homes."""
        for _, _, home in self._homes.values():
            shutil.rmtree(home, ignore_errors=True)
        self._homes.clear()

    def verify(self, key: PinnedOpenPGPKey, signed: bytes, signature: str, now: datetime) -> SignedBy:
        """See `OpenPGPVerifier`. A key that expired before `now` is told, not refused; a revoked one is refused."""
        packet = read_signature(signature, signed)
        gpg, certificate, home = self._home(key)
        for part in (certificate.keys[0], certificate.key(packet.issuer)):
            if part is None:
                raise Refused("R10", "the signature is by a key that is not pinned", why=packet.issuer)
            if part.weakness:
                raise Refused("R11", "the key is too weak", why=part.weakness, hint="use ed25519, or RSA of 2048 bits or more")
        moment = max(int(now.timestamp()), packet.created)
        gpg.options = [*_OPTIONS, "--faked-system-time", f"{moment}!"]
        file = home / "signature.asc"
        file.write_text(signature)
        result = gpg.verify_data(str(file), signed)
        self._judge(result, packet.issuer, certificate, packet.hash)
        made = datetime.fromtimestamp(packet.created, UTC)
        return SignedBy(f"openpgp:{certificate.fingerprint}", made, "the key has expired" if result.key_status else "")

    def _judge(self, result: Any, issuer: str, certificate: Certificate, digest: str) -> None:
        lines = _VALIDSIG.findall(result.stderr)
        news = result.stderr.count("[GNUPG:] NEWSIG")
        if "[GNUPG:] REVKEYSIG " in result.stderr or "[GNUPG:] KEYREVOKED" in result.stderr:
            raise Refused(
                "R12", "the key has been revoked", why=certificate.fingerprint, hint="the endorser signs with another key, which the site pins"
            )
        expired = "[GNUPG:] EXPKEYSIG " in result.stderr
        clean = result.valid and not result.problems and result.key_status is None and result.returncode == 0
        if len(lines) != 1 or news != 1 or len(result.sig_info) != 1 or not (clean or expired):
            raise Refused("R10", "gpg does not call the signature good", why=str(result.status or "no signature"))
        made_by, number, kind, primary = lines[0]
        if (made_by, primary) != (issuer, certificate.fingerprint):
            raise Refused("R10", "the signature is by another key than the pinned one", why=f"{made_by} of {primary}")
        if kind != "00" or HASHES.get(int(number)) != digest:
            raise Refused("R11", "gpg reads another kind of signature than we do", why=f"hash {number}, class {kind}")

    def _home(self, key: PinnedOpenPGPKey) -> tuple[Any, Certificate, Path]:
        name = sha256_hex(key.armour.encode())
        if name not in self._homes:
            certificate = read_certificate(key.armour)
            home = short_folder()
            try:
                self._homes[name] = (self._import(home, key, certificate), certificate, home)
            except BaseException:
                shutil.rmtree(home, ignore_errors=True)
                raise
        found = self._homes[name][1].fingerprint
        if found != key.fingerprint:
            raise Refused("R10", "the pinned key has another fingerprint than the pins say", why=f"{found}, not {key.fingerprint}")
        return self._homes[name]

    def _import(self, home: Path, key: PinnedOpenPGPKey, certificate: Certificate) -> Any:
        gpg = gnupg.GPG(gpgbinary=self._program, gnupghome=str(home), options=list(_OPTIONS), env=environment({"HOME": str(home)}))
        imported = gpg.import_keys(key.armour)
        held = [entry["fingerprint"] for entry in gpg.list_keys()]
        if held != [certificate.fingerprint] or imported.sec_read not in (0, "0"):
            raise Refused(
                "R10",
                "gpg does not take the pinned key",
                why=f"it holds {', '.join(held) or 'no key'}",
                hint="export the key again; its self-signatures must not be SHA-1",
            )
        return gpg


def short_folder() -> Path:
    """A new folder with mode 0700 whose path leaves room for gpg's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="vmk-"))
    if len(os.fsencode(folder / "S.gpg-agent.browser")) > _SOCKET_PATH:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="vmk-", dir="/tmp"))
    return folder


def primary_fingerprint(key: str) -> str:
    """The fingerprint of the primary key that the user's gpg finds for `key` (id, fingerprint, e-mail address).

    Raises UserError where there is no such secret key, or several.
    """
    asked = run([program("gpg", package="gnupg"), "--batch", "--with-colons", "--list-secret-keys", "--", key.rstrip("!")], check=False)
    records = [line.split(":") for line in asked.text.splitlines()]
    found = [after[9] for record, after in pairwise(records) if record[0] == "sec" and after[0] == "fpr"]
    if len(found) != 1:
        raise UserError(
            f"gpg has {'no secret key' if not found else 'several secret keys'} for {key}",
            why=", ".join(found),
            hint="name the key by its full fingerprint (gpg --list-secret-keys), with --key or git config user.signingKey",
        )
    return found[0]


def sign(key: str, data: bytes) -> str:
    """An armoured signature over `data` by a key of the user's gpg, in the form that `read_signature` takes.

    gpg-agent asks for the PIN or the passphrase. Raises UserError or ProgramFailed where gpg cannot sign.
    """
    asking = {**_terminal(), **{name: os.environ[name] for name in _ASKING if name in os.environ}}
    command = [program("gpg", package="gnupg"), "--batch", "--armor", "--no-comments", "--no-emit-version", "--digest-algo", "SHA512"]
    made = run(
        [*command, "--detach-sign", "--local-user", key],
        stdin=data,
        env=asking,
        hint="check that gpg can sign: echo test | gpg --clearsign; for a token, that it is plugged in",
    )
    return normalised(made.text, data)


def _terminal() -> dict[str, str]:
    """Where a pinentry without windows asks; gpg cannot find it by itself, for its input is no terminal."""
    try:
        return {"GPG_TTY": os.ttyname(2)}
    except OSError:
        return {}

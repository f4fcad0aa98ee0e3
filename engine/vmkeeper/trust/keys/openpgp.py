"""OpenPGP through gpg: the user's own agent signs, a throw-away home verifies.

Verifying never touches the user's keyring, network or configuration, and accepts only what gpg's status lines and
our own reading of the packets say alike (rule R32). gpg's exit status alone is never taken for a verdict.
Each certificate has a home of its own, so no signature is ever judged by another key. gpg starts once for many
signatures: each goes to it as a signed message (RFC 9580 section 10.3), the signature's packet before the bytes it covers.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

from vmkeeper.errors import Refused, UserError
from vmkeeper.run import Result, program, run
from vmkeeper.trust.keys.armour import decode_public_key
from vmkeeper.trust.keys.interface import Claim, HeldOpenPGPKey, SignedBy
from vmkeeper.trust.keys.packets import literal, normalised, read_certificate, read_signature
from vmkeeper.trust.keys.status import Answer, Listed, Reading, judge, read_listing, read_status

_OPTIONS = (
    "--no-options",
    "--no-tty",
    "--no-autostart",
    "--no-auto-key-retrieve",
    "--no-auto-check-trustdb",
    "--disable-dirmngr",
    "--trust-model",
    "always",
    "--weak-digest",
    "SHA1",
)
"""Not --batch: with it gpg ends at the first bad signature."""
_AT_ONCE = 1000
"""Signatures that one gpg is given."""
_SOCKET_PATH = 107
"""Bytes that the address of a Unix socket has room for on Linux."""
_ASKING = ("GPG_TTY", "DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "PINENTRY_USER_DATA")
"""What gpg-agent needs to ask a person for a PIN."""


class _Home:
    """A gpg home for one certificate."""

    def __init__(self, gpg: str) -> None:
        self.folder = short_folder()
        self._command = [gpg, "--homedir", str(self.folder), *_OPTIONS]
        self._listings: dict[int, Mapping[str, Listed]] = {}

    def take(self, armour: str) -> None:
        """Import the certificate, at a time when all of its keys are made already; `listing` tells whether gpg took it."""
        born = max(key.created for key in read_certificate(armour).keys)
        self._run(born, "--batch", "--import", stdin=decode_public_key(armour))

    def listing(self, moment: int) -> Mapping[str, Listed]:
        """The certificate's keys as gpg lists them at a time in seconds since 1970; empty where gpg did not take it."""
        if moment not in self._listings:
            self._listings[moment] = read_listing(self._run(moment, "--batch", "--with-colons", "--list-keys").stdout)
        return self._listings[moment]

    def ask(self, messages: Sequence[bytes], moment: int) -> tuple[int, list[Answer | None]]:
        """gpg's exit status and what it says about each signed message."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            files = [f"{Path(folder).name}/{number}" for number in range(len(messages))]
            for file, message in zip(files, messages, strict=True):
                (self.folder / file).write_bytes(message)
            names = "".join(f"{file}\n" for file in files).encode()
            done = self._run(moment, "--status-fd", "2", "--logger-fd", "1", "--multifile", "--verify", stdin=names)
        return done.status, read_status(done.stderr, files)

    def _run(self, moment: int, *arguments: str, stdin: bytes = b"") -> Result:
        command = [*self._command, "--faked-system-time", f"{moment}!", *arguments]
        return run(command, stdin=stdin, env={"HOME": str(self.folder)}, cwd=self.folder, check=False)


@dataclass(frozen=True, slots=True)
class _Task:
    """A claim that our own reading found nothing against."""

    claim: Claim
    armour: str
    reading: Reading

    @property
    def message(self) -> bytes:
        return self.reading.packet.data + literal(self.claim.signed)


class GpgVerifier:
    """A `KeyVerifier` for OpenPGP with one temporary gpg home a certificate; a context manager that removes them."""

    def __init__(self) -> None:
        self._program = program("gpg", package="gnupg")
        self._homes: dict[str, _Home] = {}
        self._found: dict[tuple[Claim, int], SignedBy | Refused] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary homes."""
        for home in self._homes.values():
            shutil.rmtree(home.folder, ignore_errors=True)
        self._homes.clear()

    def verify(self, claim: Claim, now: datetime) -> SignedBy:
        """See `KeyVerifier`. A signature made after `now` is judged at the time it was made; its `made` tells."""
        asked = claim, int(now.timestamp())
        if asked not in self._found:
            task = _task(claim)
            self._found[asked] = self._settle([task], max(asked[1], task.reading.packet.created))[claim]
        found = self._found[asked]
        if isinstance(found, Refused):
            raise found.with_traceback(None)
        return found

    def prepare(self, claims: Sequence[Claim], now: datetime) -> None:
        """See `KeyVerifier`. Signatures made after `now` are left to `verify`: each needs a gpg of its own."""
        moment = int(now.timestamp())
        groups: defaultdict[str, list[_Task]] = defaultdict(list)
        for claim in dict.fromkeys(claims):
            try:
                task = _task(claim)
            except Refused:
                continue
            if task.reading.packet.created <= moment and (claim, moment) not in self._found:
                groups[task.armour].append(task)
        for tasks in groups.values():
            for start in range(0, len(tasks), _AT_ONCE):
                found = self._settle(tasks[start : start + _AT_ONCE], moment)
                self._found |= {(claim, moment): outcome for claim, outcome in found.items()}

    def _settle(self, tasks: list[_Task], moment: int) -> dict[Claim, SignedBy | Refused]:
        """The answer to each task, all of one certificate.

        A good answer counts only if gpg ended with status 0, and one bad signature among many gives another one: then
        the good ones are asked again without it. Where gpg broke off, the one that it broke off at is asked alone.
        """
        home = self._home(tasks[0].armour)
        found: dict[Claim, SignedBy | Refused] = {}
        pending = [tasks]
        while pending:
            asked = pending.pop()
            status, answers = home.ask([task.message for task in asked], moment)
            good, silent = [], []
            for task, answer in zip(asked, answers, strict=True):
                outcome = _outcome(answer, home.listing(moment), task.reading, moment)
                if outcome is None:
                    silent.append(task)
                elif status != 0 and isinstance(outcome, SignedBy):
                    good.append(task)
                else:
                    found[task.claim] = outcome
            if len(asked) > 1:
                parts = [silent[:1], silent[1:], *([good] if len(good) < len(asked) else [[task] for task in good])]
                pending += [part for part in parts if part]
            elif good or silent:
                found[asked[0].claim] = Refused("R10", "gpg does not call the signature good", why=f"it ended with status {status}")
        return found

    def _home(self, armour: str) -> _Home:
        if armour not in self._homes:
            self._homes[armour] = _Home(self._program)
            self._homes[armour].take(armour)
        return self._homes[armour]


def _task(claim: Claim) -> _Task:
    key = claim.key
    assert isinstance(key, HeldOpenPGPKey)
    packet, certificate = read_signature(claim.signature, claim.signed), read_certificate(key.armour)
    primary, part = certificate.keys[0], certificate.key(packet.issuer)
    if certificate.fingerprint != key.fingerprint:
        why = f"{certificate.fingerprint}, not {key.fingerprint}"
        raise Refused("R10", "the pinned key has another fingerprint than the pins say", why=why)
    if part is None:
        raise Refused("R10", "the signature is by a key that is not pinned", why=packet.issuer)
    for weakness in (primary.weakness, part.weakness):
        if weakness:
            raise Refused("R11", "the key is too weak", why=weakness, hint="use ed25519, or RSA of 2048 bits or more")
    return _Task(claim, key.armour, Reading(packet, primary.fingerprint, part.material))


def _outcome(answer: Answer | None, listing: Mapping[str, Listed], reading: Reading, moment: int) -> SignedBy | Refused | None:
    try:
        return None if answer is None else judge(answer, listing, reading, moment)
    except Refused as error:
        return error


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
    records = [line.split(":") for line in asked.text.split("\n")]
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

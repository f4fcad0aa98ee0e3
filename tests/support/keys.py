"""Keys for tests: real gpg and ssh-keygen keys in temporary folders, and a security key in software."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vmkeeper.model.keys import SSHKey
from vmkeeper.trust.keys.armour import armour
from vmkeeper.trust.keys.interface import HeldKey, HeldOpenPGPKey
from vmkeeper.trust.keys.openpgp import short_folder
from vmkeeper.trust.keys.ssh import read_public_key

BORN = datetime(2026, 1, 1, tzinfo=UTC)
"""When keys were made."""
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ISSUED = NOW - timedelta(days=1)
Sign = Callable[[bytes], str]


@dataclass(frozen=True)
class Signer:
    """A key as a site pins it, and the way to sign with it."""

    key: HeldKey
    sign: Sign

    @property
    def id(self) -> str:
        """The key as statements name it."""
        if isinstance(self.key, HeldOpenPGPKey):
            return f"openpgp:{self.key.fingerprint}"
        assert isinstance(self.key, SSHKey)
        return f"ssh:{read_public_key(self.key.key).fingerprint}"


class GpgHome:
    """A gpg home of its own, whose clock the tests set. `close` ends its agent and removes it."""

    def __init__(self) -> None:
        self.path = short_folder()

    def run(self, *arguments: str, data: bytes = b"", at: datetime = BORN, check: bool = True) -> bytes:
        command = ["gpg", "--homedir", str(self.path), "--batch", "--yes", "--faked-system-time", f"{int(at.timestamp())}!", *arguments]
        done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=120)
        assert not check or done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    def make(self, name: str, algorithm: str = "ed25519", usage: str = "sign", expires: str = "0", *options: str) -> str:
        """Make a key without a passphrase; its fingerprint."""
        self.run(
            "--passphrase",
            "",
            "--pinentry-mode",
            "loopback",
            *options,
            "--quick-generate-key",
            f"{name} <{name}@example.org>",
            algorithm,
            usage,
            expires,
        )
        return self.fingerprint(name)

    def fingerprint(self, name: str) -> str:
        lines = self.run("--with-colons", "--list-keys", f"<{name}@example.org>").decode().splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr:"))

    def export(self, fingerprint: str, *options: str) -> str:
        return self.run("--armor", *options, "--export", fingerprint).decode()

    def signer(self, fingerprint: str, *options: str, at: datetime = ISSUED) -> Signer:
        key = HeldOpenPGPKey(type="openpgp", fingerprint=fingerprint, armour=self.export(fingerprint))
        flags = ("--armor", "--no-comments", "--no-emit-version", *(options or ("--digest-algo", "SHA512")))
        return Signer(key, lambda data: self.run(*flags, "--local-user", fingerprint, "--detach-sign", data=data, at=at).decode())

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.path), "--kill", "all"], check=False, timeout=60)
        shutil.rmtree(self.path, ignore_errors=True)


def ssh_key(folder: Path, kind: str = "ed25519", bits: int | None = None) -> Path:
    """A private key file without a passphrase, its .pub beside it."""
    file = folder / f"{kind}-{bits or 0}-{len(list(folder.iterdir()))}"
    size = ["-b", str(bits)] if bits else []
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-C", "", "-f", file], check=True, timeout=120)
    return file


def ssh_public(file: Path) -> str:
    return " ".join(file.with_name(file.name + ".pub").read_text().split()[:2])


def ssh_signer(file: Path, *options: str, namespace: str = "git") -> Signer:
    def sign(data: bytes) -> str:
        command = ["ssh-keygen", "-Y", "sign", "-n", namespace, *options, "-f", str(file)]
        return subprocess.run(command, input=data, capture_output=True, check=True, timeout=60).stdout.decode()

    return Signer(SSHKey(type="ssh", key=ssh_public(file)), sign)


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def sshsig(
    public: bytes,
    inner: bytes,
    *,
    namespace: bytes = b"git",
    digest: bytes = b"sha512",
    version: int = 1,
    reserved: bytes = b"",
    magic: bytes = b"SSHSIG",
) -> str:
    """An armoured SSHSIG from its parts."""
    parts = (public, namespace, reserved, digest, inner)
    return armour("SSH", magic + version.to_bytes(4, "big") + b"".join(map(_string, parts)))


def to_sign(data: bytes, namespace: bytes = b"git", digest: str = "sha512") -> bytes:
    """The bytes that an SSH key signs for an SSHSIG over `data`."""
    return b"SSHSIG" + b"".join(map(_string, (namespace, b"", digest.encode(), hashlib.new(digest, data).digest())))


class SecurityKey:
    """A security key in software: an sk-ssh-ed25519 key with its flags and counter."""

    TYPE = b"sk-ssh-ed25519@openssh.com"

    def __init__(self, application: bytes = b"ssh:") -> None:
        self._private = Ed25519PrivateKey.generate()
        self.point = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.application = application

    @property
    def blob(self) -> bytes:
        return b"".join(map(_string, (self.TYPE, self.point, self.application)))

    def signer(self, flags: int = 1, counter: int = 7) -> Signer:
        def sign(data: bytes) -> str:
            tail = bytes([flags]) + counter.to_bytes(4, "big")
            raw = self._private.sign(hashlib.sha256(self.application).digest() + tail + hashlib.sha256(to_sign(data)).digest())
            return sshsig(self.blob, _string(self.TYPE) + _string(raw) + tail)

        return Signer(SSHKey(type="ssh", key=f"{self.TYPE.decode()} {base64.b64encode(self.blob).decode()}"), sign)

    def plain_signer(self) -> Signer:
        """The same point, signing as a plain ssh-ed25519 key."""
        blob = b"".join(map(_string, (b"ssh-ed25519", self.point)))

        def sign(data: bytes) -> str:
            return sshsig(blob, _string(b"ssh-ed25519") + _string(self._private.sign(to_sign(data))))

        return Signer(SSHKey(type="ssh", key=f"ssh-ed25519 {base64.b64encode(blob).decode()}"), sign)

"""Keys of every kind for made-up repositories, and the signatures that they make. Nothing here comes from the implementation under test.

Forms: OpenSSH's PROTOCOL.sshsig and PROTOCOL.u2f; OpenPGP is gpg's own.
"""

from __future__ import annotations

import atexit
import base64
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

BORN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ISSUED = NOW - timedelta(days=1)
Sign = Callable[[bytes, datetime], str]


@dataclass(frozen=True)
class Signer:
    """`id`: how statements name it. `listed`, `held`: how documents and pins do. `files`: what it needs below endorsers/."""

    id: str
    listed: dict[str, Any]
    held: dict[str, Any]
    sign: Sign
    files: dict[str, bytes] = field(default_factory=dict)

    def marked(self, **state: Any) -> Signer:
        """The same key with `retired` or `compromised_since`."""
        return replace(self, listed={**self.listed, **state}, held={**self.held, **state})

    def at(self, moment: datetime) -> Signer:
        """The same key, whose clock always shows that moment."""
        return replace(self, sign=lambda data, _: self.sign(data, moment))


def ready(signer: Signer | Callable[[], Signer]) -> Signer:
    """The key, made when it is first needed."""
    return signer if isinstance(signer, Signer) else signer()


def block(label: str, data: bytes, width: int) -> str:
    """Text between BEGIN and END lines."""
    text = base64.b64encode(data).decode()
    lines = [text[start : start + width] for start in range(0, len(text), width)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


# SSH


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _mpint(number: int) -> bytes:
    return _string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def sshsig(public: bytes, inner: bytes, namespace: bytes = b"git", digest: bytes = b"sha512") -> str:
    parts = (public, namespace, b"", digest, inner)
    return block("SSH SIGNATURE", b"SSHSIG" + (1).to_bytes(4, "big") + b"".join(map(_string, parts)), 70)


def _to_sign(data: bytes, namespace: bytes, digest: str) -> bytes:
    return b"SSHSIG" + b"".join(map(_string, (namespace, b"", digest.encode(), hashlib.new(digest, data).digest())))


def _ssh(kind: bytes, public: bytes, make: Callable[[bytes], bytes], namespace: bytes = b"git", digest: str = "sha512") -> Signer:
    key = {"type": "ssh", "key": f"{kind.decode()} {base64.b64encode(public).decode()}"}
    fingerprint = base64.b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")

    def sign(data: bytes, _: datetime) -> str:
        return sshsig(public, make(_to_sign(data, namespace, digest)), namespace, digest.encode())

    return Signer(f"ssh:SHA256:{fingerprint}", key, key, sign)


def _seed(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def _point(private: Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def ssh(name: str, namespace: bytes = b"git", digest: str = "sha512") -> Signer:
    """An ed25519 key that is always the same for a name."""
    private, kind = _seed(name), b"ssh-ed25519"
    public = _string(kind) + _string(_point(private))
    return _ssh(kind, public, lambda data: _string(kind) + _string(private.sign(data)), namespace, digest)


def security_key(name: str, flags: int = 1, *, as_plain: bool = False) -> Signer:
    """A security key in software; without flag 1 nobody touched it. as_plain: its point signs as an ordinary key."""
    if as_plain:
        return ssh(name)
    private, kind, application = _seed(name), b"sk-ssh-ed25519@openssh.com", b"ssh:"
    public = b"".join(map(_string, (kind, _point(private), application)))

    def make(data: bytes) -> bytes:
        tail = bytes([flags]) + (7).to_bytes(4, "big")
        raw = private.sign(hashlib.sha256(application).digest() + tail + hashlib.sha256(data).digest())
        return _string(kind) + _string(raw) + tail

    return _ssh(kind, public, make)


@cache
def ssh_ecdsa(name: str) -> Signer:
    private, kind = ec.derive_private_key(int.from_bytes(hashlib.sha256(name.encode()).digest(), "big") >> 1, ec.SECP256R1()), b"ecdsa-sha2-nistp256"
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def make(data: bytes) -> bytes:
        numbers = decode_dss_signature(private.sign(data, ec.ECDSA(hashes.SHA256())))
        return _string(kind) + _string(b"".join(map(_mpint, numbers)))

    return _ssh(kind, b"".join(map(_string, (kind, b"nistp256", point))), make)


@cache
def ssh_rsa(name: str, bits: int = 2048, algorithm: str = "rsa-sha2-512") -> Signer:
    return _ssh_rsa(rsa_key(f"ssh {name}", bits), algorithm)


def _ssh_rsa(private: rsa.RSAPrivateKey, algorithm: str) -> Signer:
    numbers = private.public_key().public_numbers()
    hashed: hashes.HashAlgorithm = hashes.SHA1() if algorithm == "ssh-rsa" else hashes.SHA512()

    def make(data: bytes) -> bytes:
        return _string(algorithm.encode()) + _string(private.sign(data, padding.PKCS1v15(), hashed))

    return _ssh(b"ssh-rsa", _string(b"ssh-rsa") + _mpint(numbers.e) + _mpint(numbers.n), make)


@cache
def rsa_key(name: str, bits: int) -> rsa.RSAPrivateKey:
    """One key for each name and size as long as the process lives."""
    return rsa.generate_private_key(65537, bits)


def ssh_of_rsa(name: str) -> Signer:
    """The key pair of the certificate of that name, as an SSH key."""
    return _ssh_rsa(rsa_key(f"x509 {name}", 2048), "rsa-sha2-512")


# OpenPGP, by gpg


@cache
def _home() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="vmk-", dir="/tmp"))
    folder.chmod(0o700)

    def close() -> None:
        subprocess.run(["gpgconf", "--homedir", str(folder), "--kill", "all"], check=False, capture_output=True, timeout=60)
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(close)
    return folder


def gpg(*words: str, data: bytes = b"", at: datetime = BORN) -> bytes:
    command = ["gpg", "--homedir", str(_home()), "--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""]
    command += ["--faked-system-time", f"{int(at.timestamp())}!", *words]
    done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=120, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


@cache
def _fingerprint(address: str, algorithm: str, expires: str, subkey: str) -> str:
    gpg("--quick-generate-key", f"<{address}>", algorithm, "sign", expires)
    fingerprint = next(line.split(":")[9] for line in _listing(address) if line.startswith("fpr:"))
    if subkey:
        gpg("--quick-add-key", fingerprint, subkey, "sign", "0")
    return fingerprint


def _listing(address: str) -> list[str]:
    return gpg("--with-colons", "--list-keys", f"<{address}>").decode().splitlines()


@cache
def openpgp(name: str, *options: str, algorithm: str = "ed25519", expires: str = "0", subkey: str = "", by_subkey: bool = True) -> Signer:
    """A key of gpg's. options: for signing. expires: as gpg writes it, from 2026-01-01. subkey: algorithm of a signing subkey, which signs."""
    address = f"{name}.{algorithm}.{expires}.{subkey}@example.org"
    fingerprint = _fingerprint(address, algorithm, expires, subkey)
    user = fingerprint if by_subkey else f"{fingerprint}!"

    @cache
    def sign(data: bytes, at: datetime) -> str:
        flags = ("--armor", "--no-comments", "--no-emit-version", *(options or ("--digest-algo", "SHA512")))
        return gpg(*flags, "--local-user", user, "--detach-sign", data=data, at=at).decode()

    return _openpgp(fingerprint, gpg("--armor", "--export", fingerprint), sign)


def revoked(name: str) -> Signer:
    """A key whose certificate holds its owner's revocation; it signs as before."""
    whole = openpgp(name)
    fingerprint = whole.listed["fingerprint"]
    revocation = (_home() / "openpgp-revocs.d" / f"{fingerprint}.rev").read_text().replace(":-----BEGIN", "-----BEGIN")
    with tempfile.TemporaryDirectory(dir=_home()) as other:
        words = ["gpg", "--homedir", other, "--batch", "--faked-system-time", f"{int(ISSUED.timestamp())}!"]
        for data in (whole.held["armour"].encode(), revocation.encode()):
            subprocess.run([*words, "--import"], input=data, capture_output=True, check=True, timeout=60)
        exported = subprocess.run([*words, "--armor", "--export", fingerprint], capture_output=True, check=True, timeout=60).stdout
    return _openpgp(fingerprint, exported, whole.sign)


def secret(signer: Signer) -> bytes:
    """The secret key of one of gpg's keys, armoured."""
    return gpg("--armor", "--export-secret-keys", signer.listed["fingerprint"])


def openpgp_of(signer: Signer, number: int = 0) -> Signer:
    """An ed25519 key of gpg's, or its subkey of that number, as an SSH key; it cannot sign here."""
    listing = gpg("--with-colons", "--list-keys", signer.listed["fingerprint"]).decode().splitlines()
    fingerprint = [line.split(":")[9] for line in listing if line.startswith("fpr:")][number]
    public = base64.b64decode(gpg("--export-ssh-key", f"{fingerprint}!").split()[1])
    return _ssh(b"ssh-ed25519", public, lambda _: b"")


def _openpgp(fingerprint: str, armour: bytes, sign: Sign) -> Signer:
    listed = {"type": "openpgp", "fingerprint": fingerprint, "file": f"keys/{fingerprint}.asc"}
    held = {"type": "openpgp", "fingerprint": fingerprint, "armour": armour.decode()}
    return Signer(f"openpgp:{fingerprint}", listed, held, sign, {listed["file"]: armour})

"""SSH signatures (SSHSIG): ssh-keygen and the agent sign, `cryptography` verifies.

The namespace is always git's. Private keys are never read here. The type of the key in a signature must be the
type that is pinned: a security key (sk-) is never taken for a plain one. Form: OpenSSH's PROTOCOL.sshsig, PROTOCOL.u2f.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from vmkeeper.errors import Refused, UserError
from vmkeeper.model.keys import SSHKey
from vmkeeper.run import program, run
from vmkeeper.trust.keys.armour import armour, dearmour, decode_signature
from vmkeeper.trust.keys.interface import Claim, SignedBy
from vmkeeper.trust.keys.primitives import CURVES, RSA_HASHES, verify_ecdsa, verify_ed25519, verify_rsa
from vmkeeper.trust.keys.public_form import of_modulus, of_point

NAMESPACE = b"git"
_MAGIC = b"SSHSIG"
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_ED25519, _RSA = b"ssh-ed25519", b"ssh-rsa"
_SK_ED25519 = b"sk-ssh-ed25519@openssh.com"
_ECDSA = {b"ecdsa-sha2-" + curve: curve for curve in CURVES}
_SK_ECDSA = {b"sk-ecdsa-sha2-nistp256@openssh.com": b"nistp256"}
RSA_BITS = range(2048, 16385)
_USER_PRESENT = 0x01


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An SSH public key: its type, such as ssh-ed25519, and the whole blob."""

    type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` writes it: `SHA256:` and base64."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def material(self) -> str:
        """The public numbers, as `public_form` writes them. Raises Refused: R10 for a malformed key, R11 for a type that is not taken."""
        return _parts(self.blob).material


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a public key's blob holds; what its type has not is left empty."""

    type: bytes
    curve: bytes = b""
    point: bytes = b""
    exponent: int = 0
    modulus: int = 0
    application: bytes | None = None
    """Of a security key."""

    @property
    def material(self) -> str:
        if self.type == _RSA:
            return of_modulus(self.modulus)
        return of_point(CURVES[self.curve][0].name if self.curve else "ed25519", self.point)


@dataclass(frozen=True, slots=True)
class _Signature:
    key: bytes
    namespace: bytes
    hash: bytes
    type: bytes
    rest: bytes
    """What follows the type inside the signature."""


class _Reader:
    """Reads SSH's strings and numbers off a blob; whatever is short is refused."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self, count: int) -> bytes:
        if count > len(self._data):
            raise Refused("R10", "the SSH data is cut off")
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def integer(self) -> int:
        """A positive mpint in its shortest form (RFC 4251 section 5)."""
        data = self.string()
        value = int.from_bytes(data, "big")
        if not data or data[0] & 0x80 or data != value.to_bytes(value.bit_length() // 8 + 1, "big"):
            raise Refused("R10", "a number in the SSH data is not in its shortest form")
        return value

    def rest(self) -> bytes:
        return self.take(len(self._data))

    def end(self) -> None:
        if self._data:
            raise Refused("R10", "bytes follow the SSH data", why=f"{len(self._data)} bytes")


def read_public_key(text: str) -> PublicKey:
    """Read `TYPE BASE64`, as in a .pub file, a comment left out. Raises Refused (R10) for anything else."""
    kind, _, encoded = text.partition(" ")
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("R10", "the SSH key is not base64", why=str(error)) from None
    if base64.b64encode(blob).decode() != encoded or _Reader(blob).string() != kind.encode():
        raise Refused("R10", "the SSH key says one type and holds another", why=kind)
    return PublicKey(kind, blob)


def verify(key: str, signed: bytes, signature: str) -> SignedBy:
    """Check an armoured SSHSIG over `signed` against the pinned key `TYPE BASE64`.

    Raises Refused: R10 for a bad signature, another key or namespace, R11 for a weak or unknown algorithm.
    """
    pinned, made = read_public_key(key), _read_signature(signature)
    if made.key != pinned.blob:
        raise Refused("R10", "the signature is by another key than the pinned one", why=signing_key(signature).fingerprint)
    if made.namespace != NAMESPACE:
        raise Refused("R10", "the SSH signature was made for something else than git", why=f"namespace {made.namespace!r}")
    if made.hash not in _HASHES:
        raise Refused("R11", "the SSH signature uses a hash that is not taken", why=repr(made.hash))
    digest = _HASHES[made.hash](signed).digest()
    message = _MAGIC + b"".join(map(_string, (made.namespace, b"", made.hash, digest)))
    parts = _parts(pinned.blob)
    if not _good(parts, made, message):
        raise Refused("R10", "the SSH signature is not over this tag by the pinned key", why=pinned.fingerprint)
    return SignedBy(f"ssh:{pinned.fingerprint}", parts.material)


def signing_key(signature: str) -> PublicKey:
    """The key that an armoured SSHSIG says it is by."""
    blob = _read_signature(signature).key
    return PublicKey(_Reader(blob).string().decode(errors="replace"), blob)


class SSHVerifier:
    """A `KeyVerifier` for SSH keys; it keeps nothing."""

    def verify(self, claim: Claim, now: datetime) -> SignedBy:  # noqa: ARG002 - SSH signatures carry no time
        """See `KeyVerifier`."""
        assert isinstance(claim.key, SSHKey)
        return verify(claim.key.key, claim.signed, claim.signature)

    def prepare(self, claims: Sequence[Claim], now: datetime) -> None:
        """Nothing is cheaper together."""


def _parts(blob: bytes) -> _Parts:
    reader = _Reader(blob)
    kind = reader.string()
    if kind in (_ED25519, _SK_ED25519):
        parts = _Parts(kind, point=reader.string(), application=reader.string() if kind == _SK_ED25519 else None)
    elif kind in _ECDSA or kind in _SK_ECDSA:
        parts = _Parts(kind, curve=reader.string(), point=reader.string(), application=reader.string() if kind in _SK_ECDSA else None)
        if parts.curve != {**_ECDSA, **_SK_ECDSA}[kind]:
            raise Refused("R10", "the SSH key says one curve and holds another", why=f"{kind!r}, {parts.curve!r}")
    elif kind == _RSA:
        parts = _Parts(kind, exponent=reader.integer(), modulus=reader.integer())
    else:
        hint = "use ssh-ed25519, ecdsa, ssh-rsa of 2048 bits or more, or a security key"
        raise Refused("R11", "SSH keys of this type are not taken", why=repr(kind), hint=hint)
    reader.end()
    return parts


def _good(key: _Parts, made: _Signature, message: bytes) -> bool:
    if key.type == _RSA:
        return _good_rsa(key, made, message)
    if made.type != key.type:
        raise Refused("R10", "the signature has another type than its key", why=repr(made.type))
    raw, signed = (_whole(made.rest), message) if key.application is None else _token(made.rest, key.application, message)
    return verify_ecdsa(key.curve, key.point, signed, _der(raw)) if key.curve else verify_ed25519(key.point, signed, raw)


def _good_rsa(key: _Parts, made: _Signature, message: bytes) -> bool:
    bits = key.modulus.bit_length()
    if bits not in RSA_BITS:
        raise Refused("R11", "the RSA key has a length that is not taken", why=f"{bits} bits", hint="use 2048 bits or more")
    if made.type not in RSA_HASHES:
        raise Refused("R11", "the RSA signature uses a hash that is not taken", why=repr(made.type), hint="sign with rsa-sha2-512")
    return verify_rsa(key.exponent, key.modulus, made.type, message, _whole(made.rest))


def _token(rest: bytes, application: bytes, message: bytes) -> tuple[bytes, bytes]:
    """The raw signature of a security key, and the bytes that it signs (PROTOCOL.u2f, "SSH U2F signatures")."""
    reader = _Reader(rest)
    raw, flags, counter = reader.string(), reader.take(1), reader.take(4)
    reader.end()
    if not flags[0] & _USER_PRESENT:
        raise Refused("R10", "the security key signed without anybody touching it", why=f"flags {flags[0]:02x}", hint="sign again and touch the key")
    return raw, hashlib.sha256(application).digest() + flags + counter + hashlib.sha256(message).digest()


def _whole(rest: bytes) -> bytes:
    reader = _Reader(rest)
    raw = reader.string()
    reader.end()
    return raw


def _der(raw: bytes) -> bytes:
    """The two numbers of an ECDSA signature (RFC 5656 section 3.1.2) as DER."""
    reader = _Reader(raw)
    r, s = reader.integer(), reader.integer()
    reader.end()
    return encode_dss_signature(r, s)


def _read_signature(text: str) -> _Signature:
    reader = _Reader(dearmour("SSH", text))
    if reader.take(6) != _MAGIC or reader.number() != 1:
        raise Refused("R10", "this is not an SSH signature of version 1")
    key, namespace, reserved, digest, signature = (reader.string() for _ in range(5))
    reader.end()
    if reserved:
        raise Refused("R10", "the SSH signature has data in its reserved field")
    inner = _Reader(signature)
    return _Signature(key, namespace, digest, inner.string(), inner.rest())


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def is_literal(key: str) -> bool:
    """Whether git's user.signingKey holds an SSH public key itself and not the name of a file or of an OpenPGP key."""
    return key.startswith("key::") or re.match(r"(ssh|ecdsa|sk-ssh|sk-ecdsa)-\S+ \S+", key) is not None


def public_key_of(key: str) -> str:
    """`TYPE BASE64` of a key as git's user.signingKey names it: `key::…`, the key itself, or a file (public or private).

    The public half is read; where only the private file is there, ssh-keygen is asked. Raises UserError.
    """
    text = key.removeprefix("key::")
    if not is_literal(key):
        file = Path(key).expanduser()
        public = file if file.suffix == ".pub" else file.with_name(file.name + ".pub")
        if public.is_file():
            text = public.read_text(errors="replace")
        elif file.is_file() and file != public:
            text = run([program("ssh-keygen", package="openssh-client"), "-y", "-f", file], hint="put the public key beside it, in a .pub file").text
        else:
            raise UserError("there is no SSH key file", where=str(file), hint="name a public key file, or key::TYPE BASE64 for a key in your agent")
    parts = text.split()
    if len(parts) < 2:
        raise UserError("this is not an SSH public key", where=key, hint="a public key reads TYPE BASE64 COMMENT")
    return f"{parts[0]} {parts[1]}"


def sign(key: str, data: bytes) -> str:
    """An armoured SSHSIG over `data` in git's namespace, in the form that `verify` takes.

    key: as for `public_key_of`. ssh-keygen asks the agent, a token or the key file. Raises ProgramFailed.
    """
    tool = program("ssh-keygen", package="openssh-client")
    asking = {name: os.environ[name] for name in ("DISPLAY", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "WAYLAND_DISPLAY") if name in os.environ}
    hint = "add the key to your agent: ssh-add FILE; for a token, check that it is plugged in"
    with TemporaryDirectory(prefix="vmk-") as folder:
        file, agent = Path(key).expanduser(), []
        if is_literal(key):
            file, agent = Path(folder) / "key.pub", ["-U"]
            file.write_text(public_key_of(key) + "\n")
        made = run([tool, "-Y", "sign", *agent, "-n", NAMESPACE.decode(), "-f", file], stdin=data, env=asking, hint=hint)
    return armour("SSH", decode_signature("SSH", made.text))

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
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from vmkeeper.errors import Refused, UserError
from vmkeeper.run import program, run
from vmkeeper.trust.keys.armour import armour, dearmour, decode_signature
from vmkeeper.trust.keys.interface import SignedBy

NAMESPACE = b"git"
_MAGIC = b"SSHSIG"
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_CURVES: dict[bytes, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    b"nistp256": (ec.SECP256R1(), hashes.SHA256()),
    b"nistp384": (ec.SECP384R1(), hashes.SHA384()),
    b"nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
_RSA_HASHES: dict[bytes, hashes.HashAlgorithm] = {b"rsa-sha2-256": hashes.SHA256(), b"rsa-sha2-512": hashes.SHA512()}
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
    if not _good(pinned, made, message):
        raise Refused("R10", "the SSH signature is not over this tag by the pinned key", why=pinned.fingerprint)
    return SignedBy(f"ssh:{pinned.fingerprint}")


def signing_key(signature: str) -> PublicKey:
    """The key that an armoured SSHSIG says it is by."""
    blob = _read_signature(signature).key
    return PublicKey(_Reader(blob).string().decode(errors="replace"), blob)


def verify_ed25519(key: bytes, message: bytes, signature: bytes) -> bool:
    """Ed25519 (RFC 8032): 32 bytes of key, 64 bytes of signature."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def verify_ecdsa(curve: bytes, point: bytes, message: bytes, signature: bytes) -> bool:
    """ECDSA with the curve's own hash: an uncompressed point (SEC 1), the signature in DER."""
    if point[:1] != b"\x04":
        return False
    group, digest = _CURVES[curve]
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(group, point).verify(signature, message, ec.ECDSA(digest))
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


def verify_rsa(exponent: int, modulus: int, algorithm: bytes, message: bytes, signature: bytes) -> bool:
    """RSASSA-PKCS1-v1_5 with rsa-sha2-256 or rsa-sha2-512; the signature is as long as the modulus."""
    try:
        key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        key.verify(signature, message, padding.PKCS1v15(), _RSA_HASHES[algorithm])
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return len(signature) == (modulus.bit_length() + 7) // 8


def _good(pinned: PublicKey, made: _Signature, message: bytes) -> bool:
    key = _Reader(pinned.blob)
    kind = key.string()
    match kind:
        case b"ssh-ed25519":
            point = key.string()
            key.end()
            return made.type == kind and verify_ed25519(point, message, _whole(made.rest))
        case b"sk-ssh-ed25519@openssh.com":
            point, application = key.string(), key.string()
            key.end()
            raw, token = _token(made, kind, application, message)
            return verify_ed25519(point, token, raw)
        case b"ecdsa-sha2-nistp256" | b"ecdsa-sha2-nistp384" | b"ecdsa-sha2-nistp521":
            curve, point = key.string(), key.string()
            key.end()
            same = made.type == kind and kind == b"ecdsa-sha2-" + curve
            return same and verify_ecdsa(curve, point, message, _der(_whole(made.rest)))
        case b"sk-ecdsa-sha2-nistp256@openssh.com":
            curve, point, application = key.string(), key.string(), key.string()
            key.end()
            raw, token = _token(made, kind, application, message)
            return curve == b"nistp256" and verify_ecdsa(curve, point, token, _der(raw))
        case b"ssh-rsa":
            exponent, modulus = key.integer(), key.integer()
            key.end()
            return _good_rsa(exponent, modulus, made, message)
    raise Refused(
        "R11", "SSH keys of this type are not taken", why=repr(kind), hint="use ssh-ed25519, ecdsa, ssh-rsa of 2048 bits or more, or a security key"
    )


def _good_rsa(exponent: int, modulus: int, made: _Signature, message: bytes) -> bool:
    if modulus.bit_length() not in RSA_BITS:
        raise Refused("R11", "the RSA key has a length that is not taken", why=f"{modulus.bit_length()} bits", hint="use 2048 bits or more")
    if made.type not in _RSA_HASHES:
        raise Refused("R11", "the RSA signature uses a hash that is not taken", why=repr(made.type), hint="sign with rsa-sha2-512")
    return verify_rsa(exponent, modulus, made.type, message, _whole(made.rest))


def _token(made: _Signature, kind: bytes, application: bytes, message: bytes) -> tuple[bytes, bytes]:
    """The raw signature of a security key, and the bytes that it signs (PROTOCOL.u2f, "SSH U2F signatures")."""
    if made.type != kind:
        raise Refused("R10", "the signature has another type than the security key", why=repr(made.type))
    reader = _Reader(made.rest)
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

"""X.509 signatures: the user's own gpgsm, key file or token signs; openssl and our own reading both verify.

Only the given authorities count, and private keys are never read here. A tag carries its signer's certificate and no
other, so the authorities between it and the root must be among those of the site.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from vmkeeper.errors import Refused, UserError
from vmkeeper.model.keys import X509Key
from vmkeeper.run import Limits, program, run
from vmkeeper.trust.keys.armour import armour, dearmour, decode_signature
from vmkeeper.trust.keys.certificates import Authorities, issuer, load_certificates, sha256, strong_key, subject
from vmkeeper.trust.keys.chains import Anchor, Chain, chain_of, check_revocation
from vmkeeper.trust.keys.cms import SignedData, canonical, read
from vmkeeper.trust.keys.interface import Claim, SignedBy
from vmkeeper.trust.keys.names import DistinguishedName
from vmkeeper.trust.keys.public_form import of_public_key

Purpose = Literal["smimesign", "any"]
Secret = Callable[[str], str]
"""Asks a person for the passphrase or PIN of the key that it is given the name of."""
KIND = "CMS"
_PKCS11 = "pkcs11:"
_ASKING = (
    *("GPG_TTY", "DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "PINENTRY_USER_DATA"),
    *("PKCS11_MODULE_PATH", "SOFTHSM2_CONF"),
)
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - for old image lists, where a site allows it; `cms.read` gives it nowhere else
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_LIMITS = Limits(memory=1 << 30, file_size=64 << 20, cpu=30)


@dataclass(frozen=True, slots=True)
class CertificateName:
    """Which certificate a signature says it is by."""

    subject: DistinguishedName
    issuer: DistinguishedName
    sha256: str
    """Of the DER, hex."""

    @classmethod
    def of(cls, certificate: x509.Certificate) -> CertificateName:
        """The name of a certificate."""
        return cls(subject(certificate), issuer(certificate), sha256(certificate))


class X509Verifier:
    """A `KeyVerifier` for tags that git would sign with gpg.format=x509.

    The form of a tag's signature leaves one reading, so what openssl adds is its judgement of the certificate: it is asked
    once about each, with the first signature by it.
    """

    def __init__(self, authorities: Authorities) -> None:
        self._authorities = authorities
        self._judged: dict[tuple[x509.Certificate, datetime], Refused | None] = {}

    def verify(self, claim: Claim, now: datetime) -> SignedBy:
        """See `KeyVerifier`. A certificate that expired is judged at the time it did; revocation lists are always today's."""
        try:
            return self._verify(claim, now)
        except Refused as error:
            raise _for_tags(error) from None

    def prepare(self, claims: Sequence[Claim], now: datetime) -> None:
        """Nothing is cheaper by the batch."""

    def _verify(self, claim: Claim, now: datetime) -> SignedBy:
        data = dearmour(KIND, claim.signature)
        signed = read(data)
        found, until = CertificateName.of(signed.certificate), signed.certificate.not_valid_after_utc
        if not isinstance(claim.key, X509Key) or not fits(claim.key, found):
            raise Refused(
                "R10", "the signature is by another certificate than the held one", why=f"{found.subject} by {found.issuer}, {found.sha256}"
            )
        _own_verdict(signed, claim.signed)
        if data != canonical(signed):
            why = "it holds more than its signer's certificate, or other encodings"
            raise Refused("R10", "the CMS signature is not in the form we write", why=why)
        case = signed.certificate, now
        if case not in self._judged:
            self._judged[case] = self._judgement(signed, data, claim.signed, now)
        if refused := self._judged[case]:
            raise _for_tags(refused)
        return SignedBy(f"x509:{found.sha256}", of_public_key(strong_key(signed.certificate)), signed.signing_time, until)

    def _judgement(self, signed: SignedData, data: bytes, content: bytes, now: datetime) -> Refused | None:
        """Why the certificate does not serve now, or did not when it expired; openssl knows one time only, so it then checks none."""
        until = signed.certificate.not_valid_after_utc
        try:
            chain = chain_of(signed.certificate, (), self._authorities, min(now, until))
            check_revocation(chain, self._authorities, now)
            timing = ["-no_check_time"] if until <= now else ["-attime", str(int(now.timestamp()))]
            _openssl_verdict(data, content, chain, self._authorities, [*timing, "-purpose", "any"])
        except Refused as error:
            return _for_tags(error)
        return None


def verify_detached(
    signature: bytes,
    content: bytes,
    authorities: Authorities,
    now: datetime,
    *,
    purpose: Purpose = "smimesign",
    anchor: Anchor = "root",
    sha1: bool = False,
) -> x509.Certificate:
    """Verify a detached CMS signature (BER or DER) over `content`; the signer's certificate.

    purpose: what the signer's certificate must be for, as openssl names it. anchor: see `chain_of`. sha1: take a signature
    made with SHA-1; certificates must be signed with something better all the same. Whether the signer is
    the one that is expected is the caller's to compare, by decoded name. Raises Refused: R17 (form, or not over this
    content), R11 (weak digest or key), R19 (chain, validity, purpose), R12 (revoked), R18 (revocation list), R32.
    """
    signed = read(signature, sha1=sha1)
    chain = chain_of(signed.certificate, signed.others, authorities, now, anchor=anchor)
    check_revocation(chain, authorities, now)
    _own_verdict(signed, content)
    options = ["-attime", str(int(now.timestamp())), "-purpose", purpose, *(["-partial_chain"] if anchor == "any" else [])]
    _openssl_verdict(signature, content, chain, authorities, options)
    return signed.certificate


def certificate_of(signature: str) -> CertificateName:
    """Which certificate an armoured signature says it is by; nothing is verified. Raises Refused (R10, R11)."""
    try:
        return CertificateName.of(read(dearmour(KIND, signature)).certificate)
    except Refused as error:
        raise _for_tags(error) from None


def fits(key: X509Key, certificate: CertificateName) -> bool:
    """Whether a held key is about this certificate: both names by their decoded parts (R15), and the certificate where one is pinned.

    Raises Refused (R10) where the key holds something else than names.
    """
    try:
        names = DistinguishedName.parse(key.subject), DistinguishedName.parse(key.issuer)
    except ValueError as error:
        raise Refused("R10", "the held key does not name its holder and issuer", why=str(error)) from None
    return (certificate.subject, certificate.issuer) == names and key.certificate in (None, certificate.sha256)


def normalised(data: bytes, signed: bytes) -> str:
    """A detached signature over `signed` as any program wrote it (BER), armoured in the form that tags carry.

    Raises Refused: R10 where it is no good signature, R11.
    """
    try:
        made = read(data)
        _own_verdict(made, signed)
    except Refused as error:
        raise _for_tags(error) from None
    return armour(KIND, canonical(made))


def _for_tags(error: Refused) -> Refused:
    """The same refusal anew; what is wrong with the form of a list's signature (R17) is R10 in a tag."""
    return Refused("R10" if error.rule == "R17" else error.rule, error.what, why=error.why, hint=error.hint)


def _own_verdict(signed: SignedData, content: bytes) -> None:
    key, digest = signed.certificate.public_key(), _HASHES[signed.digest]
    try:
        match key:
            case rsa.RSAPublicKey() if not signed.elliptic:
                key.verify(signed.value, signed.attributes, padding.PKCS1v15(), digest)
            case ec.EllipticCurvePublicKey() if signed.elliptic:
                key.verify(signed.value, signed.attributes, ec.ECDSA(digest))
            case _:
                raise InvalidSignature
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        raise _not_over("its value is not by this key over its attributes") from None
    if hashlib.new(signed.digest, content).digest() != signed.content_digest:
        raise _not_over("its digest is another one")


def _openssl_verdict(signature: bytes, content: bytes, chain: Chain, authorities: Authorities, options: list[str]) -> None:
    """Ask openssl, which knows what is trusted of the chain. It prints content even where it fails, so its output counts only after status 0."""
    lists = [] if authorities.crls == "ignored" else [one for one in authorities.revocation_lists if any(one.issuer == by.subject for by in chain)]
    if {one.issuer for one in lists}.issuperset(one.issuer for one in chain):
        options = [*options, "-crl_check_all"]
    known = [one for one in chain if one in authorities.certificates]
    with tempfile.TemporaryDirectory(prefix="vmkeeper-cms-") as name:
        folder = Path(name)
        pem = b"".join([*(one.public_bytes(Encoding.PEM) for one in known), *(one.public_bytes(Encoding.PEM) for one in lists)])
        for file, data in (("content", content), ("signature", signature), ("known", pem)):
            (folder / file).write_bytes(data)
        command: list[str | Path] = [program("openssl"), "cms", "-verify", "-binary", "-inform", "DER", "-in", folder / "signature"]
        command += ["-content", folder / "content", "-CAfile", folder / "known", "-no-CApath", "-no-CAstore", "-auth_level", "2"]
        result = run([*command, *options, "-out", folder / "out", "-signer", folder / "signer"], check=False, timeout=60, limits=_LIMITS)
        if result.status != 0:
            raise _openssl_refuses(result.stderr.decode(errors="replace"))
        if (folder / "out").read_bytes() != content or load_certificates((folder / "signer").read_bytes()) != [chain[0]]:
            raise Refused("R32", "two readers of the signature do not agree")


def _openssl_refuses(said: str) -> Refused:
    _, of_the_chain, reason = said.partition("Verify error:")
    if of_the_chain:
        hint = "the certificate must be valid, be for this purpose and lead to an authority of this site"
        return Refused("R19", "the signer's certificate is not trusted", why=reason.splitlines()[0].strip(), hint=hint)
    return Refused("R32", "openssl does not call the signature good, we do", why=said.strip()[-300:])


def _not_over(why: str) -> Refused:
    return Refused("R17", "the signature is not over what it came with", why=why)


def identity_of(key: str, *, gpgsm: str = "gpgsm") -> CertificateName:
    """The certificate of a key of the user. key: as for `sign`. Raises UserError where there is none, or several."""
    return CertificateName.of(_certificate(key, gpgsm))


def sign(key: str, data: bytes, *, gpgsm: str = "gpgsm", secret: Secret | None = None) -> str:
    """An armoured signature over `data` in the form that tags carry, made by a tool of the user's.

    key: `CERTIFICATE.pem` with its key beside it (`usercert.pem` and `userkey.pem`, else `NAME.pem` and `NAME.key`),
    `CERTIFICATE.pem,KEY` with a key file or a PKCS#11 URI, a PKCS#11 URI alone, or whatever gpgsm knows a secret key by.
    gpgsm: the program, as git's gpg.x509.program names it. secret: asks for the passphrase of a key file or the PIN of a
    token, where one is needed; gpgsm asks by itself. Raises UserError, ProgramFailed, Refused where the result does not serve.
    """
    files = _files(key)
    made = _sign_with_openssl(_certificate(key, gpgsm), files[1], data, secret) if files else _sign_with_gpgsm(key, data, gpgsm)
    return normalised(made, data)


def _certificate(key: str, gpgsm: str) -> x509.Certificate:
    files = _files(key)
    if files is None:
        data = run([program(gpgsm), "--batch", "--armor", "--export", _fingerprint(key, gpgsm)]).stdout
    else:
        data = files[0].read_bytes() if isinstance(files[0], Path) else _from_token(files[0])
    try:
        return load_certificates(data)[0]
    except ValueError as error:
        raise UserError("there is no certificate that can be read", where=key, why=str(error), hint="give the signer's certificate as PEM") from None


def _files(key: str) -> tuple[Path | str, Path | str] | None:
    """Certificate and key, each a file or a PKCS#11 URI; None where gpgsm is to be asked."""
    if key.startswith(_PKCS11):
        return key, key
    first, _, second = key.partition(",")
    certificate = Path(first).expanduser()
    if not certificate.is_file():
        return None
    if second.startswith(_PKCS11):
        return certificate, second
    name = certificate.name
    beside = name.replace("cert", "key") if name.endswith("cert.pem") else f"{certificate.stem}.key"
    private = Path(second).expanduser() if second else certificate.with_name(beside)
    if not private.is_file():
        raise UserError("there is no key file", where=str(private), hint="name both: --key CERTIFICATE.pem,KEY.pem")
    return certificate, private


def _from_token(uri: str) -> bytes:
    attributes = [one for one in uri.partition("?")[0].split(";") if not one.startswith("type=")]
    return run([program("p11tool", package="gnutls-bin"), "--export", ";".join([*attributes, "type=cert"])], env=_asking()).stdout


def _fingerprint(key: str, gpgsm: str) -> str:
    """SHA-1, as gpgsm names certificates, of the one for which it has a secret key and which `key` finds."""
    asked = run([program(gpgsm), "--batch", "--with-colons", "--list-secret-keys", "--", key], check=False)
    found = [line.split(":")[9] for line in asked.text.splitlines() if line.startswith("fpr:")]
    if len(found) != 1:
        raise UserError(
            f"gpgsm has {'no secret key' if not found else 'several secret keys'} for {key}",
            why=", ".join(found),
            hint="name it by its fingerprint (gpgsm --list-secret-keys), or name a certificate's file or a pkcs11: URI",
        )
    return found[0]


def _sign_with_gpgsm(key: str, data: bytes, gpgsm: str) -> bytes:
    command = [program(gpgsm), "--batch", "--armor", "--include-certs", "1", "--local-user", _fingerprint(key, gpgsm), "--detach-sign"]
    hint = "check that gpgsm can sign: echo test | gpgsm --armor --detach-sign"
    return decode_signature(KIND, run(command, stdin=data, env=_asking(), hint=hint).text)


def _sign_with_openssl(certificate: x509.Certificate, key: Path | str, data: bytes, secret: Secret | None) -> bytes:
    openssl = program("openssl")
    if isinstance(key, str):
        how = ["-engine", "pkcs11", "-keyform", "engine"]
        asks, hint = "pin-" not in key, "apt-get install libengine-pkcs11-openssl; check that the token is plugged in, and its PIN"
    else:
        how, hint = [], "check that the key belongs to the certificate, and its passphrase"
        asks = run([openssl, "pkey", "-noout", "-in", key, "-passin", "pass:"], check=False).status != 0
    stdin = f"{secret(str(key))}\n".encode() if asks and secret else None
    with tempfile.TemporaryDirectory(prefix="vmk-") as folder:
        signer, signed = Path(folder) / "signer.pem", Path(folder) / "signed"
        signer.write_bytes(certificate.public_bytes(Encoding.PEM))
        signed.write_bytes(data)
        command: list[str | Path] = [openssl, "cms", "-sign", "-binary", "-md", "sha512", "-nosmimecap", "-outform", "DER"]
        command += ["-in", signed, "-signer", signer, *how, "-inkey", key, *(["-passin", "stdin"] if asks else [])]
        return run(command, stdin=stdin, env=_asking(), hint=hint).stdout


def _asking() -> dict[str, str]:
    """What a user's tools need to find a token and to ask for its PIN."""
    found = {name: os.environ[name] for name in _ASKING if name in os.environ}
    with suppress(OSError):  # a pinentry without windows asks where our messages go, for its input is no terminal
        found.setdefault("GPG_TTY", os.ttyname(2))
    return found

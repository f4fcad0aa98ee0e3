"""From a signer's certificate up to an authority that is trusted, and what its issuers' revocation lists say.

Our own reading beside openssl's; both must accept (rule R32). What is decided here: who issued whom, strength of keys and
digests (R11), validity, the right to issue and to sign (R19), revocation (R12, R18). What only openssl looks at: name
constraints, policies, extended key usage, critical extensions of certificates. Forms: RFC 5280.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import Literal, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from vmkeeper.errors import Refused
from vmkeeper.trust.keys.certificates import Authorities, issuer, strong_key, subject, weak_digest
from vmkeeper.values import format_time

Anchor = Literal["root", "any"]
Chain = tuple[x509.Certificate, ...]
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def chain_of(leaf: x509.Certificate, others: Iterable[x509.Certificate], authorities: Authorities, at: datetime, *, anchor: Anchor = "root") -> Chain:
    """The shortest chain of good certificates from a signer's to one of the authorities', which must have been valid `at` that time.

    others: certificates that may stand between but count for nothing by themselves; one with the name of an authority that
    is there is left out, so that no authority can speak for another one. anchor: "root" wants the chain to end in a
    self-signed certificate among the authorities, "any" in any of them. Raises Refused: R11, R19.
    """
    trusted, names = frozenset(authorities.certificates), frozenset(one.subject for one in authorities.certificates)
    pool = (*authorities.certificates, *(one for one in others if one.subject not in names))
    waiting: deque[Chain] = deque([(leaf,)])
    seen, fault = {leaf}, _unknown(leaf)
    while waiting:
        path = waiting.popleft()
        if path[-1] in trusted and (anchor == "any" or path[-1].issuer == path[-1].subject):
            _may_sign(leaf, at)
            return path
        if weak := weak_digest(path[-1].signature_hash_algorithm):
            fault = Refused("R11", "a certificate is signed with a weak digest", why=f"{subject(path[-1])}: {weak}", hint="have it issued anew")
            continue
        for one in pool:
            if one not in seen and _issued(one, path[-1]):
                seen.add(one)
                try:
                    _may_issue(one, path, at)
                except Refused as error:
                    fault = error
                else:
                    waiting.append((*path, one))
    raise fault


def check_revocation(chain: Chain, authorities: Authorities, now: datetime) -> None:
    """Look every certificate of a chain up in its issuer's revocation list. Raises Refused: R12 with when and why, R18."""
    if authorities.crls == "ignored":
        return
    for certificate, authority in zip(chain, (*chain[1:], chain[-1]), strict=True):
        lists = [one for one in authorities.revocation_lists if one.issuer == authority.subject]
        if not lists and authorities.crls == "when-there" and subject(authority) not in authorities.unreadable:
            continue
        faults = [_list_fault(one, authority, now) for one in lists]
        if all(faults):
            raise Refused(
                "R18",
                "there is no good revocation list of an authority",
                why=f"{subject(authority)}: {'; '.join(faults) or 'none is there that can be read'}",
                hint="run fetch-crl for the CA folder, and look at what it says",
            )
        for one in (one for one, fault in zip(lists, faults, strict=True) if not fault):
            _not_on(one, certificate)


def _not_on(revocation_list: x509.CertificateRevocationList, certificate: x509.Certificate) -> None:
    entry = revocation_list.get_revoked_certificate_by_serial_number(certificate.serial_number)
    if entry is None:
        return
    why = f"{subject(certificate)}, number {certificate.serial_number:x}, on {format_time(entry.revocation_date_utc)}: {_reason(entry)}"
    raise Refused("R12", "the certificate has been revoked", why=why, hint="its holder signs with another certificate")


def _reason(entry: x509.RevokedCertificate) -> str:
    try:
        said = [one.value.reason.value for one in entry.extensions if isinstance(one.value, x509.CRLReason)]
    except ValueError:
        return "a reason that cannot be read"
    return said[0] if said else "no reason"


def _may_sign(leaf: x509.Certificate, at: datetime) -> None:
    strong_key(leaf)
    usage = _usage(leaf)
    if usage and not (usage.digital_signature or usage.content_commitment):
        raise _refused("the signer's certificate is not for signatures", leaf)
    if not _in_force(leaf, at):
        raise _refused("the signer's certificate is not trusted", leaf, _validity(leaf, at))


def _issued(authority: x509.Certificate, issued: x509.Certificate) -> bool:
    """Whether the name and the key are those of the issuer."""
    try:
        issued.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _may_issue(authority: x509.Certificate, below: Chain, at: datetime) -> None:
    """Refuse a certificate that must not be the issuer of the last one of `below`."""
    strong_key(authority)
    limits, usage = _extension(authority, x509.BasicConstraints), _usage(authority)
    if limits is None or not limits.ca or (usage and not usage.key_cert_sign):
        raise _refused("a certificate in the chain is not an authority's", authority)
    if limits.path_length is not None and limits.path_length < len(below) - 1:
        raise _refused("there are more authorities in the chain than one of them allows", authority, f"{limits.path_length} below it")
    if not _in_force(authority, at):
        raise _refused("an authority's certificate is not trusted", authority, _validity(authority, at))


def _list_fault(revocation_list: x509.CertificateRevocationList, authority: x509.Certificate, now: datetime) -> str:
    """Why a revocation list must not be used; "" where it is good."""
    usage = _usage(authority)
    made, until = revocation_list.last_update_utc, revocation_list.next_update_utc
    if weak := weak_digest(revocation_list.signature_hash_algorithm):
        return f"it is signed with a weak digest, {weak}"
    if not revocation_list.is_signature_valid(strong_key(authority)):
        return "it is not signed by this authority"
    if usage and not usage.crl_sign:
        return "this authority's certificate is not for revocation lists"
    if any(one.critical for one in revocation_list.extensions):
        return "it covers only a part of what the authority issued"
    if made > now:
        return f"it is from {format_time(made)}, after {format_time(now)}"
    if until is None or until <= now:
        return f"it was good until {format_time(until) if until else 'no time that it names'}"
    return ""


def _in_force(certificate: x509.Certificate, at: datetime) -> bool:
    return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc


def _validity(certificate: x509.Certificate, at: datetime) -> str:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return f"it has expired or is not valid yet: {format_time(start)} to {format_time(end)}, asked for {format_time(at)}"


def _usage(certificate: x509.Certificate) -> x509.KeyUsage | None:
    return _extension(certificate, x509.KeyUsage)


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    return next((one.value for one in certificate.extensions if isinstance(one.value, kind)), None)


def _unknown(leaf: x509.Certificate) -> Refused:
    origin = "it is self-signed" if leaf.issuer == leaf.subject else f"it is issued by {issuer(leaf)}"
    return _refused("the signer's certificate is not trusted", leaf, f"{origin}, and no chain leads from it to an authority of this site")


def _refused(what: str, certificate: x509.Certificate, why: str = "") -> Refused:
    hint = "the certificate must be valid and lead to an authority of this site"
    return Refused("R19", what, why=f"{subject(certificate)}: {why}" if why else str(subject(certificate)), hint=hint)

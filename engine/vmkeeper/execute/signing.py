"""Who signs: the key that git's configuration names, and whom the policy in force knows by it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from vmkeeper.errors import Refused, UserError
from vmkeeper.model.keys import X509Key
from vmkeeper.repository.tree import Repository
from vmkeeper.trust import statement, tagobject
from vmkeeper.trust.keys import openpgp, ssh, x509
from vmkeeper.trust.keys.interface import HeldKey
from vmkeeper.trust.people import Holder, TrustedEndorser, TrustedEndorsers, key_id
from vmkeeper.trust.policy import Policy
from vmkeeper.trust.said import Statement
from vmkeeper.trust.tagobject import Tagger

H = TypeVar("H", bound=Holder)
Kind = Literal["openpgp", "ssh", "x509"]
KINDS: tuple[Kind, ...] = ("openpgp", "ssh", "x509")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key of the user: `name` is how gpg, ssh-keygen or gpgsm is asked for it, `id` how statements name it."""

    type: Kind
    name: str
    id: str
    certificate: x509.CertificateName | None = None
    """Whose certificate it is, for an X.509 key."""
    program: str = "gpgsm"
    """What signs with an X.509 key that is neither a file nor on a token."""
    secret: x509.Secret | None = None
    """Asks for the passphrase of a certificate's key file or the PIN of its token."""

    def sign(self, data: bytes) -> str:
        """An armoured signature; asks for a PIN or passphrase where the user's own tools do."""
        match self.type:
            case "openpgp":
                return openpgp.sign(self.name, data)
            case "ssh":
                return ssh.sign(self.name, data)
        return x509.sign(self.name, data, gpgsm=self.program, secret=self.secret)

    def is_one_of(self, keys: Iterable[HeldKey]) -> bool:
        """Whether it is one of somebody's keys."""
        if self.certificate is not None:
            return any(isinstance(key, X509Key) and x509.fits(key, self.certificate) for key in keys)
        return self.id in {key_id(key) for key in keys}


def signing_key(repository: Repository, chosen: str | None = None, secret: x509.Secret | None = None) -> SigningKey:
    """The key to sign with: `chosen`, else what git is set to use.

    chosen: an OpenPGP fingerprint or address, an SSH key file or public key, a certificate file or PKCS#11 address. Reads
    user.signingKey and gpg.format (openpgp, ssh, x509) as git does; without user.signingKey it is the OpenPGP key or
    certificate of user.email. Raises UserError where that is no key we can sign with.
    """
    name = chosen or repository.config("user.signingKey") or ""
    kind = _kind(chosen) if chosen else repository.config("gpg.format") or "openpgp"
    if kind == "ssh" and name:
        return SigningKey("ssh", name, f"ssh:{ssh.read_public_key(ssh.public_key_of(name)).fingerprint}")
    name = name or repository.config("user.email") or ""
    if kind == "openpgp" and name:
        return SigningKey("openpgp", name, f"openpgp:{openpgp.primary_fingerprint(name)}")
    if kind == "x509" and name:
        program = repository.config("gpg.x509.program") or "gpgsm"
        certificate = x509.identity_of(name, gpgsm=program)
        return SigningKey("x509", name, f"x509:{certificate.sha256}", certificate, program, secret)
    raise UserError(
        "there is no key to sign with" if kind in KINDS else f"git's gpg.format {kind} is not known",
        hint="set git config user.signingKey (and gpg.format openpgp, ssh or x509), or give --key",
    )


def _kind(chosen: str) -> Kind:
    if chosen.startswith("pkcs11:") or chosen.partition(",")[0].endswith((".pem", ".crt")):
        return "x509"
    return "ssh" if ssh.is_literal(chosen) or "/" in chosen or Path(chosen).expanduser().is_file() else "openpgp"


def signed_tag(said: Statement, key: SigningKey, full_name: str, email: str) -> bytes:
    """The raw object of the tag that says this, signed."""
    tagger = Tagger(_plain(full_name) or said.signer, _plain(email) or "unknown", int(said.issued.timestamp()))
    body = tagobject.unsigned(said.commit, said.ref, tagger, statement.encode(said))
    return body + key.sign(body).encode()


def _plain(text: str) -> str:
    """Text for a tagger line: what git does not allow there is left out."""
    return re.sub(r"[<>\x00-\x1f\x7f-\x9f]", "", text).strip()[:200]


def owner(people: Iterable[H], key: SigningKey) -> H | None:
    """Whose key it is."""
    return next((one for one in people if key.is_one_of(one.keys)), None)


@dataclass(frozen=True, slots=True)
class Role:
    """An endorser on a list of the policy in force."""

    endorsers: TrustedEndorsers
    endorser: TrustedEndorser


def role(policy: Policy, key: SigningKey, appliance: str, wanted: str | None = None) -> Role:
    """Which endorser the key belongs to, and on which list; of several lists that with the shortest validity.

    Raises UserError where no list knows the key, Refused (R10) where the appliance is out of its endorser's scope.
    """
    if wanted is not None and wanted not in policy.lists:
        known = ", ".join(sorted(policy.lists)) or "none"
        raise UserError(f"the policy in force has no endorser list {wanted}", where=f"endorsers/{wanted}.yaml", hint=f"there is: {known}")
    lists = [policy.lists[wanted]] if wanted else list(policy.lists.values())
    roles = [Role(one, endorser) for one in lists for endorser in one.endorsers if key.is_one_of(endorser.keys)]
    if not roles:
        where = f"endorsers/{wanted}.yaml" if wanted else "endorsers/"
        hint = "use another key (--key); or be listed by a pull request, and have the principals sign the policy: vmkeeper policy sign"
        raise UserError(f"your key {key.id} belongs to no endorser of the policy in force", where=where, hint=hint)
    fitting = [one for one in roles if one.endorser.in_scope(appliance, one.endorsers.community)]
    if not fitting:
        scopes = "; ".join(f"{one.endorsers.name}: {', '.join(one.endorser.scope.appliances)}" for one in roles)
        raise Refused("R10", f"{roles[0].endorser.name} may not answer for {appliance}", why=scopes, hint="widen the scope by a pull request")
    return min(fitting, key=lambda one: int(one.endorsers.maximum_lifetime))

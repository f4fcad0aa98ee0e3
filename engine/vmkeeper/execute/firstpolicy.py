"""The first policy of a new repository: its maker's own key as the one principal, where git knows a key to sign with."""

from __future__ import annotations

import re

from vmkeeper.documents.dump import dump
from vmkeeper.execute.signing import SigningKey, signing_key
from vmkeeper.model.keys import Key, OpenPGPKey, Person, SSHKey, X509Key
from vmkeeper.model.policy import Policy
from vmkeeper.repository.tree import Repository
from vmkeeper.run import program, run
from vmkeeper.trust.keys import ssh

_COMMENT = b"""\
# Who decides about the endorser lists in this folder. Add principals, raise the quorum, and sign it: vmkeeper policy sign
"""


def first_policy(repository: Repository) -> dict[str, bytes]:
    """The files of a first policy by path, nothing where git's user.signingKey is not set. Raises UserError where it is no key."""
    if not repository.config("user.signingKey"):
        return {}
    full_name, email = repository.config("user.name") or "", repository.config("user.email") or ""
    name = re.sub(r"[^a-z0-9]+", "-", full_name.lower()).strip("-")[:32].strip("-") or "principal"
    key, files = _listed(signing_key(repository), name)
    person = Person(
        name=name, full_name=full_name or name, email=email if re.fullmatch(r"[^@\s]+@[^@\s]+", email) else f"{name}@localhost", keys=(key,)
    )
    policy = Policy(title="Who decides about endorsers", quorum=1, principals=(person,))
    return {"endorsers/policy.yaml": _COMMENT + dump(policy), **files}


def _listed(key: SigningKey, name: str) -> tuple[Key, dict[str, bytes]]:
    """The key as documents name it, and its file where it has one."""
    if key.certificate is not None:
        return X509Key(type="x509", subject=str(key.certificate.subject), issuer=str(key.certificate.issuer)), {}
    if key.type == "ssh":
        return SSHKey(type="ssh", key=ssh.public_key_of(key.name)), {}
    fingerprint, file = key.id.removeprefix("openpgp:"), f"keys/{name}.asc"
    armour = run([program("gpg", package="gnupg"), "--batch", "--armor", "--export", fingerprint]).stdout
    return OpenPGPKey(type="openpgp", fingerprint=fingerprint, file=file), {f"endorsers/{file}": armour}

"""Who signs: the key that git's configuration names, and the endorser that the repository's lists know by it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.errors import Refused, UserError
from vmkeeper.repository.tree import Repository, Snapshot
from vmkeeper.trust.keys import openpgp, ssh
from vmkeeper.trust.pins import PinnedEndorser, PinnedEndorsers, key_id, pin_list


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key of the user: `name` is how gpg or ssh-keygen is asked for it, `id` how statements name it."""

    type: Literal["openpgp", "ssh"]
    name: str
    id: str

    def sign(self, data: bytes) -> str:
        """An armoured signature; asks for a PIN or passphrase where the user's own tools do."""
        return openpgp.sign(self.name, data) if self.type == "openpgp" else ssh.sign(self.name, data)


@dataclass(frozen=True, slots=True)
class Role:
    """An endorser on a list of this repository, as a site that pins the list now would see it."""

    pinned: PinnedEndorsers
    endorser: PinnedEndorser


def signing_key(repository: Repository, chosen: str | None = None) -> SigningKey:
    """The key to sign with: `chosen` (a fingerprint, address, key file or SSH public key), else what git is set to use.

    Reads user.signingKey and gpg.format (openpgp or ssh) as git does; without user.signingKey it is the OpenPGP key of
    user.email. Raises UserError where that is no key we can sign with.
    """
    name = chosen or repository.config("user.signingKey") or ""
    if chosen:
        kind = "ssh" if ssh.is_literal(chosen) or "/" in chosen or Path(chosen).expanduser().is_file() else "openpgp"
    else:
        kind = repository.config("gpg.format") or "openpgp"
    if kind == "ssh" and name:
        public = ssh.read_public_key(ssh.public_key_of(name))
        return SigningKey("ssh", name, f"ssh:{public.fingerprint}")
    if kind == "openpgp" and (name or repository.config("user.email")):
        fingerprint = openpgp.primary_fingerprint(name or repository.config("user.email") or "")
        return SigningKey("openpgp", name or fingerprint, f"openpgp:{fingerprint}")
    raise UserError(
        "there is no key to sign with" if kind in ("openpgp", "ssh") else f"keys of the kind {kind} cannot sign endorsements",
        hint="set git config user.signingKey (and gpg.format openpgp or ssh), or give --key",
    )


def pinned_lists(catalogue: Catalogue, names: Iterable[str]) -> tuple[PinnedEndorsers, ...]:
    """Endorser lists of a commit with the key files that lie beside them. Raises UserError for a list or key that is not there."""
    snapshot = catalogue.snapshot
    found = []
    for name in names:
        source = catalogue.endorser_list(name)
        if source is None:
            raise UserError(
                f"there is no endorser list {name}",
                where=f"endorsers/{name}.yaml",
                hint=f"there is: {', '.join(catalogue.names('endorsers')) or 'none'}",
            )
        found.append(pin_list(name, source, lambda path: key_file(snapshot, path)))
    return tuple(found)


def key_file(snapshot: Snapshot, path: str) -> bytes:
    """A key file by its path relative to endorsers/; UserError where there is none."""
    data = snapshot.read(f"endorsers/{path}")
    if data is None:
        raise UserError("there is no such key file", where=f"endorsers/{path}", hint="write it with: gpg --armor --export FINGERPRINT, and commit it")
    return data


def role(catalogue: Catalogue, key: SigningKey, appliance: str, wanted: str | None = None) -> Role:
    """Which endorser the key belongs to, and on which list; of several lists that with the shortest validity.

    Raises UserError where no list knows the key, Refused (R10) where the appliance is out of its endorser's scope.
    """
    lists = pinned_lists(catalogue, [wanted] if wanted else catalogue.names("endorsers"))
    roles = [Role(one, endorser) for one in lists for endorser in one.endorsers if key.id in map(key_id, endorser.keys)]
    if not roles:
        where = f"endorsers/{wanted}.yaml" if wanted else "endorsers/"
        raise UserError(
            f"your key {key.id} belongs to no endorser",
            where=where,
            hint="use another key (--key), or propose yourself as an endorser by a pull request",
        )
    fitting = [one for one in roles if one.endorser.in_scope(appliance)]
    if not fitting:
        scopes = "; ".join(f"{one.pinned.name}: {', '.join(one.endorser.scope.appliances)}" for one in roles)
        raise Refused("R10", f"{roles[0].endorser.name} may not answer for {appliance}", why=scopes, hint="widen the scope by a pull request")
    if len({one.endorser.name for one in fitting}) > 1:
        names = ", ".join(f"{one.endorser.name} on {one.pinned.name}" for one in fitting)
        raise UserError("lists know your key under different names", why=names, hint="say for which list you speak, with --list")
    return min(fitting, key=lambda one: int(one.pinned.maximum_lifetime))

"""What a site shows to servers: HOME/credentials/NAME.yaml, in the site's own folder and never in a repository.

A file that others can read is refused. Nothing of its content is ever in a message.
"""

from __future__ import annotations

import base64
import json
import ssl
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints, TypeAdapter, ValidationError

from vmkeeper.documents.guard import MAX_BYTES, read_yaml
from vmkeeper.errors import UserError
from vmkeeper.execute import secrets
from vmkeeper.images.addresses import origin
from vmkeeper.images.files import reported
from vmkeeper.images.web import Credentials
from vmkeeper.model.base import Document
from vmkeeper.values import Name

FOLDER = "credentials"
_FORMS = "type: basic with user, password; type: bearer with token; type: certificate with certificate, key; or type: apprise with urls"
_Path = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class Basic(Document):
    """User name and password (RFC 7617)."""

    type: Literal["basic"]
    user: Annotated[str, StringConstraints(pattern=r"^[^:\x00-\x1f\x7f]*$")]
    password: SecretStr


class Bearer(Document):
    """A token (RFC 6750)."""

    type: Literal["bearer"]
    token: SecretStr


class ClientCertificate(Document):
    """A certificate that the client shows in TLS, as PEM files: relative paths begin at the credentials' folder."""

    type: Literal["certificate"]
    certificate: _Path
    """With its chain; a proxy certificate serves too."""
    key: _Path
    password: SecretStr | None = None
    """Of the key."""
    servers: _Path | None = None
    """Authorities that the server's certificate may lead to; left out, those of the system."""


class Apprise(Document):
    """Addresses of people and services, in the forms of the apprise library; most of them hold a secret."""

    type: Literal["apprise"]
    urls: Annotated[tuple[SecretStr, ...], Field(min_length=1, max_length=50)]


_Said = Basic | Bearer | ClientCertificate | Apprise
_Any = TypeAdapter[_Said](Annotated[_Said, Field(discriminator="type")])


def read_credentials(home: Path, name: Name, url: str) -> Credentials:
    """The credentials of that name, for the origin of `url` and no other. Raises UserError, and says nothing of what they are."""
    file = home / FOLDER / f"{name}.yaml"
    said = _parsed(_private(file), file)
    match said:
        case Basic(user=user, password=password):
            word = base64.b64encode(f"{user}:{password.get_secret_value()}".encode()).decode()
            return Credentials(origin(url), f"Basic {word}")
        case Bearer(token=token):
            return Credentials(origin(url), f"Bearer {_token(token.get_secret_value(), file)}")
        case ClientCertificate():
            return Credentials(origin(url), tls=_context(said, file))
    raise UserError("these credentials are for messages, not for a web server", where=str(file), hint="write type: basic, bearer or certificate")


def read_urls(home: Path, name: Name) -> tuple[str, ...]:
    """The addresses of `type: apprise`. Raises UserError, and says nothing of what they are."""
    file = home / FOLDER / f"{name}.yaml"
    said = _parsed(_private(file), file)
    if not isinstance(said, Apprise):
        raise UserError("these credentials are not addresses for messages", where=str(file), hint="write type: apprise with urls")
    return tuple(one.get_secret_value() for one in said.urls)


def read_login(home: Path, name: Name) -> tuple[str, str]:
    """User and password of `type: basic`, for what is not a web server of files. Raises UserError, and says nothing of what they are."""
    file = home / FOLDER / f"{name}.yaml"
    said = _parsed(_private(file), file)
    if not isinstance(said, Basic):
        raise UserError("these credentials are not a user and a password", where=str(file), hint="write type: basic with user, password")
    return said.user, said.password.get_secret_value()


def _private(file: Path) -> bytes:
    """The bytes of a file that nobody but its owner can read."""
    if not file.is_file():
        hint = f"make the file there, readable by you alone (chmod 600): {_FORMS}"
        raise UserError("there are no credentials of this name", where=str(file), hint=hint)
    with reported("read the credentials", file):
        mode = file.stat().st_mode
        if mode & 0o077:
            raise UserError(f"others can read these credentials (mode {mode & 0o777:03o})", where=str(file), hint=f"chmod 600 {file}")
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)


def _parsed(data: bytes, file: Path) -> _Said:
    said = _read(data, file)
    match said:
        case Basic(user=user, password=password):
            secrets.hide_login(user, password.get_secret_value())
        case Bearer(token=token):
            secrets.hide(token.get_secret_value())
        case ClientCertificate(password=password) if password is not None:
            secrets.hide(password.get_secret_value())
        case Apprise(urls=urls):
            for one in urls:
                secrets.hide_address(one.get_secret_value())
    return said


def _read(data: bytes, file: Path) -> _Said:
    tree = read_yaml(data, str(file))
    if tree.problems or not tree.readable:
        place = tree.problems[0].place if tree.problems else file
        raise UserError("these credentials are not YAML that can be read", where=str(place), hint=f"write {_FORMS}")
    try:
        return _Any.validate_json(json.dumps(tree.value), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or "type"
        hint = f"write {_FORMS}; put what consists of digits in quotes"
        raise UserError("these credentials have not the right form", where=f"{file}: {field}", why=first["type"], hint=hint) from None


def _token(text: str, file: Path) -> str:
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise UserError("the token is not one that can be sent", where=str(file), hint="write it on one line, without spaces")
    return text


def _context(said: ClientCertificate, file: Path) -> ssl.SSLContext:
    folder = file.parent
    key, certificate = folder / said.key, folder / said.certificate
    _private(key)
    password = said.password.get_secret_value() if said.password else ""
    try:
        context = ssl.create_default_context(cafile=str(folder / said.servers) if said.servers else None)
        # A function: an empty password must not make the library ask on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = getattr(error, "strerror", None) or getattr(error, "reason", None) or "cannot be read"
        hint = "give PEM files that belong together: the certificate with its chain, its key, the servers' authorities"
        raise UserError("these certificate files cannot be used", where=str(file), why=str(why), hint=hint) from None
    return context

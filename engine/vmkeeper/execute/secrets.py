"""What must never be shown: every secret that this process has read. What is printed, written or sent goes through `scrubbed`.

It stands behind messages that do not hold secrets in the first place: servers echo what they were sent.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterable, Iterator
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

from vmkeeper.errors import Problem, Problems, VmkeeperError

MASK = "[hidden]"
_SHORTEST = 4
"""Characters. A shorter secret is in every other word, and no secret."""
_LARGEST = 1 << 20
_KEYS = ("password", "secret", "token", "passcode", "api_key", "access_key")
_NO_SECRETS = ("_type", "_endpoint", "_url", "_id", "_file", "_path")
_lock = threading.Lock()
_hidden: tuple[str, ...] = ()


def hide(*secrets: str) -> None:
    """Never show these, in any of the forms in which they travel."""
    global _hidden  # noqa: PLW0603 - one process, one set of secrets, whoever read them
    with _lock:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        # The longest first: a part of a secret is not to hide the whole of it.
        _hidden = tuple(sorted({*_hidden, *forms}, key=len, reverse=True))


def hide_login(user: str, password: str) -> None:
    """Hide a password, alone and as HTTP's basic authentication sends it."""
    hide(password, base64.b64encode(f"{user}:{password}".encode()).decode())


def hide_address(url: str) -> None:
    """Hide an address that holds secrets: the whole of it, and each part that looks like one by itself."""
    try:
        parts = urlsplit(url)
        pieces = [parts.username or "", *parts.path.split("/"), *(text for pair in parts.query.split("&") for text in pair.partition("=")[2:])]
        # Where a service has no host of its own, a token may stand in its place.
        pieces += [] if "." in parts.netloc else [parts.netloc.rpartition("@")[2]]
        whole = [parts.password or "", parts.netloc if "@" in parts.netloc else ""]
    except ValueError:
        pieces, whole = [], []
    hide(url, *whole, *filter(_looks_secret, pieces))


def hide_clouds(home: Path) -> None:
    """Hide the secrets of clouds: of the clouds.yaml, secure.yaml and AWS credentials that clients read, and of the environment.

    home: the site's own folder. A file that cannot be read holds none for us.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    folders = (home, Path.home() / ".config" / "openstack", Path("/etc/openstack"))
    named = [Path(os.environ[name]) for name in ("OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE") if os.environ.get(name)]
    for file in (*named, *(folder / name for folder in folders for name in ("clouds.yaml", "secure.yaml"))):
        with suppress(OSError, YAMLError, ValueError, RecursionError):
            if file.is_file() and file.stat().st_size <= _LARGEST:
                hide(*_secrets_in(YAML(typ="safe", pure=True).load(file.read_bytes())))
    for file in (home / "aws-credentials", Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials")):
        read = ConfigParser(interpolation=None)
        with suppress(OSError, ConfigParserError, ValueError):
            read.read(file)
        hide(*_secrets_in({name: dict(read[name]) for name in read.sections()}))
    hide(*(value for name, value in os.environ.items() if len(value) > 2 * _SHORTEST and _is_secret(name)))


def scrubbed(text: str) -> str:
    """The text without any secret that is known."""
    for secret in _hidden:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def scrub_error(error: VmkeeperError) -> None:
    """Take secrets out of an error, whatever it was made from."""
    if isinstance(error, Problems):
        error.problems = tuple(Problem(one.place, scrubbed(one.what), scrubbed(one.hint), one.rule) for one in error.problems)
    error.what, error.where = scrubbed(error.what), scrubbed(error.where)
    error.why, error.hint = scrubbed(error.why), scrubbed(error.hint)
    error.args = tuple(scrubbed(one) if isinstance(one, str) else one for one in error.args)


def _forms(secret: str) -> Iterator[str]:
    yield secret
    for form in (quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]):
        if form != secret:
            yield form


def _secrets_in(value: Any, secret: bool = False) -> Iterable[str]:
    match value:
        case dict():
            for key, item in value.items():
                yield from _secrets_in(item, _is_secret(str(key)))
        case list():
            for item in value:
                yield from _secrets_in(item, secret)
        case str() | int() if secret:
            yield str(value)


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _KEYS) and not name.lower().endswith(_NO_SECRETS)


def _looks_secret(text: str) -> bool:
    """Whether it is no plain word: those are in other sentences too."""
    mixed = any(char.isdigit() for char in text) or (text.lower() != text and text.upper() != text)
    return len(text) > (2 * _SHORTEST if mixed else 5 * _SHORTEST)

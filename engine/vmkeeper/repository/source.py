"""Where a followed repository may be fetched from (rule R24): https, ssh, a local folder; http only from hosts that are allowed.

The text is taken apart here, strictly, and only what is certain to mean one thing is handed to git: no remote helpers
(`ext::`, `fd::`), no git protocol, no options in disguise, no user information for the web.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vmkeeper.errors import Refused, UserError
from vmkeeper.values import visible

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"(?P<host>{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])"
_PORT = r"(?::(?P<port>[0-9]{1,5}))?"
_USER = r"(?:[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}@)?"
_PATH = r"(?P<path>/(?:(?!%[01]|%7[fF])[!-~])*)"
_WEB = re.compile(rf"(?P<scheme>https?)://{_HOST}{_PORT}(?P<path>/(?:(?!%[01]|%7[fF]|[?#@\\])[!-~])*)")
_SSH = re.compile(rf"ssh://{_USER}{_HOST}{_PORT}{_PATH}")
_SCP = re.compile(rf"{_USER}{_HOST}:(?P<path>(?![-:]|//)[!-~]+)")
_PORTS = {"https": 443, "http": 80, "ssh": 22}
_LONGEST = 2000
_ALLOWED = "give an https:// or ssh:// address, or the path of a folder"


@dataclass(frozen=True, slots=True)
class Source:
    """A place that git may be sent to. `address` is what git is given; `host` is "" for what lies on this machine."""

    scheme: Literal["https", "http", "ssh", "file"]
    address: str
    host: str = ""
    port: int = 0

    @property
    def shown(self) -> str:
        """The address for messages."""
        return visible(self.address)

    @property
    def subject(self) -> str:
        """A short name for progress."""
        return self.host or Path(self.address).name


def parse_source(text: str, allowed_hosts: Collection[str] = ()) -> Source:
    """Read an address. allowed_hosts: hosts that http may be used for. Raises Refused (R24), UserError where a path is not there."""
    shown = visible(text[:200])
    if not text or len(text) > _LONGEST or text.startswith("-") or any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
        raise Refused("R24", "this is not the address of a repository", where=shown, hint=_ALLOWED)
    if match := _WEB.fullmatch(text):
        return _web(match, shown, allowed_hosts)
    if match := _SSH.fullmatch(text) or _SCP.fullmatch(text):
        port = match.groupdict().get("port") or _PORTS["ssh"]
        return Source("ssh", text, match["host"].strip("[]"), _port(port, shown))
    if text.startswith("file:///"):
        text = text.removeprefix("file://")
        if "%" in text:
            raise Refused("R24", "an address with escaped characters", where=shown, hint="give the folder's path itself")
    if ":" in text.partition("/")[0]:
        what = "a repository is not fetched from an address of this kind"
        raise Refused("R24", what, where=shown, why="only https, ssh and local folders are used, without user names for https", hint=_ALLOWED)
    path = Path(text).absolute()
    if not path.is_dir():
        raise UserError("there is no such folder", where=visible(str(path)), hint=_ALLOWED)
    return Source("file", str(path))


def _web(match: re.Match[str], shown: str, allowed_hosts: Collection[str]) -> Source:
    scheme: Literal["http", "https"] = "https" if match["scheme"] == "https" else "http"
    host = match["host"].lower().strip("[]")
    if scheme == "http" and host not in {one.lower().strip("[]") for one in allowed_hosts}:
        hint = f"use https, or list {host} among the allowed hosts"
        raise Refused("R24", "http is used only for hosts that the site allows", where=shown, hint=hint)
    port = _port(match["port"] or _PORTS[scheme], shown)
    return Source(scheme, f"{scheme}://{match['host'].lower()}:{port}{match['path']}", host, port)


def _port(text: str | int, shown: str) -> int:
    if not 0 < int(text) < 65536:
        raise Refused("R24", "there is no such port", where=shown, hint=_ALLOWED)
    return int(text)

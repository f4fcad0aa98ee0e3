"""systemd units that reconcile a site: a service that watches, or a timer with one run each time. Shut in as far as the work allows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmkeeper.errors import UserError
from vmkeeper.model.service import Watch
from vmkeeper.values import Duration

_SHUT_IN = """\
# Only the folders named here can be written to, no rights can be gained, no device is there but those that every program needs.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
# qemu-img reads images that nobody vouches for yet without network and files of its own: it needs these namespaces, and Landlock.
RestrictNamespaces=user net ipc
SystemCallArchitectures=native
SystemCallFilter=@system-service landlock_create_ruleset landlock_add_rule landlock_restrict_self
SystemCallErrorNumber=EPERM
UMask=0027
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the units are for. command: words before `reconcile`. writable: files and folders beside the home that a run writes."""

    site: str
    home: Path
    command: Sequence[str]
    options: Sequence[str]
    """Words after the site's name."""
    user: str
    writable: Sequence[Path] = ()
    watch: Watch = Watch()  # noqa: RUF009 - it never changes


def service_units(wanted: Wanted) -> Mapping[str, str]:
    """The unit of a service with `--watch`, by file name."""
    name = _name(wanted.site)
    text = f"""\
[Unit]
Description=vmkeeper keeps the images of {wanted.site}
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
ExecStart={_command(wanted, "--watch")}
# Look now.
ExecReload=kill -HUP $MAINPID
Restart=on-failure
RestartSec=30
# A run without a sign of life for hours stops the beat.
WatchdogSec=5min
# An upload that has begun goes on to its end, its programs with it.
KillMode=mixed
TimeoutStopSec=1h
{_place(wanted)}
[Install]
WantedBy=multi-user.target
"""
    return {f"{name}.service": text}


def timer_units(wanted: Wanted) -> Mapping[str, str]:
    """A timer, and the service with one run that it starts, by file name."""
    name, watch = _name(wanted.site), wanted.watch
    service = f"""\
[Unit]
Description=vmkeeper reconciles {wanted.site} once
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart={_command(wanted)}
TimeoutStartSec=infinity
{_place(wanted)}"""
    timer = f"""\
[Unit]
Description=vmkeeper reconciles {wanted.site}

[Timer]
OnBootSec=1min
OnUnitInactiveSec={_seconds(watch.interval)}
RandomizedDelaySec={int(watch.interval) * watch.jitter // 100}s

[Install]
WantedBy=timers.target
"""
    return {f"{name}.service": service, f"{name}.timer": timer}


def _name(site: str) -> str:
    return f"vmkeeper-{site}"


def _command(wanted: Wanted, *more: str) -> str:
    words = (*wanted.command, "reconcile", wanted.site, *more, *wanted.options)
    return " ".join(_quoted(word.replace("$", "$$")) for word in words)


def _place(wanted: Wanted) -> str:
    paths = " ".join(_quoted(str(path)) for path in (wanted.home, *wanted.writable))
    return f"User={wanted.user}\nNice=5\n{_SHUT_IN}ReadWritePaths={paths}\n"


def _seconds(duration: Duration) -> str:
    return f"{int(duration)}s"


def _quoted(word: str) -> str:
    """A word as systemd.syntax(7) and systemd.unit(5) read it, in which specifiers mean nothing. Raises UserError."""
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in word):
        raise UserError(
            "a path with control characters cannot be in a unit", where=word.encode("unicode_escape").decode(), hint="give it another name"
        )
    word = word.replace("%", "%%")
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./$-]+", word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

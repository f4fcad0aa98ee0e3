"""Namespaces in which the programs of a root file system run as root without being root on this machine.

An ordinary user becomes root of a user namespace whose other users are the subordinate ones of /etc/subuid, so
every owner that a package asks for exists. Root needs no user namespace. Neither has a network inside.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from pathlib import Path

from vmkeeper.errors import Place, Problem
from vmkeeper.run import ProgramFailed, program, run

_SPACES = ("--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts")
_MAP = ("--user", "--map-root-user", "--map-auto")
_TRY = "mount -t tmpfs none /mnt && mkdir /mnt/proc && mount -t proc proc /mnt/proc"
_MEMORY_FREE = 3 << 30


def inside(*command: str | Path) -> list[str | Path]:
    """The command line that runs `command` as root in namespaces of its own; it ends with the thread that starts it."""
    ends = [program("setpriv", package="util-linux"), "--pdeathsig", "KILL"]
    return [*ends, program("unshare", package="util-linux"), *(() if os.geteuid() == 0 else _MAP), *_SPACES, "--", *command]


def memory_is_ample() -> bool:
    """Whether a root file system may be made in memory, where it is faster and leaves nothing behind."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024 > _MEMORY_FREE


def remove_tree(folder: Path) -> None:
    """Remove a folder with files that may belong to subordinate users."""
    try:
        shutil.rmtree(folder)
    except PermissionError:
        run(inside("rm", "-rf", "--", folder))


def lacks() -> tuple[Problem, ...]:
    """What this machine lacks for namespaces, each with the way out."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    problems = []
    if os.geteuid() != 0:
        gone = [name for name in ("newuidmap", "newgidmap") if shutil.which(name) is None]
        problems += [Problem(Place(), f"the program {name} is not on this machine", "apt-get install uidmap") for name in gone]
        for file in ("/etc/subuid", "/etc/subgid"):
            if not _subordinates(Path(file), user):
                hint = f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
                problems.append(Problem(Place(file=file), f"{user} has no 65536 subordinate ids", hint))
    if problems:
        return tuple(problems)
    try:
        run(inside("sh", "-c", _TRY), timeout=20)
    except ProgramFailed as failed:
        return (Problem(Place(), f"this machine lets {user} make no namespaces: {failed.why.splitlines()[-1]}", _way_out()),)
    return ()


def _subordinates(file: Path, user: str) -> bool:
    """Whether a subordinate id file gives the user 65536 ids: lines of NAME or UID:START:COUNT (subuid(5))."""
    lines = file.read_text().splitlines() if file.is_file() else []
    mine = [line.split(":") for line in lines if line.split(":")[0] in (user, str(os.geteuid()))]
    return any(len(fields) == 3 and fields[2].isdigit() and int(fields[2]) >= 65536 for fields in mine)


def _way_out() -> str:
    if os.geteuid() == 0:
        return "give this container the right to mount (docker run --privileged), or build as an ordinary user with subordinate ids"
    ways = []
    for path, wanted in (
        ("kernel/unprivileged_userns_clone", "1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "0"),
    ):
        file = Path("/proc/sys") / path
        if file.is_file() and file.read_text().strip() != wanted:
            ways.append(f"sysctl -w {path.replace('/', '.')}={wanted}")
    maximum = Path("/proc/sys/user/max_user_namespaces")
    if maximum.is_file() and maximum.read_text().strip() == "0":
        ways.append("sysctl -w user.max_user_namespaces=10000")
    helper = shutil.which("newuidmap")
    if helper and not Path(helper).stat().st_mode & stat.S_ISUID:
        ways.append("apt-get install --reinstall uidmap (newuidmap has lost its setuid bit)")
    return "as root: " + "; ".join(ways) if ways else "build as root, or where user namespaces are allowed"

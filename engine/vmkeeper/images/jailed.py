"""Run by `vmkeeper.images.jail` in a process of its own: gives up the network and all files but the named ones, then becomes a program.

    jailed.py FOLDER PROGRAM [WORD]...

FOLDER can be read and written, the system's programs and libraries can be read, nothing else. Needs no library but Python's own.
Exit status 77: this system cannot confine a program in this way.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

CANNOT = 77
_SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives", "/dev/urandom", "/proc/self")
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
_DIES_WITH_PARENT, _NO_NEW_PRIVS = 1, 38
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REMOVE_FILE, _MAKE_FILE, _TRUNCATE = 1 << 5, 1 << 8, 1 << 14
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_INSIDE = _READ_FILE | _WRITE_FILE | _READ_DIR | _MAKE_FILE | _REMOVE_FILE | _TRUNCATE
"""Regular files only: a link or a pipe in the folder could mislead whoever looks at it afterwards."""
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
"""File system rights that each version of Landlock knows (linux/landlock.h)."""


class _Ruleset(ctypes.Structure):
    _fields_ = [("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def confine(folder: str) -> None:
    """Give up what is not needed; raises OSError where the system has no means for it."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(result: int) -> int:
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    call(libc.prctl(_DIES_WITH_PARENT, signal.SIGKILL, 0, 0, 0))
    call(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC))
    call(libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    version = call(libc.syscall(_CREATE, None, 0, 1))
    handled = _RIGHTS[min(version, max(_RIGHTS))]
    asked = _Ruleset(handled, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    length = ctypes.sizeof(_Ruleset) if version >= 6 else 16 if version >= 4 else 8
    ruleset = call(libc.syscall(_CREATE, ctypes.byref(asked), ctypes.c_size_t(length), 0))
    allowed = {path: _EXECUTE | _READ_FILE | _READ_DIR for path in _SYSTEM if Path(path).exists()}
    for path, rights in {**allowed, "/dev/null": _READ_FILE | _WRITE_FILE, folder: _INSIDE & handled}.items():
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = _Beneath(rights if Path(path).is_dir() else rights & _OF_FILES, opened)
        call(libc.syscall(_ADD, ruleset, 1, ctypes.byref(rule), 0))
        os.close(opened)
    call(libc.syscall(_RESTRICT, ruleset, 0))


if __name__ == "__main__":
    try:
        confine(sys.argv[1])
    except OSError:
        sys.exit(CANNOT)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - to become the program is what this is for

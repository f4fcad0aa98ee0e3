"""How oned says no: failures inside an answer, and XML-RPC faults in place of one."""

from __future__ import annotations

AUTHENTICATION = 256
AUTHORIZATION = 512
NO_EXISTS = 1024
ACTION = 2048
API = 4096
INTERNAL = 8192
ALLOCATE = 16384
LOCKED = 32768

TYPE = -501
PARSE = -503
NO_SUCH_METHOD = -506


class Failure(Exception):
    """`[False, "[METHOD] MESSAGE", code, id, -1]`."""

    def __init__(self, code: int, message: str, oid: int = -1) -> None:
        super().__init__(message)
        self.code, self.message, self.id = code, message, oid


class Fault(Exception):
    """An XML-RPC fault: the call was not understood."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def missing(what: str, oid: int) -> Failure:
    """`what` is the name of the kind of object as oned says it."""
    return Failure(NO_EXISTS, f"Error getting {what} [{oid}]." if oid >= 0 else f"Error getting {what} Pool.", oid if oid >= 0 else -1)


def not_allocated(what: str, why: str, code: int = ALLOCATE) -> Failure:
    return Failure(code, f"Error allocating a new {what}. {why}" if why else f"Error allocating a new {what}.")

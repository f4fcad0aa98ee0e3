"""One file served over the NBD protocol on a socket, for reading, to one client: a file that is still coming.

A read waits until its bytes have arrived. Only what qemu's client needs of the protocol is here: fixed newstyle negotiation,
simple replies (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md). The client is our own, and confined.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from contextlib import suppress
from typing import Any, Protocol

_MAGIC, _OPTION, _REPLY = b"NBDMAGIC", b"IHAVEOPT", 0x3E889045565A9
_REQUEST, _SIMPLE = 0x25609513, 0x67446698
_FIXED, _NO_ZEROES = 1, 2
_EXPORT_NAME, _ABORT, _GO = 1, 2, 7
_ACK, _INFO, _UNSUPPORTED = 1, 3, 0x80000001
_READ = 0
_HAS_FLAGS, _READ_ONLY = 1, 2
_INPUT_ERROR = 5
_LONGEST = 32 << 20
"""Bytes of one request."""


class Source(Protocol):
    """What is served; `size` in bytes."""

    size: int

    def ready(self, upto: int) -> bool:
        """Wait for the first `upto` bytes; False where they do not come."""

    def send(self, connection: socket.socket, at: int, length: int) -> None:
        """Send these bytes, which are there."""


class Server:
    """Serves a file over a connected socket until it is closed. Raises nothing: the client sees its requests fail."""

    def __init__(self, source: Source, connection: socket.socket) -> None:
        self._source = source
        self._connection = connection
        self._thread = threading.Thread(target=self._serve, name="nbd", daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._thread.join()

    def _serve(self) -> None:
        with suppress(OSError, EOFError, struct.error):
            if _negotiated(self._connection, self._source.size):
                self._answer(self._connection)
        self._end()

    def _end(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, connection: socket.socket) -> None:
        """One request after the other, until the client ends it or asks for what is not served."""
        while True:
            magic, _flags, kind, handle, at, length = _unpacked(connection, ">IHHQQI")
            if magic != _REQUEST or kind != _READ:
                return
            there = at + length <= self._source.size and length <= _LONGEST and self._source.ready(at + length)
            connection.sendall(struct.pack(">IIQ", _SIMPLE, 0 if there else _INPUT_ERROR, handle))
            if there:
                self._source.send(connection, at, length)


def _negotiated(connection: socket.socket, size: int) -> bool:
    """The handshake; whether the client goes on to the transmission."""
    connection.sendall(_MAGIC + _OPTION + struct.pack(">H", _FIXED | _NO_ZEROES))
    (flags,) = _unpacked(connection, ">I")
    while True:
        magic, option, length = _unpacked(connection, ">8sII")
        if magic != _OPTION or length > 1 << 16:
            return False
        _exactly(connection, length)
        if option == _EXPORT_NAME:
            connection.sendall(struct.pack(">QH", size, _HAS_FLAGS | _READ_ONLY) + (b"" if flags & _NO_ZEROES else bytes(124)))
            return True
        if option == _GO:
            _reply(connection, option, _INFO, struct.pack(">HQH", 0, size, _HAS_FLAGS | _READ_ONLY))
            _reply(connection, option, _ACK)
            return True
        _reply(connection, option, _ACK if option == _ABORT else _UNSUPPORTED)
        if option == _ABORT:
            return False


def _reply(connection: socket.socket, option: int, kind: int, data: bytes = b"") -> None:
    connection.sendall(struct.pack(">QIII", _REPLY, option, kind, len(data)) + data)


def send_file(connection: socket.socket, file: int, at: int, length: int) -> None:
    """Send a part of a file without reading it into memory."""
    end = at + length
    while at < end:
        count = os.sendfile(connection.fileno(), file, at, end - at)
        if not count:
            raise EOFError
        at += count


def _unpacked(connection: socket.socket, form: str) -> tuple[Any, ...]:
    return struct.unpack(form, _exactly(connection, struct.calcsize(form)))


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        chunk = connection.recv(length - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)

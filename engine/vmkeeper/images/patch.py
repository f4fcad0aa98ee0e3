"""Differences between image files, and whole files compressed, both as one zstd frame; zstd itself does the work.

A patch is data from strangers, and so is a compressed file: its header is read before zstd gets it, zstd runs with
capped memory and time, its output is cut at the size that was signed for, and only what has the signed digest gets
its name. Files of 2 GiB or more get no patch: zstd's window ends there.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from vmkeeper.errors import Refused, UserError
from vmkeeper.images.files import CHUNK, Readable, copy_hashed, hash_file, reported, temporary
from vmkeeper.images.zstdframe import read_frame
from vmkeeper.model.release import Blob
from vmkeeper.run import Limits, ProgramFailed, program, run
from vmkeeper.values import Size

LARGEST = (1 << 31) - 1
"""Bytes of a file that a patch can be from or to: the zstd program takes no larger ones."""
WINDOW = 128 << 20
"""The most memory that a compressed file may want for its window; every zstd takes that by default."""
_OWN_WINDOW_LOG = 25
_FOR_FEW_CHANGES = ("-1", "--zstd=ldmMinMatch=160,hashLog=20,minMatch=5")
"""File systems that differ in numbers here and there: a search that finds less follows the old file more closely."""
_FOR_MANY_CHANGES = ("-9",)
_MUCH = 4 << 20
"""Bytes of a patch from which new content outweighs that."""
_WHOLE_LEVEL = 9
_OVERHEAD = 32 << 20
_ROOM = 96 << 20
"""Address space beside the memory that counts: the program and stacks of its threads."""
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}
"""With an arena for each thread glibc takes 64 MiB of address space for each."""
_SLOWEST = 4 << 20
"""Bytes a second below which zstd is taken to be stuck."""
_F_SETPIPE_SZ = getattr(fcntl, "F_SETPIPE_SZ", 1031)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A patch file. size: its bytes; memory: bytes that applying it takes, about."""

    size: int
    sha512: str
    memory: int


def memory_needed(base: int, new: int) -> int:
    """Bytes of memory that applying a patch takes, for a base and a result of so many bytes: zstd holds both."""
    return base + new + _OVERHEAD


def make(base: Path, new: Path, target: Path, *, memory: Size) -> Patch | None:
    """Write to `target` what makes `new` out of `base`; None where a patch would not serve, and then nothing is written.

    memory: the most bytes that applying may take; making takes about as much. The result is applied once to prove it.
    The same two files and the same zstd give the same bytes. No patch serves for files that are empty or too large, and
    none that is not smaller than half of `new`. Raises UserError (no room), ProgramFailed, EnvironmentLacks.
    """
    sizes = base.stat().st_size, new.stat().st_size
    if not all(0 < size <= LARGEST for size in sizes) or memory_needed(*sizes) > memory:
        return None
    wanted = hash_file(new)
    with reported("write a patch", target), temporary(target.parent) as made, temporary(target.parent) as other:
        blob = _written(_from(base, new, _FOR_FEW_CHANGES), made.file, sizes[1])
        if _MUCH < blob.size <= wanted.size // 2:
            denser = _written(_from(base, new, _FOR_MANY_CHANGES), other.file, sizes[1])
            made, blob = (other, denser) if denser.size < blob.size else (made, blob)
        if blob.size > wanted.size // 2:
            return None
        _prove(made.path, wanted, base)
        made.keep(target)
    return Patch(size=int(blob.size), sha512=blob.sha512, memory=memory_needed(*sizes))


def apply(base: Path, patch: Path, target: Path, wanted: Blob, *, memory: Size) -> None:
    """Make the file `wanted` out of `base` and a patch; it has the name `target` when all its bytes are the right ones.

    memory: the most bytes this may take. Another base than the patch was made for is found out by the result's digest.
    Raises Refused (R25: not one frame of that size, too much memory, damaged; R14: other bytes), UserError (no room).
    """
    with reported("apply a patch", target), temporary(target.parent) as new:
        _restore(patch, new.file, wanted, base, memory)
        new.keep(target)


def compress(source: Path, target: Path) -> Blob:
    """Write a file compressed, with a window that takes little memory to expand; returns what was written.

    The result is expanded once to prove it. Raises UserError (no room), ProgramFailed, EnvironmentLacks.
    """
    wanted = hash_file(source)
    command: list[str | Path] = [f"-{_WHOLE_LEVEL}", f"--long={_OWN_WINDOW_LOG}", "-T0", "--no-check", "--", source.resolve()]
    with reported("write a compressed file", target), temporary(target.parent) as made:
        blob = _written(command, made.file, wanted.size)
        _prove(made.path, wanted, None)
        made.keep(target)
    return blob


def expand(source: Path, target: Path, wanted: Blob) -> None:
    """Make the file `wanted` out of a compressed one; it has the name `target` when all its bytes are the right ones.

    Takes at most 128 MiB and a little. Raises Refused (R25: not one frame of that size and window, damaged; R14: other
    bytes), UserError (no room).
    """
    with reported("expand a compressed file", target), temporary(target.parent) as new:
        _restore(source, new.file, wanted, None, Size(WINDOW + _OVERHEAD))
        new.keep(target)


def _from(base: Path, new: Path, settings: Sequence[str]) -> list[str | Path]:
    """The words that make a patch. One thread: with more, zstd looks at less of the base."""
    return [*settings, "--single-thread", "--long=31", "--no-check", f"--patch-from={base.resolve()}", "--", new.resolve()]


def _written(words: Sequence[str | Path], file: BinaryIO, size: int) -> Blob:
    """zstd's output for input of `size` bytes, hashed on its way into a file."""
    with _output(["-q", "-c", *words], Limits(), 600 + size / (_SLOWEST / 8)) as stream:
        blob = copy_hashed(stream, file)
    file.flush()
    return blob


def _prove(made: Path, wanted: Blob, base: Path | None) -> None:
    """Have what was just written give what it was made from. Raises UserError where it does not."""
    memory = memory_needed(base.stat().st_size, wanted.size) if base else WINDOW + _OVERHEAD
    try:
        _restore(made, cast(BinaryIO, _Nowhere()), wanted, base, Size(memory))
    except Refused as error:
        what, hint = "zstd wrote what it cannot read back", "check this machine's memory and its zstd"
        raise UserError(what, why=str(error), hint=hint) from None


def _restore(source: Path, file: BinaryIO, wanted: Blob, base: Path | None, memory: Size) -> None:
    """Decompress a stranger's frame into a file, within limits, and compare. Raises Refused."""
    from_base = base.stat().st_size if base else 0
    window = _admitted(source, wanted, from_base, memory)
    words: list[str | Path] = ["-d", "-q", "-c", f"--memory={max(window, 1 << 20)}"]
    words += [f"--patch-from={base.resolve()}"] if base else []
    seconds = 60 + (from_base + wanted.size) // _SLOWEST
    limits = Limits(memory=from_base + window + _OVERHEAD + _ROOM, cpu=int(seconds))
    try:
        with _output([*words, "--", source.resolve()], limits, 10 * seconds) as stream:
            blob = copy_hashed(stream, file, limit=wanted.size)
    except OverflowError:
        raise Refused("R25", f"it gives more than the {int(wanted.size)} bytes that were signed for", where=source.name) from None
    except ProgramFailed as error:
        raise Refused("R25", "zstd cannot make the image of it", where=source.name, why=_last_words(error)) from None
    if blob != wanted:
        why = f"{int(blob.size)} bytes with SHA-512 {blob.sha512[:16]}…"
        raise Refused("R14", "it does not give the image that was signed for", where=source.name, why=why)


def _admitted(source: Path, wanted: Blob, base: int, memory: Size) -> int:
    """The window that a frame may have in memory. Raises Refused (R25) for what zstd shall not see."""
    if source.stat().st_size > wanted.size + wanted.size // 64 + CHUNK:
        raise Refused("R25", "it is larger than the image that it gives", where=source.name)
    frame = read_frame(source)
    if frame.content is not None and frame.content != wanted.size:
        raise Refused("R25", f"it says that it gives {frame.content} bytes, not {int(wanted.size)}", where=source.name)
    window = min(frame.window, max(wanted.size, 1 << 20)) if base else frame.window
    if (needed := base + window + _OVERHEAD) > memory:
        hint = "allow more memory, or take the whole file"
        raise Refused("R25", f"it needs {Size(needed).human} of memory, more than {Size(memory).human}", where=source.name, hint=hint)
    return window


@contextmanager
def _output(words: Sequence[str | Path], limits: Limits, timeout: float) -> Iterator[Readable]:
    """What zstd writes, while it runs; leaving early ends it. Raises ProgramFailed when all is read and it failed."""
    command = [program("zstd"), *words]
    ours, theirs = os.pipe()
    with suppress(OSError):
        fcntl.fcntl(ours, _F_SETPIPE_SZ, CHUNK)

    def work() -> None:
        with os.fdopen(theirs, "wb") as pipe:
            run(command, stdout=pipe, env=_ENVIRONMENT, limits=limits, timeout=timeout)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        with os.fdopen(ours, "rb", buffering=0) as stream:
            yield stream
        running.result()


def _last_words(error: ProgramFailed) -> str:
    said = error.result.stderr.decode(errors="replace").strip() if error.result else ""
    return said.rpartition(": ")[2][-300:] or error.what


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, data: bytes, /) -> int:
        return len(data)

    def seek(self, offset: int, _whence: int, /) -> int:
        return offset

    def truncate(self) -> int:
        return 0

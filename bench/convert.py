"""Download, verify and convert one image, against the two halves done one after the other by hand.

    python bench/convert.py [--size 2GiB] [--from qcow2] [--to raw] [--folder DIR] [--runs 3] [--later]

The halves are `curl URL | sha512sum` and `qemu-img convert`; the ratio is our whole time to that of the slower one. A server
on 127.0.0.1 gives the file with sendfile. The image is random in --full of its blocks. --later: no conversion before the file is there.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from vmkeeper.clouds.interface import ImageSpec, SourceFile
from vmkeeper.execute.transfer import Means, Transfer
from vmkeeper.images.cache import ImageCache
from vmkeeper.images.files import hash_file
from vmkeeper.model.release import Blob
from vmkeeper.model.site import Transfers
from vmkeeper.plan.site import RegisterImage
from vmkeeper.plan.supply import Supply
from vmkeeper.values import Duration, Size, Version, parse_time

UUID = "0b0f8a0e-3c1c-4f5e-8b7a-2f8b3f0f7a21"


class Timed:
    """Says what happens when."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def step(self, _subject: str, text: str, /) -> None:
        """One line."""
        print(f"{time.monotonic() - self.began:7.2f}  {text}", file=sys.stderr)

    def amount(self, _subject: str, done: int, total: int, _unit: str, /) -> None:
        """The end only."""
        if done == total:
            self.step("", "all is there")


def serve(path: Path) -> tuple[int, str]:
    """A process that serves one file; its id and the address."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    child = os.fork()
    if child:
        listening.close()
        return child, f"http://127.0.0.1:{port}/image"
    size = path.stat().st_size
    while True:
        connection, _ = listening.accept()
        with suppress(OSError), connection, path.open("rb") as file:
            connection.recv(65536)
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode())
            connection.sendfile(file)


def image(folder: Path, size: int, full: float, form: str) -> Path:
    """A disk with blocks of random bytes and holes between them."""
    raw = folder / "image.raw"
    block = 4 << 20
    with raw.open("wb") as file:
        file.truncate(size)
        for at in range(0, size, block):
            if (at // block * 7919) % 100 < full * 100:
                file.seek(at)
                file.write(os.urandom(min(block, size - at)))
        file.seek(0)
        file.write(b"\xeb\xfe" + bytes(508) + b"\x55\xaa")
    if form == "raw":
        return raw
    made = folder / f"image.{form}"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", form, raw, made], check=True)
    raw.unlink()
    return made


def ours(folder: Path, url: str, blob: Blob, size: int, source: str, to: str, *, early: bool) -> tuple[float, float, int]:
    """Seconds, seconds of processor time (with children) and KiB of memory (of this and the largest child) in a process of its own."""
    spec = ImageSpec(
        name="bench",
        appliance="bench",
        uuid=UUID,
        version=Version("1"),
        format=to,  # type: ignore[arg-type]
        size=blob.size,
        virtual_size=Size(size),
        sha512=blob.sha512,
        list=UUID,
        expires=parse_time("2100-01-01T00:00:00Z"),
        source=SourceFile(format=source, size=blob.size, sha512=blob.sha512),
    )
    action = RegisterImage(subject="bench", reason="bench", spec=spec, supply=Supply(uri=url), store_as=to)  # type: ignore[arg-type]
    cache = ImageCache(folder / "cache", size=Size.parse("100GiB"), age=Duration.parse("60d"))
    means = Means(settings=Transfers(convert_early=early), allow=("127.0.0.1",))
    transfer = Transfer(cache, means, Timed() if os.environ.get("PARTS") else None)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        began = time.monotonic()
        with transfer(action):
            took = time.monotonic() - began
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        memory = int(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
        cpu = sum(one.ru_utime + one.ru_stime for one in used)
        if os.environ.get("PARTS"):
            print([f"{one.ru_utime:.2f} user {one.ru_stime:.2f} system" for one in used], file=sys.stderr)
        os.write(write, f"{took} {cpu} {memory + used[1].ru_maxrss}".encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    took_, cpu_, memory_ = os.read(read, 1000).decode().split()
    os.close(read)
    shutil.rmtree(folder / "cache")
    return float(took_), float(cpu_), int(memory_)


def timed(command: str) -> tuple[float, float]:
    """Seconds and seconds of processor time of a shell command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(["bash", "-o", "pipefail", "-c", command], check=True, stdout=subprocess.DEVNULL)
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print one line a run and the medians."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--size", type=Size.parse, default=Size.parse("2GiB"))
    words.add_argument("--full", type=float, default=1.0)
    words.add_argument("--from", dest="source", default="qcow2", choices=("qcow2", "raw"))
    words.add_argument("--to", default="raw", choices=("raw", "qcow2", "vmdk", "vdi", "vhd"))
    words.add_argument("--folder", type=Path)
    words.add_argument("--runs", type=int, default=3)
    words.add_argument("--later", action="store_true")
    asked = words.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="bench-convert-") as name:
        folder = Path(name)
        path = image(folder, asked.size, asked.full, asked.source)
        blob = hash_file(path)
        child, url = serve(path)
        driver = {"vhd": "vpc"}.get(asked.to, asked.to)
        rows = []
        try:
            for _ in range(asked.runs):
                fetched, cpu = timed(f"curl -sf {url} | sha512sum")
                converted, more = timed(f"qemu-img convert -f {asked.source} -O {driver} {path} {folder}/out; rm {folder}/out")
                took, own, memory = ours(folder, url, blob, asked.size, asked.source, asked.to, early=not asked.later)
                rows.append((fetched, converted, took, took / max(fetched, converted)))
                print(
                    f"curl+sha512sum {fetched:.2f} s ({cpu:.1f} CPU)  qemu-img convert {converted:.2f} s ({more:.1f} CPU)  "
                    f"vmkeeper {took:.2f} s ({own:.1f} CPU, {memory >> 10} MiB)  ratio {rows[-1][3]:.2f}",
                    flush=True,
                )
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    print(f"median: {medians[0]:.2f} s, {medians[1]:.2f} s, vmkeeper {medians[2]:.2f} s, ratio {medians[3]:.2f}")


main()

"""An S3 server on 127.0.0.1: moto's, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

OPTIONS = {"key": "testing", "secret": "a secret key"}


class MotoServer:
    """`url` is the endpoint. program: what is run, in place of moto's own; settings: of moto, as variables."""

    def __init__(
        self, program: tuple[str, ...] = ("-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", "0"), **settings: str
    ) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | settings
        command = [sys.executable, *program]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, cwd=Path.home())
        assert self._process.stderr is not None
        said = ""
        for line in self._process.stderr:
            said += line
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                self.url = found[0]
                break
        else:
            raise RuntimeError(said)
        self._drain = subprocess.Popen(["cat"], stdin=self._process.stderr, stdout=subprocess.DEVNULL)

    def options(self) -> dict[str, str]:
        return {**OPTIONS, "endpoint_url": self.url, "region": "eu-west-1", "acl": "public-read"}

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()
        self._drain.wait()

"""The command kept warm: each case runs in a fork of one process that has its modules loaded, which is what takes most of the time.

Requests are lines of JSON on standard input, `[[words…], folder]`; answers `[exit code, standard output, standard error]`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback

import vmkeeper.contexts.sandbox
import vmkeeper.execute.audit
import vmkeeper.execute.single_list
import vmkeeper.images.examine  # noqa: F401 - loaded before the fork
from vmkeeper.cli.app import main


def answer(words: list[str], folder: str) -> list[object]:
    """Run the command in a child whose descriptors are files."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _become(words, folder, out.fileno(), err.fileno())
        _, status = os.waitpid(child, 0)
        said = [(stream.seek(0), stream.read().decode(errors="replace"))[1] for stream in (out, err)]
    return [os.waitstatus_to_exitcode(status), *said]


def _become(words: list[str], folder: str, out: int, err: int) -> None:
    code: object = 1
    try:
        os.chdir(folder)
        null = os.open(os.devnull, os.O_RDONLY)
        for place, descriptor in enumerate((null, out, err)):
            os.dup2(descriptor, place)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115 - the process ends below
        sys.argv = ["vmkeeper", *words]
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - reported as what it is: no exit of the command
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(*json.loads(line))) + "\n")
        sys.stdout.flush()

"""Builds in a process of their own, as this user or as another: `python -m support.builds RECIPE CONTENTS STORE WORK`."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import vmkeeper
from vmkeeper.builders.registry import BUILDERS
from vmkeeper.images.store import Store
from vmkeeper.model.recipe import Content, Recipe
from vmkeeper.progress import Silent

TESTS = Path(__file__).resolve().parent.parent


def main(recipe: str, contents: str, store: str, work: str) -> None:
    """Build a recipe (a JSON file) whose files are in a folder by their sha256; prints what was built."""
    made = Recipe.model_validate_json(Path(recipe).read_text())

    def content(wanted: Content) -> bytes:
        return (Path(contents) / wanted.sha256).read_bytes()

    built = BUILDERS[made.builder.name].build(made, content, Store(store), Path(work), Silent())
    said = {"rootfs": built.rootfs.sha512, "raw": built.raw_sha512, "files": [file.sha512 for file in built.files], "sbom": built.sbom.sha512}
    sys.stdout.write(json.dumps(said))


def command(*words: str | Path) -> list[str]:
    """The command line for `main`."""
    return [sys.executable, "-m", "support.builds", *map(str, words)]


def ordinary_user() -> tuple[str, str] | None:
    """An ordinary user with subordinate ids and a Python that it can run this with; None where there is none, or we are not root."""
    if os.geteuid() != 0 or not Path("/etc/subuid").is_file():
        return None
    for line in Path("/etc/subuid").read_text().splitlines():
        name = line.split(":")[0]
        if name == "root" or not _exists(name):
            continue
        for python in (sys.executable, "/usr/bin/python3"):
            with suppress(PermissionError, FileNotFoundError):
                if _as_user(name, [python, "-c", "import support.builds"]).returncode == 0:
                    return name, python
    return None


def as_ordinary_user(user: tuple[str, str], words: Sequence[str | Path]) -> dict[str, object]:
    """What `main` prints when that user runs it, with no way to the network."""
    name, python = user
    result = _as_user(name, [python, "-m", "support.builds", *map(str, words)])
    assert result.returncode == 0, result.stderr.decode()
    return json.loads(result.stdout)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def environment() -> dict[str, str]:
    """The environment in which the tests' own modules are found."""
    site = [path for path in sys.path if path.endswith("-packages")]
    paths = [str(TESTS), str(Path(vmkeeper.__file__).parent.parent), *site]
    return {"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(paths), "PYTHONDONTWRITEBYTECODE": "1"}


def _as_user(name: str, words: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    entry = pwd.getpwnam(name)
    nowhere = "http://127.0.0.1:9"
    env = {**environment(), "http_proxy": nowhere, "https_proxy": nowhere, "HOME": entry.pw_dir, "USER": name, "LOGNAME": name}
    return subprocess.run(words, env=env, cwd="/", user=entry.pw_uid, group=entry.pw_gid, extra_groups=[], capture_output=True, check=False)


if __name__ == "__main__":
    main(*sys.argv[1:])

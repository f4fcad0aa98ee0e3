"""The repository's own appliances: what runs in an image or a guest is sound before anything is built."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent.parent / "appliances"
SCRIPTS = sorted(path for kind in ("tests", "provision") for path in FOLDER.glob(f"*/{kind}/*") if path.is_file())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_script_can_be_run(script: Path) -> None:
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/bin/sh"
    assert lines[1].startswith("# "), "its second line says what it is for"
    assert "set -eu" in lines
    assert os.access(script, os.X_OK)
    shell = shutil.which("dash") or shutil.which("sh")
    assert shell
    subprocess.run([shell, "-n", str(script)], check=True)


@pytest.mark.parametrize("folder", sorted(path.parent for path in FOLDER.glob("*/appliance.yaml")), ids=lambda path: path.name)
def test_every_file_of_an_appliance_is_used(folder: Path) -> None:
    definition = (folder / "appliance.yaml").read_text()
    for path in folder.glob("files/**/*"):
        assert path.is_dir() or str(path.relative_to(folder)) in definition
    for path in folder.glob("provision/*"):
        assert f"provision/{path.name}" in definition


def test_appliances_are_not_each_others() -> None:
    uuids = [re.findall(r"(?m)^uuid: (\S+)$", path.read_text())[0] for path in FOLDER.glob("*/appliance.yaml")]
    assert len(set(uuids)) == len(uuids) >= 5

"""Commands as somebody types them: the real entry point, its words on both streams, its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support import producer as production
from support.producer import Producer
from vmkeeper.cli import app, session


class Typed:
    """Types commands; `out` and `err` are what the last one said, `status` what the last one with `json` ended with."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capsys = monkeypatch, capsys
        monkeypatch.chdir(folder)

    def __call__(self, *words: str) -> int:
        self._patch.setattr("sys.argv", ["vmkeeper", *words])
        with pytest.raises(SystemExit) as ended:
            app.main()
        self.out, self.err = self._capsys.readouterr()
        return int(ended.value.code or 0)

    def json(self, *words: str) -> Any:
        self.status = self(*words, "--output", "json")
        return json.loads(self.out)


class TypedAtSite(Typed):
    """Types commands in a producer's repository, as the administrator of the site whose folder is `home`; the clock stands still."""

    def __init__(self, producer: Producer, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(producer.repo.folder, monkeypatch, capsys)
        self.producer, self.home = producer, home
        monkeypatch.setenv("VMKEEPER_SITE_HOME", str(home))
        monkeypatch.setattr(session.Session, "now", production.NOW)
        self.ca = str(producer.authority.write(home.parent))

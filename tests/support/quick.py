"""A builder and a boot test that take no time, for tests of the factory's own steps; store, git, plan and records are real."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmkeeper.boot.probe import Accelerator
from vmkeeper.boot.report import Check, TrialResult
from vmkeeper.boot.trial import Trial
from vmkeeper.builders.interface import Built, Contents
from vmkeeper.builders.versions import VERSIONS
from vmkeeper.errors import Problem, UserError
from vmkeeper.execute import factory as module
from vmkeeper.images.store import Store
from vmkeeper.model.recipe import Recipe
from vmkeeper.model.release import ImageFile
from vmkeeper.progress import Progress
from vmkeeper.values import Size


class QuickBuilder:
    """Puts a file that says the recipe's digest into the store."""

    version = VERSIONS["debian"]

    def __init__(self) -> None:
        self.built: list[str] = []
        self.broken: set[str] = set()

    @staticmethod
    def bytes_of(recipe: Recipe) -> bytes:
        return recipe.canonical()

    def lacks(self) -> tuple[Problem, ...]:
        return ()

    def build(self, recipe: Recipe, contents: Contents, store: Store, work: Path, progress: Progress) -> Built:
        if recipe.appliance in self.broken:
            raise UserError("a script failed", where=recipe.appliance)
        for layer in recipe.layers:
            for script in layer.scripts:
                contents(script.content)
        self.built.append(recipe.appliance)
        blob = store.put_bytes(self.bytes_of(recipe))
        files = tuple(ImageFile(format=each, size=blob.size, virtual_size=Size(2**31), sha512=blob.sha512) for each in recipe.formats)
        return Built(
            rootfs=blob, raw_sha512=None, files=files, manifest=store.put_bytes(b"hello 1.0 amd64\n"), packages=1, sbom=store.put_bytes(b"{}")
        )


def passing(trial: Trial, *_: object) -> TrialResult:
    return TrialResult(
        trial.appliance, "tcg", trial.firmware, tuple(Check(name, passed=True) for name, _ in trial.tests) or (Check("boot-bios", passed=True),)
    )


def quick_builder(monkeypatch: pytest.MonkeyPatch) -> QuickBuilder:
    """Put the builder and the boot test in place of the real ones."""
    made = QuickBuilder()
    monkeypatch.setattr(module, "BUILDERS", {"debian": made})
    monkeypatch.setattr(module.probe, "choose", lambda: Accelerator("tcg"))
    monkeypatch.setattr(module.probe, "lacks", lambda *_: ())
    monkeypatch.setattr(module, "run_trial", passing)
    return made

"""The documents that people read: links lead somewhere, commands exist, decisions are listed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from vmkeeper.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?://|#|mailto:", target):
            assert (page.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_exist(page: Path) -> None:
    text = page.read_text()
    typed = "\n".join([*re.findall(r"^```.*?^```", text, flags=re.DOTALL | re.MULTILINE), *re.findall(r"`[^`]+`|^ {4}.*$", text, flags=re.MULTILINE)])
    for words in re.findall(r"(?:^ *|`|bin/|&& |; )vmkeeper ([a-z]+(?: [a-z]+)?)", typed, flags=re.MULTILINE):
        command: Any = typer.main.get_command(app)
        for word in words.split():
            if not hasattr(command, "commands"):
                break
            assert word in command.commands, f"vmkeeper {words}"
            command = command.commands[word]


def test_decisions_are_numbered_listed_and_of_one_form() -> None:
    listed = (ROOT / "docs" / "decisions" / "README.md").read_text()
    assert [path.name[:4] for path in DECISIONS] == [f"{number:04}" for number in range(1, len(DECISIONS) + 1)]
    for path in DECISIONS:
        text = path.read_text()
        title = text.splitlines()[0].removeprefix(f"# {path.name[:4]}: ")
        assert f"[{path.name[:4]}]({path.name}) | {title} |" in listed
        for part in ("**Context.**", "**Choice.**", "**Consequences.**"):
            assert part in text
        assert re.search(r"\*\*(Options\.|What came up\.)\*\*", text)


@pytest.mark.parametrize("page", [*DECISIONS, ROOT / "docs" / "architecture.md"], ids=name)
def test_modules_that_are_named_exist(page: Path) -> None:
    for module in re.findall(r"`((?:[a-z]+/)+[a-z_]+\.py)(?:: [a-zA-Z_.]+)?`", page.read_text()):
        assert (ROOT / "engine" / "vmkeeper" / module).exists() or (ROOT / module).exists(), module

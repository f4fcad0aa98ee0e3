"""The house: each floor imports only from floors below it, modules stay small, nothing prints but the command line."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[1] / "engine"
FLOORS = (
    "cli",
    "execute",
    "plan",
    "lists",
    "catalogue",
    "trust",
    "documents",
    "contexts",
    "clouds",
    "builders",
    "boot",
    "images",
    "repository",
    "model",
    "ground",
)
GROUND = {"values", "errors", "run", "progress"}
PURE = ("plan", "trust", "documents", "catalogue", "contexts", "model", "lists")
"""Floors that touch nothing: neither programs nor sockets nor the clock."""
MAY_ASK = {"vmkeeper.trust.keys.openpgp", "vmkeeper.trust.keys.ssh", "vmkeeper.trust.keys.x509", "vmkeeper.contexts.sandbox"}
"""Modules of pure floors that ask gpg, ssh-keygen, openssl or a child with limits: nobody else can."""
EFFECTS = {"subprocess", "socket", "httpx", "requests", "vmkeeper.run", "time"}
MODULES = sorted(ENGINE.rglob("*.py"))
LIMIT = 350


def name_of(path: Path) -> str:
    parts = path.relative_to(ENGINE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "vmkeeper" or len(parts) < 2:
        return None
    if parts[1] == "__main__":
        return "cli"
    return "ground" if parts[1] in GROUND else parts[1]


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found.add(node.module or "")
            found |= {
                f"{node.module}.{alias.name}"
                for alias in node.names
                if (ENGINE / f"{node.module}.{alias.name}".replace(".", "/")).with_suffix(".py").exists()
            }
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_only_from_floors_below(path: Path) -> None:
    floor = floor_of(name_of(path))
    if floor is None:
        return
    below = FLOORS[FLOORS.index(floor) :]
    for imported in imports(path):
        other = floor_of(imported)
        assert other is None or other in below, f"{floor} may not import {imported}"


@pytest.mark.parametrize("path", [path for path in MODULES if floor_of(name_of(path)) in PURE], ids=name_of)
def test_pure_floors_touch_nothing(path: Path) -> None:
    if name_of(path) in MAY_ASK:
        return
    assert not imports(path) & EFFECTS
    source = path.read_text()
    for call in ("datetime.now(", "utcnow(", "time.time(", ".write_text(", ".write_bytes(", "os.environ"):
        assert call not in source, f"{call} in a pure module"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_are_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LIMIT


@pytest.mark.parametrize("path", [path for path in MODULES if floor_of(name_of(path)) != "cli"], ids=name_of)
def test_the_library_never_prints(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "input"), f"line {node.lineno}"


def test_every_folder_is_a_floor() -> None:
    folders = {path.name for path in (ENGINE / "vmkeeper").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(FLOORS) - {"ground"}


def test_no_import_cycles() -> None:
    names = {name_of(path) for path in MODULES}
    graph = {name_of(path): {imported for imported in imports(path) & names if imported != name_of(path)} for path in MODULES}
    for module in graph:  # a package's own __init__ is not a way round
        graph[module] -= {module.rpartition(".")[0]}
    TopologicalSorter(graph).prepare()

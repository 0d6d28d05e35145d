"""The way data flows is the way imports run, backward: no room knows of a later one."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

from tests.clips import TOP

# A room may import those before it. docs/architecture.md says what each is for.
ROOMS = ["config", "distributed", "web", "features", "data", "plots", "evaluation", "models", "verification", "run"]
ROOMS += ["tracking", "inference", "experiment", "export", "live", "report", "review", "doctor", "cli"]
PACKAGE = TOP / "audiotag"
SHARED = {"console", "errors", "files", "randomness"}  # loose modules that every room may import; they import no room
# Run by `python -m`, or about command lines: they may use the modules of the command line.
PROGRAMS = {f"{room}/__main__.py" for room in ("doctor", "export", "report", "review")} | {"report/reproduce.py"}


def imported(module: Path) -> set[str]:
    """Return the names of modules of the package that a module imports anywhere, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("audiotag.") for name in names if name.startswith("audiotag.")}


def modules() -> dict[str, Path]:
    """Return the files of all modules by name, without the package's own."""
    files = PACKAGE.rglob("*.py")
    return {".".join(file.relative_to(PACKAGE).with_suffix("").parts): file for file in files}


@functools.cache
def imports() -> dict[str, set[str]]:
    """Return the modules that each module imports."""
    known = modules()
    graph = {}
    for module, file in known.items():
        graph[module] = {found for name in imported(file) if (found := module_of(name, known))} - {module}
    return graph


def module_of(name: str, known: dict[str, Path]) -> str | None:
    """Return the module of an imported name, which may be one itself or stand in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        for found in (module, f"{module}.__init__"):
            if found in known:
                return found
    return None


def test_rooms_are_those_that_are_documented():
    assert {folder.parent.name for folder in PACKAGE.glob("*/__init__.py")} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_no_later_one(room):
    later = set(ROOMS[ROOMS.index(room) + 1 :])
    found = [
        f"{module} imports {name}"
        for module, names in imports().items()
        if module.split(".")[0] == room and f"{module.replace('.', '/')}.py" not in PROGRAMS
        for name in names
        if name.split(".")[0] in later
    ]
    assert not found


def test_shared_modules_import_no_room():
    graph = imports()
    assert graph.keys() >= SHARED
    assert not {name.split(".")[0] for module in SHARED for name in graph[module]} & set(ROOMS)


def test_distributed_knows_nothing_of_audio():
    graph = imports()
    found = set().union(*(names for module, names in graph.items() if module.startswith("distributed.")))
    assert {name for name in found if not name.startswith("distributed.")} <= SHARED | {"__init__"}


def test_imports_make_no_circle():
    """Whatever imports nothing that is left is taken away, until nothing is left, or a circle."""
    left = imports()
    while free := {module for module, names in left.items() if not names & left.keys()}:
        left = {module: names for module, names in left.items() if module not in free}
    assert not left

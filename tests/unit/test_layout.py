"""The way data flows is the way imports run, backward: no room knows of a later one."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.clips import TOP

ROOMS = ["features", "data", "models", "verification", "evaluation", "experiment", "inference", "report"]
PACKAGE = TOP / "audiotag"
SHARED = ["config"]  # rooms beside the line
# Run by `python -m`, or about command lines: they may use the modules of the command line.
PROGRAMS = {"data/plan.py", "report/__main__.py", "report/reproduce.py"}


def imported(module: Path) -> set[str]:
    """Return the names of modules of the package that a module imports anywhere, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("audiotag.") for name in names if name.startswith("audiotag.")}


def test_every_room_has_its_place():
    assert {folder.parent.name for folder in PACKAGE.glob("*/__init__.py")} == {*ROOMS, *SHARED}


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_knows_of_a_later_one(room):
    later = set(ROOMS[ROOMS.index(room) + 1 :])
    found = [
        f"{module.relative_to(PACKAGE)} imports {name}"
        for module in (PACKAGE / room).rglob("*.py")
        for name in imported(module)
        if name.split(".")[0] in later
    ]
    assert not found


def beside(name: str) -> list[Path]:
    """Return the files of what stands beside the rooms: a module, or a package of the shared ones; none for a room."""
    module = PACKAGE / f"{name}.py"
    return [module] if module.is_file() else list((PACKAGE / name).glob("*.py")) if name in SHARED else []


def named_in(modules: Iterable[Path]) -> set[str]:
    return {name.split(".")[0] for module in modules for name in imported(module)}


def test_what_all_rooms_share_knows_of_none():
    """Those beside the rooms that rooms import, and what these import in turn."""
    rooms = [module for room in ROOMS for module in (PACKAGE / room).rglob("*.py")]
    shared: set[str] = set()
    new = named_in(module for module in rooms if module.relative_to(PACKAGE).as_posix() not in PROGRAMS)
    while new := {name for name in new if beside(name)} - shared:
        shared |= new
        new = named_in(module for name in new for module in beside(name))
    assert {"config", "errors", "files"} <= shared
    assert not named_in(module for name in shared for module in beside(name)) & set(ROOMS)

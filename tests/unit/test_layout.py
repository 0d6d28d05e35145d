"""The way data flows is the way imports run, backward: no room knows of a later one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.clips import TOP

ROOMS = ["features", "data", "models", "verification", "evaluation", "experiment", "inference", "report"]
PACKAGE = TOP / "audiotag"
PROGRAMS = {"data/plan.py"}  # run by `python -m`: they may use the command line's modules


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
    assert {folder.parent.name for folder in PACKAGE.glob("*/__init__.py")} == set(ROOMS)


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


def test_what_all_rooms_share_knows_of_none():
    """Those beside the rooms that rooms import, and what these import in turn."""
    rooms = [module for room in ROOMS for module in (PACKAGE / room).rglob("*.py")]
    shared, new = (
        set(),
        {
            name.split(".")[0]
            for module in rooms
            if module.relative_to(PACKAGE).as_posix() not in PROGRAMS
            for name in imported(module)
        },
    )
    while new := {name for name in new if (PACKAGE / f"{name}.py").is_file()} - shared:
        shared |= new
        new = {name.split(".")[0] for module in new for name in imported(PACKAGE / f"{module}.py")}
    assert {"config", "errors", "files"} <= shared
    known = {f"{module} imports {name}" for module in shared for name in imported(PACKAGE / f"{module}.py")}
    assert not [line for line in known if line.split()[-1].split(".")[0] in ROOMS]

"""The command `audiotag`: what it lists, and that the package says what it needs."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib

import pytest

import audiotag
from audiotag.cli.commands import COMMANDS, PROGRAMS, main
from tests.clips import TOP

PACKAGE = TOP / "audiotag"
# What these import at once is an extra, or is tried where it is imported.
NEED_AN_EXTRA = {"tracking/mlflow.py", "tracking/tensorboard.py", "tracking/wandb.py", "live/page.py", "review/app.py"}
NEED_AN_EXTRA |= {"web/guard.py", "web/protocols.py", "web/server.py", "export/front_ends.py", "export/graph.py"}
NEED_AN_EXTRA |= {"export/int8.py", "export/nodes.py", "export/push.py"}


# Packages that a declared one brings along and hands out as its own.
BROUGHT_ALONG = {"pydantic-core": "pydantic", "markupsafe": "jinja2", "pillow": "matplotlib"}


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["audiotag", *arguments])
    main()


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_command_lists_what_there_is(arguments, monkeypatch, capsys):
    call(monkeypatch, *arguments)
    shown = capsys.readouterr().out
    assert re.findall(r"^  (\w+) ", shown, re.M) == [*PROGRAMS, *COMMANDS]


def test_command_says_its_version(monkeypatch, capsys):
    call(monkeypatch, "--version")
    assert capsys.readouterr().out == f"audiotag {audiotag.__version__}\n"


def test_command_that_is_misspelt_is_refused_with_the_nearest(monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, "trian", "seed=1")
    assert ended.value.code == 2
    assert "no command trian (did you mean train?)" in capsys.readouterr().err


def test_commands_are_all_modules_that_one_can_run():
    files = {*PACKAGE.glob("*.py"), *PACKAGE.glob("*/__main__.py")} - {PACKAGE / "__main__.py"}
    can_run = [file for file in files if re.search(r"^    run_command\(", file.read_text(encoding="utf-8"), re.M)]
    names = {file.parent.name if file.stem == "__main__" else file.stem for file in can_run}
    assert names == set(COMMANDS)
    assert {file.stem for file in TOP.glob("*.py")} == set(PROGRAMS)


def test_package_declares_what_it_imports():
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.match(r"[\w-]+", text)[0].lower().replace("_", "-") for text in project["dependencies"]}
    of_name = importlib.metadata.packages_distributions()
    undeclared = {}
    for file in PACKAGE.rglob("*.py"):
        place = file.relative_to(PACKAGE).as_posix()
        for name in imported_at_once(file):
            owners = {owner.lower().replace("_", "-") for owner in of_name.get(name, [name])}
            owners = {BROUGHT_ALONG.get(owner, owner) for owner in owners}
            if name not in sys.stdlib_module_names and name != "audiotag" and not owners & declared:
                undeclared.setdefault(place, set()).add(name)
    assert undeclared.keys() <= NEED_AN_EXTRA, undeclared


def imported_at_once(file) -> set[str]:
    """Return the packages that a module imports when it is imported itself."""
    names = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names

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
from audiotag.console import CALLED, as_called
from tests.clips import TOP

PACKAGE = TOP / "audiotag"
# What these import at once is an extra, or is tried where it is imported.
NEED_AN_EXTRA = {"tracking/mlflow.py", "tracking/tensorboard.py", "tracking/wandb.py", "live/page.py", "review/app.py"}
NEED_AN_EXTRA |= {"web/guard.py", "web/protocols.py", "web/server.py", "export/front_ends.py", "export/graph.py"}
NEED_AN_EXTRA |= {"export/int8.py", "export/nodes.py", "export/push.py"}
HINT = re.compile(r"\b(train|verify|predict)\.py\b|python -m audiotag\.|pip install -e '\.\[")
# Packages that a declared one brings along and hands out as its own.
BROUGHT_ALONG = {"pydantic-core": "pydantic", "markupsafe": "jinja2", "pillow": "matplotlib"}


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["audiotag", *arguments])
    for name in (CALLED, "PYTHONSAFEPATH"):
        monkeypatch.setenv(name, "")  # put back after the test
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


def test_hint_names_commands_as_they_were_called(monkeypatch):
    names = {f"python {name}.py": name for name in PROGRAMS} | {f"python -m audiotag.{name}": name for name in COMMANDS}
    monkeypatch.delenv(CALLED, raising=False)
    assert [as_called(checkout) for checkout in names] == list(names)
    for called in ("audiotag", "python -m audiotag"):
        monkeypatch.setenv(CALLED, called)
        assert [as_called(checkout) for checkout in names] == [f"{called} {name}" for name in names.values()]
        assert as_called("train.py makes it") == f"{called} train makes it"
    assert as_called("needs x: pip install -e '.[web]'") == "needs x: pip install 'audiotag[web]'"
    for other in ("audiotag.load(FOLDER)", "audiotag.models.cnn14.Cnn14", "constrain.py", "python -m http.server"):
        assert as_called(other) == other


def test_hints_that_name_a_command_of_the_checkout_are_all_said_as_it_was_called():
    """Documentation is let be, and so are constants of a module, which are told where they are used."""
    missed = []
    for file in PACKAGE.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        told = [part for call in ast.walk(tree) if is_told(call) for part in ast.walk(call)]
        told += [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]  # documentation
        told += [node.value for node in tree.body if isinstance(node, ast.Assign)]  # AGAIN, INSTALL, PROGRAM
        for node in ast.walk(tree):
            named = isinstance(node, ast.Constant) and isinstance(node.value, str) and HINT.search(node.value)
            if named and not any(node is one for one in told):
                missed.append(f"{file.relative_to(PACKAGE)}:{node.lineno}: {node.value}")
    assert not missed


def is_told(node: ast.AST) -> bool:
    """Return whether this is a call of what names commands as they were called."""
    names = {"as_called", "announce", "program"}
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


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

"""Leaves: classes named by `_target_`, whose arguments are checked against the constructor before any work."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import pytest

from audiotag.cli.arguments import CONF
from audiotag.config import Features, Model, Training
from audiotag.config.leaf import OWN, TRUST, build, class_name, find_class, leaf_identity, leaf_problems
from audiotag.errors import ConfigError

MODULE = """
from __future__ import annotations
from typing import Annotated, TYPE_CHECKING
from pydantic import Field
if TYPE_CHECKING:
    from nowhere import Secret

Size = Annotated[int, Field(ge=1, le=9)]

class Net:
    def __init__(self, classes: int, channels: Size, dropout: float = 0.5, shape: tuple[int, ...] = (1,), way=None):
        if channels == 9:
            raise ValueError("channels=9 is too wide")
        self.arguments = {"classes": classes, "channels": channels, "dropout": dropout, "shape": shape, "way": way}

class Hidden:
    def __init__(self, secret: Secret, size: int = 1): ...

def anything(classes, **arguments):
    return classes, arguments
"""


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path with classes of a user, and some that cannot be imported."""
    for name, text in {
        "leaf_net": MODULE,
        "leaf_needy": "import not_installed_anywhere",
        "leaf_torn": "class Net:\ndef f(",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
        sys.modules.pop(name, None)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(TRUST, str(tmp_path))
    return tmp_path


def net(**arguments: object) -> dict[str, object]:
    return {"_target_": "leaf_net.Net", "channels": 3, **arguments}


def test_leaf_is_built_with_its_arguments_and_those_of_the_program():
    built = build(net(dropout=1, shape=[2, 3]), "model.network", classes=5)
    assert built.arguments == {"classes": 5, "channels": 3, "dropout": 1, "shape": [2, 3], "way": None}
    assert build({"_target_": "leaf_net.anything", "a": 1}, "x", classes=5) == (5, {"a": 1})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"chanels": 9}, "model.network.chanels is not an argument of leaf_net.Net (did you mean channels?)"),
        ({"channels": 0}, "model.network.channels=0 must be 1 or more"),
        ({"channels": "3"}, "model.network.channels='3' is not a whole number"),
        ({"channels": True}, "model.network.channels=True is not a whole number"),
        ({"dropout": None}, "model.network.dropout=None is not a number"),
        ({"shape": [1, "a"]}, "model.network.shape holds 'a', which is not a whole number"),
        ({"classes": 3}, "model.network.classes is set by the program: leave it out"),
    ],
)
def test_leaf_with_a_wrong_argument_is_refused(arguments, expected):
    assert leaf_problems(net(**arguments), "model.network", ("classes",)) == [expected]


def test_leaf_problems_come_all_at_once():
    problems = leaf_problems({"_target_": "leaf_net.Net", "drop": 1, "shape": 3}, "model.network")
    assert problems == [
        "model.network.drop is not an argument of leaf_net.Net (did you mean dropout?)",
        "model.network.shape=3 is not a list, such as [A,B]",
        "model.network.classes is missing: leaf_net.Net cannot be built without it",
        "model.network.channels is missing: leaf_net.Net cannot be built without it",
    ]


def test_leaf_that_does_not_take_what_the_program_gives_is_refused():
    [problem] = leaf_problems(net(), "model.network", ("classes", "frames"))
    assert problem == (
        "leaf_net.Net does not take frames, which the program gives it: add it to the constructor of model.network"
    )


def test_leaf_with_types_that_are_not_known_here_is_not_checked_for_them():
    assert leaf_problems({"_target_": "leaf_net.Hidden", "secret": 1, "size": "x"}, "a") == []


def test_leaf_whose_constructor_refuses_a_value_says_so():
    with pytest.raises(ConfigError, match=r"model\.network: channels=9 is too wide"):
        build(net(channels=9), "model.network", classes=2)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("leaf_nett.Net", "cannot be imported: there is no module leaf_nett in {folder}"),
        ("leaf_net.Nett", "has no class Nett (did you mean Net?)"),
        ("leaf_needy.Net", "needs not_installed_anywhere, which is not installed"),
        ("leaf_torn.Net", "leaf_torn.py, line 2: "),
        ("Net", "model.network._target_=Net does not name a class: write it as module.Class"),
        (None, "does not name a class"),
        (7, "does not name a class"),
    ],
)
def test_leaf_whose_class_cannot_be_imported_is_refused(modules, target, expected):
    [problem] = leaf_problems({"_target_": target}, "model.network")
    assert problem.startswith(f"model.network._target_={target}")
    assert expected.format(folder=modules) in problem


def test_leaf_identity_holds_defaults_too():
    assert leaf_identity(net(way="a"), "model.network") == {
        "_target_": "leaf_net.Net", "channels": 3, "dropout": 0.5, "shape": (1,), "way": "a",
    }  # fmt: skip
    assert class_name(net()) == "Net"


def test_leaf_whose_constructor_fails_is_reported_with_its_line(tmp_path, monkeypatch):
    (tmp_path / "breaks.py").write_text(
        "class Breaks:\n    def __init__(self, width):\n        self.half = width / 'x'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"breaks\.Breaks cannot be built: TypeError: .*breaks\.py, line 3"):
        build({"_target_": "breaks.Breaks", "width": 2}, "model.network")


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.exec",
        "leaf_net.Net",
        "leaf_pack.inner.Net",
        "audiotag.files.write_text",
        "audiotag.models.vgg_gap.nn.Conv2d",
        "audiotag.models.vgg_gap.VggGap\x00",
        "torch.nn.modules.conv.Conv2d",
        "torch.hub.load",
        "torchvision.models.resnet18",
        "__main__.main",
        "..x",
    ],
)
def test_leaf_whose_class_is_a_strangers_is_refused_before_anything_is_imported(modules, monkeypatch, target):
    monkeypatch.delenv(TRUST)
    (modules / "leaf_pack" / "inner").mkdir(parents=True)
    mark = modules / "mark"
    for file in ("leaf_net.py", "leaf_pack/__init__.py", "leaf_pack/inner/__init__.py"):
        (modules / file).write_text(f"open({str(mark)!r}, 'w')\nclass Net: ...\n")
    before = set(sys.modules)
    [problem] = leaf_problems({"_target_": target}, "model.network")
    assert problem.startswith(f"model.network._target_={target} is not one of audiotag's own")
    assert f"AUDIOTAG_TRUST={target}" in problem
    assert not mark.exists()
    assert set(sys.modules) == before
    if target.startswith("leaf_"):
        monkeypatch.setenv(TRUST, target)
        assert leaf_problems({"_target_": target}, "model.network") == []
        assert mark.exists()


def test_leaf_of_a_trusted_folder_is_what_its_modules_hold_themselves(modules, monkeypatch):
    """Nor is what they import from elsewhere, or what lies deeper, such as the packages of an environment."""
    (modules / "leaf_imports.py").write_text("from subprocess import Popen\nfrom shutil import rmtree\n")
    (modules / "deeper").mkdir()
    (modules / "deeper" / "leaf_deeper.py").write_text("class Net: ...\n")
    monkeypatch.syspath_prepend(modules / "deeper")
    for target in ("leaf_imports.Popen", "leaf_imports.rmtree", "leaf_deeper.Net", "os.system"):
        [problem] = leaf_problems({"_target_": target}, "model.network")
        assert "is not one of audiotag's own" in problem, target
    assert "leaf_deeper" not in sys.modules


def test_leaf_classes_that_ship_are_audiotags_own():
    shipped = re.compile(r"_target_: (audiotag\.[\w.]+)")
    named = {name for file in CONF.rglob("*.yaml") for name in shipped.findall(file.read_text(encoding="utf-8"))}
    named |= {leaf["_target_"] for leaf in (Training().loss, Features().front_end, Model().network)}
    assert {name for name in named if not name.startswith("audiotag.cli.")} <= OWN
    for name in OWN:
        assert inspect.isclass(find_class({"_target_": name}, "x")), name

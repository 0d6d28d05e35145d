"""What an exported folder may build, how it is named on a hub, and how its card shows what a run holds."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import yaml
from torch import nn

from audiotag.config import ExportConfig
from audiotag.config.leaf import TARGET, find_class
from audiotag.errors import ConfigError, RunError
from audiotag.export.card import FRONT_MATTER, escaped, table
from audiotag.files import replacing_folder
from audiotag.inference.hub import NAMED, hub_folder
from audiotag.inference.tagger_folder import HARMLESS, is_tagger_folder
from tests.clips import TOP


def test_harmless_classes_are_modules_of_this_package_by_their_own_names():
    for name in HARMLESS:
        found = find_class({TARGET: name}, "network")
        assert inspect.isclass(found)
        assert issubclass(found, nn.Module)
        assert f"{found.__module__}.{found.__qualname__}" == name


# One reads a file, one gives a table to transformers.
NEED_TRUST = {"audiotag.features.embedding.EmbeddingFrontEnd", "audiotag.models.hf_network.HfNetwork"}


@pytest.mark.parametrize("group", ["features", "model"])
def test_shipped_options_are_harmless_or_need_trust(group):
    """A class of a new option belongs into HARMLESS, once its constructor has been read, or into NEED_TRUST."""
    text = "\n".join(file.read_text() for file in (TOP / "conf" / group).glob("*.yaml"))
    named = set(re.findall(rf"{TARGET}: (\S+)", text))
    assert len(named) > 3
    assert named <= HARMLESS | NEED_TRUST
    assert not HARMLESS & NEED_TRUST


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("hf://me/bells", ("me/bells", None)),
        ("hf://me-2/my.bells_v2@main", ("me-2/my.bells_v2", "main")),
        ("hf://me/bells@refs/pr/1", ("me/bells", "refs/pr/1")),
        ("hf://me", None),
        ("hf://me/bells/more", None),
        ("hf://../bells", None),
        ("hf://me/bells@", None),
        ("hf://me/bells@a b", None),
    ],
)
def test_hub_names_have_an_owner_and_may_have_a_revision(name, parts):
    found = NAMED.fullmatch(name)
    assert (found and (found["repository"], found["revision"])) == parts
    if parts is None:
        with pytest.raises(RunError, match="is not a name of the hub"):
            hub_folder(name)


@pytest.mark.parametrize("push", ["bells", "me/", "/bells", "me/bells/more", "hf://me/bells", "../bells"])
def test_push_needs_owner_and_name(push):
    with pytest.raises(ConfigError, match="does not name a repository: write OWNER/NAME"):
        ExportConfig(run="a", to="folder", push=push)


def test_card_shows_names_as_they_are():
    assert escaped("a|b\n<script> c\\d") == "a\\|b &lt;script&gt; c\\\\d"
    assert table([["a", "b"], [1, None]]) == "| a | b |\n| --- | --- |\n| 1 | None |"
    assert yaml.safe_load(yaml.safe_dump(FRONT_MATTER))["license_name"] == "to-be-filled-in"


def test_folder_is_told_from_a_run(tmp_path):
    (tmp_path / "config.json").touch()
    assert is_tagger_folder(tmp_path)
    (tmp_path / "config.yaml").touch()
    assert not is_tagger_folder(tmp_path)
    assert not is_tagger_folder(tmp_path / "none")


def contents(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_folder_is_replaced_whole_or_not_at_all(tmp_path):
    made = tmp_path / "made"
    with replacing_folder(made) as temporary:
        (temporary / "a").write_text("1")
    with pytest.raises(FileNotFoundError), replacing_folder(made) as temporary:
        (temporary / "none" / "a").write_text("2")
    assert contents(tmp_path) == {"made/a": "1"}
    with replacing_folder(made) as temporary:
        (temporary / "b").write_text("3")
    assert contents(tmp_path) == {"made/b": "3"}
    assert list(tmp_path.iterdir()) == [made]

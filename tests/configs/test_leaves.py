"""Leaves in a schema: any key below them is let through, and held against the signature of their class."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from pydantic import Field

from audiotag.cli.arguments import quoted
from audiotag.cli.composition import check_command_line, register
from audiotag.config import TrainConfig
from audiotag.config.leaf import TRUST, Leaf, import_from
from audiotag.config.schema import Program, Settings, as_own, check_leaves, is_key, schema_fields, settings, validate
from audiotag.errors import ConfigError


@settings
class Part(Settings):
    """A section with a leaf."""

    width: int = Field(3, ge=1)
    """A number."""
    network: Annotated[dict[str, Any], Leaf(given=("classes",))] = Field({"_target_": "leafy.Net", "channels": 5})
    """A network."""


@settings
class LeafyConfig(Program):
    """A schema with a leaf."""

    model: Part = Part()
    """A section."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of somebody's own, with a class; nothing of it stays on the import path."""
    (tmp_path / "leafy.py").write_text("class Net:\n    def __init__(self, classes: int, channels: int = 4): ...\n")
    (tmp_path / "model").mkdir()
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv(TRUST, "")
    monkeypatch.delitem(sys.modules, "leafy", raising=False)
    return tmp_path


def test_leaf_takes_any_key_until_its_class_is_asked(folder):
    assert is_key("model.network", LeafyConfig)
    assert is_key("model.network.chanels", LeafyConfig)
    assert not is_key("model.networks", LeafyConfig)
    leaf = {"_target_": "leafy.Net", "chanels": 9}
    with pytest.raises(ConfigError, match=r"model\.width=0 must be 1 or more"):
        validate(OmegaConf.create({"model": {"width": 0, "network": leaf}}), LeafyConfig)
    config = validate(OmegaConf.create({"model": {"network": leaf}}), LeafyConfig)
    assert config.model.network == leaf
    with pytest.raises(ConfigError, match=r"leafy\.Net cannot be imported"):
        check_leaves(config)
    import_from(str(folder))
    with pytest.raises(ConfigError, match=r"model\.network\.chanels is not an argument.*did you mean channels"):
        check_leaves(config)
    check_leaves(LeafyConfig())


def test_leaf_is_empty_in_what_hydra_composes_upon():
    assert schema_fields(LeafyConfig)["model.network"].default["channels"] == 5
    register(LeafyConfig)
    assert ConfigStore.instance().repo["leafy_schema.yaml"].node == {"model": {"width": 3, "network": {}}}


def test_argument_of_a_leaf_is_added_where_its_option_does_not_set_it():
    assert quoted(["model.network.channels=9", "model.width=2"], LeafyConfig) == [
        "++model.network.channels=9",
        "model.width=2",
    ]


def test_config_dir_is_on_the_import_path_and_part_of_the_settings(folder):
    arguments = check_command_line(TrainConfig, ["--config-dir", str(folder), "seed=1"])
    assert arguments[-1] == f"config_dir={folder}"
    assert str(folder) in sys.path
    assert str(folder) in os.environ["PYTHONPATH"].split(os.pathsep), "that of processes started from here"


def test_config_dir_is_on_the_import_path_where_settings_are_the_users_own(folder):
    """Those of a run are read like others; but what it names is a stranger's."""
    leaf = {"_target_": "leafy.Net", "channels": 9}
    config = validate(OmegaConf.create({"config_dir": str(folder), "model": {"network": leaf}}), TrainConfig)
    assert str(folder) not in sys.path
    assert not trusted()
    assert as_own(config) is config
    assert str(folder) in sys.path
    assert trusted() == {str(folder), "leafy.Net"}


def trusted() -> set[str]:
    return set(filter(None, os.environ[TRUST].split(os.pathsep)))

"""The command that makes a run like this one: its choices, and every setting in which it differs from them."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiotag.cli.arguments import CONF
from audiotag.cli.composition import compose
from audiotag.config import TrainConfig
from audiotag.config.result import is_needed_again
from audiotag.config.schema import leaves, schema_fields, to_dict, validate
from audiotag.console import as_called
from audiotag.run.folder import RunFolder
from audiotag.run.naming import own_words, run_named

PLAIN = re.compile(r"[A-Za-z0-9_./-]+")  # what Hydra reads as a word, and a shell without quotes
_DEFAULTS = {name: str(field.default) for name, field in schema_fields(TrainConfig).items()}


def command(config: TrainConfig, others: Mapping[str, Any] | None = None) -> str:
    """Return a line for the shell that trains with the same settings, on the same data, but for some `others`."""
    groups, needed = _groups(config), _needed(config)
    # The choices by themselves, with what they cannot do without.
    named = _composed(*groups, *(f"{name}={_hydra(value)}" for name, value in needed.items()))
    own = dict(leaves(to_dict(config)))
    differing = {name: value for name, value in own.items() if value != named.get(name) and is_needed_again(name)}
    settings = [f"{name}={_hydra(value)}" for name, value in {**needed, **differing, **(others or {})}.items()]
    # Arguments of a class that the run has not, beside the one that it has.
    gone = [
        name for name in named if name not in own and any(one.startswith(name.rpartition(".")[0] + ".") for one in own)
    ]
    return f"{as_called('python train.py')} {shlex.join([*groups, *(f'~{name}' for name in gone), *settings])}"


def training(config: TrainConfig, folder: RunFolder, others: Mapping[str, Any] | None = None) -> str:
    """Return the command that goes on with a run, or with some `others` makes a new one beside it."""
    places = {"runs_dir": str(folder.path.parent), "cache_dir": config.cache_dir}
    elsewhere = {
        name: place for name, place in places.items() if Path(place).absolute() != Path(_DEFAULTS[name]).absolute()
    }
    return command(config, {"run": folder.path.name, **elsewhere, **(others or {})})


def program(called: str, folder: RunFolder, **settings: str) -> str:
    """Return a line for the shell that starts one of the programs, such as `python verify.py`, with a run."""
    words = [f"{setting}={_hydra(given)}" for setting, given in settings.items()]
    return f"{as_called(called)} {shlex.join([*run_words(folder), *words])}"


def run_words(folder: RunFolder) -> list[str]:
    """Return the words of a command that name a run and, if it has any, the folder of its user's own classes."""
    return [f"run={_hydra(run_named(folder.path))}", *own_words(folder.config)]


def _groups(config: TrainConfig) -> list[str]:
    chosen = {
        "experiment": config.experiment,
        "data": config.data.name,
        "features": config.features.name,
        "model": config.model.name,
        "verification": config.verification.name,
    }
    own = [] if config.config_dir is None else [Path(config.config_dir)]
    found = [
        f"{group}={name}"
        for group, name in chosen.items()
        if name and any((folder / group / f"{name}.yaml").is_file() for folder in (CONF, *own))
    ]
    return [*(word for folder in own for word in ("--config-dir", str(folder))), *found]


@functools.cache  # a page has several commands
def _composed(*arguments: str) -> Mapping[str, Any]:
    """Compose a command line; return its settings by dotted path."""
    return dict(leaves(to_dict(validate(compose(TrainConfig, arguments), TrainConfig))))


def _needed(config: TrainConfig) -> dict[str, Any]:
    """Return the settings without which some options are refused: data sets, and front ends made of a file."""
    file = config.features.front_end.get("file")
    of_file = {} if file is None else {"features.front_end.file": file}
    return {f"data.{name}": getattr(config.data, name) for name in config.data.needs} | of_file


def _hydra(value: Any) -> str:
    """Write a value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(map(_hydra, value)) + "]"
    text = str(value)
    if not isinstance(value, str) or PLAIN.fullmatch(text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

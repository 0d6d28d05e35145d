"""The command line, looked at before Hydra sees it: order, misspelt settings, packages that are missing."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from audiotag.config import Data, PredictConfig, TrainConfig, VerifyConfig
from audiotag.config.data import reads
from audiotag.config.result import is_in_name
from audiotag.config.schema import in_leaf, is_key, is_text, schema_fields, type_problems, unknown_key
from audiotag.console import as_called
from audiotag.errors import ConfigError, Nearest

PACKAGE = Path(__file__).resolve().parents[1]
CONF = PACKAGE / "conf"  # of an installed package; of a checkout, beside it
if not CONF.is_dir():
    CONF = PACKAGE.parent / "conf"
OPTIONAL = ("experiment", "hparams_search")  # groups of which nothing need be chosen
SEVERAL = ("logger",)  # groups of which several options may be chosen together, as in logger=[csv,wandb]
CONFIG_DIR = ("--config-dir", "-cd")
# Hydra's flags that are followed by their value.
TAKING_A_VALUE = {"--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--info", "-i"}
TAKING_A_VALUE |= {*CONFIG_DIR, "--experimental-rerun"}
INSTALL = "pip install -e '.[sweep]'"
SWEEP_PACKAGES = {
    "hydra/launcher=joblib": "hydra-joblib-launcher",
    "hydra/launcher=submitit_local": "hydra-submitit-launcher",
    "hydra/launcher=submitit_slurm": "hydra-submitit-launcher",
    "hydra/sweeper=optuna": "hydra-optuna-sweeper",
    "hparams_search=optuna": "hydra-optuna-sweeper",
}


def groups(schema: type) -> dict[str, list[str]]:
    """Return the configuration groups under `conf/` that a program has, and the options of each."""
    sections = {part for name in schema_fields(schema) for part in name.split(".")[:2]}  # training, training.loss
    return {
        folder.name: sorted(option.stem for option in folder.glob("*.yaml") if _is_option(option.stem, schema))
        for folder in sorted(CONF.iterdir())
        if folder.is_dir() and folder.name in sections
    }


def _is_option(name: str, schema: type) -> bool:
    if name in ("synthetic", "folders"):
        return schema is not PredictConfig  # nobody submits predictions for these
    return name != "of_run" or schema is VerifyConfig  # verify.py's own: there is no run before training


def settings_of(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that are neither flags nor their values."""
    pairs = pairwise(["", *arguments])
    return [text for before, text in pairs if not text.startswith("-") and before not in TAKING_A_VALUE]


def own_folders(arguments: Sequence[str]) -> list[Path]:
    """Return the folders of options that --config-dir names."""
    named = [(one.partition("="), after) for one, after in pairwise([*arguments, ""])]
    return [Path(value if equals else after) for (flag, equals, value), after in named if flag in CONFIG_DIR]


def in_order(arguments: Sequence[str]) -> list[str]:
    """Return the arguments in the order that Hydra needs, whatever the order they came to mind in.

    Its parser wants flags before the settings; and its sweeps vary the last setting fastest, but all folds of a round
    must come before the next round.
    """
    pairs = pairwise(["", *arguments])
    flags = [text for before, text in pairs if text.startswith("-") or before in TAKING_A_VALUE]
    settings = settings_of(arguments)
    at = next((i for i, text in enumerate(settings) if text.startswith("fold=")), len(settings))
    late = [text for text in settings[at:] if text.startswith("round=")]
    return [*flags, *settings[:at], *late, *(text for text in settings[at:] if text not in late)]


def refuse_forgotten_data(data: Data, given: Iterable[str]) -> None:
    """Raise ConfigError for data.root=DIR alone: the embedded data set would be made in DIR, and trained on."""
    if reads(data.source, "root") or data.root is None or "data=synthetic" in given:
        return
    if not (Path(data.root).expanduser() / "synthetic.json").is_file():
        raise ConfigError(
            f"data.root={data.root} is given, but not what kind of data set is there:",
            ["data= is not given, and the embedded data set is the default"],
            f"Did you mean data=kaggle data.root={data.root}? Others are csv, folders and fsdkaggle2018.",
        )


def quoted(arguments: Sequence[str], schema: type) -> list[str]:
    """Return the arguments as Hydra's grammar needs them.

    Texts that it refuses or takes for something else are put in quotes: `data.root=/x/Größe (1)`, or the name of a
    folder that is there and looks like a number or several values. Arguments of a leaf's class are added where the
    chosen option does not set them.
    """
    texts = {name for name, field in schema_fields(schema).items() if is_text(field)}
    found = []
    for text in arguments:
        name = text.partition("=")[0]
        if name.lstrip("+") in texts:
            text = _quoted(text)
        found.append(f"++{text}" if in_leaf(name, schema) else text)
    return found


def _quoted(text: str) -> str:
    name, _, value = text.partition("=")
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException:
        pass
    else:
        is_text = value.startswith(("'", '"')) or override.value() == value
        if is_text or not os.path.exists(os.path.expanduser(value)):
            return text
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + found[2].replace("'", "\\'"), value)
    return f"{name}='{escaped}'"


def argument_problems(arguments: Sequence[str], schema: type) -> list[str]:
    """Return a message for every setting that does not exist or does not fit."""
    folders = own_folders(arguments)
    options = {name: [*known, *_own_options(folders, name)] for name, known in groups(schema).items()}
    elsewhere = any(a.startswith("hydra.searchpath=") for a in arguments)
    problems = [f"--config-dir {folder}: there is no such folder" for folder in folders if not folder.is_dir()]
    if problems:
        return problems  # an option that it would have is none of ours
    problems = [problem for folder in folders for problem in _yaml_problems(folder, schema)]
    overrides = []
    for text in settings_of(arguments):
        if "=" not in text and not text.startswith("~"):
            problems.append(f"{text}: settings are given as SETTING=VALUE")
            continue
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            quotes = "{}='{}'".format(*text.split("=", 1))
            problems.append(f'{text}: {str(error).splitlines()[0]} (characters like these need quotes: "{quotes}")')
            continue
        overrides.append(override)
        problems += _override_problems(override, schema, options, elsewhere, bool(folders))
    return problems or (_one_name_for_several(overrides) if schema is TrainConfig else [])


def _yaml_problems(folder: Path, schema: type) -> list[str]:
    """Return a message for every option in a folder that cannot be read; Hydra would show a traceback."""
    problems = []
    for file in (file for name in groups(schema) for file in sorted((folder / name).rglob("*.yaml"))):
        try:
            OmegaConf.load(file)
        except (OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
            problems.append(f"{file}: {' '.join(str(error).split())}")
    return problems


def _own_options(folders: Sequence[Path], group: str) -> list[str]:
    """Return the options of a group that folders of the user's hold."""
    files = [(folder / group, file) for folder in folders for file in sorted((folder / group).rglob("*.yaml"))]
    return [file.relative_to(within).with_suffix("").as_posix() for within, file in files]


def _override_problems(
    override: Override, schema: type, options: dict[str, list[str]], elsewhere: bool, own: bool
) -> list[str]:
    """Return what is wrong with one setting.

    `elsewhere` says that Hydra may find options that are not listed, `own` that some of the user's are.
    """
    name, text = override.key_or_group, str(override.input_line)
    if name == "hydra" or name.startswith(("hydra.", "hydra/")):
        return _package_problems(text)
    if name not in options and not is_key(name, schema):
        return [unknown_key(name, schema, tuple(options))]
    if override.is_add() and not override.is_force_add() and not in_leaf(name, schema):
        return [f"{text}: {name} is a setting already; write it without the +"]
    if override.is_delete():
        return []
    if name in options:
        given = list(override.sweep_iterator()) if override.is_discrete_sweep() else [override.value()]
        chosen = [one for value in given for one in _chosen(name, value)]
        allowed = [*options[name], *([None] if name in OPTIONAL else [])]
        wrong = [] if elsewhere else [one for one in chosen if one not in allowed]
        known, near = ", ".join(options[name]), Nearest(options[name])
        adds = "" if own or not is_key("config_dir", schema) else " (--config-dir DIR adds your own)"
        return [f"{text}: {name} is one of {known}{near(str(one))}{adds}" for one in wrong] or _package_problems(text)
    if override.is_sweep_override() or (isinstance(override.value(), str) and "${" in str(override.value())):
        return []  # whole only once it is composed
    group = name.rpartition(".")[2]
    if override.value() in options.get(group, []):
        return [f"{text}: an option is chosen by its group: {group}={override.value()}"]
    return type_problems(name, override.value(), schema)


def _chosen(group: str, value: Any) -> list[Any]:
    return value if group in SEVERAL and isinstance(value, list) and value else [value]


def _package_problems(text: str) -> list[str]:
    """Return a message where a choice needs a package that is not installed; Hydra would not name it."""
    package = SWEEP_PACKAGES.get(text.lstrip("+"))
    if package is None:
        return []
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return [f"{text} needs {package}, which is not installed: {as_called(INSTALL)}"]
    return []


def _one_name_for_several(overrides: Sequence[Override]) -> list[str]:
    """Return a message where run=NAME would give several runs with different settings the same folder."""
    names = [one.value() for one in overrides if one.key_or_group == "run" and not one.is_sweep_override()]
    several = [
        str(one.input_line)
        for one in overrides
        if (one.is_sweep_override() and (is_in_name(one.key_or_group) or one.key_or_group == "data.root"))
        or (one.key_or_group == "hparams_search" and one.value() is not None)
    ]
    if not several or not names or names[-1] is None or "${" in str(names[-1]):
        return []
    return [
        f"run={names[-1]} names one run, but {' '.join(several)} makes several: leave run= out, and each has a name of "
        f"its own; or put what differs into it, such as 'run={names[-1]}-${{seed}}'"
    ]

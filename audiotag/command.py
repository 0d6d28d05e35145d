"""What the three programs share on the command line: help, misspelt settings, and errors without a traceback."""

from __future__ import annotations

import difflib
import functools
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from audiotag.config import PredictConfig, TrainConfig, VerifyConfig
from audiotag.errors import AudiotagError, ConfigError
from audiotag.randomness import key
from audiotag.schema import Schema, is_key, leaves, nested, schema_keys, type_problems, unknown_key, validate

CONF = Path(__file__).resolve().parent.parent / "conf"


def register(schema: type, name: str) -> None:
    """Give Hydra every setting's default under a name, for the first line of a defaults list."""
    defaults: dict[str, Any] = {}
    for path, default, _ in schema_keys(schema):
        *sections, last = path.split(".")
        node = defaults
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = default
    ConfigStore.instance().store(name=name, node=defaults)


def groups(schema: type) -> dict[str, list[str]]:
    """Return the configuration groups under `conf/` that a program has, and the options of each."""
    sections = {name.split(".")[0] for name, _, _ in schema_keys(schema)}
    return {
        folder.name: sorted(option.stem for option in folder.glob("*.yaml") if _is_option(option.stem, schema))
        for folder in sorted(CONF.iterdir())
        if folder.is_dir() and folder.name in sections
    }


def _is_option(name: str, schema: type) -> bool:
    return name != "of_run" or schema is VerifyConfig  # verify.py's own: there is no run before training


def reported(function: Callable[[], None]) -> None:
    """Run a program; an error meant for its user is printed as text, and gives its exit code."""
    screen = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        function()
    except AudiotagError as error:
        screen.print(f"[bold red]error:[/] {escape(str(error))}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # there is nothing left that a second one could interrupt
        screen.print("interrupted: what is done is kept, and the same command goes on from there")
        sys.exit(128 + signal.SIGINT)


def job(schema: type[Schema]) -> Callable[[Callable[[Schema], Any]], Callable[[DictConfig], Any]]:
    """Turn a function of a validated configuration into a Hydra task that prints its user's errors as text."""

    def decorate(function: Callable[[Schema], Any]) -> Callable[[DictConfig], Any]:
        @functools.wraps(function)
        def task(composed: DictConfig) -> Any:
            result = []
            reported(lambda: result.append(function(validate(composed, schema))))
            return result[0]

        return task

    return decorate


def check_command_line(schema: type, arguments: list[str] | None = None) -> None:
    """Answer --help, and refuse misspelt settings before Hydra sees them; raises ConfigError with all of them."""
    if arguments is None:
        # Hydra's parser wants its flags before the settings; people write -m wherever it comes to mind.
        sys.argv[1:] = sorted(sys.argv[1:], key=lambda argument: argument not in ("-m", "--multirun"))
        arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        print_help(schema)
        sys.exit(0)
    own_options = any(a in CONFIG_DIR or a.startswith("hydra.searchpath=") for a in arguments)
    problems = []
    for before, text in zip(["", *arguments], arguments, strict=False):
        if not text.startswith("-") and before not in TAKING_A_VALUE:
            problems += _argument_problems(text, schema, own_options)
    if problems:
        raise ConfigError("The command line has settings that do not exist or do not fit:", problems)


CONFIG_DIR = ("--config-dir", "-cd")
# Hydra's flags that are followed by their value.
TAKING_A_VALUE = {"--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--info", "-i"}
TAKING_A_VALUE |= {*CONFIG_DIR, "--experimental-rerun"}


def _argument_problems(text: str, schema: type, own_options: bool) -> list[str]:
    if "=" not in text and not text.startswith("~"):
        return [f"{text}: settings are given as SETTING=VALUE"]
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        name, _, value = text.partition("=")
        quoted = f"{name}='{value}'"
        return [f'{text}: {str(error).splitlines()[0]} (characters like these need quotes: "{quoted}")']
    name = override.key_or_group
    if name == "hydra" or name.startswith(("hydra.", "hydra/")):
        return []
    in_groups = name in groups(schema)
    if not in_groups and not is_key(name, schema):
        return [unknown_key(name, schema, tuple(groups(schema)))]
    if override.is_add() and not override.is_force_add():
        return [f"{text}: {name} is a setting already; write it without the +"]
    if override.is_delete():
        return []
    values = list(override.sweep_iterator()) if override.is_discrete_sweep() else [override.value()]
    if in_groups:
        options = groups(schema)[name]
        return [] if own_options else [p for value in values for p in _option_problems(name, value, text, options)]
    if override.is_sweep_override() or (isinstance(override.value(), str) and "${" in str(override.value())):
        return []  # whole only once it is composed
    return type_problems([nested(name, override.value())], schema)


def _option_problems(group: str, option: Any, text: str, options: list[str]) -> list[str]:
    if option in options or (option is None and group == "experiment"):
        return []
    near = difflib.get_close_matches(str(option), options, n=1)
    return [f"{text}: {group} is one of {', '.join(options)}" + (f"; did you mean {near[0]}?" if near else "")]


def _defaults(schema: type) -> dict[str, Any]:
    name = {TrainConfig: "train", VerifyConfig: "verify", PredictConfig: "predict"}[schema]
    register(schema, f"{name}_schema")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed: Any = OmegaConf.to_container(compose(name))
    return dict(composed)


def print_help(schema: type) -> None:
    """Print what a person can set: groups with their options, then every setting with meaning and default."""
    console = Console(soft_wrap=False)
    program = Path(sys.argv[0]).name
    console.print(f"[bold]{program}[/]: {schema.__doc__}\n")
    console.print(f"usage: python {program} \\[GROUP=OPTION ...] \\[SETTING=VALUE ...]\n", highlight=False)
    console.print("[bold]Groups[/] (conf/GROUP/OPTION.yaml)")
    for name, options in groups(schema).items():
        console.print(f"  {name}={'|'.join(options)}", soft_wrap=True, highlight=False)
    console.print()
    console.print("[bold]Settings[/], and what they are where nothing is said")
    defaults = dict(leaves(_defaults(schema)))
    for path, _, doc in schema_keys(schema):
        default = "null" if defaults[path] is None else str(defaults[path])
        console.print(f"  [bold]{path}[/]={escape(default)}", soft_wrap=True, highlight=False)
        console.print(Padding(escape(doc), (0, 0, 0, 6)), highlight=False)
    console.print(
        "\nA group sets several settings at once; a setting named on the command line always wins."
        "\n--cfg job prints the composed configuration; -m with comma-separated values runs a sweep;"
        "\n--hydra-help lists Hydra's own options.",
        highlight=False,
    )


# Settings that say where and how to work, not what the run is; they do not belong in its name.
NOT_IN_NAME = {"run", "runs_dir", "cache_dir", "round", "fold", "rounds", "devices", "parallel"}
NOT_IN_NAME |= {"data.root", "data.truth"}
NAMED_GROUPS = ("experiment", "data", "features", "model", "augment", "training", "verification")


def run_name(config: TrainConfig) -> str:
    """Return the run's name: as given, else made from what was chosen, the same for the same choices."""
    if config.run is not None:
        return config.run
    chosen = HydraConfig.get()
    source = config.data.name if config.data.root is None else Path(config.data.root).resolve().name
    parts = [config.experiment, source, config.model.name, config.features.front_end, config.verification.rule]
    settings = []
    for text in sorted(chosen.overrides.task):
        name, _, value = text.lstrip("+~").partition("=")
        section = name.split(".")[0]
        if name not in NOT_IN_NAME and section != "hardware" and name not in NAMED_GROUPS:
            settings.append(f"{name}-{value}")
        elif name in ("augment", "training"):
            settings.append(value)
    # Only characters that need no quotes in a shell or in run=NAME.
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(["-".join(filter(None, parts)), *settings]))
    return name if len(name) <= 120 else f"{name[:100]}-{key(name):016x}"

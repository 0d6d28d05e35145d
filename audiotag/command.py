"""What the three programs share on the command line: help, misspelt settings, and errors without a traceback."""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib.metadata
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import CompactHydraException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from audiotag.config import PredictConfig, TrainConfig, VerifyConfig
from audiotag.errors import AudiotagError, ConfigError, Failed
from audiotag.processes import end_with
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
    _rename_launchers()


def _rename_launchers() -> None:
    """Store the launcher plugins' own configurations as NAME_plugin, for our files of their names to build upon.

    Under one name Hydra would take theirs for the schema of ours, and warn at every job that this will be removed.
    """
    Plugins.instance()  # they store their configurations when they are first looked for
    store = ConfigStore.instance()
    launchers = store.repo["hydra"]["launcher"]
    for file in (CONF / "hydra" / "launcher").glob("*.yaml"):
        plugin = launchers.pop(file.name, None)
        if plugin is not None:
            values = OmegaConf.to_container(plugin.node)
            store.store(group="hydra/launcher", name=f"{file.stem}_plugin", node=values, provider=plugin.provider)


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
    try:
        function()
    except AudiotagError as error:
        print_error(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # there is nothing left that a second one could interrupt
        _screen().print("interrupted: what is done is kept, and the same command goes on from there")
        sys.exit(128 + signal.SIGINT)


def print_error(text: str) -> None:
    """Print the text of an error to the standard error output."""
    _screen().print(f"[bold red]error:[/] {escape(text)}")


def _screen() -> Console:
    return Console(stderr=True, soft_wrap=True, highlight=False)


def job(schema: type[Schema]) -> Callable[[Callable[[Schema], Any]], Callable[[DictConfig], Any]]:
    """Turn a function of a validated configuration into a Hydra task that prints its user's errors as text.

    In a sweep, a job with such an error returns Failed: the other jobs are run, and `audiotag.sweeps` lists the errors
    at the end, with exit code 2. One that every trial of a search would meet ends it, as a JobError.
    """

    def decorate(function: Callable[[Schema], Any]) -> Callable[[DictConfig], Any]:
        @functools.wraps(function)
        def task(composed: DictConfig) -> Any:
            result: list[Any] = []

            def run() -> None:
                try:
                    with _ends_with_program():
                        result.append(function(validate(composed, schema)))
                except AudiotagError as error:
                    if not _in_sweep():
                        raise
                    print_error(str(error))
                    if _concerns_every_trial(error, composed):
                        raise JobError(str(error)) from error
                    result.append(Failed(str(error)))

            reported(run)
            return result[0]

        return task

    return decorate


@contextlib.contextmanager
def _ends_with_program() -> Iterator[None]:
    """Let a job of the joblib launcher end when the program is killed; by itself it would go on to its end."""
    if not HydraConfig.get().launcher._target_.endswith(".JoblibLauncher"):
        yield
        return
    program = os.getppid()
    end_with(program, signal.SIGTERM)
    try:
        yield
    except SystemExit:
        if os.getppid() != program:
            os._exit(128 + signal.SIGTERM)  # joblib would take the exit for the job's answer, and wait for another job
        raise


def _concerns_every_trial(error: AudiotagError, composed: DictConfig) -> bool:
    """Say whether this is a search whose trial failed before it had a run folder: not by what sets it apart."""
    if composed.get("hparams_search") is None:
        return False
    if isinstance(error, ConfigError):
        return True
    from audiotag.experiment.run_folder import find_run  # here: --help and errors need no pandas

    config = validate(composed, TrainConfig)
    return not find_run(run_name(config), config.runs_dir).config_file.is_file()


def _in_sweep() -> bool:
    """Say whether this is a job of a sweep at whose end a callback lists the jobs that failed."""
    hydra = HydraConfig.get()
    return hydra.mode == RunMode.MULTIRUN and JOBS_CALLBACK in hydra.callbacks


class JobError(CompactHydraException):
    """An error of a job that ends the sweep; Hydra prints its text, without a traceback."""


JOBS_CALLBACK = "jobs"  # its key in hydra.callbacks, in conf/*.yaml


def check_command_line(schema: type, arguments: list[str] | None = None) -> None:
    """Answer --help, and refuse misspelt settings before Hydra sees them; raises ConfigError with all of them."""
    if arguments is None:
        arguments = sys.argv[1:] = in_order(sys.argv[1:])
    if {"--help", "-h"} & set(arguments):
        print_help(schema)
        sys.exit(0)
    own_options = any(a in CONFIG_DIR or a.startswith("hydra.searchpath=") for a in arguments)
    problems = []
    for before, text in zip(["", *arguments], arguments, strict=False):
        if not text.startswith("-") and before not in TAKING_A_VALUE:
            problems += _argument_problems(text, schema, own_options)
    if not problems and schema is TrainConfig:
        problems = _one_name_for_several(arguments)
    if problems:
        raise ConfigError("The command line has settings that do not exist or do not fit:", problems)


def in_order(arguments: list[str]) -> list[str]:
    """Return the arguments in the order that Hydra needs, whatever the order they came to mind in.

    Its parser wants -m before the settings; and its sweeps vary the last setting fastest, but all folds of a round must
    come before the next round.
    """
    flags = [argument for argument in arguments if argument in ("-m", "--multirun")]
    settings = [argument for argument in arguments if argument not in flags]
    at = next((i for i, argument in enumerate(settings) if argument.startswith("fold=")), len(settings))
    late = [argument for argument in settings[at:] if argument.startswith("round=")]
    return [*flags, *settings[:at], *late, *(argument for argument in settings[at:] if argument not in late)]


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
        return _package_problems(text)
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
        chosen = [one for value in values for one in _chosen(name, value)]
        found = [] if own_options else [p for one in chosen for p in _option_problems(name, one, text, options)]
        return found or _package_problems(text)
    if override.is_sweep_override() or (isinstance(override.value(), str) and "${" in str(override.value())):
        return []  # whole only once it is composed
    return type_problems([nested(name, override.value())], schema)


OPTIONAL = ("experiment", "hparams_search")  # groups of which nothing need be chosen
SWEEP_PACKAGES = {
    "hydra/launcher=joblib": "hydra-joblib-launcher",
    "hydra/launcher=submitit_local": "hydra-submitit-launcher",
    "hydra/launcher=submitit_slurm": "hydra-submitit-launcher",
    "hydra/sweeper=optuna": "hydra-optuna-sweeper",
    "hparams_search=optuna": "hydra-optuna-sweeper",
}


def _package_problems(text: str) -> list[str]:
    """Return a message where a choice needs a package that is not installed; Hydra would not name it."""
    package = SWEEP_PACKAGES.get(text.lstrip("+"))
    if package is None:
        return []
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return [f"{text} needs {package}, which is not installed: pip install -e '.[sweep]'"]
    return []


def _one_name_for_several(arguments: list[str]) -> list[str]:
    """Return a message where run=NAME would give several runs with different settings the same folder."""
    settings = OverridesParser.create().parse_overrides([text for text in arguments if "=" in text and text[0] != "-"])
    given = [
        s for s in settings if s.key_or_group == "run" and not s.is_sweep_override() and "${" not in str(s.value())
    ]
    several = [
        str(s.input_line)
        for s in settings
        if (s.is_sweep_override() and (_in_name(s.key_or_group) or s.key_or_group == "data.root"))
        or (s.key_or_group == "hparams_search" and s.value() is not None)
    ]
    if not given or given[-1].value() is None or not several:
        return []
    name = given[-1].value()
    return [
        f"run={name} names one run, but {' '.join(several)} makes several: leave run= out, and each has a name of its "
        f"own; or put what differs into it, such as 'run={name}-${{seed}}'"
    ]


SEVERAL = ("logger",)  # groups of which several options may be chosen together, as in logger=[csv,wandb]


def _chosen(group: str, value: Any) -> list[Any]:
    return value if group in SEVERAL and isinstance(value, list) and value else [value]


def _option_problems(group: str, option: Any, text: str, options: list[str]) -> list[str]:
    if option in options or (option is None and group in OPTIONAL):
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
        if name in SEVERAL:
            console.print(f"      several of them: {name}=\\[{','.join(options[:2])}]", highlight=False)
    console.print()
    console.print("[bold]Settings[/], and what they are where nothing is said")
    defaults = dict(leaves(_defaults(schema)))
    for path, _, doc in schema_keys(schema):
        default = "null" if defaults[path] is None else str(defaults[path])
        console.print(f"  [bold]{path}[/]={escape(default)}", soft_wrap=True, highlight=False)
        console.print(Padding(escape(doc), (0, 0, 0, 6)), highlight=False)
    console.print(
        "\nA group sets several settings at once; a setting named on the command line always wins."
        "\n--cfg job prints the composed configuration; -m with comma-separated values runs a sweep,"
        "\none job after another, or with hydra/launcher=joblib|submitit_local|submitit_slurm side by side;"
        "\n--hydra-help lists Hydra's own options.",
        highlight=False,
    )


# Settings that say where and how to work, not what the run is; they do not belong in its name.
NOT_IN_NAME = {"run", "runs_dir", "cache_dir", "round", "fold", "rounds", "devices", "parallel"}
NOT_IN_NAME |= {"data.root", "data.truth"}
NOT_IN_NAME |= {"hparams_search"}  # a trial is the run that its settings make by hand
NAMED_GROUPS = ("experiment", "data", "features", "model", "augment", "training", "verification", "logger")


def _in_name(name: str) -> bool:
    return name not in NOT_IN_NAME and name.split(".")[0] not in ("hardware", "logger")


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
        if _in_name(name) and name not in NAMED_GROUPS:
            settings.append(f"{name}-{value}")
        elif name in ("augment", "training"):
            settings.append(value)
    # Only characters that need no quotes in a shell or in run=NAME.
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(["-".join(filter(None, parts)), *settings]))
    return name if len(name) <= 120 else f"{name[:100]}-{key(name):016x}"

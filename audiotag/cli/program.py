"""What the three programs share on the command line: help, misspelt settings, and errors without a traceback."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import CompactHydraException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from audiotag.cli.arguments import CONF, SEVERAL, argument_problems, groups, in_order, own_folders, quoted, settings_of
from audiotag.config import PredictConfig, TrainConfig, VerifyConfig
from audiotag.config.leaf import import_from
from audiotag.config.schema import Schema, is_key, leaf_paths, leaves, nested, schema_keys, validate
from audiotag.console import Screen, console
from audiotag.distributed.processes import end_with
from audiotag.errors import AudiotagError, ConfigError, Failed
from audiotag.run.naming import run_name, run_path


def register(schema: type, name: str) -> None:
    """Give Hydra every setting's default under a name, for the first line of a defaults list."""
    refuse_installed_copy()
    leaves_of = leaf_paths(schema)
    defaults = nested((path, {} if path in leaves_of else default) for path, default, _ in schema_keys(schema))
    ConfigStore.instance().store(name=name, node=defaults)
    _rename_launchers()


def refuse_installed_copy() -> None:
    """End with a sentence where the package was installed without its configuration, `conf/` beside it."""
    if not CONF.is_dir():
        print_error(
            f"{CONF} is not there: audiotag works from a checkout, not from an installed copy of its package; get the "
            "checkout and install it with pip install -e ."
        )
        sys.exit(2)


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


def start(schema: type, main: Callable[[], object]) -> None:
    """Run one of the programs whose configuration is in conf/; what is wrong with the command is told first."""
    reported(lambda: check_command_line(schema))
    register(schema, f"{PRIMARY[schema]}_schema")
    reported(main)


# Errors of the operating system that are a person's to mend: rights, long names, read-only disks, links in a circle.
UNUSABLE = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EROFS, errno.ELOOP}


def reported(function: Callable[[], object]) -> None:
    """Run a program; an error meant for its user is printed as text, and gives its exit code."""
    try:
        function()
    except AudiotagError as error:
        print_error(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in UNUSABLE or error.filename is None:
            raise
        print_error(f"{error.filename}: {error.strerror}")
        sys.exit(AudiotagError.exit_code)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # there is nothing left that a second one could interrupt
        _screen().print("interrupted: what is done is kept, and the same command goes on from there", soft_wrap=True)
        sys.exit(128 + signal.SIGINT)


def announce(program: str, what: str) -> None:
    """Say at once what a program is about to do: what it has to import may take seconds."""
    console.print(f"{program}: {what}", soft_wrap=True)


def print_error(text: str) -> None:
    """Print the text of an error to the standard error output."""
    _screen().print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True)


def _screen() -> Screen:
    return Screen(stderr=True, highlight=False, emoji=False)  # it would draw :100:


def job(schema: type[Schema]) -> Callable[[Callable[[Schema], Any]], Callable[[DictConfig], Any]]:
    """Turn a function of a validated configuration into a Hydra task that prints its user's errors as text.

    In a sweep, a job with such an error returns Failed: the other jobs are run, and `audiotag.cli.sweeps` lists the
    errors at the end, with exit code 2. One that every trial of a search would meet ends it, as a JobError.
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
                    if _concerns_every_trial(composed):
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


def _concerns_every_trial(composed: DictConfig) -> bool:
    """Say whether this is a search whose trial failed before it had a run folder: not by what sets it apart."""
    if composed.get("hparams_search") is None:
        return False
    try:
        config = validate(composed, TrainConfig)
    except ConfigError:
        return True
    return not (run_path(run_name(config), config.runs_dir) / "config.yaml").is_file()


def _in_sweep() -> bool:
    """Say whether this is a job of a sweep at whose end a callback lists the jobs that failed."""
    hydra = HydraConfig.get()
    return hydra.mode == RunMode.MULTIRUN and JOBS_CALLBACK in hydra.callbacks


class JobError(CompactHydraException):
    """An error of a job that ends the sweep; Hydra prints its text, without a traceback."""


JOBS_CALLBACK = "jobs"  # its key in hydra.callbacks, in conf/*.yaml


def check_command_line(schema: type, arguments: list[str] | None = None) -> list[str]:
    """Answer --help, refuse misspelt settings before Hydra sees them, and return the arguments as Hydra needs them.

    Those of the program, where none are given, are replaced by them. Raises ConfigError with everything misspelt.
    """
    refuse_installed_copy()
    is_program = arguments is None
    arguments = quoted(in_order(sys.argv[1:]) if arguments is None else arguments, schema)
    for folder in own_folders(arguments):
        import_from(str(folder))
        if is_key("config_dir", schema):
            arguments += quoted([f"config_dir={folder.absolute()}"], schema)
    if is_program:
        sys.argv[1:] = arguments
    if {"--help", "-h"} & set(arguments):
        print_help(schema)
        sys.exit(0)
    problems = argument_problems(arguments, schema)
    if problems:
        raise ConfigError("The command line has settings that do not exist or do not fit:", problems)
    if is_program and schema in PRIMARY:
        _check_composition(schema, arguments)
    return arguments


PRIMARY = {TrainConfig: "train", VerifyConfig: "verify", PredictConfig: "predict"}  # their files in conf/
NOT_COMPOSED = {"-m", "--multirun", "--config-name", "-cn", "--config-path", "-cp"}  # here, for it takes other ways


def _check_composition(schema: type, arguments: list[str]) -> None:
    """Raise ConfigError where Hydra's own settings, or options of --config-dir, cannot be composed.

    Hydra would end with another exit code, or in a traceback.
    """
    folders, settings = own_folders(arguments), settings_of(arguments)
    of_hydra = [text for text in settings if text.lstrip("+~").startswith(("hydra.", "hydra/"))]
    if NOT_COMPOSED & {text.partition("=")[0] for text in arguments} or not (folders or of_hydra):
        return
    register(schema, f"{PRIMARY[schema]}_schema")
    places = [f"'file://{folder.absolute()!s}'" for folder in folders]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            compose(PRIMARY[schema], [*settings, *([f"hydra.searchpath=[{','.join(places)}]"] if places else [])])
        except RecursionError as error:
            problems = [f"{', '.join(map(str, folders))}: an option includes itself, or what includes it"]
            raise ConfigError("The configuration cannot be composed:", problems) from error
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise ConfigError("The configuration cannot be composed:", [" ".join(str(error).split())]) from error


def composed_defaults(schema: type) -> dict[str, Any]:
    name = PRIMARY[schema]
    register(schema, f"{name}_schema")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed: Any = OmegaConf.to_container(compose(name))
    return dict(composed)


def print_help(schema: type) -> None:
    """Print what a person can set: groups with their options, then every setting with meaning and default."""
    screen = Console(soft_wrap=False, emoji=False)
    program = Path(sys.argv[0]).name
    screen.print(f"[bold]{program}[/]: {schema.__doc__}\n")
    screen.print(f"usage: python {program} \\[GROUP=OPTION ...] \\[SETTING=VALUE ...]\n", highlight=False)
    screen.print("[bold]Groups[/] (conf/GROUP/OPTION.yaml)")
    for name, options in groups(schema).items():
        screen.print(f"  {name}={'|'.join(options)}", soft_wrap=True, highlight=False)
        if name in SEVERAL:
            screen.print(f"      several of them: {name}=\\[{','.join(options[:2])}]", highlight=False)
    screen.print()
    screen.print("[bold]Settings[/], and what they are where nothing is said")
    defaults = dict(leaves(composed_defaults(schema)))
    for path, _, doc in schema_keys(schema):
        default = "null" if defaults[path] is None else str(defaults[path])
        screen.print(f"  [bold]{path}[/]={escape(default)}", soft_wrap=True, highlight=False)
        screen.print(Padding(escape(doc), (0, 0, 0, 6)), highlight=False)
    screen.print(
        "\nA group sets several settings at once; a setting named on the command line always wins. --cfg job prints "
        "the composed configuration; -m with comma-separated values runs a sweep, one job after another, or side by "
        "side with hydra/launcher=joblib, submitit_local or submitit_slurm; --hydra-help lists Hydra's own options.",
        highlight=False,
    )

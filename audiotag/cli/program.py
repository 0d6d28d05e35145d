"""How programs and commands begin and end: the command line is checked first, and errors are shown as text."""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import os
import signal
import sys
from bdb import BdbQuit
from collections.abc import Callable, Iterator
from typing import TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.markup import escape

from audiotag.cli.arguments import CONF, own_folders, settings_of
from audiotag.cli.composition import check_command_line, compose, config_name, register
from audiotag.config import TrainConfig
from audiotag.config.schema import Schema, as_own, validate
from audiotag.console import Screen, as_called, console
from audiotag.distributed.processes import end_with
from audiotag.errors import AudiotagError, ConfigError, Failed
from audiotag.run.naming import run_name, run_path

Result = TypeVar("Result")


def start(schema: type[Schema], main: Callable[[Schema], object]) -> None:
    """Run one of the programs whose configuration is in conf/, or a sweep of its jobs.

    What is wrong with the command line is told first; errors that are meant for the program's user are printed as text.
    """
    if "torch" not in sys.modules:
        gc.disable()  # what is imported and composed is no garbage; the job enables it again
    reported(lambda: _prepare(schema))
    hydra_main = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name(schema))
    reported(hydra_main(_job(schema, main)))


def _prepare(schema: type) -> None:
    """Put the command line into the form that Hydra needs; raises ConfigError if it would refuse it less clearly."""
    sys.argv[1:] = arguments = check_command_line(schema, sys.argv[1:])
    register(schema)
    of_hydra = [text for text in settings_of(arguments) if text.lstrip("+~").startswith(("hydra.", "hydra/"))]
    if (of_hydra or own_folders(arguments)) and NOT_COMPOSED.isdisjoint(one.partition("=")[0] for one in arguments):
        compose(schema, arguments)


NOT_COMPOSED = {"-m", "--multirun", "--config-name", "-cn", "--config-path", "-cp"}  # here, for it takes other ways


def run_command(main: Callable[[list[str]], int | None], usage: str | None, *, needs_arguments: bool = False) -> None:
    """Run a command, `python -m audiotag.NAME`: `main` with the arguments; --help prints its usage, if given."""
    arguments = sys.argv[1:]
    if usage is not None and ({"--help", "-h"} & set(arguments) or (needs_arguments and not arguments)):
        print(as_called(usage.strip()))
    else:
        reported(lambda: sys.exit(main(arguments)))


# Errors of the operating system that are a person's to mend: rights, long names, read-only disks, links in a circle.
UNUSABLE = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EROFS, errno.ELOOP}


def reported(function: Callable[[], Result]) -> Result:
    """Run a program; an error meant for its user is printed as text, and gives its exit code."""
    try:
        return function()
    except AudiotagError as error:
        print_error(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in UNUSABLE or error.filename is None:
            raise
        print_error(f"{error.filename}: {error.strerror}")
        sys.exit(AudiotagError.exit_code)
    except (KeyboardInterrupt, BdbQuit):  # or the debugger was left by q
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # there is nothing left that a second one could interrupt
        _screen().print("interrupted: what is done is kept, and the same command goes on from there", soft_wrap=True)
        sys.exit(128 + signal.SIGINT)


def announce(program: str, what: str) -> None:
    """Print at once what a program is about to do: what it has to import may take seconds."""
    console.print(f"{as_called(program)}: {what}", soft_wrap=True)


def print_error(text: str) -> None:
    """Print the text of an error to the standard error output."""
    _screen().print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True)


def _screen() -> Screen:
    return Screen(stderr=True, highlight=False, emoji=False)  # it would draw :100:


def _job(schema: type[Schema], main: Callable[[Schema], object]) -> Callable[[DictConfig], object]:
    """Return the Hydra task that calls `main` with validated settings.

    In a sweep, a job with an error of its user's returns Failed: the other jobs are run, and `audiotag.cli.sweeps`
    lists the errors at the end, with exit code 2. One that every trial of a search would meet ends it, as a JobError.
    """

    def run(composed: DictConfig) -> object:
        gc.enable()
        try:
            with _ends_with_program():
                return main(as_own(validate(composed, schema)))
        except AudiotagError as error:
            if not _in_sweep():
                raise
            print_error(str(error))
            if _concerns_every_trial(composed):
                raise JobError(str(error)) from error
            return Failed(str(error))

    return functools.wraps(main)(lambda composed: reported(lambda: run(composed)))


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
    """Return whether this is a search whose trial failed before it had a run folder: so will all others."""
    if composed.get("hparams_search") is None:
        return False
    try:
        config = validate(composed, TrainConfig)
    except ConfigError:
        return True
    return not (run_path(run_name(config), config.runs_dir) / "config.yaml").is_file()


def _in_sweep() -> bool:
    """Return whether this is a job of a sweep at whose end a callback lists the jobs that failed."""
    hydra = HydraConfig.get()
    return hydra.mode == RunMode.MULTIRUN and JOBS_CALLBACK in hydra.callbacks


class JobError(CompactHydraException):
    """An error of a job that ends the sweep; Hydra prints its text, without a traceback."""


JOBS_CALLBACK = "jobs"  # its key in hydra.callbacks, in conf/*.yaml

"""What a tracker is, and how the trackers of a run are checked, opened and closed.

A run is never lost for what could not be shown of it: what a tracker raises is reported once, and stops that tracker
alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from matplotlib.figure import Figure

from audiotag.config import TrainConfig
from audiotag.config.leaf import HEADLINE, TARGET, build
from audiotag.config.schema import to_dict
from audiotag.console import as_called, note
from audiotag.distributed import context
from audiotag.distributed.processes import last_words
from audiotag.errors import AudiotagError, ConfigError
from audiotag.files import FileLock, write_json
from audiotag.run.folder import Cell, RunFolder

SUMMARY = "summary"
given_up: set[str] = set()  # trackers that failed in this experiment, and are left alone for the rest of it


@dataclass(frozen=True)
class TrackedRun:
    """What one run of a tracker shows: a cell, or the summary of the experiment."""

    tracker: str
    """Name of the tracker in the configuration."""
    folder: Path
    """The run folder."""
    key: str
    """Its place below the run folder: roundRR/foldF, or summary."""
    name: str
    """Its name for people."""
    job_type: str
    """pretrain, finetune or summary."""
    settings: dict[str, Any]
    """The run's configuration; a cell's has `cell` too, its round and fold."""

    def kept_id(self, make: Callable[[], str], key: str | None = None) -> str:
        """Return the service's id of this run (or of `key`), the same whenever it goes on; `make` is called once."""
        return TrackingFile(self.folder).id(self.tracker, key or self.key, make)


class Tracker(Protocol):
    """Shows a run somewhere: a leaf of the configuration, `logger.trackers.NAME`.

    Inherit from this class and write the methods that the service has something for; the others do nothing. Hydra
    builds an object with the leaf's settings for `check`, one for each cell, and one for the summary of the experiment,
    in the first process of a job only. Whatever is raised is reported on the screen, and the tracker is left out from
    there on; the run goes on. Only `check` may refuse a run.
    """

    def check(self, folder: Path) -> None:
        """Raise AudiotagError if the run in `folder` cannot be tracked; called before any work is done."""

    def begin(self, run: TrackedRun) -> None:
        """Begin to show a cell or the summary, or go on with it where an earlier process has left it."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Show the figures of an epoch of a cell (the columns of `metrics.csv`), or of a round in the summary."""

    def table(self, name: str, table: pd.DataFrame, step: int) -> None:
        """Show a table of the summary: `ledger`, `per_class`; `step` is the last complete round."""

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Show a picture of the summary: `curves_over_rounds`, `confusion_matrix`."""

    def files(self, name: str, kind: str, files: Mapping[str, Path]) -> None:
        """Hand over files of the summary that `logger.artifacts` names, each under its own name.

        `name` is manifest or weights, `kind` dataset or model.
        """

    def end(self, failed: bool) -> None:
        """End the run and say how it ended; called whatever happened after `begin`, also when a signal ends the job."""


METHODS = [name for name, _ in inspect.getmembers(Tracker, inspect.isfunction) if not name.startswith("_")]


class Trackers:
    """The trackers of one cell or of the summary; what is shown to it is shown to each, until that one fails."""

    def __init__(self, trackers: dict[str, Tracker]) -> None:
        self.trackers = trackers

    def show(self, method: str, *arguments: Any) -> None:
        """Call a method of each tracker."""
        for name, tracker in self.trackers.items():
            if name not in given_up:
                with failure_reported(name):
                    getattr(tracker, method)(*arguments)

    def end(self, failed: bool) -> None:
        """End each, also one that has failed."""
        for name, tracker in self.trackers.items():
            with contextlib.suppress(Exception) if name in given_up else failure_reported(name):
                tracker.end(failed)


def check_trackers(config: TrainConfig, folder: RunFolder) -> None:
    """Refuse what cannot be tracked before any work is done; raises AudiotagError."""
    given_up.clear()
    for name in config.logger.trackers:
        build_tracker(config, name).check(folder.path)


def build_tracker(config: TrainConfig, name: str) -> Tracker:
    """Return a tracker of the configuration; raises ConfigError if it cannot be built, or lacks a method."""
    leaf, setting = config.logger.trackers[name], f"logger.trackers.{name}"
    tracker: Tracker = build(leaf, setting)
    lacking = [method for method in METHODS if not callable(getattr(tracker, method, None))]
    if lacking:
        raise ConfigError(
            HEADLINE,
            [
                f"{setting}: {leaf[TARGET]} is not a tracker, it has no {', '.join(lacking)}: "
                "inherit from audiotag.tracking.trackers.Tracker"
            ],
        )
    return tracker


@contextlib.contextmanager
def cell_trackers(config: TrainConfig, folder: RunFolder, cell: Cell) -> Iterator[Trackers]:
    """Yield the trackers of a cell, and end them whatever happens; none in any but the first process."""
    key = folder.cell(cell).relative_to(folder.path).as_posix()
    job_type = "pretrain" if cell.round == 0 else "finetune"
    settings = {**to_dict(config), "cell": {"round": cell.round, "fold": cell.fold}}
    names = config.logger.trackers if context.is_rank_zero() else ()
    with open_trackers(names, config, folder, (key, str(cell), job_type, settings)) as trackers:
        yield trackers


@contextlib.contextmanager
def open_trackers(
    names: Collection[str], config: TrainConfig, folder: RunFolder, shown: tuple[str, str, str, dict[str, Any]]
) -> Iterator[Trackers]:
    """Yield some of the trackers, begun, and end them whatever happens; `shown` are the last fields of `TrackedRun`."""
    begun: dict[str, Tracker] = {}
    trackers = Trackers(begun)
    failed = True
    with last_words(lambda: trackers.end(failed=True)):
        try:
            for name in [name for name in names if name not in given_up]:
                with failure_reported(name):
                    tracker = build_tracker(config, name)
                    tracker.begin(TrackedRun(name, folder.path, *shown))
                    begun[name] = tracker
            yield trackers
            failed = False
        finally:
            trackers.end(failed)


@contextlib.contextmanager
def failure_reported(name: str) -> Iterator[None]:
    """Report what a tracker raises, and leave it alone for the rest of the experiment."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - services raise all kinds; none is worth the training
        given_up.add(name)
        note(
            "tracking:",
            f"{name} failed and is left out from here on ({type(error).__name__}: {first_line(error)}); "
            "the run goes on, and its own files are complete",
        )


def first_line(error: Exception) -> str:
    """Return the beginning of an error's text; those of services have pages."""
    return (str(error).splitlines() or [""])[0][:300]


class TrackingFile:
    """`tracking.json` of a run folder: the services' ids of what was tracked, so that a run goes on under them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tracking.json"
        self.lock = FileLock(folder / ".tracking.lock")

    def content(self) -> dict[str, Any]:
        """Return all of it."""
        return json.loads(self.path.read_text(encoding="utf-8")) if self.path.is_file() else {}

    def id(self, section: str, key: str, make: Callable[[], str]) -> str:
        """Return what was kept, or make and keep it; processes that ask for one at the same time get the same."""
        with self.lock:
            kept = self.content().get(section, {}).get(key)
            return str(kept) if kept is not None else self.note(section, key, make())

    def note(self, section: str, key: str, value: Any) -> Any:
        """Keep a value, and return it."""
        with self.lock:
            content = self.content()
            content.setdefault(section, {})[key] = value
            write_json(self.path, content)
        return value


def need_packages(names: Collection[str], extra: str) -> None:
    """Raise AudiotagError if packages are not installed; `extra` names them for pip."""
    specs = {name: importlib.util.find_spec(name) for name in names}
    # A mere folder, such as W&B's own `wandb/`, has no origin.
    missing = [name for name, spec in specs.items() if spec is None or spec.origin is None]
    if missing:
        raise AudiotagError(
            as_called(f"logger={extra}: {', '.join(missing)} is not installed: pip install -e '.[{extra}]'")
        )

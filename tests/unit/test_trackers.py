"""Trackers: what is refused before any work, and that nothing they do ends a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from audiotag.config import Logger, TrainConfig
from audiotag.config.leaf import TRUST
from audiotag.errors import AudiotagError, ConfigError
from audiotag.run.folder import Cell, RunFolder
from audiotag.tracking.trackers import TrackedRun, Tracker, cell_trackers, check_trackers, given_up


class Noting(Tracker):
    """Notes its calls; `fails` is the method that raises."""

    calls: ClassVar[list[str]] = []

    def __init__(self, fails: str | None = None) -> None:
        self.fails = fails

    def _note(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails:
            raise AudiotagError(f"{name} cannot be done")

    def begin(self, run: TrackedRun) -> None:
        self._note("begin")

    def metrics(self, values: Any, step: int) -> None:
        self._note("metrics")

    def end(self, failed: bool) -> None:
        self._note("end, failed" if failed else "end")


class Unlike:
    """Lacks what a tracker has."""

    def metrics(self, values: Any, step: int) -> None:
        pass


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module's classes may be built."""
    monkeypatch.setenv(TRUST, f"{__name__}.Noting:{__name__}.Unlike")


@pytest.fixture
def folder(tmp_path: Path):
    Noting.calls = []
    given_up.clear()
    yield RunFolder(tmp_path)
    given_up.clear()


def config(**leaf: Any) -> TrainConfig:
    return TrainConfig(logger=Logger(trackers={"mine": {"_target_": f"{__name__}.Noting", **leaf}}))


@pytest.mark.parametrize(
    ("leaf", "problem"),
    [
        ({"_target_": "no_such_module.Class"}, "there is no module no_such_module"),
        ({"fail": "end"}, "logger.trackers.mine.fail is not an argument of .*Noting .did you mean fails"),
        ({"fails": 3}, "logger.trackers.mine.fails=3 is not text"),
        ({"_target_": f"{__name__}.Unlike"}, "Unlike is not a tracker, it has no begin, check, end, figure"),
        (
            {"_target_": "audiotag.tracking.wandb.WandbTracker", "mode": "onlin"},
            "mode=onlin is not one of auto, online",
        ),
    ],
)
def test_tracker_that_cannot_be_built_is_refused_before_any_work(folder, leaf, problem):
    with pytest.raises(ConfigError, match=problem):
        check_trackers(config(**leaf), folder)


@pytest.mark.parametrize(
    ("fails", "calls"),
    [
        (None, ["begin", "metrics", "metrics", "end"]),
        ("begin", ["begin"]),
        ("metrics", ["begin", "metrics", "end"]),
        ("end", ["begin", "metrics", "metrics", "end"]),
    ],
)
def test_tracker_that_fails_is_said_once_and_left_alone(folder, capsys, fails, calls):
    with cell_trackers(config(fails=fails), folder, Cell(0, 0)) as trackers:
        trackers.show("metrics", {"epoch": 0}, 0)
        trackers.show("metrics", {"epoch": 1}, 1)
    assert Noting.calls == calls
    with cell_trackers(config(fails=fails), folder, Cell(0, 1)):
        pass
    assert (Noting.calls == calls) is (fails is not None)
    message = f"mine failed and is left out from here on (AudiotagError: {fails} cannot be done)"
    assert " ".join(capsys.readouterr().out.split()).count(message) == (fails is not None)


def test_tracker_ends_as_failed_with_its_cell(folder):
    with pytest.raises(KeyboardInterrupt), cell_trackers(config(), folder, Cell(0, 0)):
        raise KeyboardInterrupt
    assert Noting.calls == ["begin", "end, failed"]

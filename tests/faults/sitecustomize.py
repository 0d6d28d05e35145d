"""Makes a process of a job fail at a chosen place. Python runs this file where its folder stands on PYTHONPATH.

AUDIOTAG_TEST_FAULT says how, as NAME=VALUE,...: `at` a place, the `call`-th time that a process comes there, in the
process with this `rank` only. It raises there, fills the `disk` up to `spare` bytes, or has another configuration
than the other ranks; `mark` is touched when it raises or fills.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

PLACES = {
    "fit": "audiotag.models.tagger:Tagger.training_step",
    "consensus": "audiotag.verification.consensus:Consensus._score",
    "exit": "audiotag.distributed.context:leave",
    "store": "audiotag.data.store:_Writer.append",
    "checkpoint": "audiotag.files:replacing:last.ckpt",
    "ledger": "audiotag.files:replacing:ledger.csv",
    "devices": "audiotag.distributed.gpu_locks:gpus",
    "configuration": "audiotag.distributed.context:assert_same_on_all_ranks",
}


def strike(fault: dict[str, str]) -> None:
    """Do what the fault says."""
    Path(fault["mark"]).touch()
    if "disk" in fault:
        disk = os.statvfs(fault["disk"])
        with open(Path(fault["disk"]) / "filler", "wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, disk.f_bavail * disk.f_frsize - int(fault.get("spare", "0")))
    else:
        # Longer than what a pipe holds.
        raise RuntimeError(f"injected in rank {os.environ.get('RANK', '-')}, {'ä' * 20_000} and so on")


def failing(function: Callable[..., Any], file: str, fault: dict[str, str]) -> Callable[..., Any]:
    """Wrap a function so that its n-th call, for a file of this name, fails."""
    calls = itertools.count(1)

    @functools.wraps(function)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        if fault["at"] == "devices":
            return ["held"]  # a GPU that is not there; the test holds its lock
        if fault["at"] == "configuration":
            return function(arguments[0], f"{arguments[1]} of another")
        if (not file or arguments[0].name == file) and next(calls) == int(fault.get("call", "1")):
            strike(fault)
        return function(*arguments, **named)

    return wrapped


class AfterImport(importlib.abc.MetaPathFinder):
    """Wraps a function of a module as soon as the module is imported."""

    def __init__(self, fault: dict[str, str]) -> None:
        self.fault = fault
        self.module, self.name, self.file = (PLACES[fault["at"]] + ":").split(":")[:3]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find the module as usual, and have it changed after it is executed."""
        if fullname != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def changed(module: ModuleType) -> None:
            execute(module)
            *outer, last = self.name.split(".")
            holder = functools.reduce(getattr, outer, module)
            setattr(holder, last, failing(getattr(holder, last), self.file, self.fault))

        spec.loader.exec_module = changed  # type: ignore[method-assign]
        return spec


def plan(text: str) -> None:
    """Prepare the fault in a process that it is meant for."""
    fault = dict(part.split("=") for part in text.split(","))
    does_work = {"audiotag.distributed.worker", *(word for word in sys.orig_argv if word.endswith("train.py"))}
    if does_work & {*sys.orig_argv} and fault.get("rank", os.environ.get("RANK")) == os.environ.get("RANK"):
        sys.meta_path.insert(0, AfterImport(fault))


if os.environ.get("AUDIOTAG_TEST_FAULT"):
    plan(os.environ["AUDIOTAG_TEST_FAULT"])

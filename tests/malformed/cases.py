"""What a case is, and the folder that every case begins with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.clips import make_folder

Make = Callable[[Path], Any]

DATA = ("data=kaggle", "data.root=set", "folds=2", "finetune_rounds=1", "hardware.workers=0", "cache_dir=cache")
# One epoch of round 0: that the data are used, not that anything is learnt.
SHORT = ("model.network.width=2", "features.excerpt_frames=192", "features.clip_frames=192", "verification.excerpts=1")
SHORT += ("training.pretrain.epochs=1", "training.pretrain.min_steps=0", "training.pretrain.decay_from_epoch=1")
SHORT += ("round=0", "fold=0", "run=mine", "report=false", "hardware.accelerator=cpu", "hardware.threads=1")
ON_CPU = ("hardware.accelerator=cpu", "hardware.threads=1", "hardware.workers=0")


@dataclass(frozen=True)
class Case:
    """A malformed input: how it is made in a folder that begins good, and what each program that meets it says.

    `make` may return settings that name what it made. `says` holds a regular expression by program, None where the
    program uses the input as it is; `given` the program's arguments.
    """

    name: str
    make: Make
    says: dict[str, str | None]
    given: dict[str, tuple[str, ...]]
    kept: tuple[str, ...] = ("cache/",)
    """What a refused program may leave: caches; nothing where it is refused before any data are read."""


@dataclass
class Files:
    """Cases of a kind, as they are collected from small functions that make a file each."""

    found: list[tuple[str, str | None, Make, dict[str, Any]]] = field(default_factory=list)

    def add(self, name: str, says: str | None, make: Make, **more: Any) -> None:
        """Add a case."""
        assert name not in [other for other, *_ in self.found], name
        self.found.append((name, says, make, more))

    def case(self, says: str | None, **more: Any) -> Callable[[Make], Make]:
        """Add a case by the name of the function that makes it."""

        def decorate(make: Make) -> Make:
            self.add(make.__name__, says, make, **more)
            return make

        return decorate


def good_folder(folder: Path, run: Path | None) -> None:
    """Make a small data set in `set`, and a copy of a run in `runs/small`."""
    make_folder(folder / "set")
    if run is not None:
        shutil.copytree(run, folder / "runs" / "small", ignore=shutil.ignore_patterns("last.ckpt", "verify", "predict"))

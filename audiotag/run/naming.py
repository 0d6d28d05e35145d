"""What a run is called, where nobody has given it a name, and where it lies."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from audiotag.config import TrainConfig
from audiotag.config.result import is_in_name
from audiotag.config.schema import strange_classes
from audiotag.randomness import key

NAMED_GROUPS = ("experiment", "data", "features", "model", "augment", "loss", "training", "verification", "logger")


def run_name(config: TrainConfig, overrides: Iterable[str] | None = None) -> str:
    """Return the run's name: as given, else made from what was chosen, the same for the same choices.

    `overrides` are the settings that were given (None: those of this Hydra job).
    """
    if config.run is not None:
        return config.run
    given = HydraConfig.get().overrides.task if overrides is None else overrides
    source = config.data.title if config.data.root is None else Path(os.path.realpath(config.data.root)).name
    parts = [config.experiment, source, config.model.title, config.features.title, config.verification.title]
    settings = []
    for text in sorted(given):
        name, _, value = text.lstrip("+~").partition("=")
        if is_in_name(name) and name not in NAMED_GROUPS:
            settings.append(f"{name}-{value}")
        elif name in ("augment", "loss", "training"):
            settings.append(value)
    # Only characters that need no quotes in a shell or in run=NAME.
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(["-".join(filter(None, parts)), *settings]))
    return name if len(name) <= 120 else f"{name[:100]}-{key(name):016x}"


def run_path(run: str, runs_dir: str) -> Path:
    """Return the folder `runs/NAME` of a run, or the path itself where it names a folder outside."""
    path, inside = Path(run), Path(runs_dir) / run
    return (path if len(path.parts) > 1 and not inside.is_dir() else inside).absolute()


def own_words(config: TrainConfig) -> list[str]:
    """Return the words of a command by which it finds the classes of a run that are not audiotag's own, if any."""
    return ["--config-dir", config.config_dir] if config.config_dir and strange_classes(config) else []


def run_named(path: Path) -> str:
    """Return how commands name a run: by its name where they look for it, else by its path."""
    return path.name if path.parent == Path("runs").absolute() else str(path)

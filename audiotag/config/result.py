"""Which settings are part of a run's result; the others say where, how, or how far to work.

Names stand for settings, or for whole sections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any

from audiotag.config.data import reads
from audiotag.config.programs import TrainConfig
from audiotag.config.schema import leaves, to_dict
from audiotag.errors import ConfigError

# May differ when a run is continued.
WHERE_AND_HOW = {"run", "runs_dir", "cache_dir", "config_dir", "round", "fold", "devices", "parallel", "report"}
WHERE_AND_HOW |= {"hardware", "logger", "training.save_every_s", "data.root", "data.download"}
WHERE_AND_HOW |= {"features.front_end.file"}  # what it holds counts: its sha256
WHERE_AND_HOW |= {"warm_start"}  # the result is that of training round 0 anew
WHERE_AND_HOW |= {"hparams_search"}  # a trial is the run that its settings make by hand
# May differ too, but what makes a run again must name them. Of corrections the content counts: `corrections.csv`.
HOW_FAR = {"finetune_rounds", "data.truth", "data.corrections"}
# Settings that concern some runs only, and which.
CONCERNED: dict[str, Callable[[TrainConfig], bool]] = {
    "data.noise": lambda config: config.data.noise.kind != "none",
    "data.noise.kind": lambda config: True,
    "training.finetune": lambda config: config.finetune_rounds > 0,
    "training.weights": lambda config: config.finetune_rounds > 0,
}


def is_among(name: str, settings: Iterable[str]) -> bool:
    """Return whether a setting, or a section that it stands in, is among some."""
    return not set(settings).isdisjoint(accumulate(name.split("."), "{}.{}".format))


def result_settings(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that are part of a run's result."""
    return {name: value for name, value in leaves(to_dict(config)) if is_part_of_result(name)}


def refuse_other_settings(
    before: TrainConfig,
    now: TrainConfig,
    headline: str,
    advice: str,
    matters: Callable[[str], bool] = lambda name: True,
) -> None:
    """Raise ConfigError with the settings in which two runs differ, of those that are part of a result and matter."""
    theirs, ours = result_settings(before), result_settings(now)
    different = [name for name in ours if matters(name) and ours[name] != theirs.get(name)]
    if different:
        raise ConfigError(headline, [f"{name} was {theirs.get(name)}, now {ours[name]}" for name in different], advice)


def is_part_of_result(name: str) -> bool:
    """Return whether runs that differ in a setting are different runs."""
    return not is_among(name, WHERE_AND_HOW | HOW_FAR)


def is_in_name(name: str) -> bool:
    """Return whether runs that differ in a setting are given different names."""
    return is_part_of_result(name) or name == "data.corrections"


def is_needed_again(name: str) -> bool:
    """Return whether a command that makes a run again must name a setting in which it differs from its options."""
    return not is_among(name, WHERE_AND_HOW)


def concerns(name: str, config: TrainConfig) -> bool:
    """Return whether a run makes anything of a setting; the longest name in `CONCERNED` decides."""
    section, _, rest = name.partition(".")
    if section == "data" and not reads(config.data.source, rest.partition(".")[0]):
        return False
    known = [part for part in accumulate(name.split("."), "{}.{}".format) if part in CONCERNED]
    return not known or CONCERNED[known[-1]](config)

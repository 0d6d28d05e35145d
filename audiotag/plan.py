"""Folds from tables alone, with no audio there.

usage: python -m audiotag.plan data=kaggle data.root=DIR [folds=4] [seed=0] [out=folds.csv]

Takes the settings of train.py (python train.py --help) and makes the folds that it would make, as long as every row has
its audio. Prints how even the folds are; with out=FILE.csv, writes clip_id, label, verified (1 or 0) and fold of every
training clip.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
from rich.table import Table

from audiotag.cli.arguments import refuse_forgotten_data
from audiotag.cli.composition import compose_config
from audiotag.cli.program import run_command
from audiotag.config import TrainConfig
from audiotag.console import console
from audiotag.data.checking import check_data, refuse
from audiotag.data.folds import worst_deviation
from audiotag.errors import ConfigError
from audiotag.files import check_output, write_csv

FOLD_COLUMNS = ["clip_id", "label", "verified", "fold"]
PARTS = {"verified": [True], "unverified": [False], "all": [True, False]}


def plan(config: TrainConfig) -> pd.DataFrame:
    """Return the training clips that the tables name (columns `FOLD_COLUMNS`, fold a number), by clip id.

    Raises DataError with every problem of the tables.
    """
    data = dataclasses.replace(config.data, corrections=None)  # folds are made before them
    checked = check_data(dataclasses.replace(config, data=data), None)
    refuse(checked, data.on_bad_clip == "skip")
    assert checked.frame is not None
    train = checked.frame[checked.frame["split"] == "train"][FOLD_COLUMNS].sort_values("clip_id", ignore_index=True)
    return train.assign(fold=train["fold"].astype(int))


def compose_training(arguments: list[str]) -> TrainConfig:
    """Compose settings of the command line as train.py does; raises ConfigError."""
    config = compose_config(TrainConfig, arguments)
    refuse_forgotten_data(config.data, arguments)
    return config


def show(clips: pd.DataFrame, folds: int) -> None:
    """Print clips per fold, and how far the folds are from even."""
    table = Table("Fold", *(name.capitalize() for name in PARTS), "Classes")
    for fold in range(folds):
        held_out = clips[clips["fold"] == fold]
        counts = [held_out["verified"].isin(flags).sum() for flags in PARTS.values()]
        table.add_row(str(fold), *map(str, counts), str(held_out["label"].nunique()))
    console.print(table)
    worst = {name: worst_deviation(clips[clips["verified"].isin(flags)], folds) for name, flags in PARTS.items()}
    shown = ", ".join(f"{clips_off:.2f} ({name})" for name, clips_off in worst.items())
    console.print(f"{len(clips)} clips, {clips['label'].nunique()} classes", soft_wrap=True)
    console.print(f"Most clips of a class by which a fold differs from the class's even share: {shown}", soft_wrap=True)


def main(arguments: list[str]) -> None:
    """Make, print and write the folds."""
    outs = [argument.removeprefix("out=") for argument in arguments if argument.startswith("out=")]
    if len(outs) > 1 or "" in outs:
        raise ConfigError("The folds have no place to be written to:", ["out=FILE.csv is a file, and given once"])
    config = compose_training([argument for argument in arguments if not argument.startswith("out=")])
    read = [getattr(config.data, name) for name in ("table", "test_table", "truth", "corrections")]
    root = Path(config.data.root or "")
    inputs = [place / name for name in filter(None, read) for place in (root, Path())] + list(root.glob("*.csv"))
    for out in outs:
        check_output(Path(out).absolute(), ",".join(FOLD_COLUMNS), inputs=inputs)
    clips = plan(config)
    show(clips, config.folds)
    for out in outs:
        write_csv(Path(out), clips.assign(verified=clips["verified"].astype(int)))
        console.print(f"Folds: {out}", soft_wrap=True)


if __name__ == "__main__":
    run_command(main, __doc__, needs_arguments=True)

"""The run folder: everything that cells know of each other. Paths hold no time stamps; files are whole or absent."""

from __future__ import annotations

import dataclasses
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from audiotag.config import TrainConfig
from audiotag.data.corrections import COLUMNS as CORRECTIONS
from audiotag.data.corrections import verified_by_correction
from audiotag.data.tables import read_table
from audiotag.errors import ConfigError, DataError, RunError
from audiotag.files import write_json, write_text
from audiotag.schema import leaves, to_dict, validate
from audiotag.verification.ledger import POSTERIORS, VERIFIED_POSTERIORS, Votes

# Settings that may differ when a run is continued: they say where and how to work, or how far, not what the result is.
FREE = (
    "run",
    "runs_dir",
    "cache_dir",
    "round",
    "fold",
    "rounds",
    "devices",
    "parallel",
    "start",
    "report",
    "hparams_search",
    "hardware.",
    "logger.",
    "data.root",
    "data.truth",
    "data.corrections",  # their content is what counts: `corrections.csv`
    "data.download",
)


def is_free(name: str) -> bool:
    """Say whether a setting, or its section, is among `FREE`."""
    return name in FREE or name.startswith(tuple(section for section in FREE if section.endswith(".")))


@dataclass(frozen=True, order=True)
class Cell:
    """One (round, fold): one network fitted."""

    round: int
    fold: int

    def __str__(self) -> str:
        return f"round {self.round}, fold {self.fold}"


class RunFolder:
    """Paths and files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.manifest_file = path / "manifest.csv"
        self.ledger_file = path / "ledger.csv"
        self.summary_file = path / "summary.json"
        self.corrections_file = path / "corrections.csv"

    @functools.cached_property
    def config(self) -> TrainConfig:
        """The configuration the run was made with; raises RunError where there is no run."""
        if not self.config_file.is_file():
            made = sorted(other.parent.name for other in self.path.parent.glob("*/config.yaml"))
            known = f"there are: {', '.join(made)}" if made else f"there is none in {self.path.parent}"
            raise RunError(f"{self.path} is not a run folder (no config.yaml); {known}")
        loaded = OmegaConf.load(self.config_file)
        assert OmegaConf.is_dict(loaded)
        return validate(loaded, TrainConfig)  # type: ignore[arg-type]

    @functools.cached_property
    def train(self) -> pd.DataFrame:
        """Training clips of the manifest, by clip id."""
        manifest = pd.read_csv(self.manifest_file, dtype=str, keep_default_na=False)
        train = manifest[manifest["split"] == "train"].set_index("clip_id")
        return train.assign(fold=train["fold"].astype(int))

    @functools.cached_property
    def corrections(self) -> pd.DataFrame:
        """What a person has decided about training clips (columns of `data.corrections`, all text)."""
        if not self.corrections_file.is_file():
            return pd.DataFrame(columns=CORRECTIONS)
        table, problems = read_table(self.corrections_file, {name: name for name in CORRECTIONS})
        if problems:
            raise DataError("The corrections that the run has kept cannot be read:", problems)
        return table[CORRECTIONS].reset_index(drop=True)

    @functools.cached_property
    def classes(self) -> list[str]:
        """The class list, in the order of the networks' outputs."""
        return list(json.loads((self.path / "classes.json").read_text(encoding="utf-8")))

    def save(self, config: TrainConfig) -> None:
        """Keep the configuration, or refuse it where the folder was made with another; raises RunError."""
        if self.config_file.is_file():
            self._refuse_other(config)
        # Which part of the run a job works on is not the run's; jobs side by side would write it in turn. Where round 0
        # came from, its cells say.
        whole = dataclasses.replace(config, round=None, fold=None, start=None)
        text = OmegaConf.to_yaml(OmegaConf.create(to_dict(whole)))
        if not self.config_file.is_file() or self.config_file.read_text(encoding="utf-8") != text:
            write_text(self.config_file, text)
        self.__dict__.pop("config", None)

    def _refuse_other(self, config: TrainConfig) -> None:
        before, now = (dict(leaves(to_dict(c))) for c in (self.config, config))
        changed = [name for name in now if now[name] != before.get(name) and not is_free(name)]
        if changed:
            raise ConfigError(
                f"{self.path} was made with other settings:",
                [f"{name} was {before.get(name)}, now {now[name]}" for name in changed],
                "Give this one another name with run=NAME, or delete the folder.",
            )

    def cell(self, cell: Cell) -> Path:
        """Return the folder of a cell."""
        return self.path / f"round{cell.round:02d}" / f"fold{cell.fold}"

    def status(self, cell: Cell) -> dict[str, Any] | None:
        """Return the result of a complete cell, None for any other."""
        file = self.cell(cell) / "status.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def best_epoch(self, cell: Cell) -> int | None:
        """Return the epoch with a complete cell's lowest validation loss, the one of its `best.ckpt`."""
        status = self.status(cell)
        return None if status is None or "best_epoch" not in status else int(status["best_epoch"])

    def rescored(self, excerpts: int) -> Path:
        """Return the folder of posteriors made again with K excerpts, laid out like the run's own."""
        return self.path / "verify" / f"rescored-{excerpts}-excerpts"

    def failure(self, cell: Cell) -> Path:
        """Return the file in which the last failure of a cell is told."""
        return self.cell(cell) / "failure.txt"

    def finish(self, cell: Cell, result: dict[str, Any]) -> None:
        """Mark a cell as complete; the last thing done for it."""
        self.failure(cell).unlink(missing_ok=True)
        write_json(
            self.cell(cell) / "status.json", {"state": "complete", "round": cell.round, "fold": cell.fold, **result}
        )

    def complete_rounds(self) -> list[int]:
        """Return the rounds whose cells are all complete, in order."""
        folds = range(self.config.folds)
        return [r for r in range(self.config.rounds + 1) if all(self.status(Cell(r, f)) for f in folds)]

    def votes(self, round_: int, rescored: int | None = None) -> dict[int, Votes]:
        """Return the consensus posteriors of all folds of a complete round, or those made again with K excerpts."""
        run = self if rescored is None else RunFolder(self.rescored(rescored))
        return {fold: self._votes(run.cell(Cell(round_, fold))) for fold in range(self.config.folds)}

    def _votes(self, folder: Path) -> Votes:
        checked = pd.read_parquet(folder / VERIFIED_POSTERIORS)
        new = checked["clip_id"].isin(verified_by_correction(self.corrections))
        return Votes(pd.read_parquet(folder / POSTERIORS), checked[~new].reset_index(drop=True), checked[new])


def find_run(run: str, runs_dir: str) -> RunFolder:
    """Return the run folder `runs/NAME`, or the path itself where it names a folder outside."""
    path = Path(run)
    inside = Path(runs_dir) / run
    return RunFolder((path if len(path.parts) > 1 and not inside.is_dir() else inside).absolute())

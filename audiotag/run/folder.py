"""The run folder: everything that cells know of each other. Paths hold no time stamps; files are whole or absent."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
import yaml
from omegaconf import DictConfig, OmegaConf

from audiotag.config import TrainConfig
from audiotag.config.result import refuse_other_settings
from audiotag.config.schema import to_dict, validate
from audiotag.console import as_called
from audiotag.data.corrections import NO_CORRECTIONS, read_applied, verified_by_correction
from audiotag.data.manifest_file import read_manifest, training_clips
from audiotag.errors import ConfigError, RunError
from audiotag.files import FileLock, damage_reported, digest, read_json, write_json, write_text
from audiotag.run.naming import run_path
from audiotag.verification.ledger import POSTERIORS, VERIFIED_POSTERIORS, Votes

TRAINING = "training.csv"  # a cell's training clips
TARGETS = "targets.parquet"  # of round 0: what teachers say of them
# What a complete cell has written, and what of the run it was fitted to: `status.json` holds their checksums.
OF_CELL = ("best.ckpt", POSTERIORS, VERIFIED_POSTERIORS, TRAINING, TARGETS, "metrics.csv")
OF_RUN = ("manifest.csv", "classes.json")
AGAIN = "delete it, and the command that began the run writes it again"
LARGEST_CONFIG = 1_000_000  # bytes; one has about 5,000
DEEPEST_CONFIG = 20  # levels; one has 3
OPENING = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
SUM = "# Not to be changed by hand. SHA-256 of what follows: "


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
        self.start_file = path / "pretrained.json"  # what the networks of round 0 start from, by its SHA-256

    @functools.cached_property
    def config(self) -> TrainConfig:
        """The configuration the run was made with; raises RunError if this is not a run folder."""
        if not self.config_file.is_file():
            made = sorted(other.parent.name for other in self.path.parent.glob("*/config.yaml"))
            known = f"there are: {', '.join(made)}" if made else f"there is none in {self.path.parent}"
            raise RunError(f"{self.path} is not a run folder (no config.yaml); {known}")
        again = "put back a copy, or delete the run's folder"
        with damage_reported(self.config_file, again):
            loaded = OmegaConf.create(_config_text(self.config_file))
            if not isinstance(loaded, DictConfig):
                raise ValueError("not a mapping")
        try:
            return validate(loaded, TrainConfig)
        except ConfigError as error:
            raise RunError(f"{self.config_file} does not hold the settings of a run: {again}\n{error}") from error

    @functools.cached_property
    def train(self) -> pd.DataFrame:
        """Training clips of the manifest, by clip id."""
        return training_clips(self.manifest)

    @functools.cached_property
    def manifest(self) -> pd.DataFrame:
        """Every clip of the data set, all text but `verified`; raises RunError if it is missing or damaged."""
        self.check("manifest.csv")
        with damage_reported(self.manifest_file, AGAIN):
            return read_manifest(self.manifest_file)

    def check(self, name: str) -> None:
        """Raise RunError if the manifest or the class list is missing, or not what a complete cell was fitted to."""
        cells = (cell for round_ in range(self.config.finetune_rounds + 1) for cell in self.cells(round_))
        status = next((status for cell in cells if (status := self.status(cell)) is not None), {})
        _check(self.path / name, status.get("sha256", {}).get(name), AGAIN)

    @functools.cached_property
    def corrections(self) -> pd.DataFrame:
        """What a person has decided about training clips (columns of `data.corrections`)."""
        return read_applied(self.corrections_file) if self.corrections_file.is_file() else NO_CORRECTIONS

    @functools.cached_property
    def classes(self) -> list[str]:
        """The class list, in the order of the networks' outputs."""
        file = self.path / "classes.json"
        self.check(file.name)
        with damage_reported(file, AGAIN):
            classes = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
                raise ValueError("not a list of names")
        return list(classes)

    @property
    def summary(self) -> dict[str, Any]:
        """What `summary.json` holds, {} if it is not written yet. Raises RunError if it is damaged."""
        if not self.summary_file.is_file():
            return {}
        summary = read_json(self.summary_file, AGAIN)
        with damage_reported(self.summary_file, AGAIN):
            float(summary["wall_s"])
            if summary["best_round"] not in [None, *(round_["round"] for round_ in summary["rounds"])]:
                raise ValueError("the best round is not among the rounds")
        return summary

    def save(self, config: TrainConfig) -> None:
        """Keep the configuration, or refuse it if the folder was made with another; raises RunError."""
        self.refuse_other(config)
        # Which part of the run a job works on is not the run's; jobs side by side would write it in turn. Where round 0
        # came from, its cells say.
        whole = dataclasses.replace(config, round=None, fold=None, warm_start=None)
        text = OmegaConf.to_yaml(OmegaConf.create(to_dict(whole)))
        text = f"{_sum_line(text)}\n{text}"
        if not self.config_file.is_file() or self.config_file.read_text(encoding="utf-8") != text:
            write_text(self.config_file, text)
        self.__dict__.pop("config", None)

    def refuse_other(self, config: TrainConfig) -> None:
        """Raise ConfigError if the folder was made with other settings."""
        if self.config_file.is_file():
            advice = "Give this one another name with run=NAME, or delete the folder."
            refuse_other_settings(self.config, config, f"{self.path} was made with other settings:", advice)

    def cells(self, round_: int) -> list[Cell]:
        """Return the cells of a round, one per fold."""
        return [Cell(round_, fold) for fold in range(self.config.folds)]

    def cell(self, cell: Cell) -> Path:
        """Return the folder of a cell."""
        return self.path / f"round{cell.round:02d}" / f"fold{cell.fold}"

    def status(self, cell: Cell) -> dict[str, Any] | None:
        """Return the result of a complete cell, None for any other."""
        file = self.cell(cell) / "status.json"
        if not file.is_file():
            return None
        status = read_json(file, self._cell_again(cell))
        with damage_reported(file, self._cell_again(cell)):
            dict(status.get("sha256", {})), int(status.get("best_epoch", 0))
            if (status.get("round", cell.round), status.get("fold", cell.fold)) != (cell.round, cell.fold):
                raise ValueError("the status of another cell")
        return status

    def _cell_again(self, cell: Cell) -> str:
        return f"delete {self.cell(cell)}, and the command that began the run fits this cell again"

    def checked(self, cell: Cell, name: str) -> Path:
        """Return the path of what a complete cell has written; raises RunError if it is missing or not that now."""
        file, again = self.cell(cell) / name, self._cell_again(cell)
        _check(file, (self.status(cell) or {}).get("sha256", {}).get(name), again)
        return file

    def table(self, cell: Cell, name: str) -> pd.DataFrame:
        """Return a table that a complete cell has written, text and numbers as they are; raises as `checked` does."""
        file = self.checked(cell, name)
        with damage_reported(file, self._cell_again(cell)):
            if file.suffix == ".csv":
                return pd.read_csv(file, dtype={"clip_id": str, "label": str}, keep_default_na=name == "metrics.csv")
            return _posteriors(pd.read_parquet(file), self.classes)

    def best_epoch(self, cell: Cell) -> int | None:
        """Return the epoch with a complete cell's lowest validation loss, the one of its `best.ckpt`."""
        status = self.status(cell)
        return None if status is None or "best_epoch" not in status else int(status["best_epoch"])

    def votes_folder(self, excerpts: int) -> Path:
        """Return the folder of posteriors made again with K excerpts, laid out like the run's own."""
        return self.path / "verify" / f"votes-{excerpts}-excerpts"

    def failure(self, cell: Cell) -> Path:
        """Return the file in which the last failure of a cell is told."""
        return self.cell(cell) / "failure.txt"

    def finish(self, cell: Cell, result: dict[str, Any]) -> None:
        """Mark a cell as complete; the last thing done for it."""
        self.failure(cell).unlink(missing_ok=True)
        files = [*(self.cell(cell) / name for name in OF_CELL), *(self.path / name for name in OF_RUN)]
        sums = {file.name: digest(file) for file in files if file.is_file()}
        status = {"state": "complete", "round": cell.round, "fold": cell.fold, **result, "sha256": sums}
        write_json(self.cell(cell) / "status.json", status)

    def complete_rounds(self) -> list[int]:
        """Return the rounds whose cells are all complete, in order."""
        return [r for r in range(self.config.finetune_rounds + 1) if all(map(self.status, self.cells(r)))]

    def votes(self, round_: int, excerpts: int | None = None) -> dict[int, Votes]:
        """Return the consensus posteriors of all folds of a complete round, or those made again with K excerpts."""
        return {cell.fold: self._votes(cell, excerpts) for cell in self.cells(round_)}

    def _votes(self, cell: Cell, excerpts: int | None) -> Votes:
        if excerpts is None:
            unverified, checked = (self.table(cell, name) for name in (POSTERIORS, VERIFIED_POSTERIORS))
        else:
            folder = RunFolder(self.votes_folder(excerpts)).cell(cell)
            with damage_reported(folder, as_called("delete it, and verify.py with vote_again=true makes it again")):
                files = (pd.read_parquet(folder / name) for name in (POSTERIORS, VERIFIED_POSTERIORS))
                unverified, checked = (_posteriors(table, self.classes) for table in files)
        new = checked["clip_id"].isin(verified_by_correction(self.corrections))
        return Votes(unverified, checked[~new].reset_index(drop=True), checked[new])


def _posteriors(table: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Return a table of posteriors unchanged; raises ValueError if it is not one."""
    if list(table.columns) != ["clip_id", *classes]:
        raise ValueError("the columns are not clip_id and the classes")
    values = table[classes].to_numpy(float)
    if not ((values >= 0) & (values <= 1 + 1e-6)).all() or not table["clip_id"].is_unique:
        raise ValueError("not posteriors")
    return table


def _config_text(file: Path) -> str:
    """Return the text of a run's configuration; raises ValueError if it is cut off, or made to take all memory."""
    if file.stat().st_size > LARGEST_CONFIG:
        raise ValueError("too large")
    text = file.read_text(encoding="utf-8")
    first, _, rest = text.partition("\n")
    if not text.strip() or (first.startswith(SUM) and first != _sum_line(rest)):
        raise ValueError("not what was written")
    if "${" in text:
        raise ValueError("refers to something outside, such as the environment")
    depth = 0
    for token in yaml.scan(text):
        depth += isinstance(token, OPENING) - isinstance(token, CLOSING)
        if isinstance(token, yaml.AliasToken) or depth > DEEPEST_CONFIG:
            raise ValueError("made to take all memory")
    return text


def _sum_line(text: str) -> str:
    return f"{SUM}{hashlib.sha256(text.encode()).hexdigest()}"


_checked: set[tuple[Path, int, int, str]] = set()


def _check(file: Path, expected: str | None, again: str) -> None:
    """Raise RunError if a file is missing, or has not the expected SHA-256; looked at once while it stays as it is."""
    if not file.is_file():
        raise RunError(f"{file} is missing: {again}")
    if expected is None:  # of a run from before there were checksums
        return
    stat = file.stat()
    seen = (file, stat.st_mtime_ns, stat.st_size, expected)
    if seen not in _checked and digest(file) != expected:
        raise RunError(f"{file} is not what was written when its cell was fitted: {again}")
    _checked.add(seen)


def find_run(run: str, runs_dir: str) -> RunFolder:
    """Return the run folder `runs/NAME`, or the path itself where it names a folder outside."""
    return RunFolder(run_path(run, runs_dir))


@contextlib.contextmanager
def taken(folder: RunFolder, cell: Cell) -> Iterator[bool]:
    """Hold a cell's lock in the block, and say whether it was free; the lock ends with the process."""
    where = folder.cell(cell)
    where.mkdir(parents=True, exist_ok=True)
    lock = FileLock(where / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()

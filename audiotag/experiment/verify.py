"""Decide again from stored posteriors: another threshold, cap or rule, without a network unless vote_again=true."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from audiotag.config import TrainConfig, Verification, VerifyConfig
from audiotag.config.leaf import TARGET, leaf_identity
from audiotag.console import console
from audiotag.data.checking import check_tables
from audiotag.data.tables import read_labels
from audiotag.distributed.launch import in_sweep, launch
from audiotag.errors import RunError
from audiotag.experiment.decisions import gather_decisions
from audiotag.files import check_folder, check_output, write_csv, write_json
from audiotag.run.folder import Cell, RunFolder, find_run
from audiotag.run.ledgers import all_ledgers, noise_figures, run_truth
from audiotag.run.summary import print_few, promise_lines, rate, rounded
from audiotag.verification.ledger import POSTERIORS, VERIFIED_POSTERIORS, measure
from audiotag.verification.rules import SETTING, in_words, rule_of


def verify(config: VerifyConfig) -> pd.DataFrame:
    """Apply a rule to a run's stored posteriors; print and return accepted, precision and recall per round.

    Writes `verify/NAME/{ledger.csv, summary.json}` below the run, and `verify/decisions.csv` over all that were made;
    into `config.out` instead of `verify/`, if given. Raises RunError where no round, or not the one asked for, is
    complete, AudiotagError where nothing can be written.
    """
    folder, where = find_run(config.run, config.runs_dir), decision_folder(config)
    verification = changed(folder.config.verification, config)
    _check_writable(config, folder, where.parent)
    truth = run_truth(folder) if config.truth is None else _truth(folder, config.truth)
    ledger = decide_again(config)
    settings = {"rule": verification.title, **_arguments(verification)}
    excerpts = verification.excerpts if config.vote_again else None
    rounds = [
        {"round": r, **rounded(measure(rows, truth) | noise_figures(folder, r, verification, excerpts))}
        for r, rows in ((int(str(name)), rows) for name, rows in ledger.groupby("round", sort=True))
    ]
    write_csv(where / "ledger.csv", ledger)
    write_json(where / "summary.json", {**settings, "rounds": rounds})
    gather_decisions(where.parent)
    table = pd.DataFrame(rounds)
    _print(table, verification, where)
    if not in_sweep():
        print_few(rounds, folder, verification, ledger)
    return table


def decide_again(config: VerifyConfig) -> pd.DataFrame:
    """Return the ledger of a rule applied to a run's stored posteriors, or to new ones; raises as `verify` does."""
    folder = find_run(config.run, config.runs_dir)
    verification = changed(folder.config.verification, config)
    rule_of(verification)  # raises if it needs what is not installed
    asked = _rounds(folder, config.round)
    if config.vote_again and missing_cells(folder, config):
        again = "audiotag.experiment.vote_again:vote_again"  # by name: it needs PyTorch
        launch(again, config, lambda: check_tables(as_of_now(folder.config, config)))
    return all_ledgers(folder, asked, verification, verification.excerpts if config.vote_again else None)


def changed(of_run: Verification, config: VerifyConfig) -> Verification:
    """Return the run's rule with the changes asked for, or the whole rule that verification=NAME named."""
    given = config.verification
    is_whole, excerpts = TARGET in given.rule, given.excerpts or of_run.excerpts
    if not config.vote_again:
        if not is_whole and excerpts != of_run.excerpts:
            raise RunError(
                f"verification.excerpts={excerpts}: the run stored means over {of_run.excerpts} excerpts; set "
                "vote_again=true to ask its networks again"
            )
        excerpts = of_run.excerpts  # the posteriors are stored as means over these
    return Verification(
        name=given.name if is_whole else of_run.name,
        excerpts=excerpts,
        calibrate=of_run.calibrate if given.calibrate is None else given.calibrate,
        rule=given.rule if is_whole else {**of_run.rule, **given.rule},
    )


def as_of_now(of_run: TrainConfig, config: VerifyConfig) -> TrainConfig:
    """Return a run's configuration with what may differ now: devices, places, and the number of excerpts."""
    excerpts = config.verification.excerpts or of_run.verification.excerpts
    return dataclasses.replace(
        of_run,
        hardware=config.hardware,
        devices=config.devices,
        parallel="batches",
        cache_dir=config.cache_dir,
        data=dataclasses.replace(of_run.data, root=config.root or of_run.data.root),
        verification=dataclasses.replace(of_run.verification, excerpts=excerpts),
    )


def missing_cells(folder: RunFolder, config: VerifyConfig) -> list[Cell]:
    """Return the complete cells asked for whose posteriors have not been made again with that many excerpts."""
    rounds = folder.complete_rounds() if config.round is None else [config.round]
    again = RunFolder(folder.votes_folder(as_of_now(folder.config, config).verification.excerpts))
    cells = [cell for round_ in rounds for cell in folder.cells(round_)]
    names = (POSTERIORS, VERIFIED_POSTERIORS)
    return [cell for cell in cells if not all((again.cell(cell) / name).is_file() for name in names)]


def decision_folder(config: VerifyConfig) -> Path:
    """Return where a decision is kept: in `out`, else the run's `verify/`, named by its rule and what it changes."""
    folder = find_run(config.run, config.runs_dir)
    of_run = folder.config.verification
    decisions = folder.path / "verify" if config.out is None else Path(config.out).expanduser().absolute()
    return decisions / _name(of_run, changed(of_run, config), config.vote_again)


def _check_writable(config: VerifyConfig, folder: RunFolder, decisions: Path) -> None:
    """Raise AudiotagError if a decision cannot be written, or new posteriors, which lie in the run."""
    check_folder("out", decisions, "set out=DIR")
    check_output(decisions / "decisions.csv", "decision,rule,")
    if config.vote_again:
        check_folder("run", folder.path / "verify", "vote_again=true writes into the run: set run= to a copy of it")
        check_folder("cache_dir", Path(config.cache_dir).absolute())


def _rounds(folder: RunFolder, round_: int | None) -> list[int]:
    complete = folder.complete_rounds()
    if folder.config.data.train_on_all:
        raise RunError(f"{folder.path}: trained with data.train_on_all=true, so no posteriors were stored to decide on")
    if not complete or (round_ is not None and round_ not in complete):
        wanted = "any" if round_ is None else str(round_)
        done = ", ".join(map(str, complete)) or "none"
        raise RunError(f"{folder.path}: round {wanted} has no stored posteriors of all folds (complete rounds: {done})")
    return complete if round_ is None else [round_]


def _truth(folder: RunFolder, name: str) -> pd.Series:
    path, columns = Path(name), folder.config.data.columns
    if not path.is_file():
        raise RunError(f"truth={name}: there is no such file")
    return read_labels(path, columns.clip, columns.label)


def _arguments(verification: Verification) -> dict[str, Any]:
    """Return the settings of a decision by name: the arguments of its rule, and whether it calibrates."""
    arguments = leaf_identity(verification.rule, SETTING)
    return {name: value for name, value in arguments.items() if name != TARGET} | {"calibrate": verification.calibrate}


def _name(of_run: Verification, now: Verification, again: bool) -> str:
    """Name a decision by its rule and by what differs from the run's own."""
    before = _arguments(of_run)
    different = [f"{name}={value}" for name, value in _arguments(now).items() if before.get(name, ...) != value]
    return ",".join([now.title, *different, *([f"votes={now.excerpts}"] if again else [])])


def _print(table: pd.DataFrame, verification: Verification, where: Path) -> None:
    title = f"{in_words(rule_of(verification))}{', calibrated' if verification.calibrate else ''}"
    rates = [name for name in ("promised", "precision", "recall") if name in table]
    shown = Table("Round", "Considered", "Accepted", *map(str.capitalize, rates), title=title, title_justify="left")
    for row in table.to_dict("records"):
        counts = (str(row[name]) for name in ("round", "considered", "accepted"))
        shown.add_row(*counts, *(rate(row[name]) for name in rates))
    console.print(shown)
    for line in promise_lines(table.to_dict("records")):
        console.print(line, soft_wrap=True)
    console.print(f"Ledger: {where / 'ledger.csv'}", soft_wrap=True)

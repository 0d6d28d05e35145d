"""Acceptance as a step of the loop, on run folders that were made without training."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from audiotag.experiment.loop import accept
from audiotag.run.folder import RunFolder
from audiotag.run.ledgers import write_ledger
from tests.report_run import change_config, made_run

CLASSES = ["Bark", "Meow", "Hiss"]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Two complete rounds, and one of which a fold is missing."""
    run = made_run(tmp_path / "run", tmp_path / "set", CLASSES, rounds=3, complete=2)
    change_config(run, verification__rule__threshold=0.5)
    return RunFolder(run)


def test_accept_keeps_a_round_once_all_folds_have_voted(folder):
    accepted = accept(folder, 1)
    ledger = pd.read_csv(folder.ledger_file)
    assert set(ledger["round"]) == {1}
    assert set(accepted.index) == set(ledger["clip_id"][ledger["accepted"] == 1]) == {"Bark-0", "Bark-2"}, (
        "all others are contradicted"
    )
    assert set(accepted["label"]) == {"Bark"}
    assert accept(folder, 2) is None, "a fold has not voted yet"
    assert set(pd.read_csv(folder.ledger_file)["round"]) == {1}


def test_accept_before_round_0_takes_nothing(folder):
    assert accept(folder, -1) is None
    assert not folder.ledger_file.exists()


def test_accept_round_by_round_writes_the_ledger_of_all_rounds(folder):
    for round_ in (1, 0, 1):
        accept(folder, round_)
    step_by_step = folder.ledger_file.read_bytes()
    write_ledger(folder)
    assert folder.ledger_file.read_bytes() == step_by_step


def test_accept_in_jobs_side_by_side_loses_no_round(folder):
    with ThreadPoolExecutor(4) as jobs:
        list(jobs.map(lambda round_: accept(RunFolder(folder.path), round_), [0, 1] * 4))
    together = folder.ledger_file.read_bytes()
    write_ledger(folder)
    assert folder.ledger_file.read_bytes() == together


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\x00", b"a,b\n1,2\n", b'round,fold\n"1'])
def test_accept_replaces_a_damaged_ledger(folder, damage):
    folder.ledger_file.write_bytes(damage)
    accept(folder, 0)
    assert set(pd.read_csv(folder.ledger_file)["round"]) == {0}


def test_accept_takes_nothing_where_no_clip_is_held_out(folder):
    change_config(folder.path, data__train_on_all=True, finetune_rounds=0)
    assert accept(RunFolder(folder.path), 0) is None

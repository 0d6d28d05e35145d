"""The embedded loop as a person starts it: files of the contract, the same result by every way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from audiotag.run.warnings_log import warnings_kept
from tests.conftest import SMALL

CELL_FILES = {"best.ckpt", "last.ckpt", "metrics.csv", "posteriors.parquet", "status.json"}


def cells(run: Path) -> list[Path]:
    return sorted(run.glob("round*/fold*"))


def assert_same_result(run: Path, other: Path) -> None:
    """Equal to the bit: ledger, manifest, weights, posteriors, metrics; the summary but for its wall-clock time."""
    for name in ("ledger.csv", "manifest.csv"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (run, other)]
    for summary in summaries:
        del summary["wall_s"]
    assert summaries[0] == summaries[1]
    assert [c.relative_to(run) for c in cells(run)] == [c.relative_to(other) for c in cells(other)]
    for cell in cells(run):
        twin = other / cell.relative_to(run)
        assert (cell / "metrics.csv").read_bytes() == (twin / "metrics.csv").read_bytes()
        for name in ("posteriors.parquet", "verified_posteriors.parquet"):
            pd.testing.assert_frame_equal(pd.read_parquet(cell / name), pd.read_parquet(twin / name), check_exact=True)
        for name in ("best.ckpt", "last.ckpt"):
            weights = [torch.load(c / name, weights_only=True)["state_dict"] for c in (cell, twin)]
            assert weights[0].keys() == weights[1].keys()
            assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0]), f"{cell} {name}"


def test_run_folder_holds_the_files_of_the_contract(smoke_run):
    assert {"config.yaml", "manifest.csv", "ledger.csv", "summary.json"} <= {p.name for p in smoke_run.iterdir()}
    assert len(cells(smoke_run)) == 3 * 4
    assert all({p.name for p in cell.iterdir()} >= CELL_FILES for cell in cells(smoke_run))
    assert not list(smoke_run.rglob("*.tmp"))


def test_run_that_is_good_warns_of_nothing(smoke_run):
    assert warnings_kept(smoke_run / "warnings.log") == 0


def test_manifest_has_its_columns_and_folds(smoke_run):
    manifest = pd.read_csv(smoke_run / "manifest.csv", dtype=str, keep_default_na=False)
    expected = "clip_id,path,label,verified,fold,split,usage,group,duration_s,content_hash"
    assert ",".join(manifest.columns) == expected
    train = manifest[manifest["split"] == "train"]
    assert set(train["fold"]) == {"0", "1", "2", "3"}
    assert set(train["verified"]) == {"0", "1"}
    assert set(manifest[manifest["split"] == "test"]["fold"]) == {""}


def test_ledger_holds_every_unverified_clip_once_per_round(smoke_run):
    manifest = pd.read_csv(smoke_run / "manifest.csv", dtype=str, keep_default_na=False).set_index("clip_id")
    ledger = pd.read_csv(smoke_run / "ledger.csv")
    assert ",".join(ledger.columns) == "round,fold,clip_id,label,predicted,posterior,accepted,reason,p_right"
    unverified = sorted(manifest.index[manifest["verified"] == "0"])
    for _, rows in ledger.groupby("round"):
        assert list(rows["clip_id"]) == unverified  # sorted, each once
        assert list(rows["fold"]) == list(manifest.loc[unverified, "fold"].astype(int))
        assert list(rows["label"]) == list(manifest.loc[unverified, "label"])
    assert ledger["accepted"].sum() > 0, "nothing was accepted: the loop behind round 0 was not tried"
    assert ((ledger["reason"] == "accepted") == (ledger["accepted"] == 1)).all()


def test_rounds_train_on_verified_and_accepted_clips_of_other_folds(smoke_run):
    manifest = pd.read_csv(smoke_run / "manifest.csv", dtype=str, keep_default_na=False).set_index("clip_id")
    train = manifest[manifest["split"] == "train"]
    ledger = pd.read_csv(smoke_run / "ledger.csv")
    for cell in cells(smoke_run):
        round_, fold = int(cell.parent.name[-2:]), cell.name[-1]
        trained = set(pd.read_csv(cell / "training.csv")["clip_id"])
        outside = train[train["fold"] != fold]
        wanted = set(outside.index[outside["verified"] == "1"])
        if round_ == 0:
            wanted = set(outside.index)
        else:
            voted = ledger[(ledger["round"] == round_ - 1) & (ledger["accepted"] == 1) & (ledger["fold"] != int(fold))]
            wanted |= set(voted["clip_id"])
        assert trained == wanted
        held_out = set(pd.read_parquet(cell / "posteriors.parquet")["clip_id"])
        assert held_out == set(train.index[(train["fold"] == fold) & (train["verified"] == "0")])


def test_summary_says_what_the_files_say(smoke_run):
    summary = json.loads((smoke_run / "summary.json").read_text())
    assert summary["folds"] == 4
    assert [r["round"] for r in summary["rounds"]] == [0, 1, 2]
    for row in summary["rounds"]:
        metrics = [
            pd.read_csv(smoke_run / f"round{row['round']:02d}" / f"fold{fold}" / "metrics.csv") for fold in range(4)
        ]
        best = [m.loc[m["valid_loss"].idxmin()] for m in metrics]
        assert row["valid_loss"] == pytest.approx(np.mean([b["valid_loss"] for b in best]), abs=2e-6)
        assert row["valid_accuracy"] == pytest.approx(np.mean([b["valid_accuracy"] for b in best]), abs=2e-6)
        assert row["valid_accuracy_std"] == pytest.approx(np.std([b["valid_accuracy"] for b in best]), abs=2e-6)
    losses = [row["valid_loss"] for row in summary["rounds"]]
    assert summary["best_round"] == int(np.argmin(losses))


def test_precision_and_recall_are_those_of_the_truth(smoke_run, work_folder):
    (truth_file,) = work_folder.glob("cache/synthetic-*/truth.csv")
    truth = pd.read_csv(truth_file).set_index("fname")["label"]
    ledger = pd.read_csv(smoke_run / "ledger.csv")
    for row in json.loads((smoke_run / "summary.json").read_text())["rounds"]:
        rows = ledger[ledger["round"] == row["round"]]
        right = rows["label"] == rows["clip_id"].map(truth)
        accepted = rows["accepted"] == 1
        assert row["considered"] == len(rows)
        assert row["accepted"] == accepted.sum()
        assert row["precision"] == pytest.approx((accepted & right).sum() / accepted.sum(), abs=1e-6)
        assert row["recall"] == pytest.approx((accepted & right).sum() / right.sum(), abs=1e-6)


def test_best_checkpoint_has_the_weights_of_the_best_epoch(smoke_run):
    for cell in cells(smoke_run):
        status = json.loads((cell / "status.json").read_text())
        checkpoint = torch.load(cell / "best.ckpt", weights_only=True)
        assert checkpoint["epoch"] == status["best_epoch"]
        assert "optimizer_states" not in checkpoint
        assert "optimizer_states" in torch.load(cell / "last.ckpt", weights_only=True)


def test_run_that_is_complete_does_nothing_again(smoke_run, program):
    before = {path: path.stat().st_mtime_ns for path in smoke_run.rglob("round*/**/*") if path.name != ".lock"}
    ledger = (smoke_run / "ledger.csv").read_bytes()
    program("train.py", "experiment=smoke", "run=smoke")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (smoke_run / "ledger.csv").read_bytes() == ledger


@pytest.mark.slow  # test_devices.py has the same jobs, two at a time
def test_sweep_over_rounds_and_folds_equals_one_process(small_run, program):
    program("train.py", "-m", *SMALL, "run=sweep", "round=0,1", "fold=0,1")
    assert_same_result(small_run, small_run.parent / "sweep")


@pytest.mark.slow
def test_run_is_not_changed_by_another_cache_and_workers(smoke_run, program):
    program(
        "train.py",
        "experiment=smoke",
        "run=plain",
        "hardware.workers=2",
        "cache_dir=other-cache",
        "finetune_rounds=0",
        "fold=0",
    )
    for cell in cells(smoke_run.parent / "plain"):
        weights = [
            torch.load(c / "best.ckpt", weights_only=True)["state_dict"]
            for c in (cell, smoke_run / cell.relative_to(smoke_run.parent / "plain"))
        ]
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.slow
def test_run_is_continued_by_more_rounds(smoke_run, program):
    program("train.py", "experiment=smoke", "run=longer", "finetune_rounds=1")
    program("train.py", "experiment=smoke", "run=longer", "finetune_rounds=2")
    assert_same_result(smoke_run, smoke_run.parent / "longer")


def test_run_of_another_seed_has_another_result(smoke_run, program):
    program("train.py", "experiment=smoke", "run=seed1", "seed=1", "finetune_rounds=0", "fold=0")
    weights = [
        torch.load(run / "round00" / "fold0" / "best.ckpt", weights_only=True)["state_dict"]
        for run in (smoke_run, smoke_run.parent / "seed1")
    ]
    assert not all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_run_refuses_other_settings_under_its_name(smoke_run, program):
    output = program("train.py", "experiment=smoke", "run=smoke", "model.network.width=5", expected=2)
    assert "model.network.width was 4, now 5" in output
    assert "Traceback" not in output


def test_cell_without_the_round_before_is_refused_naming_what_is_missing(smoke_run, program):
    settings = ("experiment=smoke", "run=headless", "round=1", "fold=2", "hardware.wait_s=1")
    output = program("train.py", *settings, expected=2)
    assert "missing: round 0, folds 0, 1, 2, 3" in " ".join(output.split())


def test_run_refuses_changed_data_under_its_name(program, work_folder, smoke_run):
    (made,) = work_folder.glob("cache/synthetic-*")
    changed = work_folder / "changed"
    changed.mkdir()
    for name in ("train.csv", "truth.csv", "audio_train"):
        (changed / name).symlink_to(made / name)
    linked = ("data=kaggle", "data.root=changed", "data.allow_outside=true")
    settings = ("experiment=smoke", *linked, "run=changed", "finetune_rounds=0", "fold=0")
    program("train.py", *settings)
    (changed / "train.csv").unlink()
    table = pd.read_csv(made / "train.csv")
    table.loc[0, "manually_verified"] = 1 - table.loc[0, "manually_verified"]
    table.to_csv(changed / "train.csv", index=False)
    output = program("train.py", *settings, expected=2)
    assert "has changed since this run began" in output


@pytest.mark.slow
def test_run_may_train_on_all_and_validate_unverified_clips(smoke_run, program):
    output = program("train.py", "experiment=smoke", "data.train_on_all=true", expected=2)
    assert "finetune_rounds=0" in output
    program("train.py", "experiment=smoke", "run=all", "data.train_on_all=true", "finetune_rounds=0")
    manifest = pd.read_csv(smoke_run / "manifest.csv", dtype=str, keep_default_na=False)
    everything = set(manifest[manifest["split"] == "train"]["clip_id"])
    for cell in cells(smoke_run.parent / "all"):
        assert set(pd.read_csv(cell / "training.csv")["clip_id"]) == everything
        assert not (cell / "posteriors.parquet").exists()
    assert pd.read_csv(smoke_run.parent / "all" / "ledger.csv").empty

    program("train.py", "experiment=smoke", "run=both", "data.validate_unverified=true", "finetune_rounds=0", "fold=0")
    for cell in cells(smoke_run.parent / "both"):
        twin = smoke_run / cell.relative_to(smoke_run.parent / "both")
        both, alone = pd.read_csv(cell / "metrics.csv"), pd.read_csv(twin / "metrics.csv")
        assert {"valid_unverified_loss", "valid_unverified_accuracy"} <= set(both.columns)
        pd.testing.assert_series_equal(both["valid_loss"], alone["valid_loss"])  # selection is left alone


@pytest.mark.slow
def test_run_of_the_second_front_end_follows_the_documented_rule(smoke_run, program):
    program("train.py", "experiment=smoke", "features=v2", "verification=as_documented", "run=v2", "finetune_rounds=1")
    ledger = pd.read_csv(smoke_run.parent / "v2" / "ledger.csv")
    assert (ledger[ledger["accepted"] == 1]["posterior"] > 0.95).all()


def test_run_is_named_by_what_was_chosen_and_needs_no_quotes(smoke_run, program):
    output = program(
        "train.py", "experiment=smoke", "finetune_rounds=0", "fold=0", "augment=masking", "data.classes=null", "seed=7"
    )
    name = "smoke-synthetic-tiny_4-v1-as_coded_masking_data.classes-null_seed-7"
    assert (smoke_run.parent / name / "round00" / "fold0" / "status.json").is_file(), output
    assert "Complete rounds: 0 of 1" in output
    assert "no stored posteriors of all folds" in program("verify.py", f"run={name}", expected=2)

"""A run's labels, reviewed by a person, go into a second run, which no longer depends on the file they came in."""

from __future__ import annotations

import dataclasses
import json

import pandas as pd
import pytest

from audiotag.config import VerifyConfig
from audiotag.errors import RunError
from audiotag.experiment.loop import run_experiment
from audiotag.experiment.verify import verify
from audiotag.inference.recordings import split_clips
from audiotag.run.folder import RunFolder


def test_corrections_of_a_review_go_into_the_next_run(small_run, work_folder, monkeypatch):
    monkeypatch.chdir(work_folder)
    before = pd.read_csv(small_run / "ledger.csv", keep_default_na=False)
    kept, changed, dropped = before[before["round"] == 0].to_dict("records")[:3]
    other = next(label for label in RunFolder(small_run).classes if label != changed["label"])
    review = before[before["round"] == 0][["clip_id", "label", "predicted"]].assign(decision="").set_index("clip_id")
    decisions = {kept["clip_id"]: "keep", changed["clip_id"]: f"relabel {other}", dropped["clip_id"]: "drop"}
    for clip, decision in decisions.items():
        review.loc[clip, "decision"] = decision
    review.to_csv("review.csv")

    of_run = RunFolder(small_run).config
    data = dataclasses.replace(of_run.data, corrections="review.csv")
    config = dataclasses.replace(of_run, run="reviewed", data=data)
    run_experiment(config)
    run = work_folder / "runs" / "reviewed"
    folds = [pd.read_csv(folder / "manifest.csv", index_col="clip_id")["fold"] for folder in (small_run, run)]
    pd.testing.assert_series_equal(folds[0].drop(dropped["clip_id"]), folds[1])
    for cell in sorted(run.glob("round*/fold*")):
        trained = pd.read_csv(cell / "training.csv", index_col="clip_id")
        assert dropped["clip_id"] not in trained.index
        if changed["clip_id"] in trained.index:
            assert trained.loc[changed["clip_id"]].tolist() == [other, "verified"]
    for fold in range(of_run.folds):
        validated = [RunFolder(folder).votes(1)[fold].verified["clip_id"] for folder in (small_run, run)]
        pd.testing.assert_series_equal(*validated)
        status = json.loads((run / "round01" / f"fold{fold}" / "status.json").read_text())
        assert status["validated_on"] == len(validated[0])
    asked = [split_clips(RunFolder(folder), "valid", None, range(of_run.folds)) for folder in (small_run, run)]
    assert list(asked[0]["clip_id"]) == list(asked[1]["clip_id"])
    ledger = pd.read_csv(run / "ledger.csv", keep_default_na=False)
    assert list(ledger["clip_id"]) == list(before["clip_id"]), "every clip that was unverified, in every round"
    person = ledger[ledger["clip_id"].isin(decisions)]
    assert person["reason"].tolist() == 2 * [
        "kept by a person", f"relabelled by a person, was {changed['label']}", "dropped by a person"
    ]  # fmt: skip
    assert person["accepted"].tolist() == 2 * [1, 1, 0]
    summary = json.loads((run / "summary.json").read_text())
    by_person = person[person["accepted"] == 1].assign(right=lambda rows: rows["predicted"] == rows["label"])
    assert [(r["corrected"], r["corrected_accuracy"]) for r in summary["rounds"]] == [
        (2, share) for share in by_person.groupby("round")["right"].mean()
    ]
    assert [r["considered"] for r in summary["rounds"]] == [len(before) // 2 - 3] * 2
    assert [entry["why"].partition(": ")[2] for entry in summary["skipped"]] == ["dropped by a person"]

    verify(VerifyConfig(run="reviewed"))
    (again,) = (run / "verify").glob("*/ledger.csv")
    assert again.read_bytes() == (run / "ledger.csv").read_bytes()
    review.loc[dropped["clip_id"], "decision"] = "keep"
    review.to_csv("review.csv")
    with pytest.raises(RunError, match=r"data\.corrections is not what this run began with"):
        run_experiment(config)
    (work_folder / "review.csv").unlink()
    run_experiment(config)  # nothing is missing, and the run has kept the decisions
    assert json.loads((run / "summary.json").read_text())["rounds"] == summary["rounds"]

"""verify.py on a real run: decides again from stored posteriors, and leaves the run as it is."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread


def snapshot(run):
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size)
        for path in run.rglob("*")
        if path.is_file() and "verify" not in path.parts and "predict" not in path.parts
    }


def test_verify_applies_a_threshold_to_stored_posteriors(smoke_run, program):
    before = snapshot(smoke_run)
    output = program("verify.py", "run=smoke", "verification.rule.threshold=0.2")
    assert snapshot(smoke_run) == before, "verify.py changed the run"
    original = pd.read_csv(smoke_run / "ledger.csv")
    again = pd.read_csv(smoke_run / "verify" / "as_coded,threshold=0.2" / "ledger.csv")
    agrees = original["predicted"] == original["label"]
    expected = agrees & (original["posterior"] > 0.2)  # the cap of 40 cannot bind: a class has 8 unverified clips
    assert 0 < expected.sum() < agrees.sum(), "the threshold does not divide these posteriors"
    assert list(again["accepted"] == 1) == list(expected)
    assert set(again[agrees & ~expected]["reason"]) == {"below threshold"}
    assert "0.2" in output


def test_verify_by_the_runs_own_rule_gives_its_own_ledger(smoke_run, program):
    program("verify.py", "run=smoke")
    assert (smoke_run / "verify" / "as_coded" / "ledger.csv").read_bytes() == (smoke_run / "ledger.csv").read_bytes()


def test_verify_sweep_writes_one_decision_each_and_one_table(smoke_run, program):
    output = program("verify.py", "-m", "run=smoke", "verification.rule.threshold=0.1,0.3", "verification.rule.cap=2")
    shown = output[output.index("Decision") :]
    assert len(re.findall(r"│ +[012] │ +\d+ of \d+ │", shown)) == 6, "a row per decision and round"
    height, width, _ = imread(smoke_run / "verify" / "by_threshold.png").shape
    assert 2 * height < width, "three panels side by side"
    table = pd.read_csv(smoke_run / "verify" / "decisions.csv")
    for threshold in (0.1, 0.3):
        rows = table[(table["threshold"] == threshold) & (table["cap"] == 2)]
        assert list(rows["round"]) == [0, 1, 2]
        (name,) = set(rows["decision"])
        ledger = pd.read_csv(smoke_run / "verify" / name / "ledger.csv")
        assert list(rows["accepted"]) == list(ledger.groupby("round")["accepted"].sum())
        assert ledger[ledger["accepted"] == 1].groupby(["round", "label"]).size().max() <= 2


def test_verify_sweep_shows_the_others_beside_a_wrong_job(smoke_run, program):
    output = program("verify.py", "-m", "run=smoke", "verification.rule.threshold=0.15,7", expected=2)
    assert "verification.rule.threshold=7 must lie in 0 to 1" in output
    assert "1 of 2 jobs failed" in output
    assert "as_coded,threshold=0.15" in output[output.index("Decision") :], "the other is shown"


def test_verify_takes_whole_rules_and_rounds(smoke_run, program):
    program("verify.py", "run=smoke", "verification=accept_all", "round=1")
    (folder,) = (smoke_run / "verify").glob("accept_all*")
    ledger = pd.read_csv(folder / "ledger.csv")
    assert set(ledger["round"]) == {1}
    assert ledger["accepted"].all()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["rounds"][0]["recall"] == 1
    program("verify.py", "run=smoke", "verification=calibrated")
    (folder,) = (smoke_run / "verify").glob("calibrated*")
    calibrated, raw = (pd.read_csv(f / "ledger.csv") for f in (folder, smoke_run))
    assert list(calibrated["predicted"]) == list(raw["predicted"]), "a temperature cannot change what is predicted"
    assert not np.allclose(calibrated["posterior"], raw["posterior"])


def test_verify_by_a_rule_that_accepts_next_to_nothing_gives_the_command_for_others(smoke_run, program):
    output = program("verify.py", "run=smoke", "verification.rule.threshold=0.99")
    said = r"The rule accepted next to nothing: 0 of \d+ labels in round 2\. What other thresholds\s+accept"
    assert re.search(said, output)
    (command,) = re.findall(r"^python (verify\.py run=smoke -m .*)$", output, re.M)
    program(*command.split())
    table = pd.read_csv(smoke_run / "verify" / "decisions.csv").query("round == 2")
    offered = [float(number) for number in command.partition("threshold=")[2].split(",")]
    assert (table[table["threshold"].isin(offered)]["accepted"] > 0).all()
    assert "next to nothing" not in program("verify.py", "run=smoke", "verification=accept_all")


def test_verify_measures_against_a_truth_given_later(smoke_run, program, work_folder):
    ledger = pd.read_csv(smoke_run / "ledger.csv")
    table = ledger[ledger["round"] == 0][["clip_id", "label"]].rename(columns={"clip_id": "fname"})
    table.to_csv(work_folder / "all_right.csv", index=False)
    program("verify.py", "run=smoke", "truth=all_right.csv", "round=0", "verification.rule.threshold=0.05")
    summary = json.loads((smoke_run / "verify" / "as_coded,threshold=0.05" / "summary.json").read_text())
    (row,) = summary["rounds"]
    assert row["precision"] == 1
    assert row["recall"] == pytest.approx(row["accepted"] / row["considered"], abs=1e-6)


def test_verify_refuses_an_unknown_run_and_round(smoke_run, program):
    output = program("verify.py", "run=smok", expected=2)
    assert "is not a run folder" in output
    assert "smoke" in output
    assert "complete rounds: 0, 1, 2" in program("verify.py", "run=smoke", "round=7", expected=2)
    assert "run=NAME is missing" in program("verify.py", expected=2)

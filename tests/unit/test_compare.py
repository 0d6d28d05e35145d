"""Runs averaged over their seeds, by hand."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pandas as pd
import pytest

from audiotag.compare import EFFECT, RESULTS, averaged, compare, main, show, show_averaged, show_effect
from audiotag.config import Columns, Data, Noise, Synthetic, TrainConfig
from audiotag.errors import AudiotagError, ConfigError, RunError
from audiotag.run.folder import RunFolder
from tests.clips import named


def runs() -> pd.DataFrame:
    """Two seeds of one rule, one of another, and an unfinished run."""
    rows = []
    for rule, seed, state, last in (("a", 0, "complete", 0.5), ("b", 0, "complete", 0.9), ("a", 1, "complete", 0.7)):
        figures = {"labels_accepted": 10 * seed + 10, "last_accuracy": last, "round0_accuracy": 0.25}
        tested = {"last_test_accuracy": 0.5} if seed == 0 else {}
        about = {"run": f"{rule}{seed}", "verification.name": rule, "seed": seed, "state": state, "rounds": 2}
        rows.append({**about, "verification.rule.cap": None if rule == "a" else 40, **figures, **tested})
    rows.append({"run": "a2", "verification.name": "a", "seed": 2, "state": "unfinished", "rounds": 2})
    return pd.DataFrame(rows, columns=["run", "verification.name", "verification.rule.cap", "seed", *RESULTS])


def test_compare_shows_means_and_deviations_over_seeds(capsys):
    groups = averaged(runs(), "seed").set_index("verification.name")
    assert list(groups["runs"]) == [2, 1]
    a, b = groups.loc["a"], groups.loc["b"]
    assert (a["last_accuracy"], a["last_accuracy_std"]) == pytest.approx((0.6, math.sqrt(0.02)))  # of a sample
    assert (a["labels_accepted"], a["labels_accepted_std"]) == pytest.approx((15, math.sqrt(50)))
    assert (a["round0_accuracy"], a["round0_accuracy_std"]) == (0.25, 0)
    assert pd.isna(a["last_test_accuracy"]), "one of the two was not tested"
    assert b["last_accuracy"] == 0.9
    assert pd.isna(b["last_accuracy_std"]), "one run has no deviation"
    assert set(EFFECT) <= set(groups.columns)
    show_averaged(averaged(runs(), "seed"), "seed", 1)
    output = capsys.readouterr().out
    assert "0.600±0.141" in output
    assert "15±7" in output
    assert "1 unfinished runs are left out" in output


def test_compare_averages_no_runs_that_differ_in_more_than_the_seed(capsys):
    assert len(averaged(runs().drop(columns="verification.rule.cap"), "verification.name")) == 2, "a row for each seed"
    show_effect(runs())
    output = capsys.readouterr().out
    assert "Rule" in output
    assert "MAP@3" in output.splitlines()[-1]
    assert "Precision" not in output, "nothing is known of it"


def test_compare_counts_a_run_of_round_0_alone_for_no_rule():
    base = runs().iloc[:1].assign(run="base", rounds=1, last_accuracy=0.1)
    groups = averaged(pd.concat([base, runs()], ignore_index=True), "seed")
    found = list(zip(groups["rounds"], groups["verification.name"], groups["runs"], strict=True))
    assert found == [(1, "a", 1), (2, "a", 2), (2, "b", 1)]


def test_compare_says_where_there_is_nothing_to_average():
    with pytest.raises(RunError, match="None of the runs is complete"):
        averaged(runs().iloc[3:], "seed")
    with pytest.raises(ConfigError) as caught:
        main(["over=sed"])
    assert "did you mean seed?" in str(caught.value)


@pytest.mark.parametrize("over", [[], ["over=seed"]])
def test_compare_leaves_a_table_that_is_not_its_own(tmp_path: Path, over: list[str]) -> None:
    own = tmp_path / "own.csv"
    own.write_text("fname,label\na.wav,Flute\n")
    with pytest.raises(AudiotagError, match="was not written by this command"):
        main([f"runs_dir={tmp_path}", f"out={own}", *over])
    assert own.read_text() == "fname,label\na.wav,Flute\n"


def test_compare_tells_unlike_runs_by_what_concerns_them(tmp_path, capsys):
    """A table has columns, the embedded data set has none; what noise is not put in has no share."""
    made, given = (
        Data(**named("synthetic"), synthetic=Synthetic(classes=9)),
        Data(**named("csv"), root="/d", table="a.csv", columns=Columns(label="class")),
    )
    folders = []
    for name, data in (("a", made), ("b", dataclasses.replace(given, noise=Noise(share=0.1))), ("c", given)):
        folders.append(RunFolder(tmp_path / name))
        folders[-1].save(TrainConfig(run=name, data=data))
    folders.append(RunFolder(tmp_path / "d"))
    folders[-1].save(TrainConfig(run="d", data=dataclasses.replace(given, table="b.csv")))
    table = compare(folders)
    assert [name for name in table.columns if name not in ("run", *RESULTS)] == [
        "data.name",
        "data.source._target_",
        "data.table",
    ]
    show(table)
    shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "data.name=synthetic" in shown
    assert "data.table=b.csv" in shown

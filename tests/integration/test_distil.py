"""distil=[A,B]: a run learns what others say of its clips, a fold from networks that never heard what it holds out."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

import audiotag
from audiotag.run.folder import TARGETS, Cell, RunFolder
from tests.conftest import SMALL


def heard(run, manifest, **chosen) -> pd.DataFrame:
    """Return what networks say of training clips, heard as validation does, by clip id."""
    tagger = audiotag.load(run, cut=True, **chosen)
    rows = {}
    for clip, path in manifest["path"].items():
        wave, rate_hz = audiotag.read_audio(RunFolder(run).config.data.root + "/" + path)
        rows[clip] = tagger.posteriors(wave, rate_hz)
    return pd.DataFrame.from_dict(rows, orient="index", columns=tagger.classes)


@pytest.fixture(scope="module")
def taught(small_run, program):
    """A run taught by another of the same data."""
    output = program("train.py", *SMALL, "distil=small", "run=taught")
    assert "fold 1: asking small@" in output
    return small_run.parent / "taught"


def test_fold_learns_from_the_networks_that_never_heard_what_it_holds_out(small_run, taught):
    folder = RunFolder(taught)
    for fold in (0, 1):
        targets = folder.table(Cell(0, fold), TARGETS).set_index("clip_id")
        assert set(targets.index) == set(folder.train.index[folder.train["fold"] != fold])
        some = folder.train.loc[targets.index].groupby("verified").head(3)
        expected = heard(small_run, some, fold=fold)
        labels = pd.get_dummies(some["label"], dtype=float).reindex(columns=folder.classes, fill_value=0.0)
        expected = expected.where(~some["verified"], (expected + labels) / 2, axis=0)
        np.testing.assert_allclose(targets.loc[some.index], expected, atol=2e-3)  # batches are rounded otherwise
        other = heard(small_run, some[~some["verified"]], fold=1 - fold)
        assert np.abs(targets.loc[other.index] - other).to_numpy().max() > 0.02, (
            "the other fold's network says the same"
        )


def test_teaching_changes_what_is_learned(small_run, taught):
    first, second = (RunFolder(run).table(Cell(0, 0), "metrics.csv") for run in (small_run, taught))
    assert first["train_loss"].tolist() != second["train_loss"].tolist()


def test_run_goes_on_without_its_teachers(taught, program, tmp_path):
    """What they said is kept: a round more needs none of them."""
    shutil.copytree(taught, tmp_path / "taught")
    output = program("train.py", *SMALL, "distil=small", "run=taught", f"runs_dir={tmp_path}", "finetune_rounds=2")
    assert "asking" not in output
    assert RunFolder(tmp_path / "taught").complete_rounds() == [0, 1, 2]


def test_networks_all_teach_where_nothing_is_held_out(small_run, program):
    program(
        "train.py", "experiment=smoke", "folds=2", "seed=7", "distil=[small@0,small@1]", "run=all",
        "data.train_on_all=true", "finetune_rounds=0", "fold=1",
    )  # fmt: skip
    folder = RunFolder(small_run.parent / "all")
    targets = folder.table(Cell(0, 1), TARGETS).set_index("clip_id")
    assert set(targets.index) == set(folder.train.index)
    some = folder.train[~folder.train["verified"]].head(3)
    np.testing.assert_allclose(targets.loc[some.index], heard(small_run, some, round=[0, 1]), atol=2e-3)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["distil=nobody"], "nobody"),
        (["distil=[]"], "names no run"),
        (["distil=small@7"], "small has no such round"),
        (["distil=small", "seed=7"], "fold 1: small@"),
        (["distil=small", "data.synthetic.classes=9"], "their classes are"),
    ],
)
def test_teachers_that_cannot_teach_are_refused_before_any_work(small_run, program, settings, said):
    output = program("train.py", *SMALL, *settings, "run=refused", expected=2)
    assert said in output
    assert not (small_run.parent / "refused" / "round00").exists()

"""Folds of real data: the whole challenge, and speakers that never cross."""

from __future__ import annotations

import time

import pandas as pd

from audiotag.plan import main, plan
from tests.clips import settings, shared_data, write_table


def largest_difference(clips: pd.DataFrame, fold: pd.Series, folds: int) -> float:
    """Return the most by which a fold's count of a class differs from a fold's even share of it, by counting."""
    differences = [
        abs(((clips["label"] == label) & (fold == k)).sum() - (clips["label"] == label).sum() / folds)
        for label in clips["label"].unique()
        for k in range(folds)
    ]
    return max(differences, default=0.0)


def assert_stratified(clips: pd.DataFrame, fold: pd.Series, folds: int) -> None:
    """Less than one clip per class: among the verified clips, among the unverified ones, and in all."""
    for part in (clips["verified"], ~clips["verified"], pd.Series(True, clips.index)):
        assert largest_difference(clips[part], fold[part], folds) < 1


def test_folds_of_the_full_challenge_are_stratified(tmp_path, monkeypatch, capsys):
    """9,473 rows and 41 classes (DESIGN), stratified to less than one clip per class."""
    root = shared_data("fsdkaggle2018-metadata")
    started_s = time.monotonic()
    monkeypatch.chdir(tmp_path)
    main(["data=kaggle", f"data.root={root}", "out=folds.csv"])
    assert "9473 clips, 41 classes" in capsys.readouterr().out
    print(f"folds of the full challenge in {time.monotonic() - started_s:.1f} s")
    folds = pd.read_csv(tmp_path / "folds.csv").astype({"verified": bool})
    assert list(folds.columns) == ["clip_id", "label", "verified", "fold"]
    table = pd.read_csv(root / "train.csv").set_index("fname")
    assert set(folds["clip_id"]) == set(table.index)
    assert folds["clip_id"].is_unique
    assert len(folds) == 9473
    assert folds["label"].nunique() == 41
    assert (folds["label"].to_numpy() == table.loc[folds["clip_id"], "label"].to_numpy()).all()
    assert (
        folds["verified"].astype(int).to_numpy() == table.loc[folds["clip_id"], "manually_verified"].to_numpy()
    ).all()
    assert set(folds["fold"]) == {0, 1, 2, 3}
    assert_stratified(folds, folds["fold"], 4)
    sizes = folds["fold"].value_counts()
    assert sizes.max() - sizes.min() <= 2


def test_folds_of_the_full_challenge_do_not_depend_on_the_order_of_rows(tmp_path):
    root = shared_data("fsdkaggle2018-metadata")
    shuffled = pd.read_csv(root / "train.csv").sample(frac=1, random_state=5)
    write_table(tmp_path / "train.csv", shuffled.itertuples(index=False))
    expected = plan(settings(root, tmp_path))
    assert plan(settings(tmp_path, tmp_path)).equals(expected)


def test_groups_of_real_recordings_never_cross_folds(tmp_path):
    """Speakers never cross folds, each of which hears all digits."""
    root = shared_data("fsdd-noisy")
    clips = plan(settings(root, tmp_path, group="speaker"))
    speakers = pd.read_csv(root / "train.csv").set_index("fname").loc[clips["clip_id"], "speaker"].to_numpy()
    assert (clips.groupby(speakers)["fold"].nunique() == 1).all()
    assert (clips[clips["verified"]].groupby("fold")["label"].nunique() == 10).all()

"""Folds: stratified to less than one clip, whatever the order of the rows, and no group in two of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiotag.config import Columns
from audiotag.data.folds import assign_folds, worst_deviation
from audiotag.data.manifest import build_manifest
from audiotag.errors import AudiotagError, ConfigError, DataError
from audiotag.plan import main, plan
from tests.clips import EXAMPLES, make_folder, settings, write_table


def clips_of(counts: dict[str, tuple[int, int]], groups: list[str] | None = None) -> pd.DataFrame:
    """Return clips of classes with (verified, unverified) counts, their ids in no order of class."""
    rows = [(label, at == 0) for label, both in counts.items() for at in (0, 1) for _ in range(both[at])]
    ids = np.random.default_rng(len(rows)).permutation(len(rows))
    frame = pd.DataFrame(rows, columns=["label", "verified"]).assign(clip_id=[f"{i:05d}" for i in ids], group="")
    if groups is not None:
        frame["group"] = [groups[i % len(groups)] for i in range(len(frame))]
    return frame


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


@st.composite
def data_sets(draw: st.DrawFn) -> tuple[pd.DataFrame, int]:
    folds = draw(st.integers(2, 6))
    counts = st.tuples(st.integers(folds, folds + 5), st.integers(0, 9))
    classes = draw(st.lists(counts, min_size=1, max_size=5))
    return clips_of({f"class {i}": both for i, both in enumerate(classes)}), folds


@EXAMPLES
@given(data_sets(), st.integers(0, 2**31))
def test_folds_are_even_to_less_than_one_clip_of_every_class(data_set, seed):
    clips, folds = data_set
    fold = assign_folds(clips, folds, seed)
    assert set(fold) == set(range(folds)), "each clip in one fold, and no fold empty"
    assert_stratified(clips, fold, folds)
    for part in (clips["verified"], ~clips["verified"]):
        sizes = fold[part].value_counts().reindex(range(folds), fill_value=0)
        assert sizes.max() - sizes.min() <= 2, "left-over clips of many classes pile up in one fold"


@EXAMPLES
@given(data_sets(), st.integers(0, 2**31), st.randoms(use_true_random=False))
def test_folds_do_not_depend_on_order_or_numbering_of_the_rows(data_set, seed, random):
    clips, folds = data_set
    order = list(range(len(clips)))
    random.shuffle(order)
    other = clips.iloc[order].reset_index(drop=True)
    before = pd.Series(assign_folds(clips, folds, seed).to_numpy(), index=clips["clip_id"])
    after = pd.Series(assign_folds(other, folds, seed).to_numpy(), index=other["clip_id"])
    assert before.sort_index().equals(after.sort_index())


def test_folds_are_the_same_by_seed_and_others_by_another():
    clips = clips_of({"Bark": (20, 30), "Meow": (17, 9)})
    first = assign_folds(clips, 4, seed=0)
    assert first.equals(assign_folds(clips, 4, seed=0))
    assert (first != assign_folds(clips, 4, seed=1)).mean() > 0.5


def test_folds_give_every_clip_every_place_by_chance():
    """Over many seeds every clip comes to every fold about equally often."""
    clips = clips_of({"Bark": (8, 6), "Meow": (9, 3)})
    counts = np.stack(
        [
            np.bincount(folds, minlength=4)
            for folds in zip(*(assign_folds(clips, 4, s) for s in range(120)), strict=True)
        ]
    )
    # Binomial(120, 1/4): standard deviation 4.7, and 5 of them.
    assert np.abs(counts - 30).max() < 24


@st.composite
def grouped_data_sets(draw: st.DrawFn) -> tuple[pd.DataFrame, int]:
    folds = draw(st.integers(2, 4))
    n_groups = draw(st.integers(folds, 9))
    rows = []
    for group in range(n_groups):
        for label in ("Bark", "Meow"):
            rows += [(label, True, f"g{group}")] * draw(st.integers(folds, 6))
            rows += [(label, False, f"g{group}")] * draw(st.integers(0, 6))
    rows += [("Bark", True, "")] * draw(st.integers(0, 3))
    frame = pd.DataFrame(rows, columns=["label", "verified", "group"])
    return frame.assign(clip_id=[f"{i:04d}" for i in range(len(frame))]), folds


@EXAMPLES
@given(grouped_data_sets(), st.integers(0, 2**31))
def test_groups_are_never_in_two_folds(data_set, seed):
    clips, folds = data_set
    fold = assign_folds(clips, folds, seed)
    assert (fold.groupby(clips["group"]).nunique()[lambda of: of.index != ""] == 1).all()
    assert set(fold[clips["verified"]]) == set(range(folds)), "every fold has clips to validate on"
    shuffled = clips.sample(frac=1, random_state=seed % 1000)
    assert assign_folds(shuffled, folds, seed).sort_index().equals(fold)


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_spread_evenly_over_classes(seed):
    """32 groups of one class and one verification each: every fold can have two of each kind, and does."""
    rows = [
        (label, verified, f"{label}{verified}{group}")
        for label in ("Bark", "Meow")
        for verified in (True, False)
        for group in range(8)
        for _ in range(3)
    ]
    clips = pd.DataFrame(rows, columns=["label", "verified", "group"])
    clips["clip_id"] = [f"{i:03d}" for i in range(len(clips))]
    assert_stratified(clips, assign_folds(clips, 4, seed), 4)


def test_classes_too_small_for_the_folds_are_all_named_with_their_first_line():
    clips = clips_of({"Bark": (3, 9), "Meow": (4, 0), "Squeak": (0, 5)})
    with pytest.raises(DataError) as caught:
        assign_folds(clips, 4, 0, ["Bark", "Meow", "Moo"])
    assert caught.value.problems == [
        "class Bark: 3 verified clips, 4 folds",
        "class Moo: 0 verified clips, 4 folds",
        "class Squeak: 0 verified clips, 4 folds",
    ]
    placed = clips.assign(where=[f"train.csv:{i + 2}" for i in range(len(clips))])
    with pytest.raises(DataError, match=r"train\.csv:18: class Squeak: 0 verified clips"):
        assign_folds(placed, 4, 0)


def test_groups_that_cannot_be_spread_are_refused():
    both = {"Bark": (8, 8), "Meow": (8, 8)}
    with pytest.raises(DataError, match="3 groups, 4 folds"):
        assign_folds(clips_of(both, ["a", "b", "c"]), 4, 0)
    alone = clips_of(both, ["a", "b", "c", "d", "e"])
    alone.loc[alone["label"] == "Meow", "group"] = "f"
    with pytest.raises(DataError, match="class Meow: all its clips are of one group"):
        assign_folds(alone, 4, 0)
    unchecked = clips_of({"Bark": (20, 8), "Meow": (20, 8)}, ["a", "b", "c", "d", "e"])
    unchecked.loc[unchecked["group"].isin(["a", "b"]), "verified"] = False
    with pytest.raises(DataError, match=r"fold \d has no verified clip to validate on"):
        assign_folds(unchecked, 5, 0)


def test_worst_deviation_counts_folds_without_any_clip():
    clips = pd.DataFrame({"label": ["Bark"] * 4, "fold": [0, 0, 0, 1]})
    assert worst_deviation(clips, 4) == 2.0  # 3, 1, 0, 0 of an even share of 1
    assert worst_deviation(clips[:0], 4) == 0.0


# The command that makes folds from tables alone


def test_plan_is_what_training_uses(tmp_path):
    make_folder(tmp_path / "set", ["Bark", "Meow", "Moo"], verified=5, unverified=6)
    config = settings(tmp_path / "set", tmp_path / "cache")
    train = build_manifest(config).train
    planned = plan(config).set_index("clip_id")
    assert planned["fold"].equals(train["fold"])
    assert planned["verified"].equals(train["verified"])


def test_plan_reports_every_problem_of_the_tables(tmp_path, monkeypatch):
    rows = [(f"{i}.wav", "Bark", 1) for i in range(3)] + [("0.wav", "Bark", 1), ("3.wav", "Meow", "?")]
    write_table(tmp_path / "train.csv", rows)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as error:
        main(["data=kaggle", "data.root=.", "out=folds.csv"])
    for problem in ("duplicate id", "not ?", "class Bark: 3 verified clips, 4 folds", "class Meow: 0 verified clips"):
        assert problem in str(error.value)
    assert not (tmp_path / "folds.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=kagle", "out=f.csv"], "did you mean kaggle?"),
        (["data=kaggle", "data.root=.", "fold=4", "sed=1", "out=f.csv"], "did you mean seed?"),
        (["data=kaggle", "data.root=.", "out="], "out=FILE.csv"),
        (["data=kaggle", "out=f.csv"], "needs data.root=DIR"),
    ],
)
def test_plan_refuses_what_training_would(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        main(arguments)
    assert list(tmp_path.iterdir()) == []


def test_plan_takes_names_of_columns(tmp_path):
    rows = [(f"{i}.wav", ["dog", "cat"][i % 2], "yes" if i < 12 else "no") for i in range(20)]
    write_table(tmp_path / "t.csv", rows, ("file", "kind", "sure"))
    columns = Columns(clip="file", label="kind", verified="sure")
    clips = plan(settings(tmp_path, tmp_path, "csv", table="t.csv", columns=columns))
    assert_stratified(clips, clips["fold"], 4)
    assert len(clips) == 20


def test_plan_is_shown_without_a_file(tmp_path, monkeypatch, capsys):
    make_folder(tmp_path / "Größe (1)")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    main(["data=kaggle", f"data.root={tmp_path / 'Größe (1)'}"])
    assert "16 clips, 2 classes" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_plan_is_not_written_over_the_table_it_reads(tmp_path):
    root = tmp_path / "set"
    make_folder(root, verified=8, unverified=8)
    table = root / "train.csv"
    before = table.read_bytes()
    with pytest.raises(AudiotagError, match="is what this command reads"):
        main([f"data.root={root}", "data=kaggle", f"out={table}"])
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    ("verified", "arguments", "advice", "not_said"),
    [
        (2, [], "Set folds=2, or check more labels", "on_bad_clip=skip"),
        (1, [], "check labels, or leave it out", "folds=1"),
        (2, ["data.on_bad_clip=skip"], "Set folds=2", "on_bad_clip=skip"),
    ],
)
def test_plan_advises_by_the_cause(tmp_path, verified, arguments, advice, not_said):
    root = tmp_path / "set"
    make_folder(root, verified=verified, unverified=4)
    with pytest.raises(DataError) as error:
        main([f"data.root={root}", "data=kaggle", *arguments])
    assert advice in str(error.value)
    assert not_said not in str(error.value)


def test_plan_lists_no_row_that_is_left_out_again(tmp_path):
    root = tmp_path / "set"
    make_folder(root, verified=2, unverified=4)
    with open(root / "train.csv", "a") as table:
        table.write("nameless.wav,,1\n")
    with pytest.raises(DataError) as error:
        main([f"data.root={root}", "data=kaggle", "data.on_bad_clip=skip"])
    assert "nameless" not in str(error.value)

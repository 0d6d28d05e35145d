"""Submissions: what is scored equals what was worked out by hand, and every row that cannot be read is named."""

from __future__ import annotations

import contextlib
import cProfile
import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix

from audiotag.config import Columns, PredictConfig, ScoredData
from audiotag.data.answers import read_answers
from audiotag.errors import FIRST, LAST, DataError
from audiotag.inference.submission import score_submission
from audiotag.plots.figures import NO_CLASS
from tests.clips import named, shared_data, write_table

TEST_HEADER = ("fname", "label", "usage")
TEST = [
    ("a.wav", "Bark", "Public"),
    ("b.wav", "Gong", "Public"),
    ("c.wav", "Meow", "Private"),
    ("d.wav", "Gong", "Private"),
    ("e.wav", "Bark", "Private"),
    ("f.wav", "Cello", "Private"),
    ("x.wav", "None", "Ignored"),
    ("y.wav", "None", "Ignored"),
]
PERFECT = {name: label if label != "None" else "Bark" for name, label, _ in TEST}
# Each with the rank of the right label: a 2, b 3, c 1, d none, e 2, f none.
SHUFFLED = {
    "f.wav": "Bark Gong Meow", "e.wav": "Gong Bark Cello", "a.wav": "Meow Bark Gong", "y.wav": "Gong",
    "c.wav": "Meow Bark Gong", "b.wav": "Bark Meow Gong", "x.wav": "Cello Gong", "d.wav": "Cello Bark Meow",
}  # fmt: skip
# One label, right: 1. Twice the same, then the right one, as third: 1/3. A label that is no class, then the right
# one: 1/2. The right one fourth: 0. Twice the right one: 1, once. One label, wrong: 0.
EDGES = {
    "a.wav": "Bark", "b.wav": "Bark Bark Gong", "c.wav": "Miau Meow", "d.wav": "Bark Cello Meow Gong",
    "e.wav": "Bark Bark Bark", "f.wav": "Gong", "x.wav": "Woof", "y.wav": "Gong",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_table(tmp_path / "data" / "test_post_competition.csv", TEST, TEST_HEADER)
    return tmp_path / "data"


def submit(root: Path, rows: dict[str, str] | list[tuple[str, ...]], usage: str | None = None, **more) -> dict:
    """Score a submission; return what scores.json says."""
    pairs = list(rows.items()) if isinstance(rows, dict) else rows
    path = write_table(root.parent / "mine.csv", pairs, more.pop("header", ("fname", "label")))
    data = ScoredData(**named(more.pop("data", "kaggle")), root=str(root), columns=Columns(usage="usage"))
    config = PredictConfig(
        submission=str(path), usage=usage, data=data, out=str(root.parent / "out" / "scores.json"), **more
    )
    return json.loads(score_submission(config).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("rows", "usage", "clips", "accuracy", "map3"),
    [
        (PERFECT, None, 6, 1, 1),
        (PERFECT, "Private", 4, 1, 1),
        (SHUFFLED, None, 6, 1 / 6, (1 / 2 + 1 / 3 + 1 + 0 + 1 / 2 + 0) / 6),
        (SHUFFLED, "public", 2, 0, (1 / 2 + 1 / 3) / 2),
        (SHUFFLED, "private", 4, 1 / 4, (1 + 0 + 1 / 2 + 0) / 4),
        (SHUFFLED, "private_public", 6, 1 / 6, (1 / 2 + 1 / 3 + 1 + 0 + 1 / 2 + 0) / 6),
        (EDGES, None, 6, 2 / 6, (1 + 1 / 3 + 1 / 2 + 0 + 1 + 0) / 6),
    ],
)
def test_submission_scores_by_hand(root, rows, usage, clips, accuracy, map3, capsys):
    scores = submit(root, rows, usage, bootstrap=0)
    assert (scores["usage"], scores["clips"]) == (usage and usage.lower(), clips)
    assert scores["accuracy"] == round(accuracy, 6)
    assert scores["map@3"] == round(map3, 6)
    assert [row["label"] for row in scores["per_class"]] == ["Bark", "Cello", "Gong", "Meow"]
    assert f"MAP@3: {map3:.4f}" in capsys.readouterr().out


def test_submission_score_files_agree_with_scikit_learn(root):
    """All figures of the classes, where two predictions are no class, and the pictures."""
    rows = EDGES | {"a.wav": "Quack", "f.wav": "Gong Cello"}
    scores = submit(root, rows)
    out = root.parent / "out"
    names = ["scores.json", "scores_confusion_matrix.csv", "scores_confusion_matrix.png", "scores_f1.png"]
    assert sorted(path.name for path in out.iterdir()) == [*names, "scores_per_class.csv"]
    truth = {name: label for name, label, _ in TEST if label != "None"}
    first = [rows[name].split()[0] for name in truth]
    classes = sorted(set(truth.values()))
    report = classification_report(list(truth.values()), first, labels=classes, output_dict=True, zero_division=0.0)
    table = pd.read_csv(out / "scores_per_class.csv")
    for row, written in zip(scores["per_class"], table.to_dict("records"), strict=True):
        own = report[row["label"]]
        assert written == row
        for ours, theirs in (
            ("count", "support"),
            ("precision", "precision"),
            ("recall", "recall"),
            ("f1", "f1-score"),
        ):
            assert row[ours] == pytest.approx(own[theirs], abs=5e-7)
    assert scores["macro"]["f1"] == pytest.approx(report["macro avg"]["f1-score"], abs=5e-7)
    assert scores["accuracy"] == pytest.approx(accuracy_score(list(truth.values()), first), abs=5e-7)
    assert scores["unknown_labels"] == 2  # Quack and Miau; Woof is of a clip that is not scored
    counts = pd.read_csv(out / "scores_confusion_matrix.csv").set_index("label")
    assert list(counts.columns) == [*classes, NO_CLASS]
    named = [name if name in classes else NO_CLASS for name in first]
    expected = confusion_matrix(list(truth.values()), named, labels=[*classes, NO_CLASS])
    assert counts.to_numpy().tolist() == expected[:4].tolist()
    for picture in out.glob("*.png"):
        assert len(Image.open(picture).convert("RGB").getcolors(1 << 20)) > 10


def test_submission_classes_are_the_training_tables_where_there_is_one(root):
    write_table(root / "train.csv", [("t.wav", "Bark"), ("u.wav", "Oboe"), ("v.wav", "None")], ("fname", "label"))
    with pytest.raises(DataError, match="unknown label Gong"):
        submit(root, PERFECT)
    labels = ["Bark", "Cello", "Gong", "Meow", "Oboe"]
    write_table(root / "train.csv", [(f"t{label}.wav", label) for label in labels], ("fname", "label"))
    scores = submit(root, PERFECT)
    assert [row["label"] for row in scores["per_class"]] == labels
    assert scores["per_class"][-1]["count"] == 0
    assert scores["macro"]["f1"] == 1


def test_submission_is_scored_against_a_table_of_ones_own(root):
    """One table with both splits, other names of columns, and a class list."""
    rows = [("1", "dog", "train"), ("2", "dog", "test"), ("3", "cat", "test"), ("4", "", "test")]
    write_table(root / "all.csv", rows, ("id", "species", "part"))
    columns = Columns(clip="id", label="species", split="part")
    data = ScoredData(**named("csv"), root=str(root), table="all.csv", columns=columns, classes=["cat", "dog"])
    path = write_table(root.parent / "mine.csv", [("2", "dog"), ("3", "dog cat"), ("4", "cat")], ("fname", "label"))
    out = score_submission(PredictConfig(submission=str(path), data=data))
    assert out == root.parent / "mine-scores.json"
    assert json.loads(out.read_text())["map@3"] == 0.75


def test_submission_problems_are_all_said_at_once(root):
    rows = [("a.wav", "Bark"), ("zz.wav", "Bark"), ("b.wav", " "), ("a.wav", "Gong"), ("x.wav", "Bark", "Gong")]
    with pytest.raises(DataError) as caught:
        submit(root, rows)
    mine, table = root.parent / "mine.csv", root / "test_post_competition.csv"
    assert caught.value.problems == [
        f"{mine}:6: 3 values where the header names 2",
        f"{mine}:5: a.wav: stands twice, first in line 2",
        f"{mine}:3: zz.wav: no clip of {table}",
        f"{mine}:4: b.wav: no label",
        f"{mine}: 4 of the 6 scored clips have no row: c.wav, d.wav, e.wav, f.wav",
    ]
    assert not (root.parent / "out").exists()


def test_submission_problems_of_a_kind_are_counted(root):
    with pytest.raises(DataError) as caught:
        submit(root, PERFECT | {f"{i}.wav": "Bark" for i in range(25)})
    assert len(caught.value.problems) == 11
    assert caught.value.problems[-1] == "... and 15 more like these"


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (("fname", "label_1"), "1: no column label; there are fname, label_1"),
        (("file", "tags"), "1: no column fname; there are file, tags\n.*no column label"),
        (("label", "label"), "no column fname(.|\n)*there are 2 columns label"),
    ],
)
def test_submission_columns_that_are_missing_are_named(root, header, says):
    with pytest.raises(DataError, match=says):
        submit(root, PERFECT, header=header)


def test_submission_needs_rows_of_scored_clips_only(root):
    rows = {name: label for name, label in PERFECT.items() if name in "a.wav b.wav"}
    assert submit(root, rows, "public")["map@3"] == 1
    with pytest.raises(DataError, match="4 of the 4 scored clips have no row"):
        submit(root, rows, "private")


def test_submission_is_scored_against_zenodos_table_of_scored_clips(root, capsys):
    """A submission of the whole test set is scored by it all the same."""
    (root / "test_post_competition.csv").rename(root / "test_post_competition_scoring_clips.csv")
    scores = submit(root, {**SHUFFLED, "unscored.wav": "Bark"}, data="fsdkaggle2018")
    assert scores["clips"] == 6
    assert "1 rows are of clips that" in capsys.readouterr().out


def test_submission_names_what_cannot_be_scored_against(root):
    write_table(root / "test_post_competition.csv", [("a.wav", "Bark", "Private")], TEST_HEADER)
    with pytest.raises(DataError, match=r"usage=public(.|\n)*Private: 1 clips"):
        submit(root, PERFECT, "public")
    write_table(root / "test_post_competition.csv", [("a.wav", "None", "Private")], TEST_HEADER)
    with pytest.raises(DataError, match="no test clip has a label"):
        submit(root, PERFECT)
    (root / "test_post_competition.csv").unlink()
    with pytest.raises(DataError, match=r"test_post_competition.csv: there is no such file"):
        submit(root, PERFECT)
    with pytest.raises(DataError, match="there is no such file"):
        score_submission(PredictConfig(submission="gone.csv", data=ScoredData(**named("csv"), test_table="gone.csv")))


def test_submission_scores_hold_the_intervals(root):
    scores = submit(root, SHUFFLED, bootstrap=200)
    low, high = scores["map@3_ci"]
    assert low <= scores["map@3"] <= high
    assert scores["resamples"] == 200
    assert submit(root, PERFECT)["accuracy_ci"] == [1, 1]


def score_unknown(folder: Path, n: int, kind: str) -> None:
    """Score a submission of n rows whose ids or labels are unknown, which is refused."""
    classes = [f"class_{i}" for i in range(20)]
    rows = [(f"{i:05}.wav", classes[i % 20], "Public") for i in range(n)]
    write_table(folder / "data" / "test_post_competition.csv", rows, TEST_HEADER)
    names = [f"{name}x" if kind == "ids" else name for name, *_ in rows]
    labels = [f"clas_{i} foo{i}" if kind == "labels" else "class_0" for i in range(n)]
    with contextlib.suppress(DataError):
        submit(folder / "data", list(zip(names, labels, strict=True)), bootstrap=0)


def test_submission_work_grows_with_the_rows_and_not_with_their_square(tmp_path):
    calls = []
    for n in (200, 400, 800):
        with cProfile.Profile() as profile:
            score_unknown(tmp_path, n, "ids")
        profile.create_stats()
        calls.append(sum(of_function for _, of_function, *_ in profile.stats.values()))
    assert calls[2] - calls[1] < 3 * (calls[1] - calls[0]), calls


def test_submission_looks_up_what_is_meant_for_a_few_unknown_labels(tmp_path, looked_up):
    score_unknown(tmp_path, 200, "labels")
    assert 10 < len(looked_up) <= 2 * (FIRST + LAST)


# The challenge's own


def test_submission_answers_of_the_challenges_own_table():
    """Its 9,400 rows: 301 Public and 1,299 Private ones are scored, 7,800 Ignored ones are not."""
    root = shared_data("fsdkaggle2018-metadata")
    data = ScoredData(**named("kaggle"), root=str(root), columns=Columns(usage="usage"))
    answers = {usage: read_answers(data, usage) for usage in (None, "public", "private", "private_public")}
    assert {usage: len(found.right) for usage, found in answers.items()} == {
        None: 1600, "public": 301, "private": 1299, "private_public": 1600,
    }  # fmt: skip
    clips = answers[None].clips
    assert len(clips) == 9400
    assert len(answers[None].classes) == 41
    ignored = clips[clips["usage"] == "Ignored"]
    assert len(ignored) == 7800
    assert not ignored["scored"].any()
    assert (ignored["label"] == "").all()

"""A person's decisions about labels: what is refused, what becomes of the clips, and what the ledger says of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audiotag.config import TrainConfig
from audiotag.data.corrections import read_corrections
from audiotag.data.datamodule import cell_clips
from audiotag.data.manifest import build_manifest
from audiotag.errors import COMPARISONS, DataError, LeakError
from audiotag.evaluation.metrics import score_ranked
from audiotag.run.held_out import per_class_table
from audiotag.verification.calibration import fit_temperature, sharpen
from audiotag.verification.ledger import Votes, calibrated, corrected_rows, corrected_share, decide_round, measure
from audiotag.verification.rules import AgreementRule
from tests.clips import make_folder, settings, write_sound, write_table

HEADER = ("rank", "clip_id", "label", "decision")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 classes of 5 verified (bark00 to 04) and 4 unverified clips (bark05 to 08), and a test clip."""
    folder = tmp_path_factory.mktemp("corrections") / "set"
    make_folder(folder, verified=5)
    write_sound(folder / "audio_test" / "t0.wav", 5000)
    write_table(folder / "test_post_competition.csv", [("t0.wav", "Bark", "Public")], ("fname", "label", "usage"))
    return folder


def corrected(root: Path, tmp_path: Path, *rows: tuple, header: tuple = HEADER, **data) -> TrainConfig:
    """Return settings over the folder with a file of corrections."""
    write_table(tmp_path / "review.csv", rows, header)
    return settings(root, root.parent / "cache", corrections=str(tmp_path / "review.csv"), **data)


def problems(config: TrainConfig) -> list[str]:
    with pytest.raises(DataError) as caught:
        build_manifest(config)
    return caught.value.problems


def test_corrections_name_everything_wrong_at_once_with_its_line(root, tmp_path):
    config = corrected(
        root, tmp_path,
        (1, "bark05.wav", "Bark", "kep"),
        (2, "bark06.wav", "Bark", "relabel Meeow"),
        (3, "bark07.wav", "Bark", "relabel"),
        (4, "bark99.wav", "Bark", "drop"),
        (5, "t0.wav", "Bark", "drop"),
        (6, "bark08.wav", "Meow", "keep"),
        (7, "meow05.wav", "Meow", "keep"),
        (8, "meow05.wav", "Meow", "drop"),
        (9, "meow06.wav", "Meow", "relabel Meow"),
        (10, "meow07.wav", "Meow", "drop it"),
        (11, "nobody.wav", "Moo", ""),
    )  # fmt: skip
    file = tmp_path / "review.csv"
    assert problems(config) == [
        f"{file}:2: bark05.wav: unknown decision kep (did you mean keep?)",
        f"{file}:3: bark06.wav: unknown label Meeow (did you mean Meow?)",
        f"{file}:4: bark07.wav: relabel names no label: write relabel LABEL",
        f"{file}:5: bark99.wav: the data set has no such clip (did you mean bark08.wav?)",
        f"{file}:6: t0.wav: a test clip: test labels are never corrected",
        f"{file}:7: bark08.wav: its label here is Meow, in the data set Bark: the file belongs to other data",
        f"{file}:9: meow05.wav: decided twice, first in {file}:8",
        f"{file}:10: meow06.wav: relabel Meow: that is its label already; write keep",
        f"{file}:11: meow07.wav: unknown decision drop it (did you mean drop?)",
    ]


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([(1, "bark05.wav", "Bark", "")], HEADER, "no row has a decision"),
        ([(1, "x.wav", "A", "keep"), (2, "y.wav", "B", "drop")], HEADER, "belongs to another data set"),
        ([("bark05.wav", "keep")], ("clip_id", "decison"), "no column decision; there are clip_id, decison"),
    ],
)
def test_corrections_file_of_no_use_is_one_problem(root, tmp_path, rows, header, message):
    (problem,) = problems(corrected(root, tmp_path, *rows, header=header))
    assert message in problem


def test_corrections_file_that_is_missing_is_named_with_the_faults_of_the_tables(root, tmp_path):
    config = settings(root, tmp_path, corrections="nowhere.csv", truth="nowhere_either.csv")
    found = problems(config)
    assert [problem.split(":")[0] for problem in found] == [
        "data.truth=nowhere_either.csv", "data.corrections=nowhere.csv",
    ]  # fmt: skip


def test_corrections_change_labels_and_checks_but_no_fold(root, tmp_path, capsys):
    plain = build_manifest(settings(root, root.parent / "cache"))
    config = corrected(
        root, tmp_path,
        ("bark05.wav", " KEEP "), ("bark06.wav", "relabel Meow"), ("bark07.wav", "drop"), ("bark08.wav", ""),
        ("meow00.wav", "relabel Bark"), ("meow05.wav", "keep"),
        header=("clip_id", "decision"),
    )  # fmt: skip
    manifest = build_manifest(config)
    train = manifest.train
    assert set(plain.train.index) - set(train.index) == {"bark07.wav"}
    assert (train["fold"] == plain.train.loc[train.index, "fold"]).all()
    changed = train[["label", "verified"]].compare(plain.train.loc[train.index, ["label", "verified"]])
    assert set(changed.index) == {"bark05.wav", "bark06.wav", "meow00.wav", "meow05.wav"}
    assert train.loc[changed.index, "label"].tolist() == ["Bark", "Meow", "Bark", "Meow"]
    assert train.loc[changed.index, "verified"].all()
    assert [str(problem) for problem in manifest.skipped] == [
        f"{tmp_path}/review.csv:4: audio_train/bark07.wav: dropped by a person"
    ]
    assert manifest.corrections.drop(columns=["path", "fold"]).values.tolist() == [
        ["bark05.wav", "Bark", False, "keep"],
        ["bark06.wav", "Bark", False, "relabel Meow"],
        ["bark07.wav", "Bark", False, "drop"],
        ["meow00.wav", "Meow", True, "relabel Bark"],
        ["meow05.wav", "Meow", False, "keep"],
    ]
    assert "Corrections by a person: 2 kept, 2 relabelled, 1 dropped" in capsys.readouterr().out
    # What is kept of them is a file of corrections itself, and gives the same.
    manifest.corrections.to_csv(tmp_path / "kept.csv", index=False)
    again = dataclasses.replace(config, data=dataclasses.replace(config.data, corrections=str(tmp_path / "kept.csv")))
    pd.testing.assert_frame_equal(build_manifest(again).frame, manifest.frame)


def test_corrections_make_clips_that_train_and_are_held_out_but_choose_nothing(root, tmp_path):
    plain = build_manifest(settings(root, root.parent / "cache"))
    manifest = build_manifest(
        corrected(
            root, tmp_path,
            ("bark05.wav", "keep"), ("bark06.wav", "relabel Meow"), ("bark07.wav", "drop"),
            ("meow00.wav", "keep"), ("meow01.wav", "relabel Bark"),
            header=("clip_id", "decision"),
        )
    )  # fmt: skip
    new = {"bark05.wav", "bark06.wav"}
    for fold in range(4):
        before, clips = (cell_clips(m, 1, fold, None, train_on_all=False) for m in (plain, manifest))
        clips.check_no_leak(set())
        assert list(clips.valid.index) == list(before.valid.index), "the same clips choose as before"
        here = {clip for clip in new if manifest.train.loc[clip, "fold"] == fold}
        assert set(clips.corrected.index) == here
        assert new - here <= set(clips.train.index)
        assert not new & set(clips.unverified.index)
        if here:
            leaky = dataclasses.replace(clips, train=pd.concat([clips.train, clips.corrected]))
            with pytest.raises(LeakError, match="held-out clips are trained on"):
                leaky.check_no_leak(set())


def test_corrections_of_verified_clips_are_reported(root, tmp_path, capsys):
    rows = [("meow00.wav", "keep"), ("meow01.wav", "relabel Bark"), ("bark05.wav", "keep")]
    build_manifest(corrected(root, tmp_path, *rows, header=("clip_id", "decision")))
    said = " ".join(capsys.readouterr().out.split())
    assert "1 label of a verified clip was changed or dropped: validation is on other labels than before" in said


def test_corrections_leave_a_fold_a_clip_that_was_verified_before(root, tmp_path):
    fold = build_manifest(settings(root, root.parent / "cache")).train["fold"]
    verified = [f"{name}{i:02d}.wav" for name in ("bark", "meow") for i in range(5)]
    rows = [(clip, "drop") for clip in verified if fold[clip] == 1]
    rows += [(f"{name}{i:02d}.wav", "keep") for name in ("bark", "meow") for i in range(5, 8)]
    config = corrected(root, tmp_path, *rows, header=("clip_id", "decision"))
    assert problems(config) == [
        "with data.corrections applied: fold 1: no clip to validate on that was verified before"
    ]


def test_corrections_must_leave_enough_to_train_on(root, tmp_path):
    drops = [(i, f"bark{i:02d}.wav", "Bark", "drop") for i in range(2)]
    checks = [(i, f"{name}{i:02d}.wav", "", "keep") for name in ("bark", "meow") for i in range(5, 9)]
    config = corrected(root, tmp_path, *drops, *[check for check in checks if check[1] != "bark05.wav"],
                       (0, "bark05.wav", "", "drop"))  # fmt: skip
    few = [(i, f"bark{i:02d}.wav", "Bark", "relabel Meow") for i in range(5)]
    assert problems(config) == [
        "with data.corrections applied: there is nothing left to verify: every label is verified (set "
        "finetune_rounds=0 to only train)"
    ]
    assert (
        len(build_manifest(dataclasses.replace(config, finetune_rounds=0)).frame) == 16
    )  # 18 and a test clip without 3
    (problem,) = problems(corrected(root, tmp_path, *few))
    assert problem == (f"with data.corrections applied: {root}/train.csv:7: class Bark: 0 verified clips, 4 folds")


def test_corrections_of_clips_that_are_left_out_are_ignored(root, tmp_path):
    table = (root / "train.csv").read_text() + "gone.wav,Bark,0\n"
    other = tmp_path / "set"
    other.mkdir()
    for name in ("audio_train", "audio_test", "test_post_competition.csv"):
        (other / name).symlink_to(root / name)
    (other / "train.csv").write_text(table)
    config = corrected(other, tmp_path, (1, "gone.wav", "Bark", "keep"), (2, "bark05.wav", "Bark", "keep"),
                       on_bad_clip="skip", allow_outside=True)  # fmt: skip
    manifest = build_manifest(config)
    assert list(manifest.corrections["clip_id"]) == ["bark05.wav"]
    assert [problem.why for problem in manifest.skipped] == ["there is no such file"]


def test_corrections_name_thousands_of_unknown_ids_in_good_time(root, tmp_path, looked_up):
    """3,000 against 10,000 clips: a look-up for each would take minutes."""
    unknown = [(i, f"y{i:06d}.wav", "", "keep") for i in range(3000)]
    config = corrected(root, tmp_path, *unknown, (0, "x1.wav", "", "keep"))
    clips = pd.DataFrame({"clip_id": [f"x{i}.wav" for i in range(10_000)], "label": "Bark", "split": "train"})
    with pytest.raises(DataError) as caught:
        read_corrections(config.data, clips, ["Bark", "Meow"], root)
    assert 10_000 * len(looked_up) <= COMPARISONS
    assert len(caught.value.problems) == 3000


def test_corrections_are_read_as_a_spreadsheet_saved_them(root, tmp_path):
    """As Excel writes it where a comma is the decimal point; and as it must be saved again."""
    text = "rank;clip_id;label;decision\r\n1;bark05.wav;Bark;relabel Meow\r\n2;bark06.wav;Bark;\r\n"
    config = corrected(root, tmp_path)
    (tmp_path / "review.csv").write_bytes(text.encode("utf-8-sig"))
    assert build_manifest(config).corrections["decision"].tolist() == ["relabel Meow"]
    (tmp_path / "review.csv").write_bytes(text.replace("Meow", "Größe").encode("cp1252"))
    (problem,) = problems(config)
    assert problem.endswith("review.csv:2: this is not UTF-8 text; as cp1252, which Windows programs write, it says: "
                            "1;bark05.wav;Bark;relabel Größe")  # fmt: skip


CLASSES = ["Bark", "Meow"]
CORRECTIONS = pd.DataFrame(
    [("k", "", "Bark", False, "0", "keep"), ("r", "", "Bark", False, "1", "relabel Meow"),
     ("d", "", "Bark", False, "1", "drop"), ("v", "", "Bark", True, "0", "keep")],
    columns=["clip_id", "path", "label", "verified", "fold", "decision"],
)  # fmt: skip


def votes_and_train() -> tuple[dict[int, Votes], pd.DataFrame]:
    """Return votes of two folds: unverified u0 and u1, verified k and v in fold 0, r and w in fold 1."""

    def votes(**posteriors: float) -> pd.DataFrame:
        return pd.DataFrame([(clip, p, 1 - p) for clip, p in posteriors.items()], columns=["clip_id", *CLASSES])

    rows = [("k", "Bark", True, 0), ("v", "Bark", True, 0), ("u0", "Bark", False, 0), ("r", "Meow", True, 1),
            ("w", "Meow", True, 1), ("u1", "Meow", False, 1)]  # fmt: skip
    train = pd.DataFrame(rows, columns=["clip_id", "label", "verified", "fold"]).set_index("clip_id")
    return {
        0: Votes(votes(u0=0.9), votes(v=0.8), votes(k=0.4)),
        1: Votes(votes(u1=0.2), votes(w=0.1), votes(r=0.3)),
    }, train


def test_ledger_rows_of_corrections_by_hand():
    votes, _ = votes_and_train()
    rows = corrected_rows(3, votes, CLASSES, CORRECTIONS)
    assert rows.drop(columns=["posterior", "p_right"]).values.tolist() == [
        [3, 0, "k", "Bark", "Meow", 1, "kept by a person"],
        [3, 1, "r", "Meow", "Meow", 1, "relabelled by a person, was Bark"],
        [3, 1, "d", "Bark", "", 0, "dropped by a person"],
    ]  # the clip that was verified before is no row, as it was none before
    np.testing.assert_allclose(rows["posterior"], [0.4, 0.7, np.nan])


def test_ledger_posteriors_of_corrections_are_calibrated_like_the_others():
    """At the temperature of the clips that were verified before: k does not change it."""
    votes, train = votes_and_train()
    votes = calibrated(votes, train, CLASSES)
    rows = corrected_rows(0, votes, CLASSES, CORRECTIONS).set_index("clip_id")
    temperature = fit_temperature(np.array([[0.8, 0.2]]), np.array([0]))
    expected = sharpen(np.array([[0.4, 0.6]]), temperature)[0, 0]
    assert rows.loc["k", "posterior"] == pytest.approx(expected)
    of_rule = decide_round(0, votes, train, CLASSES, AgreementRule()).set_index("clip_id")
    assert of_rule.loc["u0", "posterior"] == pytest.approx(sharpen(np.array([[0.9, 0.1]]), temperature)[0, 0])


def test_summary_counts_no_decision_of_a_person():
    votes, train = votes_and_train()
    ledger = decide_round(0, votes, train, CLASSES, AgreementRule(threshold=0.5, cap=1))
    both = pd.concat([ledger, corrected_rows(0, votes, CLASSES, CORRECTIONS)])
    truth = pd.Series({"u0": "Bark", "u1": "Bark", "k": "Bark", "r": "Bark", "d": "Bark"})
    figures = measure(both, truth)
    assert figures.pop("expected_precision") == pytest.approx(ledger["p_right"].mean())
    assert figures == {"considered": 2, "accepted": 2, "precision": 0.5, "recall": 1.0}
    assert corrected_share(both) == (2, 0.5)  # of k and r, r is recognised
    assert corrected_share(ledger) == (0, None)
    table = per_class_table(score_ranked([["Bark"]], ["Bark"], CLASSES), both)
    assert table[["label", "considered", "accepted"]].values.tolist() == [["Bark", 1, 1], ["Meow", 1, 1]]

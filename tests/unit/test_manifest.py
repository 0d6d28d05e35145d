"""The manifest of real folders: every fault found before training, and nothing but the usable clips in it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from audiotag.config import Columns, Noise, TrainConfig
from audiotag.data.checking import match_files
from audiotag.data.clips import ClipTable
from audiotag.data.manifest import build_manifest, save_truth
from audiotag.data.manifest_file import read_manifest, write_manifest
from audiotag.data.paths import Folders
from audiotag.data.scan import state_of
from audiotag.errors import DataError
from audiotag.inference.recordings import find_recordings, split_recordings
from audiotag.run.folder import RunFolder
from tests.clips import RATE_HZ, make_folder, no_rights, settings, sound, write_sound, write_table

TEST_HEADER = ("fname", "label", "usage")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder without a fault: 2 classes of 4 verified and 4 unverified clips, and 3 test clips."""
    make_folder(tmp_path / "set")
    tests = [("t0.wav", "Bark", "Public"), ("t1.wav", "Meow", "Private"), ("t2.wav", "None", "Ignored")]
    for seed, (name, _, _) in enumerate(tests):
        write_sound(tmp_path / "set" / "audio_test" / name, 5000 + seed)
    write_table(tmp_path / "set" / "test_post_competition.csv", tests, TEST_HEADER)
    return tmp_path / "set"


@pytest.fixture
def config(root: Path, tmp_path: Path) -> TrainConfig:
    return settings(root, tmp_path / "cache")


def problems(config: TrainConfig) -> list[str]:
    with pytest.raises(DataError) as caught:
        build_manifest(config)
    text = str(caught.value)
    assert text.startswith(f"{len(caught.value.problems)} problems in the data set:")
    assert all(problem in text for problem in caught.value.problems)
    return caught.value.problems


def append(table: Path, *lines: str) -> list[int]:
    """Add lines to a table; return their numbers."""
    before = len(table.read_text(encoding="utf-8").splitlines())
    with open(table, "a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    return list(range(before + 1, before + 1 + len(lines)))


def test_manifest_has_its_columns_and_rows_in_order(config, root):
    manifest = build_manifest(config)
    frame = manifest.frame
    contract = "clip_id,path,label,verified,fold,split,usage,group,duration_s,content_hash"  # DESIGN, files others read
    assert ",".join(frame.columns) == contract
    assert list(frame["split"]) == ["train"] * 16 + ["test"] * 3
    assert list(frame["clip_id"][:16]) == sorted(frame["clip_id"][:16])
    assert manifest.classes == ["Bark", "Meow"]
    assert manifest.skipped == []
    assert manifest.truth is None
    test = frame[frame["split"] == "test"]
    assert list(test["fold"]) == ["", "", ""]
    assert not test["verified"].any()
    assert list(test["label"]) == ["Bark", "Meow", ""]
    assert list(test["usage"]) == ["Public", "Private", "Ignored"]
    assert set(manifest.train["fold"]) == {0, 1, 2, 3}
    assert len(manifest.unverified) == 8
    for row in frame.to_dict("records"):
        content = (root / row["path"]).read_bytes()
        assert row["content_hash"] == hashlib.sha256(content).hexdigest()[:16]
        assert row["duration_s"] == pytest.approx(soundfile.info(root / row["path"]).duration)


def test_manifest_file_reads_back(config, tmp_path):
    manifest = build_manifest(config)
    write_manifest(tmp_path / "manifest.csv", manifest.frame)
    again = read_manifest(tmp_path / "manifest.csv")
    expected = manifest.frame.assign(duration_s=manifest.frame["duration_s"].map("{:.6f}".format))
    pd.testing.assert_frame_equal(again, expected, check_dtype=False)
    assert again["verified"].dtype == bool
    stored = pd.read_csv(tmp_path / "manifest.csv", dtype=str, keep_default_na=False)
    assert stored["verified"].groupby(stored["split"]).agg(set).to_dict() == {"test": {""}, "train": {"0", "1"}}


def test_manifest_does_not_depend_on_the_order_of_rows(config, root, tmp_path):
    write_manifest(tmp_path / "before.csv", build_manifest(config).frame)
    for name in ("train.csv", "test_post_competition.csv"):
        header, *lines = (root / name).read_text().splitlines()
        random.Random(0).shuffle(lines)
        (root / name).write_text("\n".join([header, *lines]))
    write_manifest(tmp_path / "after.csv", build_manifest(config).frame)
    assert (tmp_path / "before.csv").read_bytes() == (tmp_path / "after.csv").read_bytes()


def add_one_of_every_fault(root: Path) -> tuple[list[tuple[int, str, str]], list[tuple[int, str, str]]]:
    """Add faults to both tables and folders; return (line, path, why) of those of rows, train and test."""
    audio = root / "audio_train"
    (audio / "undecodable.wav").write_text("this is no audio")
    (audio / "no_bytes.wav").write_bytes(b"")
    soundfile.write(audio / "no_samples.wav", np.zeros(0, np.float32), RATE_HZ, subtype="PCM_16")
    for name, value in (("nan.wav", np.nan), ("infinite.wav", np.inf)):
        wave = sound(1)
        wave[100] = value
        soundfile.write(audio / name, wave, RATE_HZ, subtype="FLOAT")
    (audio / "folder.wav").mkdir()
    for seed, name in enumerate(("flag.wav", "label.wav", "few.wav", "short.wav", "Zürich, Straße.wav")):
        write_sound(audio / name, 7000 + seed)
    too_long = "x" * 300 + ".wav"
    rows = {
        "missing.wav,Bark,1": ("missing.wav", "there is no such file"),
        "bark00.wav,Bark,1": ("bark00.wav", f"duplicate id, first in {root}/train.csv:2"),
        "undecodable.wav,Bark,1": ("undecodable.wav", "cannot be decoded"),
        "no_bytes.wav,Bark,0": ("no_bytes.wav", ""),
        "no_samples.wav,Bark,0": ("no_samples.wav", ""),
        "nan.wav,Bark,1": ("nan.wav", "not finite"),
        "infinite.wav,Bark,1": ("infinite.wav", "not finite"),
        "folder.wav,Bark,1": ("folder.wav", "this is not a file"),
        f"{too_long},Bark,1": (too_long, "too long"),
        "flag.wav,Bark,2": ("flag.wav", "verified must be 1 or 0, not 2"),
        "label.wav,,1": ("label.wav", "a training clip without a label"),
        "short.wav,Bark": ("short.wav", "2 values where the header names 3"),
        "gone.wav,None,perhaps": (
            "gone.wav",
            "a training clip without a label; verified must be 1 or 0, not perhaps; there is no such file",
        ),
        '"Zürich, Straße.wav",Bark,oui': ("Zürich, Straße.wav", "verified must be 1 or 0, not oui"),
    }
    lines = append(root / "train.csv", *rows)
    train = [(line, f"audio_train/{name}", why) for line, (name, why) in zip(lines, rows.values(), strict=True)]
    append(root / "train.csv", "few.wav,Squeak,1")
    test_rows = {"t3.wav,Brak,Public": ("t3.wav", "unknown label Brak (did you mean Bark?); there is no such file")}
    lines = append(root / "test_post_competition.csv", *test_rows)
    test = [(line, f"audio_test/{name}", why) for line, (name, why) in zip(lines, test_rows.values(), strict=True)]
    return train, test


def assert_names(found: str, table: Path, expected: tuple[int, str, str]) -> None:
    line, path, why = expected
    assert found.startswith(f"{table}:{line}: {path}: ")
    assert why in found


def test_manifest_reports_one_of_every_fault_at_once(config, root):
    train, test = add_one_of_every_fault(root)
    found = problems(config)
    assert len(found) == len(train) + len(test) + 1
    for one, expected in zip(found, train, strict=False):
        assert_names(one, root / "train.csv", expected)
    for one, expected in zip(found[len(train) :], test, strict=False):
        assert_names(one, root / "test_post_competition.csv", expected)
    few = len((root / "train.csv").read_text().splitlines())
    assert found[-1] == f"{root}/train.csv:{few}: class Squeak: 1 verified clips, 4 folds"


def test_skip_leaves_the_faulty_rows_out_and_names_them(root, tmp_path):
    sound_manifest = build_manifest(settings(root, tmp_path / "cache"))
    train, test = add_one_of_every_fault(root)
    skipping = settings(root, tmp_path / "cache", on_bad_clip="skip")
    with pytest.raises(DataError) as caught:  # a class of too few clips is not solved by leaving rows out
        build_manifest(skipping)
    assert "class Squeak: 1 verified clips, 4 folds" in str(caught.value)
    table = root / "train.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]), encoding="utf-8")
    manifest = build_manifest(skipping)
    pd.testing.assert_frame_equal(manifest.frame, sound_manifest.frame)
    assert [problem.path for problem in manifest.skipped] == [path for _, path, _ in [*train, *test]]


def test_manifest_reports_a_duplicate_whose_audio_is_missing_once(config, root):
    append(root / "train.csv", "x.wav,Bark,1", "x.wav,Bark,1")
    found = problems(config)
    assert [line.rpartition("x.wav: ")[2] for line in found] == [
        "there is no such file",
        f"duplicate id, first in {root}/train.csv:18; there is no such file",
    ]


def test_manifest_reports_a_missing_folder_once_beside_the_others(config, root):
    append(root / "test_post_competition.csv", "t3.wav,Brak,Public")
    shutil.rmtree(root / "audio_train")
    found = problems(config)
    assert f"{root}/audio_train: there is no such folder, and 16 rows name files in it" in found
    assert any("unknown label Brak" in problem for problem in found)
    assert not any("there is no such file" in problem for problem in found if "audio_train" in problem)


@pytest.mark.parametrize("split", ["train", "test"])
def test_skip_does_not_skip_a_whole_split(root, tmp_path, split):
    shutil.rmtree(root / f"audio_{split}")
    found = problems(settings(root, tmp_path / "cache", on_bad_clip="skip"))
    assert any(problem.startswith("none of the ") and f" {split} clips can be used" in problem for problem in found)


def test_skip_leaves_out_a_missing_subfolder(root, tmp_path):
    write_sound(root / "audio_train" / "sub" / "a.wav", 1)
    lines = append(root / "train.csv", "sub/a.wav,Bark,1", "other/b.wav,Bark,1")
    manifest = build_manifest(settings(root, tmp_path / "cache", on_bad_clip="skip"))
    assert "sub/a.wav" in manifest.train.index
    assert [str(p) for p in manifest.skipped] == [
        f"{root}/train.csv:{lines[1]}: audio_train/other/b.wav: there is no such file"
    ]


def test_manifest_finds_files_where_it_is_plain_which_is_meant(config, root):
    """The folder as macOS writes it, in decomposed form; the table as Windows does, and names without endings."""
    audio = root / "audio_train"
    folder = unicodedata.normalize("NFD", "Größe")
    write_sound(audio / folder / unicodedata.normalize("NFD", "Käse.wav"), 90)
    write_sound(audio / folder / "b.1.flac", 91)
    append(root / "train.csv", "Größe/Käse.wav,Bark,0", "Größe/b.1,Bark,0")
    frame = build_manifest(config).frame.set_index("clip_id")
    assert (root / frame.loc["Größe/Käse.wav", "path"]).is_file()
    assert frame.loc["Größe/b.1", "path"] == f"audio_train/{folder}/b.1.flac"


def test_manifest_finds_no_file_outside_of_the_data_set(config, root):
    (root / "audio_train" / "x.wav").symlink_to(write_sound(root.parent / "elsewhere" / "y.wav", 90))
    line = append(root / "train.csv", "x,Bark,1")[0]
    (problem,) = problems(config)
    assert problem.startswith(f"{root}/train.csv:{line}: audio_train/x.wav: this file is not below {root}")


def test_manifest_says_where_very_many_problems_are_listed(config, root):
    append(root / "train.csv", *(f"x{i:05d}.ogg,Bark,1" for i in range(60)))
    with pytest.raises(DataError) as caught:
        build_manifest(config)
    assert len(caught.value.problems) == 60
    assert len(str(caught.value).splitlines()) == 53
    assert "doctor, with the same settings of data and out=DIR, lists them all" in str(caught.value)


def test_manifest_names_a_file_that_may_be_meant(config, root):
    audio = root / "audio_train"
    for seed, name in enumerate(("x.wav", "x.flac", "REC 7.WAV", "recording_07.wav")):
        write_sound(audio / name, 90 + seed)
    lines = append(
        root / "train.csv",
        *("x,Bark,1", "x.ogg,Bark,1", "rec 7.wav,Bark,1", "recordin_07.wav,Bark,1", "f3a9.wav,Bark,1"),
        *("x.wav,Bark,1", "./audio/../x.wav,Bark,1"),
    )
    assert [problem.partition(f"{root}/train.csv:")[2] for problem in problems(config)] == [
        f"{lines[0]}: audio_train/x: there is no such file (did you mean x.flac or x.wav?)",
        f"{lines[1]}: audio_train/x.ogg: there is no such file (did you mean x.flac or x.wav?)",
        f"{lines[2]}: audio_train/rec 7.wav: there is no such file (did you mean REC 7.WAV?)",
        f"{lines[3]}: audio_train/recordin_07.wav: there is no such file (did you mean recording_07.wav?)",
        f"{lines[4]}: audio_train/f3a9.wav: there is no such file",
        f"{lines[6]}: audio_train/x.wav: the same file as in {root}/train.csv:{lines[5]}",
    ]


def test_manifest_takes_a_file_named_with_and_without_its_ending_for_a_duplicate(config, root):
    line = append(root / "train.csv", "bark00,Bark,1")[0]
    path = "audio_train/bark00.wav"
    assert problems(config) == [f"{root}/train.csv:{line}: {path}: the same file as in {root}/train.csv:2"]


def test_manifest_says_of_files_that_their_folder_may_not_be_entered(config, root):
    with no_rights(root / "audio_train"):
        rows = ClipTable(pd.DataFrame({"path": ["audio_train/bark00.wav"], "clip_id": ["bark00.wav"], "where": ["x"]}))
        match_files(rows, root, Folders(), True)
        assert state_of(root / "audio_train" / "bark00.wav").problem == "Permission denied"


def test_manifest_takes_links_to_themselves_for_no_files(config, root):
    (root / "audio_train" / "self.wav").symlink_to("self.wav")
    (root / "audio_train" / "loop").symlink_to("../audio_train")
    append(root / "train.csv", "self.wav,Bark,1", "loop/bark00.wav,Bark,1")
    found = problems(config)
    assert found[0].endswith("self.wav: there is no such file")


def test_truth_columns_are_checked_before_any_audio_is_read(root, tmp_path):
    write_table(root / "truth.csv", [("bark00.wav", "Bark")], ("file", "label"))
    found = problems(settings(root, tmp_path / "cache", truth="truth.csv"))
    assert found == [
        f"{root}/truth.csv:1: no column fname (data.columns.clip); there are file, label",
    ]
    assert not (tmp_path / "cache").exists()


def test_predict_labels_clips_of_a_run_only_below_the_data_set(config, root, tmp_path):
    """A run folder from elsewhere may name any file of this machine."""
    folder = RunFolder(tmp_path / "run")
    folder.save(dataclasses.replace(config, run="run"))
    manifest = build_manifest(config)
    manifest.frame.loc[manifest.frame["split"] == "test", "path"] = "../elsewhere.wav"
    write_manifest(folder.manifest_file, manifest.frame)
    write_sound(root.parent / "elsewhere.wav", 1)
    with pytest.raises(DataError, match="recordings are not below"):
        split_recordings(folder, "test", None, [0], None)
    allowed = dataclasses.replace(config, run="run", data=dataclasses.replace(config.data, allow_outside=True))
    shutil.rmtree(folder.path)
    folder.save(allowed)
    write_manifest(folder.manifest_file, manifest.frame)
    assert len(split_recordings(folder, "test", None, [0], None).recordings) == 3


def test_predict_labels_no_recordings_that_a_spreadsheet_would_run(tmp_path):
    write_sound(tmp_path / "=1+1.wav", 1)
    with pytest.raises(DataError, match=r"a spreadsheet would run =1\+1\.wav as a formula"):
        find_recordings(str(tmp_path), [0])


def test_predict_takes_a_link_to_itself_for_no_recording(tmp_path):
    write_sound(tmp_path / "a.wav", 1)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "loop").symlink_to(".")
    assert [recording.fname for recording in find_recordings(str(tmp_path), [0]).recordings] == ["a.wav"]


def test_manifest_needs_no_audio_of_unlabelled_test_rows(config, root, capsys):
    """The challenge's test table names 7,800 clips that are not scored, and not every copy of it has their audio."""
    append(root / "test_post_competition.csv", "pad1.wav,None,Ignored", "pad2.wav,None,Ignored")
    manifest = build_manifest(config)
    assert set(manifest.frame["clip_id"][manifest.frame["split"] == "test"]) == {"t0.wav", "t1.wav", "t2.wav"}
    assert manifest.skipped == []
    assert "2 test rows with neither label nor file" in capsys.readouterr().out


def test_manifest_names_a_missing_table(tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match=r"set/train\.csv: there is no such file"):
        build_manifest(settings(tmp_path / "set", tmp_path / "cache"))


def test_classes_that_are_given_are_all_needed_and_no_other_is_allowed(root, tmp_path):
    config = settings(root, tmp_path / "cache", classes=["Meow", "Bark", "Moo"])
    assert problems(config) == ["class Moo: 0 verified clips, 4 folds"]
    found = problems(settings(root, tmp_path / "cache", classes=["Meow", "Barks"]))
    barks = [problem for problem in found if "unknown label Bark (did you mean Barks?)" in problem]
    assert len(barks) == 8 + 1  # training rows, and the test row


def test_classes_that_lose_their_clips_are_reported_with_skip_too(root, tmp_path):
    append(root / "train.csv", "gone.wav,Moo,1")
    found = problems(settings(root, tmp_path / "cache", on_bad_clip="skip"))
    assert found[-1] == "class Moo: 0 verified clips, 4 folds"


def test_manifest_reports_one_class_and_nothing_to_verify_together(tmp_path):
    make_folder(tmp_path / "set", ["Bark"], verified=4, unverified=0)
    found = problems(settings(tmp_path / "set", tmp_path / "cache"))
    assert len(found) == 2
    assert "1 classes (Bark)" in found[0]
    assert "nothing to verify" in found[1]


def test_manifest_of_an_empty_table_has_no_training_clips(tmp_path):
    write_table(tmp_path / "set" / "train.csv", [])
    assert "there are no training clips" in problems(settings(tmp_path / "set", tmp_path / "cache"))


def test_truth_is_found_beside_the_data_or_in_the_working_folder(root, tmp_path, monkeypatch):
    rows = [("bark00.wav", "Bark"), ("bark01.wav", "Meow"), ("elsewhere.wav", "Meow"), ("meow00.wav", "")]
    write_table(root / "truth.csv", rows, ("fname", "label"))
    manifest = build_manifest(settings(root, tmp_path / "cache", truth="truth.csv"))
    assert manifest.truth["bark01.wav"] == "Meow"
    save_truth(manifest, tmp_path)
    assert (tmp_path / "truth.csv").read_text() == "clip_id,label\nbark00.wav,Bark\nbark01.wav,Meow\n"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_table(tmp_path / "here" / "truth.csv", [("bark01.wav", "Bark")], ("fname", "label"))
    manifest = build_manifest(settings(root, tmp_path / "cache", truth="truth.csv"))
    assert manifest.truth["bark01.wav"] == "Bark", "the working folder comes first"


def test_noise_is_put_into_the_manifest_and_the_right_labels_are_kept(root, tmp_path):
    """The table is all right but for one clip; half of four are made wrong, and the test clips stay as they are."""
    rows = [(f"{label.lower()}{i:02d}.wav", label) for label in ("Bark", "Meow") for i in range(4, 8)]
    write_table(root / "truth.csv", rows, ("fname", "label"))
    edited = (root / "train.csv").read_text().replace("bark05.wav,Bark", "bark05.wav,Meow")
    (root / "train.csv").write_text(edited)
    noise = Noise(kind="symmetric", share=0.5)
    manifest = build_manifest(settings(root, tmp_path / "cache", truth="truth.csv", noise=noise))
    unverified, truth = manifest.unverified, dict(rows)
    wrong = [clip for clip in unverified.index if unverified["label"][clip] != truth[clip]]
    assert sorted(truth[clip] for clip in wrong) == ["Bark", "Bark", "Meow", "Meow"]
    assert manifest.truth.to_dict() == truth
    save_truth(manifest, tmp_path)
    injected = pd.read_csv(tmp_path / "noise.csv", index_col="clip_id")
    assert list(injected.columns) == ["label", "right_label"]
    assert list(injected.index) == wrong
    assert [injected["right_label"][clip] for clip in wrong] == [truth[clip] for clip in wrong]
    assert list(pd.read_csv(tmp_path / "truth.csv")["clip_id"]) == list(unverified.index)
    assert list(manifest.frame[manifest.frame["split"] == "test"]["label"]) == ["Bark", "Meow", ""]
    (root / "truth.csv").write_text("fname,label\nbark04.wav,Bark\n")
    found = problems(settings(root, tmp_path / "cache", truth="truth.csv", noise=noise))
    assert len([line for line in found if "its right label is not known" in line]) == 7


def test_truth_leaves_the_manifest_as_it_is(root, tmp_path):
    """What is only for measuring changes no fold and no label."""
    write_table(root / "truth.csv", [("bark01.wav", "Meow")], ("fname", "label"))
    without = build_manifest(settings(root, tmp_path / "cache"))
    given = build_manifest(settings(root, tmp_path / "cache", truth="truth.csv"))
    pd.testing.assert_frame_equal(without.frame, given.frame)


def test_truth_faults_are_reported_with_the_others(root, tmp_path):
    append(root / "train.csv", "missing.wav,Bark,1")
    found = problems(settings(root, tmp_path / "cache", truth="nowhere.csv"))
    assert len(found) == 2
    assert "missing.wav: there is no such file" in found[0]
    assert found[1].startswith("data.truth=nowhere.csv: ")
    write_table(root / "truth.csv", [("a", "Bark"), ("a", "Meow")], ("fname", "label"))
    found = problems(settings(root, tmp_path / "cache", truth="truth.csv"))
    assert f"{root}/truth.csv:3: a: duplicate id" in found
    write_table(root / "truth.csv", [("bark00", "Bark")], ("fname", "label"))
    found = problems(settings(root, tmp_path / "cache", truth="truth.csv"))
    assert "data.truth=truth.csv: its fname names none of the clips" in found


def test_csv_may_have_its_own_columns_paths_groups_and_one_table_for_both_splits(tmp_path):
    root = tmp_path / "recordings"
    outside = write_sound(tmp_path / "elsewhere" / "far.wav", 99)
    rows = []
    for i in range(12):
        name = f"{'ab'[i % 2]}/{i:02d} Straße 犬.wav"
        write_sound(root / name, i)
        rows.append((f"S{i % 6}", name, ["dog", "cat"][i // 6], "yes" if i % 6 < 4 else "no", "train", "x"))
    rows[0] = ("S0", str(outside), "dog", "yes", "train", "x")
    write_sound(root / "t.wav", 50)
    rows.append(("", "t.wav", "cat", "", "test", "Private"))
    header = ("site", "file", "species", "checked", "part", "use")
    write_table(root / "tables" / "all.csv", rows, header)
    columns = Columns(clip="file", label="species", verified="checked", split="part", usage="use")
    config = settings(
        root, tmp_path / "cache", "csv", table="tables/all.csv", columns=columns, group="site", allow_outside=True
    )
    manifest = build_manifest(config)
    frame = manifest.frame.set_index("clip_id")
    assert len(frame) == 13
    assert frame.loc[str(outside), "path"] == str(outside)
    assert frame.loc["b/01 Straße 犬.wav", ["path", "label", "verified", "group"]].tolist() == [
        "b/01 Straße 犬.wav",
        "dog",
        True,
        "S1",
    ]
    assert frame.loc["t.wav", ["split", "usage", "verified", "fold", "group"]].tolist() == [
        "test",
        "Private",
        False,
        "",
        "",
    ]
    assert (manifest.train.groupby("group")["fold"].nunique() == 1).all()


def test_csv_tables_may_be_relative_to_the_working_folder(root, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for source, name in (("train.csv", "mine.csv"), ("test_post_competition.csv", "test.csv")):
        rows = list(pd.read_csv(root / source, keep_default_na=False).itertuples(index=False))
        folder = "audio_train" if source == "train.csv" else "audio_test"
        header = ("fname", "label", "manually_verified") if source == "train.csv" else TEST_HEADER
        write_table(Path(name), [(f"{folder}/{row[0]}", *row[1:]) for row in rows], header)
    config = settings(root, tmp_path / "cache", "csv", table="mine.csv", test_table="test.csv")
    manifest = build_manifest(config)
    challenge = build_manifest(settings(root, tmp_path / "cache"))
    assert manifest.frame["path"].tolist() == challenge.frame["path"].tolist()
    assert manifest.frame["content_hash"].tolist() == challenge.frame["content_hash"].tolist()


def test_scan_reads_unchanged_files_once(config, root, tmp_path):
    build_manifest(config)
    (cache,) = (tmp_path / "cache" / "scans").iterdir()
    written = cache.stat().st_mtime_ns
    first = build_manifest(config)
    assert cache.stat().st_mtime_ns == written, "something was scanned again"
    # Another sound of the same size under the same name, and the time of its last change set back.
    path = root / "audio_train" / "bark00.wav"
    before = path.stat()
    write_sound(path, 9999)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    second = build_manifest(config)
    changed = first.frame["content_hash"] != second.frame["content_hash"]
    assert list(first.frame["clip_id"][changed]) == ["bark00.wav"]
    assert cache.stat().st_mtime_ns > written


def test_scan_reads_a_bad_file_that_was_put_right_again(config, root):
    path = root / "audio_train" / "bark00.wav"
    good = path.read_bytes()
    path.write_bytes(b"broken")
    assert len(problems(config)) == 2  # the file, and its class with 3 of 4 verified clips
    path.write_bytes(good)
    assert len(build_manifest(config).train) == 16


def test_root_may_be_relative_or_in_the_home_folder(root, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    monkeypatch.chdir(root.parent)
    expected = build_manifest(settings(root, tmp_path / "cache"))
    for place in ("~/set", "set", "./set/../set/"):
        manifest = build_manifest(settings(Path(place), tmp_path / "cache"))
        assert manifest.root.is_absolute()
        pd.testing.assert_frame_equal(manifest.frame, expected.frame)


def test_classes_that_no_table_of_posteriors_can_hold_are_refused(config, root):
    append(root / "train.csv", *(f"bark0{i}.wav,clip_id,1" for i in range(4)))
    assert "class clip_id: tables of posteriors have a column of that name already" in problems(config)


def test_manifest_reports_identical_audio(config, root, capsys):
    shutil.copy(root / "audio_train" / "bark00.wav", root / "audio_train" / "twin.wav")
    append(root / "train.csv", "twin.wav,Bark,0")
    manifest = build_manifest(config)
    train = manifest.train
    assert train.loc["twin.wav", "content_hash"] == train.loc["bark00.wav", "content_hash"]
    assert "2 training clips are byte for byte another one" in capsys.readouterr().out

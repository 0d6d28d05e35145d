"""A folder per class, without a table; and clips without a label, which are labelled and never trained on."""

from __future__ import annotations

import dataclasses
import os
import shutil
import unicodedata
from pathlib import Path

import pytest

from audiotag.config import TrainConfig
from audiotag.data.datamodule import cell_clips
from audiotag.data.manifest import Manifest, build_manifest
from audiotag.data.manifest_file import write_manifest
from audiotag.errors import DataError
from audiotag.inference.recordings import split_recordings
from audiotag.plan import plan
from audiotag.run.folder import RunFolder
from tests.clips import make_folder, settings, write_sound, write_table


def fill(root: Path, *parts: str, clips: int = 4) -> Path:
    """Write recordings of two classes below folders; return the root."""
    for at, part in enumerate(parts):
        for of_class, label in enumerate(("Bark", "Größe")):
            for i in range(clips):
                write_sound(root / part / label / f"{i}.wav", 1000 * at + 100 * of_class + i)
    return root


def of(root: Path, **data) -> TrainConfig:
    return settings(root, root.parent / "cache", "folders", **data)


def problems(config: TrainConfig) -> list[str]:
    with pytest.raises(DataError) as caught:
        build_manifest(config)
    return caught.value.problems


def test_class_folders_are_the_labels(tmp_path):
    root = fill(tmp_path / "set", "")
    write_sound(root / "Bark" / "session 2" / "x.flac", 7)
    (root / "Bark" / "notes.txt").touch()
    write_sound(root / ".trash" / "y.wav", 8)
    config = dataclasses.replace(of(root), finetune_rounds=0)
    manifest = build_manifest(config)
    assert manifest.classes == ["Bark", "Größe"]
    assert list(manifest.train.index) == sorted(
        [*(f"{label}/{i}.wav" for label in ("Bark", "Größe") for i in range(4)), "Bark/session 2/x.flac"]
    )
    assert manifest.train["verified"].all()
    assert list(plan(config)["clip_id"]) == list(manifest.train.index)


def test_class_folders_may_keep_checked_clips_apart(tmp_path):
    root = fill(tmp_path / "set", "")
    assert any("every training label is verified" in problem for problem in problems(of(root)))
    manifest = build_manifest(of(fill(root, "", "verified")))
    assert manifest.train["verified"].to_dict() == {
        **{f"{label}/{i}.wav": False for label in ("Bark", "Größe") for i in range(4)},
        **{f"verified/{label}/{i}.wav": True for label in ("Bark", "Größe") for i in range(4)},
    }


def test_class_folders_of_checked_and_unchecked_labels_are_told_apart(tmp_path, capsys):
    root = fill(tmp_path / "set", "verified", "unverified", "test")
    write_sound(root / "unlabelled" / "2024" / "u.wav", 9)
    manifest = build_manifest(of(root))
    frame = manifest.frame.set_index("clip_id")
    assert frame["split"].value_counts().to_dict() == {"train": 16, "test": 8, "unlabelled": 1}
    assert frame.loc["verified/Größe/0.wav", ["label", "verified"]].tolist() == ["Größe", True]
    assert frame.loc["unverified/Bark/3.wav", ["label", "verified"]].tolist() == ["Bark", False]
    assert frame.loc["test/Bark/3.wav", ["label", "verified", "fold"]].tolist() == ["Bark", False, ""]
    assert frame.loc["unlabelled/2024/u.wav", ["label", "verified", "fold"]].tolist() == ["", False, ""]
    assert "1 clips without a label are not trained on" in capsys.readouterr().out


def test_class_folders_of_either_normal_form_are_one_class(tmp_path):
    root = fill(tmp_path / "set", "verified", "unverified")
    (root / "unverified" / "Größe").rename(root / "unverified" / unicodedata.normalize("NFD", "Größe"))
    manifest = build_manifest(of(root))
    assert manifest.classes == ["Bark", "Größe"]
    assert (root / manifest.train.loc["unverified/Größe/0.wav", "path"]).is_file()


def test_class_folders_name_what_is_in_no_class(tmp_path):
    root = fill(tmp_path / "set", "verified", "unverified")
    for seed, name in enumerate(("a.wav", "verified/b.wav")):
        write_sound(root / name, seed)
    odd = root / "verified" / "Bark" / os.fsdecode(b"c\xff.wav")
    shutil.copy(root / "a.wav", odd)
    assert problems(of(root)) == [
        f"{root}/a.wav: in no class's folder",
        f"{str(odd)!a}: this name is not UTF-8; rename the file",
        f"{root}/verified/b.wav: in no class's folder",
    ]
    (tmp_path / "empty").mkdir()
    assert problems(of(tmp_path / "empty")) == [f"{tmp_path}/empty: there is no recording"]
    assert problems(of(tmp_path / "gone")) == [f"data.root={tmp_path}/gone is not a folder"]


def test_class_folders_follow_no_link_in_a_circle_or_out_of_the_data(tmp_path):
    root = fill(tmp_path / "set", "verified", "unverified")
    (root / "verified" / "Bark" / "again").symlink_to(root)
    (root / "verified" / "Bark" / "self").symlink_to("self")
    assert len(build_manifest(of(root)).train) == 16
    (root / "verified" / "Moo").symlink_to(fill(tmp_path / "elsewhere", "") / "Bark")
    assert all("is not below" in problem for problem in problems(of(root))[:4])
    assert "Moo" in build_manifest(of(root, allow_outside=True)).classes


@pytest.fixture
def with_unlabelled(tmp_path: Path) -> TrainConfig:
    """A table with 16 clips of two classes, and two without a label."""
    root = tmp_path / "set"
    rows = make_folder(root)
    for seed, name in enumerate(("u0.wav", "u1.wav")):
        write_sound(root / "audio_train" / name, 500 + seed)
    write_table(root / "train.csv", [*rows, ("u0.wav", "", ""), ("u1.wav", "None", 1)])
    config = settings(root, tmp_path / "cache", unlabelled=True)
    return dataclasses.replace(config, run="run")


def in_cells(manifest: Manifest) -> set[str]:
    """Return the ids of all clips that any cell trains, chooses, or votes on, whatever was accepted before."""
    labels = manifest.frame.set_index("clip_id")[["label"]]
    cells = [cell_clips(manifest, r, f, labels, False) for r in (0, 1) for f in range(4)]
    cells += [cell_clips(manifest, 0, 0, None, True)]
    return {clip for cell in cells for clips in (cell.train, cell.valid, cell.unverified) for clip in clips.index}


def test_unlabelled_clips_enter_no_cell(with_unlabelled):
    manifest = build_manifest(with_unlabelled)
    assert set(manifest.frame[manifest.frame["split"] == "unlabelled"]["clip_id"]) == {"u0.wav", "u1.wav"}
    assert in_cells(manifest) == set(manifest.frame["clip_id"]) - {"u0.wav", "u1.wav"}
    assert not {"u0.wav", "u1.wav"} & set(plan(with_unlabelled)["clip_id"])


def test_unlabelled_clips_are_allowed_only_where_asked_for(with_unlabelled):
    strict = dataclasses.replace(with_unlabelled.data, unlabelled=False)
    with pytest.raises(DataError, match=r"2 problems in the data set(.|\n)*need data\.unlabelled=true"):
        build_manifest(dataclasses.replace(with_unlabelled, data=strict))


def test_unlabelled_clips_are_labelled_by_all_folds_and_scored_by_none(with_unlabelled, tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.save(with_unlabelled)
    write_manifest(folder.manifest_file, build_manifest(with_unlabelled).frame)
    found = split_recordings(folder, "unlabelled", None, [0, 1, 2, 3], None)
    assert [(r.fname, r.folds, r.label, r.scored) for r in found.recordings] == [
        (name, (0, 1, 2, 3), "", False) for name in ("u0.wav", "u1.wav")
    ]


def test_unlabelled_clips_get_labels_from_a_person_in_the_table(with_unlabelled, tmp_path):
    review = write_table(tmp_path / "review.csv", [("u0.wav", "relabel Bark")], ("clip_id", "decision"))
    data = dataclasses.replace(with_unlabelled.data, corrections=str(review))
    with pytest.raises(DataError, match=r"u0\.wav: a clip without a label: give it its label in the table"):
        build_manifest(dataclasses.replace(with_unlabelled, data=data))

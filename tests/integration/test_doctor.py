"""The data doctor on a folder with one of every fault: each is named with its file, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from audiotag.data.manifest import build_manifest
from audiotag.doctor import __main__ as doctor
from audiotag.errors import DataError
from audiotag.plan import compose_training
from tests.clips import TUNE_RATE_HZ, make_folder, tune, write_table


def save(path: Path, wave: np.ndarray, subtype: str = "PCM_16", rate: int = TUNE_RATE_HZ) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, subtype=subtype)


FAULTS = {  # file in audio_train/ -> what is told of it: (severity, kind, part of the text)
    "missing.wav": ("error", "missing file", "train.csv:10: there is no such file"),
    "empty.wav": ("error", "unusable file", "cannot be decoded"),
    "no_samples.wav": ("error", "unusable file", "zero samples"),
    "text.wav": ("error", "unusable file", "cannot be decoded"),
    "nan.wav": ("error", "unusable file", "not finite"),
    "cut.flac": ("error", "unusable file", "cannot be decoded"),
    "slip.wav": ("error", "table row", "unknown label Brak (did you mean Bark?)"),
    "none.wav": ("error", "table row", "a training clip without a label"),
    "flag.wav": ("error", "table row", "verified must be 1 or 0, not maybe"),
    "bark0.wav": ("error", "table row", "duplicate id, first in"),
    "truncated.wav": ("warning", "truncated", "its header says"),
    "cut.ogg": ("warning", "truncated", "not marked as the last"),
    "cut.mp3": ("warning", "truncated", "its header says"),
    "zeros.wav": ("warning", "silent", "every sample is zero"),
    "click.wav": ("warning", "silent", "loud for long enough"),
    "faint.wav": ("warning", "nearly silent", "its peak is 0.000500 of full scale"),
    "clipped.wav": ("warning", "clipping", "of the samples lie in runs at the limit"),
    "offset.wav": ("note", "DC offset", "the mean of its samples is 0.100"),
    "short.wav": ("note", "shorter than a frame", "10.0 ms without its silent ends; a frame is 32 ms"),
    "unnamed.wav": ("note", "in no table", "no table names this file"),
    "same.flac": ("note", "duplicate", "the same sound, sample by sample, as audio_train/bark1.wav"),
    "other.flac": ("warning", "duplicate of another label", "as audio_train/bark2.wav: label Meow and Bark"),
    "quiet.wav": ("note", "duplicate", "nearly the same sound (1.000) as audio_train/meow0.wav"),
    "left_only.wav": ("warning", "clipping", "of the samples lie in runs at the limit"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the challenge's layout, 2 classes of 4 sound clips, and one of every fault."""
    folder = tmp_path_factory.mktemp("faults") / "set"
    train = folder / "audio_train"
    rows = [(f"{name.lower()}{i}.wav", name, 1) for name in ("Bark", "Meow") for i in range(4)]
    for seed, (name, _, _) in enumerate(rows):
        save(train / name, tune(seed))
    waves = {
        "slip.wav": tune(20), "none.wav": tune(21), "flag.wav": tune(22), "unnamed.wav": tune(23),
        "nan.wav": np.full(800, np.nan), "no_samples.wav": np.zeros(0), "zeros.wav": np.zeros(8000),
        "click.wav": np.eye(1, 20_000, 10_000)[0] * 0.9, "faint.wav": tune(24) / np.abs(tune(24)).max() * 0.0005,
        "clipped.wav": np.clip(8 * tune(25), -0.7, 0.7), "offset.wav": tune(26) - tune(26).mean() + 0.1,
        "short.wav": tune(27)[3000 : 3000 + 441], "same.flac": tune(1), "other.flac": tune(2), "quiet.wav": tune(4) / 2,
        "left_only.wav": np.stack([np.clip(8 * tune(28), -0.7, 0.7), tune(29)], axis=1),
    }  # fmt: skip
    for name, wave in waves.items():
        save(train / name, wave, "FLOAT" if name in ("nan.wav", "faint.wav") else "PCM_16")
    for number, name in enumerate(("truncated.wav", "cut.flac", "cut.ogg", "cut.mp3")):
        kind = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS"),
                ".mp3": ("MP3", "MPEG_LAYER_III")}[Path(name).suffix]  # fmt: skip
        soundfile.write(train / name, tune(30 + number), TUNE_RATE_HZ, format=kind[0], subtype=kind[1])
        content = (train / name).read_bytes()
        (train / name).write_bytes(content[: len(content) * 6 // 10])
    (train / "empty.wav").write_bytes(b"")
    (train / "text.wav").write_text("no sound\n")
    labels = {"slip.wav": "Brak", "none.wav": "None", "other.flac": "Meow", "quiet.wav": "Meow"}
    named = [name for name in FAULTS if name not in ("bark0.wav", "unnamed.wav")]
    rows += [(name, labels.get(name, "Bark"), "maybe" if name == "flag.wav" else 0) for name in named]
    write_table(folder / "train.csv", [*rows, ("bark0.wav", "Bark", 1)])
    save(folder / "audio_test" / "leak.wav", np.concatenate([np.zeros(9000), 0.7 * tune(5)]))
    save(folder / "audio_test" / "gone.wav", tune(40))
    tests = [("leak.wav", "Meow", "Public"), ("missing_test.wav", "Bark", "Private"), ("pad.wav", "None", "Ignored")]
    write_table(folder / "test_post_competition.csv", tests, ("fname", "label", "usage"))
    return folder


def settings(root: Path, cache: Path, *more: str) -> list[str]:
    return ["data=kaggle", f"data.root={root}", f"cache_dir={cache}", "hardware.workers=0",
            "data.classes=[Bark,Meow]", *more]  # fmt: skip


def test_doctor_names_one_of_every_fault_with_its_file(root, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "SHOWN", 4)
    code = doctor.main([*settings(root, tmp_path / "cache"), f"out={tmp_path / 'out'}"])
    screen = " ".join(capsys.readouterr().out.split())
    assert code == 1
    table = pd.read_csv(tmp_path / "out" / "doctor.csv", keep_default_na=False)
    assert list(table.columns) == ["severity", "kind", "clip_id", "path", "what"]
    for name, (severity, kind, text) in FAULTS.items():
        rows = table[(table["path"] == f"audio_train/{name}") & (table["kind"] == kind)]
        assert rows["severity"].tolist() == [severity], name
        assert text in rows["what"].iloc[0], name
        assert rows["clip_id"].iloc[0] == ("" if name == "unnamed.wav" else name)
    of_test = table[table["path"].str.startswith("audio_test")].set_index("path")
    assert of_test["kind"].to_dict() == {
        "audio_test/missing_test.wav": "missing file", "audio_test/leak.wav": "duplicate in train and test",
        "audio_test/gone.wav": "in no table",
    }  # fmt: skip
    assert "audio_train/meow1.wav: split test and train" in of_test.loc["audio_test/leak.wav", "what"]
    assert table["severity"].map(["error", "warning", "note"].index).is_monotonic_increasing
    errors = int((table["severity"] == "error").sum())
    assert f"Training would refuse this data set: {errors} errors" in screen
    assert "error: table row (4)" in screen
    assert "error: unusable file (5) audio_train/cut.flac" in screen
    assert f"and 1 more: {tmp_path}/out/doctor.csv" in screen
    assert (tmp_path / "out" / "lengths.png").stat().st_size > 5000
    counts = pd.read_csv(tmp_path / "out" / "classes.csv").set_index("label")
    assert counts.loc["Bark", ["verified", "unverified", "test"]].tolist() == [4, 11, 0]
    assert counts.loc["Meow", ["verified", "unverified", "verified_share", "test"]].tolist() == [4, 2, 0.666667, 1]


def test_doctor_calls_errors_what_training_refuses(root, tmp_path):
    config = compose_training(settings(root, tmp_path))
    found = doctor.diagnose(config).findings
    with pytest.raises(DataError) as caught:
        build_manifest(config)  # the doctor has read the files: this reads none again
    errors = found[found["severity"] == "error"]
    text = "\n".join(caught.value.problems)
    assert all(path in text for path in errors["path"])
    assert len(errors) == sum(1 + problem.count("; ") for problem in caught.value.problems)
    clean = {f"audio_train/{name}{i}.wav" for name in ("bark", "meow") for i in range(4)} - {"audio_train/bark0.wav"}
    assert not set(found["path"]) & clean, "something is told of recordings without a fault"
    skipping = doctor.diagnose(compose_training(settings(root, tmp_path, "data.on_bad_clip=skip")))
    assert skipping.refused == 0
    assert (skipping.findings[["severity", "kind"]] == ["warning", "left out"]).all(axis=1).sum() == len(errors)


def test_doctor_names_tables_that_cannot_be_read_and_groups_that_cross(root, tmp_path, capsys):
    assert doctor.main(["data=kaggle", f"data.root={tmp_path}"]) == 1
    assert "train.csv: there is no such file" in capsys.readouterr().out
    rows = [(f"audio_train/{name}{i}.wav", name.capitalize(), 1, "train" if i else "test", f"S{i // 2}")
            for name in ("bark", "meow") for i in range(4)]  # fmt: skip
    write_table(tmp_path / "all.csv", rows, ("fname", "label", "manually_verified", "part", "speaker"))
    config = compose_training(
        [
            "data=csv",
            f"data.root={root}",
            f"data.table={tmp_path}/all.csv",
            "data.columns.split=part",
            "data.group=speaker",
            "finetune_rounds=0",
            "folds=2",
            f"cache_dir={tmp_path}",
            "hardware.workers=0",
        ]
    )
    found = doctor.diagnose(config).findings
    (group,) = found[found["kind"] == "group in train and test"].to_dict("records")
    tested = "audio_train/bark0.wav, audio_train/meow0.wav"
    assert group["what"] == f"group S0 has 2 training clips, and is tested on in {tested}"
    assert found[found["severity"] == "error"].empty


def test_doctor_writes_no_cell_that_a_spreadsheet_would_run(tmp_path):
    make_folder(tmp_path / "set")
    table = [("=1+1", "Bark", 1), ("a.wav", "@SUM(1)", 1)]
    write_table(tmp_path / "set" / "odd.csv", [(f"audio_train/{c}{i:02d}.wav", c, int(i < 4)) for c in ("bark", "meow")
                                               for i in range(8)] + table)  # fmt: skip
    arguments = ["data=csv", "data.table=odd.csv", f"data.root={tmp_path / 'set'}", f"cache_dir={tmp_path / 'cache'}"]
    assert doctor.main([*arguments, "hardware.workers=0", f"out={tmp_path / 'out'}"]) == 1
    cells = pd.read_csv(tmp_path / "out" / "doctor.csv", dtype=str, keep_default_na=False).to_numpy().ravel()
    assert any("would run =1+1 as a formula" in cell for cell in cells)
    assert not any(cell.startswith(("=", "@")) for cell in cells)

"""predict.py segments=true on a real run: parts are those of the file's own frames, and files of others are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

import audiotag
from audiotag.config import PredictConfig, Segmentation
from audiotag.errors import AudiotagError, DataError
from audiotag.inference.segments import find_segments, stretches_of, window_steps
from tests.integration.test_predict import sound

EASY = {"on": 0.14, "off": 0.13}  # the small run is sure of nothing
SETTINGS = ("run=small", "segments=true", "hardware.threads=1", "segment.on=0.14", "segment.off=0.13")
pytestmark = pytest.mark.usefixtures("small_run", "in_work_folder")


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Recordings, the first of which begins and ends with silence, the last one with nothing but silence."""
    folder = tmp_path / "clips"
    loud, _ = soundfile.read(sound(tmp_path / "loud.wav", 6.0, 22_050))
    folder.mkdir()
    soundfile.write(folder / "a.wav", np.concatenate((np.zeros(22_050), loud, np.zeros(11_025))), 22_050)
    sound(folder / "sub" / "b.flac", 0.4, 44_100, seed=1)
    soundfile.write(folder / "silent.wav", np.zeros(50_000), 22_050)
    return folder


def predict(*arguments: str) -> Path:
    written = audiotag.predict([*SETTINGS, *arguments])
    assert written is not None
    return written


def test_parts_are_those_of_windows_of_the_files_frames(small_run, clips):
    tagger = audiotag.load(small_run, precision="32-true")
    path, features = clips / "a.wav", audiotag.open_run(small_run).config.features
    config = PredictConfig(run="small", source="x", segments=True, every_frames=24)
    steps = window_steps(tagger._tagger, config)
    found = list(stretches_of(path, tagger._tagger, steps))
    spectrogram = audiotag.spectrogram(path, features)
    frames, length = torch.from_numpy(spectrogram.frames).float(), features.excerpt_frames
    for k, (_, _, posterior) in enumerate(found):
        start = min(24 * k, len(frames) - length)
        x = frames[start : start + length].T[None, None]
        with torch.inference_mode():
            own = [tagger.network(fold)(x).softmax(dim=1)[0].numpy() for fold in (0, 1)]
        np.testing.assert_allclose(posterior, np.mean(own, axis=0), rtol=0, atol=1e-5)
    assert len(found) == 1 + round((len(frames) - length) / 24)
    assert (found[0][0], found[-1][1]) == (spectrogram.begin_s, spectrogram.end_s)
    assert [before[1] for before in found[:-1]] == pytest.approx([after[0] for after in found[1:]])
    middle_s = spectrogram.begin_s + (24 * 3 + length / 2) / spectrogram.frames_per_second
    assert sum(found[3][:2]) / 2 == pytest.approx(middle_s)
    table = tagger.segments(path, every_frames=24, **EASY)
    expected = list(find_segments(found, Segmentation(**EASY)))
    assert table["start_s"].tolist() == [one.start_s for one in expected]
    assert table["probability"].tolist() == [one.probability for one in expected]
    assert table["label"].tolist() == [tagger.classes[one.label] for one in expected]
    in_memory = tagger.segments(soundfile.read(path), every_frames=24, **EASY)
    assert in_memory["fname"].unique().tolist() == ["wave"]
    assert in_memory.iloc[:, 1:].equals(table.iloc[:, 1:])


def test_program_writes_what_the_tagger_returns(tagger, clips, tmp_path, capsys):
    out = predict(f"source={clips}", f"out={tmp_path}/parts.csv")
    written, table = pd.read_csv(out), tagger.segments(clips, **EASY)
    assert written.columns.tolist() == ["fname", "start_s", "end_s", "label", "probability"]
    assert set(written["fname"]) == {"a.wav", "sub/b.flac"}  # nothing is heard in silence
    pd.testing.assert_frame_equal(written, table, atol=1e-6, check_dtype=False)
    of_a = written[written["fname"] == "a.wav"]
    assert of_a["start_s"].min() >= 0.95  # what is trimmed away is no part
    assert of_a["end_s"].max() <= 7.05
    assert (of_a["start_s"].iloc[1:].to_numpy() >= of_a["end_s"].iloc[:-1].to_numpy() - 1e-6).all()
    printed = capsys.readouterr().out
    assert "in 2 of 3 recordings" in printed
    assert str(out) in printed.replace("\n", "")


def test_files_for_other_programs_are_written_and_ones_own_are_kept(clips, tmp_path):
    table = pd.read_csv(predict(f"source={clips}", "format=audacity", f"out={tmp_path}/tracks"))
    rows = [line.split("\t") for line in (tmp_path / "tracks" / "a.wav.txt").read_text().splitlines()]
    own = table[table["fname"] == "a.wav"]
    assert [(float(start), float(end), label) for start, end, label in rows] == [
        (row.start_s, row.end_s, row.label) for row in own.itertuples()
    ]
    assert (tmp_path / "tracks" / "sub" / "b.flac.txt").is_file()
    assert (tmp_path / "tracks" / "silent.wav.txt").read_text() == ""
    predict(f"source={clips}", "format=raven", f"out={tmp_path}/tables")
    selections = pd.read_csv(tmp_path / "tables" / "a.wav.selections.txt", sep="\t")
    assert selections["Begin Time (s)"].tolist() == own["start_s"].tolist()
    assert set(selections["High Freq (Hz)"]) == {11_025}

    # Again, with other settings, but not over what a person changed.
    predict(f"source={clips}", "format=audacity", f"out={tmp_path}/tracks", "segment.shortest_s=1")
    changed = tmp_path / "tracks" / "a.wav.txt"
    changed.write_text("0.5\t1.5\tmine\n")
    with pytest.raises(AudiotagError, match=r"a\.wav\.txt is there already, and does not say what segments\.csv"):
        predict(f"source={clips}", "format=audacity", f"out={tmp_path}/tracks")
    assert changed.read_text() == "0.5\t1.5\tmine\n"


def test_files_that_cannot_be_written_or_read_are_told(clips, tmp_path):
    (tmp_path / "mine.csv").write_text("a,b\n")
    for arguments, message in (
        ([f"out={tmp_path}/mine.csv"], "was not written by this command"),
        ([f"out={tmp_path}/mine.txt"], r"name it mine\.csv"),
        ([f"out={clips}/a.wav", "format=raven"], "is a file: format=raven writes into a folder"),
        (["window_frames=20"], "needs windows of"),
    ):
        with pytest.raises(AudiotagError, match=message):
            predict(f"source={clips}", *arguments)
    predict(f"source={clips}", f"out={tmp_path}/parts.csv")
    with pytest.raises(AudiotagError, match="holds the labels of other recordings"):
        predict(f"source={clips}/sub", f"out={tmp_path}/parts.csv")
    (clips / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="1 of 4 recordings cannot be read"):
        predict(f"source={clips}", f"out={tmp_path}/parts.csv")
    assert set(pd.read_csv(tmp_path / "parts.csv")["fname"]) == {"a.wav", "sub/b.flac"}
    with pytest.raises(DataError, match="None of the recordings"):
        predict(f"source={clips}/bad.wav", f"out={tmp_path}/none.csv")
    assert not (tmp_path / "none.csv").exists()


def test_bad_calls_are_refused(tagger, clips):
    with pytest.raises(audiotag.ConfigError, match=r"segment\.of is not a setting"):
        tagger.segments(clips, of=0.1)
    with pytest.raises(DataError, match=r"/nowhere\.wav: there is no such file"):
        tagger.segments("/nowhere.wav")

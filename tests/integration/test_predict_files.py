"""Which files predict.py reads, which it may write over, and which it must not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import OmegaConf

from audiotag.config import PredictConfig
from audiotag.config.schema import validate
from audiotag.errors import AudiotagError, ConfigError, DataError
from audiotag.inference.recordings import find_recordings
from tests.integration.test_predict import run_predict, sound


def names(source: Any) -> list[str]:
    return [recording.fname for recording in find_recordings(source, ()).recordings]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for name in ("a.wav", "b.wav", "deep/c.wav", "deep/d.txt"):
        file = tmp_path / "clips" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path / "clips"


def test_predict_names_files_of_patterns_by_their_path_below_the_fixed_part(clips):
    assert names(f"{clips}/*.wav") == ["a.wav", "b.wav"]
    assert names(f"{clips}/**/*.wav") == ["a.wav", "b.wav", "deep/c.wav"]
    assert names([f"{clips}/[ab].wav", f"{clips}/deep/c.wav"]) == ["a.wav", "b.wav", "c.wav"]
    with pytest.raises(DataError, match=r"\*\.flac: no file has a name like this"):
        names(f"{clips}/*.flac")
    (clips / "what?.wav").touch()  # a name, though it looks like a pattern
    assert names(f"{clips}/what?.wav") == ["what?.wav"]


def test_predict_does_not_wait_for_pipes(clips):
    os.mkfifo(clips / "pipe.wav")
    assert names(str(clips)) == ["a.wav", "b.wav", "deep/c.wav"]
    with pytest.raises(DataError, match=r"pipe\.wav is neither a file nor a folder"):
        names(str(clips / "pipe.wav"))
    with pytest.raises(DataError, match="/dev/zero is neither"):
        names("/dev/zero")


def test_predict_refuses_more_windows_than_are_of_use():
    given = OmegaConf.create({"run": "x", "source": "a.wav", "windows": 100_000_000})
    with pytest.raises(ConfigError, match="windows=100000000 is out of all proportion: 10,000 is the largest"):
        validate(given, PredictConfig)


def test_predict_does_not_write_over_a_recording(smoke_run, tmp_path):
    disguised = sound(tmp_path / "a.wav", 0.3).rename(tmp_path / "a.csv")
    before = disguised.read_bytes()
    with pytest.raises(AudiotagError, match=r"a\.csv is what this command reads"):
        run_predict(smoke_run, source=str(disguised), out=str(disguised))
    with pytest.raises(AudiotagError, match=r"predictions are written as CSV; name it a\.csv"):
        run_predict(smoke_run, source=str(disguised), out=str(tmp_path / "a.wav"))
    assert disguised.read_bytes() == before


def test_predict_does_not_write_over_a_table_of_the_user(smoke_run, tmp_path):
    recording, table = sound(tmp_path / "a.wav", 0.3), tmp_path / "labels.csv"
    table.write_text("file,label\na.wav,Bark\n")
    with pytest.raises(AudiotagError, match=r"labels\.csv was not written by this command"):
        run_predict(smoke_run, source=str(recording), out=str(table))
    assert table.read_text() == "file,label\na.wav,Bark\n"


def test_predict_does_not_lose_labels_of_other_recordings(smoke_run, tmp_path):
    one, other, out = sound(tmp_path / "one.wav", 0.3), sound(tmp_path / "other.wav", 0.3), str(tmp_path / "p.csv")
    first = run_predict(smoke_run, source=str(one), out=out)
    with pytest.raises(AudiotagError, match=r"p\.csv holds the labels of other recordings \(one\.wav\)"):
        run_predict(smoke_run, source=str(other), out=out)
    pd.testing.assert_frame_equal(pd.read_csv(out), first)
    assert len(run_predict(smoke_run, source=[str(one), str(other)], out=out)) == 2, "nothing would have been lost"


def test_predict_does_not_write_over_scores_of_the_user(smoke_run, tmp_path):
    (tmp_path / "scores.json").write_text("mine")
    with pytest.raises(AudiotagError, match=r"scores\.json is there already, and was not written with"):
        run_predict(smoke_run, split="test", out=str(tmp_path / "p.csv"))
    assert (tmp_path / "scores.json").read_text() == "mine"
    assert not (tmp_path / "p.csv").exists()

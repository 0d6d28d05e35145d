"""What a run folder holds before anything is trained, and of which data."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiotag.config import TrainConfig
from audiotag.errors import DataError, RunError
from audiotag.experiment.prepare import prepare
from audiotag.files import FileLock
from audiotag.run.folder import RunFolder
from tests.clips import make_folder, settings, write_sound


def prepared(config: TrainConfig, folder: RunFolder) -> list[str]:
    """Prepare a run; return the ids of its training clips."""
    return list(prepare(dataclasses.replace(config, run=str(folder.path))).manifest.train.index)


def test_run_that_bad_data_ended_begins_anew_with_corrected_data(tmp_path):
    """The clip can be decoded, and has no spectrogram: found only when everything else was made."""
    make_folder(tmp_path / "set")
    bad = tmp_path / "set" / "audio_train" / "bark07.wav"
    soundfile.write(bad, np.full(5, 0.5, np.float32), 384_000, subtype="PCM_16")
    config = dataclasses.replace(settings(tmp_path / "set", tmp_path / "cache"), run="run")
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(DataError, match="less than one sample"):
        prepared(config, folder)
    skipping = dataclasses.replace(config, data=dataclasses.replace(config.data, on_bad_clip="skip"))
    assert len(prepared(skipping, RunFolder(tmp_path / "run"))) == 15
    assert len(prepared(skipping, RunFolder(tmp_path / "run"))) == 15, "it goes on"
    other = RunFolder(tmp_path / "other")
    with pytest.raises(DataError):
        prepared(config, other)
    write_sound(bad, 5)
    assert len(prepared(config, other)) == 16


def test_run_refuses_changed_data_once_it_has_begun(tmp_path):
    make_folder(tmp_path / "set")
    config = dataclasses.replace(settings(tmp_path / "set", tmp_path / "cache"), run="run")
    prepared(config, RunFolder(tmp_path / "run"))
    write_sound(tmp_path / "set" / "audio_train" / "bark07.wav", 99)
    with pytest.raises(RunError, match="the data set has changed"):
        prepared(config, RunFolder(tmp_path / "run"))


def test_run_says_that_its_kept_corrections_were_emptied(tmp_path):
    folder = RunFolder(tmp_path / "run")
    Path(tmp_path / "run").mkdir()
    folder.corrections_file.touch()
    with pytest.raises(DataError, match=r"corrections\.csv:1: there is nothing in it"):
        assert folder.corrections.empty


def bad_data(tmp_path: Path) -> TrainConfig:
    make_folder(tmp_path / "set")
    (tmp_path / "set" / "train.csv").write_text("fname,label,manually_verified\nnone.wav,Bark,1\n")
    return dataclasses.replace(settings(tmp_path / "set", tmp_path / "cache"), run="run")


def test_run_of_refused_data_leaves_no_folder(tmp_path):
    config = bad_data(tmp_path)
    with pytest.raises(DataError):
        prepared(config, RunFolder(tmp_path / "runs" / "deep" / "run"))
    assert not (tmp_path / "runs").exists()
    (tmp_path / "other" / "run").mkdir(parents=True)
    (tmp_path / "runs").mkdir()
    for folder in (tmp_path / "other" / "run", tmp_path / "runs" / "run"):
        with pytest.raises(DataError):
            prepared(config, RunFolder(folder))
        assert not folder.exists(), "an empty one goes, too"
        assert folder.parent.is_dir(), "which was there before"


def test_run_of_refused_data_leaves_what_is_in_its_folder(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(DataError):
        prepared(bad_data(tmp_path), RunFolder(tmp_path / "run"))
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def is_waiting_for_a_lock() -> bool:
    """Return whether a thread is within filelock."""
    innermost = [frame.f_code.co_filename for frame in sys._current_frames().values()]
    return any("filelock" in file for file in innermost)


def test_run_that_waited_for_one_whose_data_were_refused_says_so(tmp_path):
    config, folder = bad_data(tmp_path), RunFolder(tmp_path / "runs" / "run")
    folder.path.mkdir(parents=True)
    with FileLock(folder.path / ".prepare.lock"), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(prepared, config, folder)
        seen = 0
        while seen < 5:  # in a row: it sleeps between two tries, of which only the first makes the folder
            assert not waiting.done()
            time.sleep(0.01)
            seen = seen + 1 if is_waiting_for_a_lock() else 0
        shutil.rmtree(tmp_path / "runs")
        with pytest.raises(RunError, match=f"{folder.path} was removed by another process, whose data were refused"):
            waiting.result(timeout=30)
    assert not (tmp_path / "runs").exists()

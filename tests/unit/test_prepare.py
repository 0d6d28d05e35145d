"""What a run folder holds before anything is trained, and of which data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiotag.config import TrainConfig
from audiotag.errors import DataError, RunError
from audiotag.experiment.rounds import prepare
from audiotag.experiment.run_folder import RunFolder
from audiotag.experiment.start import Start
from tests.clips import make_folder, settings, write_sound


def prepared(config: TrainConfig, folder: RunFolder) -> list[str]:
    """Prepare a run; return the ids of its training clips."""
    manifest, _ = prepare(config, folder, Start(config, folder))
    return list(manifest.train.index)


def test_a_run_that_bad_data_ended_begins_anew_with_corrected_data(tmp_path):
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


def test_changed_data_are_refused_once_a_run_has_begun(tmp_path):
    make_folder(tmp_path / "set")
    config = dataclasses.replace(settings(tmp_path / "set", tmp_path / "cache"), run="run")
    prepared(config, RunFolder(tmp_path / "run"))
    write_sound(tmp_path / "set" / "audio_train" / "bark07.wav", 99)
    with pytest.raises(RunError, match="the data set has changed"):
        prepared(config, RunFolder(tmp_path / "run"))


def test_the_kept_corrections_emptied_are_an_error_to_read(tmp_path):
    folder = RunFolder(tmp_path / "run")
    Path(tmp_path / "run").mkdir()
    folder.corrections_file.touch()
    with pytest.raises(DataError, match=r"corrections\.csv:1: there is nothing in it"):
        assert folder.corrections.empty

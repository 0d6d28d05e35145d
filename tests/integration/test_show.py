"""What a run's networks hear along time, drawn and written beside the picture."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from audiotag import show
from audiotag.errors import RunError
from audiotag.inference import pictures
from audiotag.inference.recordings import Recording
from audiotag.run.folder import RunFolder


def test_show_draws_classes_along_a_recording(small_run, work_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(work_folder)
    run = RunFolder(small_run)
    clip = next(work_folder.glob("cache/synthetic-*/audio_test/*.*"))
    show.main([str(clip), "run=small", "--out", str(tmp_path)])
    heard = pd.read_csv(tmp_path / f"{clip.name}.csv")
    assert list(heard.columns) == ["begin_s", "end_s", *run.classes]
    np.testing.assert_allclose(heard[run.classes].sum(axis=1), 1, atol=1e-5)
    assert (heard["begin_s"].diff()[1:] > 0).all()
    # The first window is the recording's first excerpt: what the networks say to it by themselves.
    tagger = pictures.SlidingWindowTagger(RunFolder(small_run))
    picture, _ = pictures.picture_of(Recording(clip.name, clip, ()), tagger.features, None)
    first = np.resize(picture.spectrogram.T, (max(192, picture.spectrogram.shape[1]), 128))[:192]
    again = tagger.posteriors([first.astype(np.float16)], len(first), 0.006, 0.0)
    assert len(again.posteriors) == 1
    np.testing.assert_allclose(heard[run.classes].iloc[0], again.posteriors[0], atol=0.01)
    assert imread(tmp_path / f"{clip.name}.png").shape[0] > 900, "three panels, not two"


def test_show_leaves_nothing_of_a_long_recording_out(small_run, work_folder, monkeypatch):
    monkeypatch.chdir(work_folder)
    monkeypatch.setattr(pictures, "MOST_WINDOWS", 5)
    tagger = pictures.SlidingWindowTagger(RunFolder(small_run))
    frames = np.random.default_rng(0).uniform(-60, 0, (3_000, 128)).astype(np.float16)
    shares: list[float] = []
    heard = tagger.posteriors(np.array_split(frames, 7), 3_000, 0.006, 1.0, shares.append)
    assert len(heard.posteriors) == 16, "of 192 frames each"
    assert (heard.begins_s[1:] <= heard.ends_s[:-1]).all()
    assert (heard.begins_s[0], heard.ends_s[-1]) == (1.0, 1.0 + 3_000 * 0.006)
    assert sum(shares) == pytest.approx(1)


def test_show_refuses_weights_that_verify_refuses(small_run, work_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(work_folder)
    run = tmp_path / "damaged"
    shutil.copytree(small_run, run)
    for weights in run.glob("round*/fold1/best.ckpt"):  # of whichever round is the best
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)
    clip = next(work_folder.glob("cache/synthetic-*/audio_test/*.*"))
    with pytest.raises(RunError, match=r"fold1/best\.ckpt is not what was written"):
        show.main([str(clip), f"run={run}", "--out", str(tmp_path / "out")])
    assert not list(tmp_path.glob("out/*"))

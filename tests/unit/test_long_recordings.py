"""Recordings of hours, block by block: what is held of one, and what is said of it, is what it is whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiotag.config import Features
from audiotag.data import store
from audiotag.doctor import examine
from audiotag.features import audio, spectrogram
from audiotag.inference.spectrograms import covering_windows
from audiotag.plots.recording_plot import ColumnMaxima
from tests.clips import FRONT_ENDS


def write_noise(path: Path, seconds: int, rate_hz: int, channels: int = 1) -> Path:
    """Write a second of noise, over and over, with a second of silence at either end."""
    second = np.random.default_rng(0).uniform(-0.5, 0.5, (rate_hz, channels)).astype(np.float32)
    with soundfile.SoundFile(path, "w", rate_hz, channels, "PCM_16") as file:
        for k in range(seconds):
            file.write(second * (0 < k < seconds - 1))
    return path


# What is held of a clip, and what is said of it, block by block


@pytest.mark.parametrize("front_end", ["v1", "v2"])
def test_store_holds_a_clip_as_far_as_excerpts_reach(tmp_path, monkeypatch, front_end):
    path = write_noise(tmp_path / "a.wav", 10, 8_000)
    whole, silent = store.spectrogram(path, Features(front_end=FRONT_ENDS[front_end]))
    assert not silent
    assert len(whole) > 1_300
    monkeypatch.setattr(store, "MOST_FRAMES", 500)
    features = Features(front_end=FRONT_ENDS[front_end], excerpt_frames=100, clip_frames=700)
    np.testing.assert_array_equal(store.spectrogram(path, features)[0], whole[:700])
    monkeypatch.setattr(spectrogram, "WHOLE_S", 1)
    monkeypatch.setattr(audio, "HELD_SAMPLES", 0)
    in_pieces, _ = store.spectrogram(path, features)
    assert in_pieces.shape == (700, 128)
    np.testing.assert_allclose(in_pieces, whole[:700], rtol=0, atol=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_doctor_counts_clipping_alike_in_blocks_of_any_size(seed):
    rng = np.random.default_rng(seed)
    levels = np.array([-1, -0.9, -0.3, 0, 0.3, 0.05, 0.9, 0.99995, 1], np.float32)[rng.integers(0, 9)] * np.ones(1)
    wave = rng.choice(np.append(levels, [-0.7, 0.2, 0.7]), 400, p=[0.4, 0.2, 0.2, 0.2]).astype(np.float32)
    limit = min(float(wave.max()), examine.FULL_SCALE)
    runs = np.split(wave, np.flatnonzero(np.diff(wave >= limit)) + 1)
    expected = sum(len(run) for run in runs if run[0] >= limit and len(run) >= examine.RUN and limit >= examine.LOUD)
    for size in (1, 2, 3, 7, 400):
        side = examine._Side()
        for at in range(0, len(wave), size):
            side.add(wave[at : at + size])
        assert (side.clipped, side.peak) == (expected, max(float(wave.max()), 0)), size


def test_doctor_examines_a_long_recording_as_a_short_one(tmp_path, monkeypatch):
    second = np.clip(np.random.default_rng(0).uniform(-2, 2, (44_100, 2)) * [1, 0.4] + [0, 0.1], -1, 1)
    path = tmp_path / "a.flac"
    soundfile.write(path, np.concatenate([np.zeros((9_000, 2)), second, np.zeros((9_000, 2))]), 44_100)
    whole = examine.examine(path)
    assert (whole.channels, whole.rate_hz, whole.peak) == (2, 44_100, pytest.approx(1, abs=1e-4))
    assert whole.clipped > 0.01
    assert whole.offset == pytest.approx(0.1 * 44_100 / 62_100, abs=0.01)
    assert whole.kept_s == pytest.approx(1, abs=0.01)
    monkeypatch.setattr(audio, "HELD_SAMPLES", 0)
    monkeypatch.setattr(audio, "DECODE_FRAMES", 997)
    again = examine.examine(path)
    for name in ("patches", "snippets"):
        np.testing.assert_array_equal(getattr(again.fingerprint, name), getattr(whole.fingerprint, name))
    for name in ("scan", "peak", "clipped", "kept_s", "n_samples", "quiet", "truncated", "sound"):
        assert getattr(again, name) == getattr(whole, name), name
    assert again.offset == pytest.approx(whole.offset, rel=1e-12)


# Pictures


@pytest.mark.parametrize("n", [1, 5, 1_999, 2_000, 4_100, 10_007])
@pytest.mark.parametrize("piece", [1, 64, 3_001, 20_000])
def test_picture_columns_are_the_largest_values_in_pieces_of_any_size(n, piece):
    values = np.random.default_rng(n).uniform(-1, 1, (n, 2)).astype(np.float32)
    columns = ColumnMaxima(n)
    for at in range(0, n, piece):
        columns.add(values[at : at + piece])
    expected = [values[at : at + columns.step].max(axis=0) for at in range(0, n, columns.step)]
    np.testing.assert_array_equal(columns.largest, expected)
    assert len(expected) <= 4_000


@pytest.mark.parametrize("n_frames", [1, 384, 385, 3_000, 19_299, 76_800, 200_123, 3_600_000])
def test_windows_along_a_recording_leave_nothing_out(n_frames):
    windows = covering_windows(n_frames, length=384, overlap=4, most=200)
    assert windows.starts[0] == 0
    assert (np.diff(windows.starts) > 0).all()
    assert (np.diff(windows.starts) <= 384).all(), "between two windows something is unheard"
    assert windows.starts[-1] + 384 == max(n_frames, 384)
    assert len(windows.starts) <= max(200, n_frames / 384 + 2)

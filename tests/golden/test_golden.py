"""Our numbers against those of the original programs: SoX 14.4.2, librosa 0.11 and madmom.

Where SoX trims and the filters of version 2 lie beside this file. The spectrograms go with the audio they were made of,
which does not belong in this repository: both are looked for in the folder named by AUDIOTAG_SHARED, or in `shared`
beside the checkout, and what needs them is skipped without.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from audiotag.config.leaf import build
from audiotag.features import audio
from audiotag.features.spectrogram import LogFrontEnd
from tests.clips import FRONT_ENDS

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("AUDIOTAG_SHARED") or Path(__file__).resolve().parents[3] / "shared")
WAVES = SHARED / "golden" / "golden_spectrograms.npz"
CLIPS = SHARED / "data" / "fsdkaggle2018-mini"

needs_waves = pytest.mark.skipif(not WAVES.is_file(), reason=f"no {WAVES}: set AUDIOTAG_SHARED")
needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason=f"no {CLIPS}: set AUDIOTAG_SHARED")

with np.load(HERE / "v2_filters.npz") as numbers:
    FILTERS = dict(numbers)
with np.load(WAVES) if WAVES.is_file() else contextlib.nullcontext({}) as numbers:
    SPECTROGRAMS = {name: numbers[name] for name in numbers if not name.endswith("_wave")}
NAMES = ["0286fc27", "0356dec7", "06c48eab", "07db7f16", "125e6ccf", "1f81cc2b", "25f26095", "3a9085ca"]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On a busy machine threads that wait for each other take a hundred times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def clip_path(file_name: str) -> Path:
    [path] = CLIPS.glob(f"audio_*/{file_name}")
    return path


@needs_clips
def test_trim_keeps_what_sox_keeps_to_the_sample():
    expected = pd.read_csv(HERE / "sox_trim.csv").set_index("fname")[["sample_rate", "n_samples", "start", "n_kept"]]
    found = []
    for file_name in expected.index:
        wave, rate_hz = audio.decode(clip_path(file_name))
        trimmed = audio.trim(wave, rate_hz)
        assert not trimmed.silent, file_name
        assert trimmed.wave.shape == (trimmed.n_kept,)
        found.append((rate_hz, len(wave), trimmed.start, trimmed.n_kept))
    assert len(found) == 200
    pd.testing.assert_frame_equal(pd.DataFrame(found, expected.index, expected.columns), expected)


@needs_clips
def test_stream_trims_as_sox_does():
    expected = pd.read_csv(HERE / "sox_trim.csv").set_index("fname").n_kept
    for file_name in expected.index[::20]:
        streamed = audio.AudioStream(clip_path(file_name), block_s=0.7)
        n_samples = sum(map(len, streamed))
        assert abs(n_samples - expected[file_name] * 32_000 / 44_100) <= 1, file_name


@needs_waves
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("version", sorted(FRONT_ENDS))
def test_spectrograms_of_the_golden_waves_are_golden(version, name):
    with np.load(WAVES) as waves:
        wave = torch.from_numpy(waves[f"{name}_wave"])
    found = build(FRONT_ENDS[version], "front_end")(wave[None])[0].numpy()
    np.testing.assert_allclose(found, SPECTROGRAMS[f"{name}_{version}"], rtol=0, atol=1e-3)


@needs_waves
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("version", sorted(FRONT_ENDS))
def test_spectrograms_in_pieces_are_golden(version, name):
    with np.load(WAVES) as waves:
        wave = waves[f"{name}_wave"]
    found = torch.cat(list(build(FRONT_ENDS[version], "front_end").stream(np.array_split(wave, 7))), dim=1).numpy()
    np.testing.assert_allclose(found, SPECTROGRAMS[f"{name}_{version}"], rtol=0, atol=1e-3)


@needs_clips
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("version", sorted(FRONT_ENDS))
def test_spectrograms_straight_from_the_files_are_golden(version, name):
    """Decoding, trimming and resampling included: the golden waves are the first 1.5 s of what `load` gives."""
    wave = torch.from_numpy(audio.load(clip_path(f"{name}.flac")).wave[:48_000])
    found = build(FRONT_ENDS[version], "front_end")(wave[None])[0].numpy()
    np.testing.assert_allclose(found, SPECTROGRAMS[f"{name}_{version}"], rtol=0, atol=1e-3)


@needs_waves
@needs_clips
@pytest.mark.parametrize("name", NAMES)
def test_waves_straight_from_the_files_are_golden(name):
    with np.load(WAVES) as waves:
        expected = waves[f"{name}_wave"]
    found = audio.load(clip_path(f"{name}.flac")).wave[: len(expected)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_filter_bank_of_version_2_is_golden():
    v2 = LogFrontEnd()
    np.testing.assert_allclose(v2.filterbank.numpy().T, FILTERS["v2_filterbank"], rtol=0, atol=1e-7)


def test_filter_bank_centres_of_version_2_are_golden():
    """madmom leaves a filter's last bin out when it looks for the peak, so five of its centres are one bin low."""
    v2 = LogFrontEnd()
    peak_is_last = np.array([row.argmax() == np.flatnonzero(row)[-1] > np.flatnonzero(row)[0] for row in v2.filterbank])
    assert peak_is_last.sum() == 5
    np.testing.assert_array_equal(v2.center_hz - 31.25 * peak_is_last, FILTERS["v2_center_hz"])

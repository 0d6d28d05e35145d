"""Frames of sound that is still coming are those of the whole, sample by sample, whatever they are relative to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiotag.config import ReferenceLevel
from audiotag.config.leaf import build
from audiotag.errors import ConfigError
from audiotag.features.spectrogram import FourierFrontEnd, Framing, Level, LogFrontEnd, MelFrontEnd
from audiotag.features.streaming import MeasuredFrames, frame_stream, sine_level
from audiotag.features.trimming import PEAK
from tests.clips import FRONT_ENDS
from tests.unit.test_spectrogram import one_thread, sound

__all__ = ["one_thread"]  # a fixture of this module, too

BUILT: dict[str, FourierFrontEnd] = {name: build(leaf, "features.front_end") for name, leaf in FRONT_ENDS.items()}


@pytest.fixture(params=sorted(BUILT))
def front_end(request) -> FourierFrontEnd:
    return BUILT[request.param]


def level_of(front_end: FourierFrontEnd, wave: np.ndarray) -> Level:
    """Return the level of a whole wave."""
    framing = Framing(front_end)
    found = [front_end.measure(one) for one in (framing.push(wave), framing.finish()) if one is not None]
    peak, magnitude = (max(float(getattr(one, name).max()) for one in found) for name in ("peaks", "magnitudes"))
    return Level(peak, magnitude)


def blocks(wave: np.ndarray, lengths: list[int]) -> list[np.ndarray]:
    """Cut a wave into blocks of these lengths, again and again."""
    cut, at = [], 0
    while at < len(wave):
        length = lengths[len(cut) % len(lengths)]
        cut.append(wave[at : at + length])
        at += length
    return cut


def streamed(front_end: FourierFrontEnd, wave: np.ndarray, lengths: list[int], level: Level) -> np.ndarray:
    frames = MeasuredFrames(front_end, False, level)
    for block in blocks(wave, lengths):
        frames.push(block)
    frames.finish()
    return frames.window(0, frames.end)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(BUILT)),
    n_samples=st.one_of(st.sampled_from([1, 2, 512, 513, 514, 1_024, 1_025]), st.integers(1, 6_000)),
    lengths=st.lists(st.one_of(st.just(1), st.integers(1, 3_000)), min_size=1, max_size=8),
    seed=st.integers(0, 100),
)
def test_frames_of_a_stream_are_those_of_its_file(name, n_samples, lengths, seed):
    front_end, wave = BUILT[name], sound(n_samples, seed)
    whole = front_end(torch.from_numpy(wave)[None])[0]
    found = streamed(front_end, wave, lengths, level_of(front_end, wave))
    assert found.shape == (front_end.n_frames(n_samples), front_end.bands)
    np.testing.assert_allclose(found, whole.half().T.numpy(), rtol=0, atol=2e-3)  # a step of half precision at most
    segments = [front_end.measure(one) for one in _segments(front_end, wave, lengths)]
    lasting = torch.cat([one.lasting for one in segments], dim=1)
    related = front_end.relate(lasting, level_of(front_end, wave))
    torch.testing.assert_close(related, whole, rtol=0, atol=1e-5)


def _segments(front_end: FourierFrontEnd, wave: np.ndarray, lengths: list[int]) -> list[torch.Tensor]:
    framing = Framing(front_end)
    found = [framing.push(block) for block in blocks(wave, lengths)]
    return [one for one in [*found, framing.finish()] if one is not None]


@pytest.mark.parametrize("length", [1, 777])
def test_frames_of_a_stream_are_the_same_to_the_bit_whatever_the_blocks(front_end, length):
    wave = sound(5_000)
    level = Level(0.5, 100.0)
    whole = streamed(front_end, wave, [len(wave)], level)
    assert np.array_equal(streamed(front_end, wave, [length], level), whole)


def test_frames_come_as_soon_as_their_samples_are_there(front_end):
    frames = MeasuredFrames(front_end, False, ReferenceLevel())
    frames.push(sound(32_000))
    ahead = frames.end * front_end.hop_samples + front_end.n_fft  # of the next frame, before its padding
    padding = front_end.n_fft // 2 if isinstance(front_end, MelFrontEnd) else 0
    assert ahead - padding > 32_000
    assert ahead - padding - front_end.hop_samples <= 32_000


def test_windows_are_relative_to_the_level_that_is_asked_for(front_end):
    """Each is what the front end makes of a recording with that loudest moment."""
    wave = sound(64_000)
    wave[30_000:] *= 0.01
    begin, length = 250, 60
    for reference, since in (
        (ReferenceLevel(level="window", floor_dbfs=-200), begin),
        (ReferenceLevel(level="running", memory_s=1.0, floor_dbfs=-200), None),
        (ReferenceLevel(level="running", memory_s=100.0, floor_dbfs=-200), 0),
    ):
        frames = MeasuredFrames(front_end, False, reference)
        for block in np.split(wave, 100):
            frames.push(block)
        if since is None:
            since = begin + length - round(front_end.frames_per_second)
        peaks, magnitudes = frames._peaks[since : begin + length], frames._magnitudes[since : begin + length]
        level = Level(float(peaks.max()), float(magnitudes.max()))
        assert frames.level(begin, length) == level
        fixed = MeasuredFrames(front_end, False, level)
        fixed.push(wave)
        assert np.array_equal(frames.window(begin, length), fixed.window(begin, length))


def test_stream_of_a_run_that_trims_is_scaled_as_its_recordings_are(front_end):
    wave = sound(20_000)
    level = level_of(front_end, wave)
    scaled = wave * np.float32(PEAK / level.peak)
    expected = front_end(torch.from_numpy(scaled)[None])[0].half().T.numpy()
    frames = MeasuredFrames(front_end, True, level)
    frames.push(wave)
    frames.finish()
    np.testing.assert_allclose(frames.window(0, frames.end), expected, rtol=0, atol=5e-3)


def test_level_that_is_too_quiet_is_the_floor(front_end):
    faint = sound(20_000) * np.float32(1e-5)
    frames = MeasuredFrames(front_end, True, ReferenceLevel(floor_dbfs=-40))
    frames.push(faint)
    assert frames.level(0, 50) == sine_level(-40, front_end)
    silent = MeasuredFrames(front_end, True, ReferenceLevel(floor_dbfs=-200))
    silent.push(np.zeros(20_000, np.float32))
    assert np.isfinite(silent.window(0, 50)).all()


def test_sine_level_is_that_of_a_sine(front_end):
    sine = 0.1 * np.sin(2 * np.pi * 1_000 * np.arange(32_000) / 32_000)  # 32 periods in a frame
    found, expected = level_of(front_end, sine.astype(np.float32)), sine_level(-20, front_end)
    assert found.peak == pytest.approx(expected.peak, rel=1e-3)
    assert found.magnitude == pytest.approx(expected.magnitude, rel=0.02)


def test_frames_that_are_forgotten_are_held_no_more(front_end):
    frames = MeasuredFrames(front_end, True, ReferenceLevel(level="running", memory_s=2.0))
    sizes = []
    for block in np.split(sound(320_000), 200):
        frames.push(block)
        frames.forget(frames.end - 50)
        sizes.append((frames._lasting.shape[1] if frames._lasting is not None else 0, len(frames._peaks)))
        assert frames.window(frames.begin, frames.end - frames.begin).shape[1] == front_end.bands
    most = 2.0 * front_end.frames_per_second + 60
    assert max(size for size, _ in sizes) <= 60
    assert max(n for _, n in sizes) <= most
    assert sizes[-1] == sizes[-50]


class OwnFrontEnd:
    """A front end that is no FourierFrontEnd: energies of consecutive stretches of samples in one band."""

    sample_rate_hz, hop_samples, bands, revision = 32_000, 100, 1, 1
    center_hz = np.array([1_000.0])
    frames_per_second = 320.0

    def n_frames(self, n_samples: int) -> int:
        return max(0, 1 + (n_samples - 300) // self.hop_samples)

    def __call__(self, wave: torch.Tensor) -> torch.Tensor:
        return wave.unfold(-1, 300, 100).square().sum(dim=-1)[:, None]


def test_own_front_end_hears_each_window_by_itself():
    frames = frame_stream(OwnFrontEnd(), False, ReferenceLevel(level="window"))  # type: ignore[arg-type]
    wave = sound(10_000)
    for block in np.split(wave, 20):
        frames.push(block)
        frames.forget(frames.end - 20)
    begin, length = frames.end - 10, 10
    expected = OwnFrontEnd()(torch.from_numpy(wave[begin * 100 :])[None])[0, :, :length].half().T
    assert np.array_equal(frames.window(begin, length), expected.numpy())
    with pytest.raises(ConfigError, match=r"OwnFrontEnd: only a FourierFrontEnd .* set reference\.level=window"):
        frame_stream(OwnFrontEnd(), False, ReferenceLevel(level="running"))  # type: ignore[arg-type]


def test_level_of_a_stream_changes_v2_as_scaling_does():
    wave, front_end = sound(9_000), LogFrontEnd()
    quiet = streamed(front_end, wave, [1_000], Level(1.0, 1.0))
    loud = streamed(front_end, wave * np.float32(0.25), [1_000], Level(0.25, 1.0))
    np.testing.assert_allclose(quiet, loud, rtol=0, atol=2e-3)

"""The two front ends against other implementations of their definitions, in batches, and in pieces."""

import json
import resource
from collections.abc import Iterator
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch

from audiotag.config import Features
from audiotag.config.leaf import build
from audiotag.errors import AudiotagError
from audiotag.features import audio
from audiotag.features.spectrogram import (
    FourierFrontEnd,
    LogFrontEnd,
    MelFrontEnd,
    a_weighting_db,
    front_end_settings,
    mel_filterbank,
)
from tests.clips import FRONT_ENDS

LENGTHS = [1, 2, 320, 512, 513, 514, 1_024, 1_025, 1_536, 12_345]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On a busy machine threads that wait for each other take a hundred times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=sorted(FRONT_ENDS))
def front_end(request) -> FourierFrontEnd:
    return build(FRONT_ENDS[request.param], "features.front_end")


def sound(n_samples: int, seed: int = 0) -> np.ndarray:
    """Gliding tones over faint noise, with a loud moment near the end and a stretch of true silence."""
    generator = np.random.default_rng(seed)
    t = np.arange(n_samples) / 32_000
    wave = 0.2 * np.sin(2 * np.pi * (200 + 900 * t) * t) + 1e-3 * generator.standard_normal(n_samples)
    wave[n_samples // 3 : n_samples // 2] = 0
    wave[-n_samples // 5 : -n_samples // 6] *= 4
    return wave.astype(np.float32)


def batch(*waves: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(waves))


# Values


@pytest.mark.filterwarnings("ignore:n_fft=1024 is too large")  # librosa, on a wave shorter than a frame
@pytest.mark.parametrize("n_samples", [513, 1_000, 12_345, 64_000])
def test_v1_is_what_librosa_computes(n_samples):
    wave = sound(n_samples)
    frequencies = librosa.fft_frequencies(sr=32_000, n_fft=1024)
    power = np.abs(librosa.stft(wave, n_fft=1024, hop_length=192, window="hann", center=True, pad_mode="reflect")) ** 2
    with np.errstate(divide="ignore"):  # librosa's logarithm of 0 Hz
        weighted = librosa.perceptual_weighting(power, frequencies, ref=1.0, amin=1e-10, top_db=99.0)
    expected = librosa.feature.melspectrogram(S=weighted, sr=32_000, n_mels=128, fmax=None)
    np.testing.assert_allclose(MelFrontEnd()(batch(wave))[0], expected, rtol=0, atol=1e-4)


def v2_by_definition(wave: np.ndarray) -> np.ndarray:
    """Version 2 in double precision, a frame and a band at a time."""
    samples = wave.astype(np.float64) / np.abs(wave).max()
    samples = np.append(samples, np.zeros(1024))
    bins_hz = np.arange(512) * 31.25
    notes_hz = [440 * 2 ** (k / 26) for k in range(-200, 200)]
    corners = sorted({int(np.argmin(np.abs(bins_hz - f))) for f in notes_hz if 20 <= f <= 14_000})
    frames = []
    for begin in range(0, len(wave), 128):
        magnitude = np.abs(np.fft.rfft(samples[begin : begin + 1024] * np.hanning(1024)))
        frame = []
        for left, middle, right in zip(corners, corners[1:], corners[2:], strict=False):
            weights = [(k - left) / (middle - left) for k in range(left, middle)]
            weights += [(right - k) / (right - middle) for k in range(middle, right)]
            frame.append(np.log10(1 + np.dot(weights, magnitude[left:right]) / sum(weights)))
        frames.append(frame)
    return np.array(frames).T


@pytest.mark.parametrize("n_samples", [513, 1_000, 12_345, 12_800])
def test_v2_is_its_definition(n_samples):
    wave = sound(n_samples, seed=1)
    np.testing.assert_allclose(LogFrontEnd()(batch(wave))[0], v2_by_definition(wave), rtol=0, atol=1e-5)


def test_v2_does_not_depend_on_level_and_v1_does():
    wave = sound(20_000)
    v1, v2 = MelFrontEnd(), LogFrontEnd()
    torch.testing.assert_close(v2(batch(wave)), v2(batch(wave * 0.01)), rtol=0, atol=1e-5)
    assert (v1(batch(wave)) - v1(batch(wave * 0.1))).abs().max() > 0.1


def test_v2_filters_are_averages():
    torch.testing.assert_close(LogFrontEnd().filterbank.sum(dim=1), torch.ones(128))


def test_front_end_hears_a_tone_in_the_band_around_it(front_end):
    for tone_hz in (500.0, 2_000.0, 8_000.0):
        wave = np.sin(2 * np.pi * tone_hz * np.arange(32_000) / 32_000).astype(np.float32)
        spectrogram = front_end(batch(wave))[0]
        weight = front_end.filterbank.sum(dim=1, keepdim=True)  # v1's filters differ in sum
        loudest_hz = front_end.center_hz[(spectrogram / weight)[:, 50].argmax()]
        assert loudest_hz == pytest.approx(tone_hz, rel=0.05)


# Shapes and batches


@pytest.mark.parametrize("n_samples", [*LENGTHS, 191, 192, 193, 128 * 30, 128 * 30 + 1])
def test_front_end_knows_the_number_of_frames_beforehand(front_end, n_samples):
    spectrogram = front_end(torch.rand(2, n_samples))
    assert spectrogram.shape == (2, front_end.bands, front_end.n_frames(n_samples))
    assert spectrogram.dtype == torch.float32


def test_front_end_has_its_frames_per_second(front_end):
    ten_minutes = front_end.n_frames(600 * 32_000)
    assert ten_minutes == pytest.approx(600 * front_end.frames_per_second, abs=1)


def test_front_end_keeps_the_clips_of_a_batch_apart(front_end):
    waves = [sound(9_000), sound(9_000, seed=1) * 1e-3, np.zeros(9_000, np.float32), sound(9_000, seed=2) * 50]
    together = front_end(batch(*waves))
    for wave, spectrogram in zip(waves, together, strict=True):
        torch.testing.assert_close(spectrogram, front_end(batch(wave))[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_samples", [1, 320, 512])
def test_front_end_fills_a_short_wave_up_with_zeros(front_end, n_samples):
    wave = sound(n_samples) + 0.1
    filled = np.append(wave, np.zeros(front_end.min_samples - n_samples, np.float32))
    torch.testing.assert_close(front_end(batch(wave)), front_end(batch(filled)), rtol=0, atol=0)


@pytest.mark.parametrize("wave", [torch.zeros(1, 0), torch.zeros(1_000), torch.zeros(1, 1_000, dtype=torch.float64)])
def test_front_end_refuses_what_is_not_a_batch_of_waves(front_end, wave):
    with pytest.raises(AudiotagError, match="takes float32 waves"):
        front_end(wave)


@pytest.mark.parametrize(
    "wave",
    [
        np.zeros(5_000),
        np.ones(5_000),
        np.eye(1, 5_000, 2_000)[0],
        np.eye(1, 5_000, 2_000)[0] * 1e-38,
        np.sign(np.sin(np.arange(5_000) * 0.3)),
        np.random.default_rng(0).uniform(-(2.0**32), 2.0**32, 5_000),
    ],
    ids=["silence", "constant", "click", "faintest click", "square", "unscaled integers"],
)
def test_front_end_values_are_finite_and_fit_half_precision(front_end, wave):
    spectrogram = front_end(batch(wave.astype(np.float32)))
    assert spectrogram.half().isfinite().all()
    assert (spectrogram - spectrogram.half().float()).abs().max() < 5e-3


# Precision and devices


def test_front_end_is_not_changed_by_reduced_precision_around_it(front_end):
    wave = batch(sound(20_000))
    expected = front_end(wave)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = front_end(wave)
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_front_end_converted_to_half_precision_says_so(front_end):
    with pytest.raises(AudiotagError, match="float32 only"):
        front_end.to(torch.bfloat16)(torch.rand(1, 2_000))


def test_front_end_leaves_nothing_in_a_checkpoint(front_end):
    assert not front_end.state_dict()
    assert not list(front_end.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_front_end_gives_the_same_on_a_gpu(front_end):
    wave = batch(sound(40_000), sound(40_000, seed=1))
    expected = front_end(wave)
    found = front_end.cuda()(wave.cuda())
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-3)


# Settings and contract


def test_front_end_of_other_settings_has_their_shape():
    wave = batch(sound(16_000))
    for made in (
        MelFrontEnd(sample_rate_hz=16_000, bands=64, hop_samples=160, n_fft=512, fmin_hz=50.0, fmax_hz=7_000.0),
        LogFrontEnd(sample_rate_hz=16_000, bands_per_octave=12, n_fft=2048, fmax_hz=8_000.0),
    ):
        assert made(wave).shape == (1, made.bands, made.n_frames(16_000))
        assert len(made.center_hz) == made.bands
        assert made.frames_per_second == 16_000 / made.hop_samples
    assert MelFrontEnd(bands=64).bands == 64


def test_front_end_of_64_bands_is_what_librosa_computes():
    wave = sound(16_000)
    power = np.abs(librosa.stft(wave, n_fft=512, hop_length=160, pad_mode="reflect")) ** 2
    with np.errstate(divide="ignore"):
        frequencies = librosa.fft_frequencies(sr=16_000, n_fft=512)
        weighted = librosa.perceptual_weighting(power, frequencies, ref=1.0, amin=1e-10, top_db=80.0)
    expected = librosa.feature.melspectrogram(S=weighted, sr=16_000, n_mels=64)
    found = MelFrontEnd(sample_rate_hz=16_000, bands=64, hop_samples=160, n_fft=512, top_db=80.0)(batch(wave))[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MelFrontEnd(bands=500), "so many that some hold no bin"),
        (lambda: MelFrontEnd(fmax_hz=17_000.0), "must lie in order in 0 to 16000 Hz"),
        (lambda: LogFrontEnd(fmin_hz=200.0, fmax_hz=100.0), "must lie in order"),
        (lambda: LogFrontEnd(fmin_hz=200.0, fmax_hz=201.0), "no band between"),
    ],
)
@pytest.mark.filterwarnings("ignore:Empty filters")
def test_front_end_that_cannot_be_built_says_why(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_front_end_settings_can_be_written_down_and_tell_versions_apart():
    v1, v2 = (front_end_settings(Features(front_end=FRONT_ENDS[name])) for name in ("v1", "v2"))
    assert json.loads(json.dumps(v1)) == v1
    assert (v1["sample_rate_hz"], v1["bands"], v1["hop_samples"], v1["top_db"], v1["revision"]) == (
        32_000, 128, 192, 99.0, 2,
    )  # fmt: skip
    assert v1 != v2


# In pieces


def cut(wave: np.ndarray, block: int) -> list[np.ndarray]:
    return [wave[at : at + block] for at in range(0, len(wave), block)]


@pytest.mark.parametrize("n_samples", LENGTHS)
@pytest.mark.parametrize("block", [1, 191, 513, 5_000])
def test_spectrogram_in_pieces_is_the_whole_one(front_end, n_samples, block):
    wave = sound(n_samples, seed=3)
    whole = front_end(batch(wave))[0]
    pieces = list(front_end.stream(cut(wave, block)))
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=0, atol=1e-4)


def test_spectrogram_pieces_may_be_uneven_empty_and_tensors(front_end):
    wave = sound(10_000)
    blocks = [wave[:0], torch.from_numpy(wave[:3]), wave[3:3], wave[3:9_000], torch.from_numpy(wave[9_000:]), wave[:0]]
    found = torch.cat(list(front_end.stream(blocks)), dim=1)
    torch.testing.assert_close(found, front_end(batch(wave))[0], rtol=0, atol=1e-4)


def test_spectrogram_refuses_blocks_that_can_be_read_once(front_end):
    with pytest.raises(AudiotagError, match="twice"):
        list(front_end.stream(iter(cut(sound(3_000), 1_000))))


@pytest.mark.parametrize("blocks", [[], [np.zeros(0, np.float32)]])
def test_spectrogram_refuses_no_samples(front_end, blocks):
    with pytest.raises(AudiotagError, match="without samples"):
        list(front_end.stream(blocks))


@pytest.mark.parametrize("trim_silence", [True, False])
def test_spectrogram_of_blocks_of_a_file_is_that_of_the_file(front_end, tmp_path, trim_silence):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.concatenate([np.zeros(9_000), sound(150_000), np.zeros(30_000)]), 44_100)
    whole = front_end(torch.from_numpy(audio.load(path, trim_silence).wave)[None])[0]
    streamed = audio.AudioStream(path, trim_silence, block_s=0.37)
    found = torch.cat(list(front_end.stream(streamed)), dim=1)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-4)


class Repeated:
    """A long wave that is never in memory: one block, `times` over."""

    def __init__(self, block: np.ndarray, times: int) -> None:
        self.block, self.times = block, times

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.block for _ in range(self.times))


def test_spectrogram_pieces_of_a_long_wave_stay_small(front_end):
    sizes = [piece.shape[1] for piece in front_end.stream(Repeated(sound(32_000), 120))]
    assert sum(sizes) == front_end.n_frames(120 * 32_000)
    assert max(sizes) < 1.1 * front_end.frames_per_second


@pytest.mark.slow
def test_spectrogram_of_two_hours_takes_bounded_memory(front_end, tmp_path: Path):
    path = tmp_path / "long.wav"
    minute = np.concatenate([sound(22_050 * 59), np.zeros(22_050, np.float32)])
    with soundfile.SoundFile(path, "w", 22_050, 1, "PCM_16") as file:
        for _ in range(120):
            file.write(minute)

    def run(blocks) -> int:
        return sum(piece.shape[1] for piece in front_end.stream(blocks))

    run(Repeated(sound(320_000), 3))  # what torch itself takes
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    n_frames = run(audio.AudioStream(path, block_s=10))
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    assert n_frames == pytest.approx(7_199 * front_end.frames_per_second, rel=1e-3)
    assert grown_mib < 100  # the wave alone is 879 MiB, the spectrogram 590 or 880


def test_front_end_computes_by_one_thread_and_leaves_the_others_theirs(front_end, monkeypatch):
    """On a busy machine two threads took fifteen times as long."""
    used, prepared = [], front_end._prepared
    monkeypatch.setattr(front_end, "_prepared", lambda frames: used.append(torch.get_num_threads()) or prepared(frames))
    torch.set_num_threads(2)
    try:
        front_end(batch(sound(12_345)))
        between = [torch.get_num_threads() for _ in front_end.stream([sound(12_345)] * 3)]
        front_end.measure(batch(sound(12_345)))
        assert [torch.get_num_threads(), *set(between)] == [2, 2]
    finally:
        torch.set_num_threads(1)
    assert len(used) > 4
    assert set(used) == {1}


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 32_000, 44_100])
@pytest.mark.parametrize("n_fft", [512, 1000, 1024])
@pytest.mark.parametrize("fmin_hz", [0.0, 50.5, 1000.0, 1200.0])
@pytest.mark.parametrize("bands", [1, 40, 128])
@pytest.mark.filterwarnings("ignore:Empty filters")
def test_mel_filters_are_those_of_librosa(rate_hz, n_fft, fmin_hz, bands):
    for fmax_hz in (rate_hz / 2, 3600.5):
        bank, center_hz = mel_filterbank(bands, fmin_hz, fmax_hz, n_fft, rate_hz)
        expected = librosa.filters.mel(sr=rate_hz, n_fft=n_fft, n_mels=bands, fmin=fmin_hz, fmax=fmax_hz)
        assert np.array_equal(bank, expected)
        assert bank.dtype == expected.dtype
        assert np.array_equal(center_hz, librosa.mel_frequencies(n_mels=bands + 2, fmin=fmin_hz, fmax=fmax_hz)[1:-1])
    hz = librosa.fft_frequencies(sr=rate_hz, n_fft=n_fft)[1:]
    assert np.array_equal(a_weighting_db(hz), librosa.A_weighting(hz))

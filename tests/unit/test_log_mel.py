"""The front ends of public networks against other implementations, in batches, in pieces, live, and in the graph."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
import yaml

from audiotag.config.leaf import build
from audiotag.features.log_mel import KaldiFrontEnd, LogMelFrontEnd, kaldi_filterbank
from audiotag.features.spectrogram import Level
from tests.clips import TOP
from tests.unit.test_spectrogram import batch, cut, one_thread, sound
from tests.unit.test_streaming import level_of, streamed

__all__ = ["one_thread"]  # a fixture of this module, too

NAMES = ["panns", "efficientat", "ast"]
LEAVES = {name: yaml.safe_load((TOP / f"conf/features/{name}.yaml").read_text())["front_end"] for name in NAMES}
BUILT: dict[str, LogMelFrontEnd] = {name: build(leaf, "features.front_end") for name, leaf in LEAVES.items()}
LENGTHS = [1, 399, 400, 401, 513, 560, 1_024, 1_600, 12_345]
WHOLE_S = 33_111


@pytest.fixture(params=NAMES)
def front_end(request) -> LogMelFrontEnd:
    return BUILT[request.param]


def banks(bands: int, n_fft: int, rate_hz: int, fmin_hz: float, fmax_hz: float) -> torch.Tensor:
    from torchaudio.compliance.kaldi import get_mel_banks  # here: it is slow to import

    found, _ = get_mel_banks(bands, n_fft, float(rate_hz), fmin_hz, fmax_hz, 100.0, -500.0, 1.0)
    return torch.nn.functional.pad(found, (0, 1))


def test_panns_is_what_librosa_computes():
    wave = sound(WHOLE_S)
    power = np.abs(librosa.stft(wave, n_fft=1024, hop_length=320, pad_mode="reflect")) ** 2
    power = librosa.feature.melspectrogram(S=power, sr=32_000, n_mels=64, fmin=50, fmax=14_000)
    expected = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)
    np.testing.assert_allclose(BUILT["panns"](batch(wave))[0], expected, rtol=0, atol=2e-3)


def test_efficientat_is_its_definition_but_for_two_frames_at_either_end():
    """Its pre-emphasis comes before the wave is mirrored."""
    wave = torch.from_numpy(sound(WHOLE_S))
    emphasised = wave[1:] - 0.97 * wave[:-1]
    hann = torch.hann_window(800, periodic=False)
    spectrum = torch.stft(emphasised, 1024, 320, 800, hann, center=True, return_complex=True)
    powers = banks(128, 1024, 32_000, 0.0, 15_000.0) @ spectrum.abs().square()
    expected = ((powers + 1e-5).log() + 4.5) / 5
    found = BUILT["efficientat"](wave[None])[0]
    assert found.shape == expected.shape
    torch.testing.assert_close(found[:, 2:-2], expected[:, 2:-2], rtol=0, atol=5e-4)


def test_ast_is_what_torchaudio_computes():
    from torchaudio.compliance.kaldi import fbank

    wave = batch(sound(WHOLE_S))
    expected = fbank(wave, sample_frequency=16_000, window_type="hanning", num_mel_bins=128).T
    found = BUILT["ast"](wave)[0] * 2 * 4.5689974 - 4.2677393
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize(("bands", "n_fft", "rate_hz", "fmin_hz"), [(128, 512, 16_000, 20.0), (64, 1024, 32_000, 0.0)])
def test_kaldi_filters_are_those_of_torchaudio(bands, n_fft, rate_hz, fmin_hz):
    bank, center_hz = kaldi_filterbank(bands, fmin_hz, 7_600.0, n_fft, rate_hz)
    torch.testing.assert_close(
        torch.from_numpy(bank), banks(bands, n_fft, rate_hz, fmin_hz, 7_600.0), rtol=0, atol=5e-5
    )
    assert (np.diff(center_hz) > 0).all()
    assert fmin_hz < center_hz[0] < center_hz[-1] < 7_600


@pytest.mark.parametrize("n_samples", LENGTHS)
def test_front_end_knows_the_number_of_frames_beforehand(front_end, n_samples):
    assert front_end(torch.rand(2, n_samples)).shape == (2, front_end.bands, front_end.n_frames(n_samples))


def test_front_end_hears_a_tone_in_the_band_around_it(front_end):
    for tone_hz in (500.0, 2_000.0, 6_000.0):
        wave = np.sin(2 * np.pi * tone_hz * np.arange(32_000) / front_end.sample_rate_hz).astype(np.float32)
        loudest_hz = front_end.center_hz[front_end(batch(wave))[0, :, 50].argmax()]
        assert loudest_hz == pytest.approx(tone_hz, rel=0.05)


def test_front_end_keeps_the_clips_of_a_batch_apart(front_end):
    waves = [sound(9_000), sound(9_000, seed=1) * 1e-3, np.zeros(9_000, np.float32)]
    for wave, spectrogram in zip(waves, front_end(batch(*waves)), strict=True):
        torch.testing.assert_close(spectrogram, front_end(batch(wave))[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "wave", [np.zeros(5_000), np.ones(5_000), np.full(5_000, 2.0**32), np.eye(1, 5_000, 9)[0] * 1e-38]
)
def test_front_end_values_are_finite_and_fit_half_precision(front_end, wave):
    spectrogram = front_end(batch(wave.astype(np.float32)))
    assert spectrogram.half().isfinite().all()
    assert (spectrogram - spectrogram.half().float()).abs().max() < 0.04  # of 100 decibels; of the others 1e-3


@pytest.mark.parametrize("n_samples", LENGTHS)
@pytest.mark.parametrize("block", [1, 191, 5_000])
def test_spectrogram_in_pieces_and_live_is_the_whole_one(front_end, n_samples, block):
    wave = sound(n_samples, seed=3)
    whole = front_end(batch(wave))[0]
    blocks = cut(wave, block)
    torch.testing.assert_close(torch.cat(list(front_end.stream(blocks)), dim=1), whole, rtol=0, atol=1e-4)
    torch.testing.assert_close(torch.cat(list(front_end.stream(iter(blocks))), dim=1), whole, rtol=0, atol=1e-4)
    found = streamed(front_end, wave, [block], Level(1.0, 1.0))
    np.testing.assert_allclose(found, whole.half().T.numpy(), rtol=0, atol=0.07)  # a step of half precision at 100


def test_stream_of_a_run_that_trims_is_scaled_as_its_recordings_are(front_end):
    wave = sound(20_000)
    segment = level_of(front_end, wave)
    assert segment.peak == pytest.approx(np.abs(wave).max(), rel=1e-3), "that of the wave, before any emphasis"
    lasting = front_end.measure(torch.from_numpy(wave)[None]).lasting
    scaled = front_end.measure(torch.from_numpy(wave * np.float32(3))[None]).lasting
    level = Level(1.0, 1.0)
    torch.testing.assert_close(
        front_end.relate(lasting, level, 3.0), front_end.relate(scaled, level), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize(
    "front_end",
    [*BUILT.values(), LogMelFrontEnd(16_000, 200, 600, window_samples=401, bands=40, fmax_hz=None, preemphasis=0.9),
     KaldiFrontEnd(22_050, 220, 1024, 1024, bands=30, fmin_hz=50, mean=0.0, std=1.0)],
    ids=[*NAMES, "centred", "kaldi"],
)  # fmt: skip
def test_front_end_in_the_graph_makes_the_same_spectrogram(front_end):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from audiotag.export.front_ends import front_end_part
    from tests.unit.test_export_graph import run

    part = front_end_part(front_end, "p_")
    rng = np.random.default_rng(0)
    for n in (1, 400, 513, 20_000):
        waves = rng.standard_normal((2, n)).astype(np.float32) * 0.1
        waves[1, n // 4 : n // 2] = 0
        (made,) = run(part, {"wave": waves}, {"p_spectrogram": 3})
        expected = front_end(torch.from_numpy(waves)).half().float().numpy()
        assert made.shape == expected.shape
        np.testing.assert_allclose(made, expected, rtol=0, atol=0.07)
        assert np.abs(made - expected).mean() < 2e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"window_samples": 1025}, "window_samples=1025 is longer than n_fft=1024"), ({"fmax_hz": 17_000.0}, "in order")],
)
def test_front_end_that_cannot_be_built_says_why(settings, message):
    with pytest.raises(ValueError, match=message):
        LogMelFrontEnd(**settings)

"""Decoding, trimming, resampling, and reading in blocks."""

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiotag.features import audio
from audiotag.features.audio import AudioError

RATES_HZ = [8_000, 11_025, 32_000, 44_100, 96_000, 192_000]


def noise(n_samples: int, seed: int = 0, level: float = 0.3) -> np.ndarray:
    return (level * np.random.default_rng(seed).uniform(-1, 1, n_samples)).astype(np.float32)


def quiet_ends(
    rate_hz: int, seed: int, before_s: float = 0.1, loud_s: float = 0.2, after_s: float = 0.15
) -> np.ndarray:
    """Faint noise, a loud part that fades out, and faint noise again."""
    before, loud, after = (round(seconds * rate_hz) for seconds in (before_s, loud_s, after_s))
    wave = noise(before + loud + after, seed, level=1e-4)
    wave[before : before + loud] += noise(loud, seed + 1, level=0.5) * np.linspace(1, 0, loud, dtype=np.float32) ** 2
    return wave


def write(path: Path, wave: np.ndarray, rate_hz: int, **kwargs: str) -> Path:
    soundfile.write(path, wave, rate_hz, **kwargs)
    return path


# Decoding


def test_decode_keeps_float_values_beyond_full_scale(tmp_path):
    wave = noise(1000, level=7.0)
    decoded, rate_hz = audio.decode(write(tmp_path / "a.wav", wave, 22_050, subtype="FLOAT"))
    assert rate_hz == 22_050
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, wave)
    assert np.abs(decoded).max() > 6


@pytest.mark.parametrize("channels", [2, 5])
def test_decode_averages_channels(tmp_path, channels):
    frames = np.stack([noise(70_000, seed) for seed in range(channels)], axis=1)
    decoded, _ = audio.decode(write(tmp_path / "a.wav", frames, 44_100, subtype="FLOAT"))
    np.testing.assert_allclose(decoded, frames.astype(np.float64).mean(axis=1), atol=1e-7)


@pytest.mark.parametrize(
    ("suffix", "kwargs", "tolerance"),
    [
        ("wav", {"subtype": "PCM_16"}, 2**-15),
        ("wav", {"subtype": "PCM_24"}, 2**-23),
        ("wav", {"subtype": "PCM_U8"}, 2**-7),
        ("aiff", {}, 2**-15),
        ("flac", {}, 2**-15),
        ("ogg", {}, 0.15),
        ("mp3", {}, 0.15),
    ],
)
def test_decode_reads_what_libsndfile_reads(tmp_path, suffix, kwargs, tolerance):
    wave = (0.5 * np.sin(np.arange(150_000) * 0.05)).astype(np.float32)
    decoded, rate_hz = audio.decode(write(tmp_path / f"a.{suffix}", wave, 44_100, **kwargs))
    assert rate_hz == 44_100
    assert len(decoded) == len(wave)
    np.testing.assert_allclose(decoded, wave, atol=tolerance)


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
def test_decode_in_blocks_loses_nothing_between_them(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}", (0.5 * np.sin(np.arange(400_000) * 0.05)).astype(np.float32), 44_100)
    whole, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_array_equal(audio.decode(path)[0], whole)


def damaged_flac(path: Path) -> None:
    write(path, noise(100_000), 44_100)
    path.write_bytes(path.read_bytes()[:50_000])


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("missing.wav", lambda path: None, "no such file"),
        ("folder.wav", lambda path: path.mkdir(), "no such file"),
        ("empty.wav", lambda path: path.write_bytes(b""), "cannot be decoded"),
        ("text.wav", lambda path: path.write_text("hello, I am not audio"), "cannot be decoded"),
        ("headerless.raw", lambda path: path.write_bytes(bytes(100)), "cannot be decoded"),
        ("cut.flac", damaged_flac, "cannot be decoded"),
        ("zero_frames.wav", lambda path: write(path, np.zeros(0), 44_100), "no audio"),
        ("nan.wav", lambda path: write(path, np.array([0, np.nan, 0]), 44_100, subtype="FLOAT"), "not finite"),
        (
            "infinities.wav",
            lambda path: write(path, np.array([[np.inf, -np.inf]] * 9), 44_100, subtype="FLOAT"),
            "not finite",
        ),
        (
            "huge.wav",
            lambda path: write(path, np.array([0, 1e20, 0]), 44_100, subtype="FLOAT"),
            "not finite, or beyond",
        ),
        ("slow.wav", lambda path: write(path, noise(100), 5), "only 1000 to 1000000 Hz"),
        ("one_sample.wav", lambda path: write(path, noise(1), 192_000), "less than one sample"),
    ],
)
@pytest.mark.parametrize("use", [audio.load, lambda path: list(audio.AudioStream(path))], ids=["load", "stream"])
def test_decode_names_and_explains_unusable_files(tmp_path, name, make, says, use):
    path = tmp_path / name
    make(path)
    with pytest.raises(AudioError, match=says) as caught:
        use(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).count(". ") >= 1, "says what to do"


# Trimming


def kept_by_definition(wave: np.ndarray, rate_hz: int) -> tuple[int, int] | None:
    """The rule, a sample at a time: first and one past the last sample kept."""

    def lead(samples: np.ndarray) -> int | None:
        samples = samples.astype(np.float64) * (10 ** (-0.1 / 20) / np.abs(samples).max())
        window, hold = rate_hz // 50, math.floor(rate_hz * 0.025 + 0.5)
        run = 0
        for i in range(len(samples)):
            recent = samples[max(0, i - window + 1) : i + 1]
            run = run + 1 if math.sqrt(np.dot(recent, recent) / window) > 0.0015 else 0
            if run == hold:
                return i - hold + 1
        return None

    start = lead(wave)
    if start is None:
        return None
    tail = lead(wave[start:][::-1])
    return None if tail is None else (start, len(wave) - tail)


def bursts(rate_hz: int, seed: int) -> np.ndarray:
    """Near-silence with loud stretches of 0.5 to 50 ms: some too short to count, some long enough."""
    generator = np.random.default_rng(seed)
    wave = noise(round(0.2 * rate_hz), seed, level=generator.choice([0, 1e-4, 1e-3]))
    for _ in range(generator.integers(1, 4)):
        length = round(10 ** generator.uniform(-3.3, -1.3) * rate_hz)
        at = generator.integers(0, len(wave) - length)
        wave[at : at + length] += noise(length, seed + 100, level=10 ** generator.uniform(-3, 0))
    return wave


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("seed", range(6))
def test_trim_is_the_rule_applied_sample_by_sample(rate_hz, seed, monkeypatch):
    monkeypatch.setattr(audio, "DECODE_FRAMES", 997)  # so that windows and runs cross blocks
    wave = bursts(rate_hz, seed)
    expected = kept_by_definition(wave, rate_hz)
    trimmed = audio.trim(wave, rate_hz)
    assert trimmed.silent == (expected is None)
    assert (trimmed.start, trimmed.start + trimmed.n_kept) == (expected or (0, len(wave)))
    assert len(trimmed.wave) == trimmed.n_kept


def test_trim_cases_cover_all_outcomes():
    outcomes = [kept_by_definition(bursts(8_000, seed), 8_000) for seed in range(6)]
    assert None in outcomes
    assert any(outcome and outcome[0] > 0 for outcome in outcomes)
    assert any(outcome and outcome[1] < 1_600 for outcome in outcomes)


@pytest.mark.parametrize(
    ("rate_hz", "window", "hold"),
    [(8_000, 160, 200), (11_025, 220, 276), (44_100, 882, 1_103), (192_000, 3_840, 4_800)],
)
def test_trim_rounds_the_hold_time_half_up(rate_hz, window, hold):
    """A stretch of n loud samples makes n + window - 1 loud windows."""
    for n_loud, counts in [(hold - window, False), (hold - window + 1, True)]:
        wave = np.zeros(rate_hz, np.float32)
        wave[3_000 : 3_000 + n_loud] = 0.5
        wave[rate_hz // 2 :] = 0.5
        assert audio.trim(wave, rate_hz).start == (3_000 if counts else rate_hz // 2)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_trim_cuts_both_ends(rate_hz):
    wave = quiet_ends(rate_hz, seed=3)
    trimmed = audio.trim(wave, rate_hz)
    assert not trimmed.silent
    assert abs(trimmed.start - 0.1 * rate_hz) < 0.002 * rate_hz
    assert 0.15 * rate_hz < trimmed.n_kept < 0.22 * rate_hz
    assert trimmed.wave.dtype == np.float32
    assert np.abs(trimmed.wave).max() == pytest.approx(10 ** (-0.1 / 20), abs=1e-7)
    part = wave[trimmed.start : trimmed.start + trimmed.n_kept]
    np.testing.assert_allclose(trimmed.wave, part * (np.abs(trimmed.wave).max() / np.abs(part).max()), atol=1e-6)


def test_trim_scales_the_second_time_to_what_the_first_left():
    wave = np.zeros(44_100, np.float32)
    wave[1_000] = 1.0  # loud, but for the 20 ms of the window only: cut off
    wave[20_000:30_000] = np.where(np.arange(10_000) % 50 < 25, 0.1, -0.1)
    trimmed = audio.trim(wave, 44_100)
    assert (trimmed.start, trimmed.n_kept) == (20_000, 10_000)
    assert np.abs(trimmed.wave).max() == pytest.approx(10 ** (-0.1 / 20), abs=1e-7)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("level", [1e-30, 1.0, 3000.0])
def test_trim_keeps_a_wave_that_is_loud_throughout(rate_hz, level):
    for wave in (noise(rate_hz // 5, level=level), np.full(rate_hz // 5, -level, np.float32)):
        trimmed = audio.trim(wave, rate_hz)
        assert (trimmed.start, trimmed.n_kept, trimmed.silent) == (0, len(wave), False)
        assert np.abs(trimmed.wave).max() == pytest.approx(10 ** (-0.1 / 20), abs=1e-7)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("n_samples", [1, 2, 100, 159])
def test_trim_keeps_and_marks_what_is_too_short_to_judge(rate_hz, n_samples):
    wave = noise(n_samples)
    trimmed = audio.trim(wave, rate_hz)
    assert (trimmed.start, trimmed.n_kept, trimmed.silent) == (0, n_samples, True)
    assert np.abs(trimmed.wave).max() == pytest.approx(10 ** (-0.1 / 20), abs=1e-7)


def test_trim_leaves_silence_as_it_is():
    trimmed = audio.trim(np.zeros(50_000, np.float32), 44_100)
    assert (trimmed.start, trimmed.n_kept, trimmed.silent) == (0, 50_000, True)
    assert not trimmed.wave.any()


def test_trim_depends_on_neither_gain_nor_history():
    """Equal samples give equal results wherever they stand: nothing is lost in long running sums."""
    loud_first = np.concatenate([noise(3_000_000, 1, 1.0), noise(100_000, 2, 1e-3), np.zeros(50_000, np.float32)])
    trimmed = audio.trim(loud_first, 44_100)
    tail = np.concatenate([noise(3_000, 1, 1.0), noise(100_000, 2, 1e-3), np.zeros(50_000, np.float32)])
    short = audio.trim(tail, 44_100)
    assert len(loud_first) - trimmed.n_kept == len(tail) - short.n_kept


@pytest.mark.parametrize(
    "wave", [np.zeros(0, np.float32), np.zeros((10, 2), np.float32), np.array([0, np.nan], np.float32)]
)
def test_trim_refuses_what_is_not_a_wave(wave):
    with pytest.raises(AudioError, match="one dimension of finite samples"):
        audio.trim(wave, 44_100)


# Resampling and loading


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000, 192_000])
def test_resample_keeps_a_tone(rate_hz):
    tone = np.sin(2 * np.pi * 1_000 * np.arange(rate_hz) / rate_hz).astype(np.float32)
    resampled = audio.resample(tone, rate_hz)
    expected = np.sin(2 * np.pi * 1_000 * np.arange(32_000) / 32_000)
    assert resampled.dtype == np.float32
    assert len(resampled) == 32_000
    np.testing.assert_allclose(resampled[1_000:-1_000], expected[1_000:-1_000], atol=1e-4)


def test_resample_at_the_target_rate_changes_nothing():
    wave = noise(1000)
    np.testing.assert_array_equal(audio.resample(wave, audio.SAMPLE_RATE_HZ), wave)


def test_load_trims_resamples_and_remembers_the_file(tmp_path):
    wave = quiet_ends(44_100, seed=5)
    recording = audio.load(write(tmp_path / "a.wav", wave, 44_100, subtype="FLOAT"))
    trimmed = audio.trim(wave, 44_100)
    np.testing.assert_array_equal(recording.wave, audio.resample(trimmed.wave, 44_100))
    assert recording.duration_s == pytest.approx(0.45)
    assert recording.source_rate_hz == 44_100
    assert not recording.silent


def test_load_without_trimming_applies_no_gain(tmp_path):
    wave = quiet_ends(32_000, seed=5)
    recording = audio.load(write(tmp_path / "a.wav", wave, 32_000, subtype="FLOAT"), trim_silence=False)
    np.testing.assert_array_equal(recording.wave, wave)


@pytest.mark.parametrize("trim_silence", [True, False])
def test_load_marks_a_silent_file(tmp_path, trim_silence):
    path = write(tmp_path / "a.wav", np.zeros(44_100), 44_100)
    recording = audio.load(path, trim_silence)
    assert recording.silent
    assert audio.AudioStream(path, trim_silence).silent
    assert recording.wave.shape == (32_000,)
    assert not recording.wave.any()


def test_audio_settings_tell_trimmed_from_untrimmed():
    assert audio.settings(True) != audio.settings(False)
    assert audio.settings(True) == audio.settings()


# Reading in blocks


@pytest.fixture
def unheld(monkeypatch):
    """Recordings of any length are read anew in each pass, as long ones are."""
    monkeypatch.setattr(audio, "HELD_SAMPLES", 0)


def in_one_pass(path: Path, trim_silence: bool) -> tuple[np.ndarray, bool]:
    """What `load` gives, computed from the whole wave at once; and whether the recording is silent."""
    wave, rate_hz = audio.decode(path)
    trimmed = audio.trim(wave, rate_hz)
    kept, silent = (trimmed.wave, trimmed.silent) if trim_silence else (wave, not wave.any())
    return audio.resample(kept, rate_hz), silent


def assert_streams_like_load(path: Path, trim_silence: bool, block_s: float) -> audio.AudioStream:
    whole, silent = in_one_pass(path, trim_silence)
    streamed = audio.AudioStream(path, trim_silence, block_s)
    assert (streamed.n_samples, streamed.silent) == (len(whole), silent)
    for _ in range(2):
        blocks = list(streamed)
        assert {len(block) for block in blocks[:-1]} <= {round(block_s * 32_000)}
        wave = np.concatenate(blocks)
        assert wave.dtype == np.float32
        np.testing.assert_array_equal(wave, whole)
    np.testing.assert_array_equal(streamed.beginning(0.05), whole[:1_600])
    recording = audio.load(path, trim_silence)
    np.testing.assert_array_equal(recording.wave, whole)
    about = (recording.duration_s, recording.source_rate_hz, recording.silent)
    assert about == (streamed.duration_s, streamed.source_rate_hz, silent)
    return streamed


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("trim_silence", [True, False])
def test_stream_gives_the_bits_of_one_pass(tmp_path, monkeypatch, rate_hz, trim_silence, held):
    monkeypatch.setattr(audio, "HELD_SAMPLES", 1 << 22 if held else 0)
    wave = quiet_ends(rate_hz, seed=7, before_s=2.1, loud_s=3.3, after_s=1.7)
    path = write(tmp_path / "a.wav", wave, rate_hz, subtype="FLOAT")
    streamed = assert_streams_like_load(path, trim_silence, block_s=0.77)
    n_samples = sum(map(len, streamed))
    assert n_samples < 3.5 * 32_000 if trim_silence else n_samples > 7 * 32_000


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
def test_stream_gives_the_bits_of_one_pass_from_compressed_stereo(tmp_path, unheld, suffix):
    frames = np.stack([quiet_ends(44_100, seed, before_s=1.9, loud_s=2, after_s=2.3) for seed in (1, 2)], axis=1)
    assert_streams_like_load(write(tmp_path / f"a.{suffix}", frames, 44_100), True, block_s=10)


def test_stream_gives_the_bits_of_one_pass_where_the_peak_is_cut_off(tmp_path, unheld):
    wave = np.zeros(400_000, np.float32)
    wave[1_000] = 1.0
    wave[200_000:300_000] = noise(100_000, level=0.1)
    streamed = assert_streams_like_load(write(tmp_path / "a.wav", wave, 44_100), True, block_s=0.1)
    assert max(np.abs(block).max() for block in streamed) > 0.9


@pytest.mark.parametrize("n_samples", [2, 100, 2_000])
@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
def test_stream_gives_the_bits_of_one_pass_of_very_short_files(tmp_path, unheld, n_samples, rate_hz):
    assert_streams_like_load(write(tmp_path / "a.wav", noise(n_samples), rate_hz), True, block_s=1 / 32_000)


def test_stream_refuses_empty_blocks(tmp_path):
    with pytest.raises(AudioError, match="hold no sample"):
        audio.AudioStream(write(tmp_path / "a.wav", noise(1000), 8_000), block_s=0)


def write_long(path: Path, seconds: int, rate_hz: int) -> Path:
    """A second of silence, then noise until a second before the end."""
    second = np.random.default_rng(0).choice(np.array([-9_000, -7_000, 7_000, 9_000], np.int16), rate_hz)
    with soundfile.SoundFile(path, "w", rate_hz, 1, "PCM_16") as file:
        for k in range(seconds):
            file.write(second * (0 < k < seconds - 1))
    return path


def peak_memory_mb(path: Path) -> tuple[float, int]:
    tracemalloc.start()
    n_samples = sum(map(len, audio.AudioStream(path, block_s=5)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20, n_samples


@pytest.mark.parametrize("trim_silence", [True, False])
def test_stream_gives_the_bits_of_one_pass_of_silence(tmp_path, unheld, trim_silence):
    assert_streams_like_load(write(tmp_path / "a.wav", np.zeros(100_001), 44_100), trim_silence, block_s=0.3)


def test_stream_memory_does_not_grow_with_the_file(tmp_path, unheld):
    short, n_short = peak_memory_mb(write_long(tmp_path / "short.wav", 20, 44_100))
    long, n_long = peak_memory_mb(write_long(tmp_path / "long.wav", 200, 44_100))
    assert (n_short, n_long) == (18 * 32_000, 198 * 32_000)
    assert long < short + 0.5
    assert long < 12  # the wave alone is 24 MiB


@pytest.mark.slow
def test_stream_of_two_hours_takes_bounded_memory(tmp_path, unheld):
    peak, n_samples = peak_memory_mb(write_long(tmp_path / "long.wav", 7_200, 22_050))
    assert n_samples == 7_198 * 32_000
    assert peak < 12  # the wave alone is 879 MiB

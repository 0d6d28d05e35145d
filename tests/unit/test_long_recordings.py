"""Recordings of hours, of an instant, and at odd rates: bounded memory, and a result or a sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiotag import show
from audiotag.config import Features
from audiotag.data import store
from audiotag.data.manifest import build_manifest
from audiotag.data.scan import scan_files
from audiotag.doctor import __main__ as doctor
from audiotag.doctor import examine
from audiotag.errors import DataError
from audiotag.features import audio, spectrogram
from audiotag.inference.windows import along
from audiotag.plan import configure
from audiotag.plots.recording_plot import Columns
from tests.clips import TOP, make_folder

# Peak memory (MiB) of each thing that is done with a training clip, above what a short one takes.
MEASURE = """
import json, sys
from pathlib import Path
import torch
from audiotag.config import Features
from audiotag.doctor.examine import examine
from audiotag.data.scan import scan_files
from audiotag.data.store import spectrogram
from audiotag.features import audio
from audiotag.features import spectrogram as front_ends
from audiotag.inference import pictures
from audiotag.inference.recordings import Recording
torch.set_num_threads(1)

def peak_mib(work):
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    work()
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024

def draw(path):
    picture, _ = pictures.look_at(Recording(path.name, path, ()), Features(), None)
    pictures.draw_recording(picture).savefig("/dev/null", format="png")

short, long, folder = map(Path, sys.argv[1:4])
if sys.argv[4:]:  # what counts as long, in seconds
    front_ends.WHOLE_S = int(sys.argv[4])
    audio.HELD_SAMPLES = front_ends.WHOLE_S * audio.SAMPLE_RATE_HZ
things = {
    "scan": lambda path: scan_files([path], folder, 0),
    "store": lambda path: spectrogram(path, Features()),
    "doctor": examine,
    "show": draw,
}
print(json.dumps({name: [peak_mib(lambda: do(short)), peak_mib(lambda: do(long))] for name, do in things.items()}))
"""


def write_noise(path: Path, seconds: int, rate_hz: int, channels: int = 1) -> Path:
    """Write a second of noise, over and over, with a second of silence at either end."""
    second = np.random.default_rng(0).uniform(-0.5, 0.5, (rate_hz, channels)).astype(np.float32)
    with soundfile.SoundFile(path, "w", rate_hz, channels, "PCM_16") as file:
        for k in range(seconds):
            file.write(second * (0 < k < seconds - 1))
    return path


def peaks_mib(short: Path, long: Path, *more: str) -> dict[str, list[int]]:
    command = [sys.executable, "-c", MEASURE, str(short), str(long), str(short.parent / "cache"), *more]
    environment = os.environ | {"PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_memory_does_not_grow_with_a_recording(tmp_path):
    short, long = write_noise(tmp_path / "short.wav", 6, 96_000, 2), write_noise(tmp_path / "long.wav", 60, 96_000, 2)
    for name, (of_short, of_long) in peaks_mib(short, long, "2").items():
        assert of_long - of_short < 60, name  # decoded and computed whole: 69 to 165


@pytest.mark.slow
def test_hours_in_bounded_memory(tmp_path):
    """One hour of stereo, 606 MiB on the disk; and six hours of silence, 3 MiB."""
    short, hour = write_noise(tmp_path / "short.wav", 60, 44_100), write_noise(tmp_path / "hour.wav", 3_600, 44_100, 2)
    with soundfile.SoundFile(tmp_path / "six.flac", "w", 44_100, 1, "PCM_16") as file:
        for _ in range(360):
            file.write(np.zeros(60 * 44_100, np.int16))
    for long in (hour, tmp_path / "six.flac"):
        assert all(of_long < 1024 for _, of_long in peaks_mib(short, long).values())


# What is held of a clip, and what is said of it, block by block


@pytest.mark.parametrize("front_end", ["v1", "v2"])
def test_a_clip_is_held_as_far_as_excerpts_reach(tmp_path, monkeypatch, front_end):
    path = write_noise(tmp_path / "a.wav", 10, 8_000)
    whole, silent = store.spectrogram(path, Features(front_end=front_end))
    assert not silent
    assert len(whole) > 1_300
    monkeypatch.setattr(store, "MOST_FRAMES", 500)
    features = Features(front_end=front_end, excerpt_frames=100, clip_frames=700)
    np.testing.assert_array_equal(store.spectrogram(path, features)[0], whole[:700])
    monkeypatch.setattr(spectrogram, "WHOLE_S", 1)
    monkeypatch.setattr(audio, "HELD_SAMPLES", 0)
    in_pieces, _ = store.spectrogram(path, features)
    assert in_pieces.shape == (700, 128)
    np.testing.assert_allclose(in_pieces, whole[:700], rtol=0, atol=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_clipping_is_counted_alike_in_blocks_of_any_size(seed):
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


def test_a_long_recording_is_examined_as_a_short_one(tmp_path, monkeypatch):
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
    np.testing.assert_array_equal(again.patches, whole.patches)
    for name in ("scan", "peak", "clipped", "kept_s", "n_samples", "quiet", "truncated", "sound"):
        assert getattr(again, name) == getattr(whole, name), name
    assert again.offset == pytest.approx(whole.offset, rel=1e-12)


# Pictures


@pytest.mark.parametrize("n", [1, 5, 1_999, 2_000, 4_100, 10_007])
@pytest.mark.parametrize("piece", [1, 64, 3_001, 20_000])
def test_columns_are_the_largest_values_in_pieces_of_any_size(n, piece):
    values = np.random.default_rng(n).uniform(-1, 1, (n, 2)).astype(np.float32)
    columns = Columns(n)
    for at in range(0, n, piece):
        columns.add(values[at : at + piece])
    expected = [values[at : at + columns.step].max(axis=0) for at in range(0, n, columns.step)]
    np.testing.assert_array_equal(columns.largest, expected)
    assert len(expected) <= 4_000


@pytest.mark.parametrize("n_frames", [1, 384, 385, 3_000, 19_299, 76_800, 200_123, 3_600_000])
def test_windows_along_a_recording_leave_nothing_out(n_frames):
    windows = along(n_frames, length=384, overlap=4, most=200)
    assert windows.starts[0] == 0
    assert (np.diff(windows.starts) > 0).all()
    assert (np.diff(windows.starts) <= 384).all(), "between two windows something is unheard"
    assert windows.starts[-1] + 384 == max(n_frames, 384)
    assert len(windows.starts) <= max(200, n_frames / 384 + 2)


# An instant, and odd rates

ODD = {  # name: samples, channels, rate in Hz, what is said of it (None: it is used)
    "one.wav": (1, 1, 32_000, None),
    "one_384k.wav": (1, 1, 384_000, "less than one sample"),
    "instant_384k.wav": (20, 1, 384_000, None),
    "second_384k.wav": (384_000, 1, 384_000, None),
    "none.wav": (0, 1, 44_100, "zero samples"),
    "none_of_64.wav": (0, 64, 44_100, "zero samples"),
    "8_hz.wav": (100, 1, 8, "said to be 8 Hz"),
    "64_channels.wav": (30_000, 64, 44_100, None),
    "1000_channels.wav": (500, 1_000, 44_100, None),
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of ordinary clips, and the odd ones in its folder and table."""
    root = tmp_path_factory.mktemp("odd") / "set"
    make_folder(root)
    for name, (samples, channels, rate_hz, _) in ODD.items():
        wave = np.random.default_rng(len(name)).uniform(-0.5, 0.5, (samples, channels))
        soundfile.write(root / "audio_train" / name, wave, rate_hz)
    with open(root / "train.csv", "a", encoding="utf-8") as table:
        table.writelines(f"{name},Bark,0\n" for name in ODD)
    return root


def test_the_doctor_and_the_scan_on_odd_files(odd, tmp_path):
    settings = ["data=kaggle", f"data.root={odd}", f"cache_dir={tmp_path}", "hardware.workers=0"]
    found = doctor.diagnose(configure(settings)).findings
    errors = found[found["severity"] == "error"].set_index("clip_id")["what"]
    assert set(errors.index) == {name for name, (*_, said) in ODD.items() if said}
    assert all(said in errors[name] for name, (*_, said) in ODD.items() if said)
    paths = [odd / "audio_train" / name for name in ODD]
    for path, scan in scan_files(paths, tmp_path / "other", 0).items():
        samples, _, rate_hz, said = ODD[path.name]
        # That less than a sample is left at 32 kHz is found when the spectrogram is computed.
        assert scan.problem == "" or said in scan.problem
        assert scan.duration_s == (0 if scan.problem else samples / rate_hz)


def test_a_pipe_in_place_of_a_clip_is_not_waited_for(tmp_path):
    make_folder(tmp_path / "set", verified=5)
    pipe = tmp_path / "set" / "audio_train" / "bark00.wav"
    pipe.unlink()
    os.mkfifo(pipe)
    settings = ["data=kaggle", f"data.root={tmp_path / 'set'}", f"cache_dir={tmp_path}", "hardware.workers=0"]
    found = doctor.diagnose(configure(settings)).findings
    assert found["what"].tolist() == [f"{tmp_path}/set/train.csv:2: this is not a file"]
    with pytest.raises(DataError, match=r"train\.csv:2: audio_train/bark00\.wav: this is not a file"):
        build_manifest(configure(settings))


def test_pictures_of_odd_files(odd, tmp_path):
    with pytest.raises(DataError) as caught:
        show.main([*(str(odd / "audio_train" / name) for name in ODD), "--out", str(tmp_path)])
    refused = {name for name, (*_, said) in ODD.items() if said}
    assert len(caught.value.problems) == len(refused)
    for problem, name in zip(caught.value.problems, [name for name in ODD if name in refused], strict=True):
        assert ODD[name][3] in problem
        assert name in problem
    assert {path.name.removesuffix(".png") for path in tmp_path.iterdir()} == set(ODD) - refused

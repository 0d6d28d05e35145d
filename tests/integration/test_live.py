"""predict.py live=true on a real run: files, pipes and a device that is really recorded, shown and written down."""

from __future__ import annotations

import functools
import json
import os
import pty
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

import audiotag
from audiotag.cli.composition import compose_config
from audiotag.config import ReferenceLevel, TrainConfig
from audiotag.console import console
from audiotag.errors import AudiotagError
from audiotag.features.spectrogram import Level, front_end_of
from audiotag.features.trimming import PEAK
from tests.conftest import copy_to_change
from tests.integration.test_predict import sound
from tests.programs import run_program, started

ALSA = Path("/usr/share/alsa/alsa.conf")


pytestmark = pytest.mark.usefixtures("small_run", "in_work_folder")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sound(tmp_path_factory.mktemp("clips") / "clip.wav", 4.3, 44_100)


def asked(tagger: audiotag.Tagger, frames: np.ndarray) -> np.ndarray:
    """Return the mean posterior (C,) of both folds' networks about frames (T, F)."""
    x = torch.from_numpy(frames).float().T[None, None]
    with torch.inference_mode():
        return np.mean([tagger.network(fold)(x).softmax(dim=1)[0].numpy() for fold in (0, 1)], axis=0)


def windows_of(written: Path) -> pd.DataFrame:
    return pd.read_csv(written)


# In Python


@pytest.mark.parametrize("block", [333, 50_000])
def test_windows_are_those_of_the_files_frames(small_run, block):
    """With the level of a recording as reference, its frames, computed whole, give every window's posteriors."""
    tagger = audiotag.load(small_run, precision="32-true")
    front_end = front_end_of(audiotag.open_run(small_run).config.features)
    wave = np.random.default_rng(0).normal(scale=0.1, size=100_000).astype(np.float32)
    peak = float(np.abs(wave).max())
    scaled = torch.from_numpy(wave * np.float32(PEAK / peak))[None]  # as a run that trims hears a recording
    frames = front_end(scaled)[0].half().T.numpy()
    loudest = float(front_end._reference(scaled[0, None])) * peak / PEAK
    with tagger.live(32_000, window_frames=200, every_frames=50, reference=Level(peak, loudest)) as live:
        windows = list(live.over(np.split(wave, range(block, len(wave), block))))
    starts = [*range(0, len(frames) - 199, 50)]
    starts += [len(frames) - 200] if starts[-1] + 200 < len(frames) else []
    assert [round(window.begin_s * front_end.frames_per_second) for window in windows] == starts
    for window, start in zip(windows, starts, strict=True):
        assert window.end_s - window.begin_s == pytest.approx(200 / front_end.frames_per_second)
        expected = asked(tagger, frames[start : start + 200])
        np.testing.assert_allclose(window.posteriors, expected, rtol=0, atol=1e-4)


def test_blocks_make_no_difference(tagger):
    wave = np.random.default_rng(1).normal(scale=0.1, size=90_000)
    runs = [
        list(tagger.live(44_100, every_frames=40).over(np.split(wave, range(length, len(wave), length))))
        for length in (441, 30_000, len(wave))
    ]
    for other in runs[1:]:
        assert [window.begin_s for window in other] == [window.begin_s for window in runs[0]]
        for a, b in zip(other, runs[0], strict=True):
            np.testing.assert_allclose(a.posteriors, b.posteriors, rtol=0, atol=1e-6)


def test_short_and_empty_streams_end(tagger):
    (window,) = tagger.live(44_100).over([np.random.default_rng(0).normal(size=9_000) * 0.1])
    assert 0 == window.begin_s < window.end_s < 0.3
    assert list(tagger.live(44_100).over([])) == []
    assert list(tagger.live(44_100).over([np.zeros(0)])) == []
    live = tagger.live(44_100)
    live.push(np.zeros(9_000))
    assert len(live.finish()) == 1
    assert live.finish() == []


def test_windows_hold_no_sound_from_both_sides_of_a_gap(tagger):
    wave = np.random.default_rng(1).normal(scale=0.1, size=150_000)
    alone = list(tagger.live(32_000, every_frames=40).over([wave[80_000:]]))
    with tagger.live(32_000, every_frames=40) as live:
        live.push(wave[:60_000])
        live.restart(80_000 / 32_000)
        after = [*live.push(wave[80_000:]), *live.finish()]
    assert [window.begin_s for window in after] == pytest.approx([window.begin_s + 2.5 for window in alone])
    for a, b in zip(after, alone, strict=True):
        np.testing.assert_array_equal(a.posteriors, b.posteriors)


def test_stream_that_is_late_gives_the_newest_window_alone(tagger):
    wave = np.random.default_rng(1).normal(scale=0.1, size=150_000)
    every = list(tagger.live(32_000, every_frames=20).push(wave))
    live = tagger.live(32_000, every_frames=20)
    (newest,) = live.push(wave, newest=True)
    assert live.skipped == len(every) - 1
    assert newest.begin_s == every[-1].begin_s
    np.testing.assert_allclose(newest.posteriors, every[-1].posteriors, rtol=0, atol=1e-6)


def test_members_with_other_front_ends_hear_the_same_moments(small_run, tmp_path):
    other = copy_to_change(small_run, tmp_path / "v2")
    config = OmegaConf.load(other / "config.yaml")
    config.features = compose_config(TrainConfig, ["experiment=smoke", "features=v2"]).features
    OmegaConf.save(config, other / "config.yaml")
    wave = np.random.default_rng(1).normal(scale=0.1, size=120_000)
    reference = ReferenceLevel(level="fixed")

    def heard(runs: list[Path], window_frames: int, every_frames: int) -> list[audiotag.Window]:
        live = audiotag.load(runs).live(32_000, window_frames, every_frames, reference)
        return list(live.over(np.split(wave, 10)))

    both, v1, v2 = heard([small_run, other], 192, 48), heard([small_run], 192, 48), heard([other], 288, 72)
    assert len(both) == len(v1)
    for k in range(len(both) - 1):
        assert (v2[k].begin_s, v2[k].end_s) == pytest.approx((both[k].begin_s, both[k].end_s))
        np.testing.assert_allclose(both[k].posteriors, (v1[k].posteriors + v2[k].posteriors) / 2, rtol=0, atol=1e-6)


def test_windows_too_short_for_a_network_are_refused(tagger):
    with pytest.raises(AudiotagError, match=r"window_frames: small@\d needs windows of \d+ frames or more, not 20"):
        tagger.live(32_000, window_frames=20)
    with pytest.raises(ValueError, match="must be 1 or more"):
        tagger.live(32_000, every_frames=0)
    with pytest.raises(ValueError, match="is not between"):
        tagger.live(5)


# The program


def from_file(path: Path) -> None:
    """Let standard input of this process be a file's bytes."""
    sys.stdin = open(path)  # noqa: SIM115 - as long as the process


def live(folder: Path, *arguments: str, before: Callable[[], None] | None = None) -> tuple[int, str]:
    return run_program(
        "predict.py", ["run=small", "live=true", "hardware.threads=1", *arguments], folder, before=before
    )


def test_file_as_fast_as_it_goes(tagger, work_folder, clip, tmp_path):
    out = tmp_path / "x.csv"
    code, printed = live(work_folder, f"source={clip}", "speed=max", "every_frames=30", "top=3", f"out={out}")
    assert code == 0, printed
    wave, rate_hz = soundfile.read(clip)
    expected = list(tagger.live(rate_hz, every_frames=30).over([wave]))
    written = windows_of(out)
    assert list(written["begin_s"]) == pytest.approx([window.begin_s for window in expected], abs=1e-6)
    assert list(written["label_1"]) == [window.label for window in expected]
    assert list(written["probability_1"]) == pytest.approx([w.posteriors.max() for w in expected], abs=2e-6)
    assert written.shape[1] == 3 + 2 * 3
    lines = [line for line in printed.splitlines() if " to " in line]
    assert len(lines) == len(expected)
    assert "Heard: 4.3 s of clip.wav in" in printed
    assert "dropped" not in printed


def test_pipe_is_heard_as_its_file(work_folder, clip, tmp_path):
    wave, rate_hz = soundfile.read(clip, dtype="int16")
    (tmp_path / "raw").write_bytes(wave.tobytes())
    common = ("every_frames=30",)
    sources = {
        "file": (None, [f"source={clip}", "speed=max"]),
        "wav": (clip, ["source=-"]),
        "raw": (tmp_path / "raw", ["source=-", f"pcm.rate_hz={rate_hz}"]),
    }
    heard = {}
    for name, (pipe, arguments) in sources.items():
        before = None if pipe is None else functools.partial(from_file, pipe)
        code, printed = live(work_folder, *common, *arguments, f"out={tmp_path}/{name}.jsonl", before=before)
        assert code == 0, printed
        heard[name] = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
    assert len(heard["file"]) > 10
    for name in ("wav", "raw"):
        assert [row["begin_s"] for row in heard[name]] == [row["begin_s"] for row in heard["file"]]
        for row, other in zip(heard[name], heard["file"], strict=True):
            assert [one["label"] for one in row["labels"]] == [one["label"] for one in other["labels"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_stream_leaves_whole_lines(work_folder, clip, tmp_path, number):
    out = tmp_path / "x.csv"
    arguments = ["run=small", "live=true", f"source={clip}", "every_frames=5", f"out={out}", "hardware.threads=1"]
    with started("predict.py", arguments, work_folder) as (process, screen):
        deadline = time.monotonic() + 120
        while process.is_alive() and time.monotonic() < deadline:
            if out.is_file() and out.read_bytes().count(b"\n") > 5:
                break
            time.sleep(0.01)
        assert process.pid is not None
        os.kill(process.pid, number)
        process.join(60)
        assert process.exitcode == (0 if number == signal.SIGINT else -number), screen()
        if number == signal.SIGINT:
            assert "Latency beyond the window: 50 % below" in screen()
            assert "leaked" not in screen()
    assert out.read_bytes().endswith(b"\n")
    written = windows_of(out)
    assert len(written) >= 5
    assert written["end_s"].iloc[-1] < 4
    assert not written.isna().any().any()


def in_terminal(terminal: str) -> None:
    """Let this process work at a terminal, as a person's does."""
    for stream in (0, 1, 2):
        os.dup2(os.open(terminal, os.O_RDWR), stream)
    os.environ |= {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "30"}
    console.is_interactive = True  # made where this process comes from, which has no terminal


def test_terminal_shows_spectrogram_bars_level_and_latency(work_folder, clip):
    mine, theirs = pty.openpty()
    arguments = ["run=small", "live=true", f"source={clip}", "hardware.threads=1", "top=4"]
    shown = b""
    with started("predict.py", arguments, work_folder, functools.partial(in_terminal, os.ttyname(theirs))) as (job, _):
        while job.is_alive() or select.select([mine], [], [], 0)[0]:
            if select.select([mine], [], [], 0.05)[0]:
                shown += os.read(mine, 1 << 16)
        assert job.exitcode == 0
    os.close(theirs)
    os.close(mine)
    text = shown.decode()
    assert all(words in text for words in ("█", "latency", "dropped 0.00 s", "dBFS", "Latency beyond the window"))
    assert "\x1b[1A" in text  # one picture in place of the other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["source={folder}"], "is a folder: name a file in it"),
        (["source=/nowhere.wav"], "there is no such file"),
        (["source={clip}", "out={folder}/mine.csv"], "was not written by this command"),
        (["source={clip}", "top=100"], "knows 8 classes only"),
        (["source={clip}", "run=nope"], "nope is not a run folder"),
        (["source={clip}", "window_frames=30"], "needs windows of"),
    ],
)
def test_bad_sources_are_refused(clip, arguments, message):
    (clip.parent / "mine.csv").write_text("mine\n")
    given = [text.format(clip=clip, folder=clip.parent) for text in arguments]
    with pytest.raises(AudiotagError, match=message):
        audiotag.predict(["run=small", "live=true", *given])


# The microphone


def test_microphone_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)  # as where it is not installed
    with pytest.raises(AudiotagError, match=r"sounddevice is not installed: pip install -e '\.\[live\]'"):
        audiotag.predict(["run=small", "live=true", "source=mic"])


def test_microphone_without_portaudio_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")  # as it does then
    with pytest.raises(AudiotagError, match=r"PortAudio library not found: install it .*libportaudio2"):
        audiotag.predict(["run=small", "live=true", "source=mic"])


@pytest.fixture
def device(tmp_path, monkeypatch) -> Path:
    """A microphone of ALSA that records a file over and over, faster than sound: what it is given is too much."""
    pytest.importorskip("sounddevice", exc_type=(ImportError, OSError))  # type: ignore[arg-type]
    if not ALSA.is_file():
        pytest.skip("there is no ALSA here")
    samples = (8_000 * np.sin(np.arange(64_000) * 0.1)).astype("<i2")
    samples.tofile(tmp_path / "mic.raw")
    (tmp_path / "asound.conf").write_text(
        f"""
        pcm.recorded {{
            type file
            slave.pcm "null"
            file "/dev/null"
            infile "{tmp_path}/mic.raw"
            format "raw"
        }}
        pcm.!default {{ type plug slave {{ pcm "recorded" format S16_LE rate 32000 channels 1 }} }}
        """
    )
    return tmp_path / "asound.conf"


def test_device_that_gives_too_much_is_heard_and_what_is_late_is_dropped(work_folder, tmp_path, device):
    out = tmp_path / "x.csv"
    arguments = ["run=small", "live=true", "source=mic", "every_frames=10", f"out={out}", "hardware.threads=1"]
    with started("predict.py", arguments, work_folder, ALSA_CONFIG_PATH=f"{ALSA}:{device}") as (process, screen):
        deadline = time.monotonic() + 120
        while process.is_alive() and time.monotonic() < deadline:
            if out.is_file() and out.read_bytes().count(b"\n") > 5:
                break
            time.sleep(0.01)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        process.join(60)
        assert process.exitcode == 0, screen()
        assert "Too slow to hear all" in screen()
        assert "s dropped" in screen()
    written = windows_of(out)
    assert written["dropped_s"].sum() > 0
    assert (written["end_s"].diff().iloc[1:] > 0).all()
    assert (written["end_s"] - written["begin_s"]).round(4).nunique() == 1


def test_machine_without_a_microphone_says_so(work_folder, device, tmp_path):
    device.write_text("")  # nothing but what the machine has
    code, printed = live(work_folder, "source=mic", "device=no such thing")
    text = " ".join(printed.split())
    assert code == 2
    assert "source=mic: there is no microphone here" in text or "cannot be heard" in text


@pytest.mark.slow
def test_hour_is_heard_in_memory_that_does_not_grow(work_folder, tmp_path):
    """What the process holds after the first minute is what it holds at the end."""
    path = tmp_path / "hour.wav"
    minute = 0.1 * np.random.default_rng(0).normal(size=60 * 16_000)
    with soundfile.SoundFile(path, "w", 16_000, 1, "PCM_16") as file:
        for _ in range(60):
            file.write(minute)
    out, sizes = tmp_path / "x.csv", []
    arguments = ["run=small", "live=true", f"source={path}", "speed=max", "every_frames=100", f"out={out}"]
    with started("predict.py", [*arguments, "hardware.threads=1"], work_folder) as (process, screen):
        while process.is_alive():
            status = Path(f"/proc/{process.pid}/status")
            if out.is_file() and out.read_bytes().count(b"\n") > 100 and status.is_file():
                found = [line for line in status.read_text().splitlines() if line.startswith("VmRSS")]
                sizes += [int(line.split()[1]) / 1024 for line in found]
            time.sleep(0.2)
        assert process.exitcode == 0, screen()
    assert len(windows_of(out)) == pytest.approx(6_000, rel=0.01)
    assert max(sizes) - min(sizes[: len(sizes) // 10 + 1]) < 30, sizes

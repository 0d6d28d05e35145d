"""The parts of listening live that need no network: pipes, what waits, what is shown, and what is written down."""

from __future__ import annotations

import csv
import io
import json
import struct
import wave as wave_files
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from rich.console import Console

from audiotag.config import Pcm
from audiotag.errors import AudiotagError
from audiotag.inference.window import Window
from audiotag.live.feed import Feed, capture, in_step
from audiotag.live.pcm import PcmReader
from audiotag.live.view import Meter, Scene, Scroll, Smoothed, spectrogram_text
from audiotag.live.writer import Writer

SOUND = np.sin(np.arange(4_000) * 0.05) * np.linspace(0.1, 0.9, 4_000)


def bytewise(data: bytes, at_once: int = 7) -> Callable[[int], bytes]:
    """Return what reads bytes as a pipe gives them, a few at a time."""
    stream = io.BytesIO(data)
    return lambda size: stream.read(min(size, at_once))


def heard(data: bytes, at_once: int = 1_000, **settings: object) -> tuple[np.ndarray, int]:
    reader = PcmReader(bytewise(data, at_once), Pcm(**settings))  # type: ignore[arg-type]
    return np.concatenate([np.zeros(0), *reader.blocks()]), reader.sample_rate_hz


def wav(subtype: str, channels: int = 1, file_format: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.stack([SOUND] * channels, axis=1), 22_050, subtype, format=file_format)
    return file.getvalue()


# Pipes


@pytest.mark.parametrize("at_once", [1, 7, 100_000])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("file_format", ["WAV", "WAVEX"])
def test_wav_of_a_pipe_is_what_soundfile_reads(subtype, file_format, at_once):
    data = wav(subtype, 2, file_format)
    expected, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32")
    found, found_hz = heard(data, at_once)
    assert found_hz == rate_hz
    np.testing.assert_array_equal(found, expected[:, 0])


def test_wav_that_does_not_know_its_length_is_heard_to_the_end():
    data = bytearray(wav("PCM_16"))
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)
    assert len(heard(bytes(data))[0]) == len(SOUND)


def test_wav_is_not_heard_beyond_its_samples():
    assert len(heard(wav("PCM_16") + b"LIST" + bytes(2_000))[0]) == len(SOUND)


@pytest.mark.parametrize(("encoding", "kind"), [("s16", "<i2"), ("f32", "<f4")])
def test_raw_samples_are_heard_as_they_are_said_to_be(encoding, kind):
    scale = 2**15 if encoding == "s16" else 1
    left = (SOUND * scale).astype(kind)
    data = np.stack((left, np.zeros_like(left)), axis=1).tobytes() + b"x"  # a broken last sample
    found, rate_hz = heard(data, 13, rate_hz=16_000, channels=2, encoding=encoding)
    assert rate_hz == 16_000
    np.testing.assert_allclose(found, left / scale / 2, atol=1e-7)


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        (b"", {}, "nothing comes on standard input"),
        (bytes(100), {}, r"standard input is no WAV: .* pcm\.rate_hz=HZ"),
        (wav("PCM_16"), {"rate_hz": 8_000}, r"leave pcm\.\* away"),
        (wav("PCM_16")[:30], {}, "ends within the header"),
        (wav("ALAW"), {}, "WAV of format 6 with 8 bits"),
        (wav("PCM_16")[:12] + b"junk" + struct.pack("<I", 2**31) + bytes(100), {}, "a header of 2,147,483,648 bytes"),
        (np.full(8, np.nan, "<f4").tobytes(), {"rate_hz": 8_000, "encoding": "f32"}, "samples that are no audio"),
    ],
)
def test_pipes_that_cannot_be_heard_are_refused(data, settings, message):
    with pytest.raises(AudiotagError, match=message):
        heard(data, **settings)


def test_wave_module_of_python_can_be_heard():
    file = io.BytesIO()
    with wave_files.open(file, "wb") as written:
        written.setparams((1, 2, 8_000, 0, "NONE", "not compressed"))
        written.writeframes((SOUND * 32_000).astype("<i2").tobytes())
    assert len(heard(file.getvalue())[0]) == len(SOUND)


# What waits


def test_feed_is_bounded_and_drops_the_oldest():
    feed = Feed(1_000, held_s=0.5)
    for k in range(50):
        feed.put(np.full(100, k, np.float32))
        assert feed._n_waiting <= 500
    feed.end()
    (block,) = feed
    assert (block.begin, len(block.wave)) == (4_500, 500)
    assert block.wave.tolist() == np.repeat(np.arange(45, 50), 100).tolist()


def test_block_longer_than_what_may_wait_loses_its_beginning():
    feed = Feed(1_000, held_s=0.5)
    feed.put(np.arange(2_000, dtype=np.float32))
    feed.end()
    (block,) = feed
    assert (block.begin, block.wave[0], len(block.wave)) == (1_500, 1_500, 500)


def test_feed_drops_with_a_loss_what_waits_before_it():
    feed = Feed(1_000)
    feed.put(np.zeros(100, np.float32))
    feed.lose(30)
    feed.put(np.ones(10, np.float32))
    feed.end()
    (block,) = feed
    assert (block.begin, block.wave.tolist()) == (130, [1.0] * 10)


def test_feed_loses_nothing_where_the_one_who_hears_is_fast():
    blocks = [np.full(10, k, np.float32) for k in range(100)]
    feed = Feed(1_000, held_s=10)
    capture(blocks, feed, None).join()
    found = list(feed)
    assert np.array_equal(np.concatenate([block.wave for block in found]), np.concatenate(blocks))
    assert found[0].begin == 0


def test_sound_comes_no_faster_than_it_would_sound():
    feed = Feed(1_000, held_s=10)
    thread = capture([np.zeros(50, np.float32)] * 4, feed, 1_000)
    arrivals = [(block.begin + len(block.wave), block.arrived_s) for block in feed]
    thread.join()
    assert arrivals[-1][0] == 200
    first_n, first_s = arrivals[0]
    assert arrivals[-1][1] - first_s >= (200 - first_n) / 1_000 - 0.06


def test_error_of_who_captures_is_raised_where_it_is_heard():
    def blocks():
        yield np.zeros(10, np.float32)
        raise AudiotagError("the cable is out")

    feed = Feed(1_000)
    capture(blocks(), feed, None).join()
    with pytest.raises(AudiotagError, match="the cable is out"):
        list(feed)


def test_capture_ends_when_it_is_told_to():
    feed = Feed(1_000)

    def blocks():
        while True:
            yield np.zeros(100, np.float32)

    thread = capture(blocks(), feed, 1_000)
    next(iter(feed))
    feed.stopped = True
    thread.join(30)
    assert not thread.is_alive()


def test_device_that_gives_nothing_is_an_error(monkeypatch):
    monkeypatch.setattr("audiotag.live.feed.PATIENCE_S", 0.1)
    with pytest.raises(AudiotagError, match="is the device still connected"):
        list(Feed(1_000, waits=False))


def test_blocks_in_step_are_taken_one_by_one():
    taken = []

    def blocks():
        for k in range(3):
            taken.append(k)
            yield np.zeros(10 * k, np.float32)

    found = in_step(blocks())
    assert next(found).begin == 0
    assert taken == [0]
    assert [block.begin for block in found] == [0, 10]


# What is shown


def scene(n_frames: int = 400) -> Scene:
    scroll, meter = Scroll(frames_per_second=166.7), Meter()
    generator = np.random.default_rng(0)
    for _ in range(n_frames // 10):
        scroll.add(generator.normal(size=(10, 128)).astype(np.float16))
    meter.add(np.full(100, 0.5, np.float32))
    shown = Scene(["Bark", "a very long label " * 5, "Œ" * 10], 2, scroll, meter, status="12.0 s, latency 3 ms, " * 4)
    shown.posteriors = np.array([0.2, 0.7, 0.1])
    return shown


@pytest.mark.parametrize("width", [20, 40, 79, 200])
@pytest.mark.parametrize("height", [8, 24, 60])
@pytest.mark.parametrize("colour", [True, False])
def test_view_fits_the_terminal(width, height, colour):
    console = Console(width=width, height=height, force_terminal=True, color_system="truecolor", file=io.StringIO())
    lines = console.render_lines(scene().draw(width, height, colour), pad=False)
    assert all(sum(segment.cell_length for segment in line) <= width for line in lines)
    text = "\n".join("".join(segment.text for segment in line) for line in lines)
    assert "Level" in text
    assert "-6 dBFS" in text or width < 24
    assert text.index("a very") < text.index("Bark")
    assert len(lines) <= max(height, 12)
    assert Scene(["a", "b"], 2, Scroll(100), Meter()).draw(width, height, colour).plain.count("listening") == 1


def test_spectrogram_runs_from_left_to_right_with_high_bands_above():
    scroll = Scroll(frames_per_second=100)
    scroll.add(np.zeros((50, 128), np.float16))
    frames = np.zeros((50, 128), np.float16)
    frames[25:, 100:] = 1
    scroll.add(frames)
    picture = scroll.picture(10, 32)
    assert picture.shape == (32, 10)
    assert picture[:6, -4:].min() == 1
    assert picture[8:].max() == picture[:, :4].max() == 0
    assert spectrogram_text(picture, colour=False).plain.splitlines()[0].endswith("█")


def test_bars_forget_what_was_heard():
    smoothed = Smoothed(1.0)
    assert smoothed.add(np.array([1.0, 0.0]), 0.0).tolist() == [1, 0]
    assert smoothed.add(np.array([0.0, 1.0]), 1.0)[0] == pytest.approx(np.exp(-1))
    assert Smoothed(0).add(np.array([0.5, 0.5]), 9.0).tolist() == [0.5, 0.5]


def test_meter_shows_decibels_of_full_scale():
    meter = Meter()
    meter.add(np.zeros(100, np.float32))
    assert meter.peak_dbfs == meter.rms_dbfs == -96
    meter.add(np.sin(np.arange(48_000) * 0.1).astype(np.float32))
    assert (meter.peak_dbfs, meter.rms_dbfs) == (pytest.approx(0, abs=0.01), pytest.approx(-3.01, abs=0.01))


# What is written down


WINDOWS = [
    Window(0.0, 1.0, np.array([0.25, 0.75]), ['a,\n"b"', "c"]),
    Window(0.5, 1.5, np.array([0.6, 0.4]), ["d", "c"]),
]


def test_lines_are_written_as_windows_come(tmp_path):
    for name in ("x.csv", "x.jsonl"):
        writer = Writer(tmp_path / name, 2)
        writer.add(WINDOWS[:1], 0.25)
        first = (tmp_path / name).read_text(encoding="utf-8")
        writer.add(WINDOWS[1:], 0.0)
        writer.close()
        assert first.endswith("\n")
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(first)
    rows = list(csv.DictReader((tmp_path / "x.csv").open(newline="")))
    assert [row["label_2"] for row in rows] == ['a,\n"b"', "c"]
    assert [float(row["dropped_s"]) for row in rows] == [0.25, 0]
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert lines[0] == {
        "begin_s": 0.0,
        "end_s": 1.0,
        "dropped_s": 0.25,
        "labels": [{"label": "c", "probability": 0.75}, {"label": 'a,\n"b"', "probability": 0.25}],
    }

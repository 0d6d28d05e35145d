"""Peak memory of what is done with recordings of hours, each measured in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.programs import run_program

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
    picture, _ = pictures.picture_of(Recording(path.name, path, ()), Features(), None)
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
    arguments = [str(short), str(long), str(short.parent / "cache"), *more]
    code, output = run_program(f"-c {MEASURE}", arguments, short.parent, within_s=900)
    assert code == 0, output
    return json.loads(output.splitlines()[-1])


def test_memory_does_not_grow_with_a_recording(tmp_path):
    short, long = write_noise(tmp_path / "short.wav", 6, 96_000, 2), write_noise(tmp_path / "long.wav", 60, 96_000, 2)
    for name, (of_short, of_long) in peaks_mib(short, long, "2").items():
        assert of_long - of_short < 60, name  # decoded and computed whole: 69 to 165


@pytest.mark.slow
def test_memory_for_hours_is_bounded(tmp_path):
    """One hour of stereo, 606 MiB on the disk; and six hours of silence, 3 MiB."""
    short, hour = write_noise(tmp_path / "short.wav", 60, 44_100), write_noise(tmp_path / "hour.wav", 3_600, 44_100, 2)
    with soundfile.SoundFile(tmp_path / "six.flac", "w", 44_100, 1, "PCM_16") as file:
        for _ in range(360):
            file.write(np.zeros(60 * 44_100, np.int16))
    for long in (hour, tmp_path / "six.flac"):
        # Above what a minute takes: what libraries map when they are imported is several hundred MiB, and not ours.
        grown = {name: of_long - of_short for name, (of_short, of_long) in peaks_mib(short, long).items()}
        assert all(mib < 256 for mib in grown.values()), grown

"""The data doctor's fingerprints: copies of a sound are found among others, and nothing else is."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr

from audiotag.doctor import fingerprint
from audiotag.doctor.fingerprint import RATE_HZ, SAME, candidates, prepared, similarity
from audiotag.evaluation.lengths import length_table
from audiotag.features.audio import resample, trim
from tests.clips import TUNE_RATE_HZ, tune

RATE = TUNE_RATE_HZ


def encoded(wave: np.ndarray, form: str, subtype: str) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, wave, RATE, format=form, subtype=subtype)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


COPIES = {
    "6 dB softer": lambda wave: wave * 10 ** (-6 / 20),
    "16 bit after a gain": lambda wave: np.round(wave * 0.3 * 32767) / 32767,
    "0.1 s cut off the end": lambda wave: wave[: -RATE // 10],
    "0.1 s cut off the beginning": lambda wave: wave[RATE // 10 :],
    "silence around it": lambda wave: np.pad(wave, (RATE // 3, RATE // 7)),
    "resampled to 22.05 kHz and back": lambda wave: soxr.resample(soxr.resample(wave, RATE, RATE / 2), RATE / 2, RATE),
    "upside down": lambda wave: -wave,
    "MP3": lambda wave: encoded(wave, "MP3", "MPEG_LAYER_III"),
    "Ogg Vorbis": lambda wave: encoded(wave, "OGG", "VORBIS"),
}


def compared(wave: np.ndarray) -> np.ndarray:
    """What is compared of a wave at 44.1 kHz."""
    return prepared(resample(trim(wave, RATE).wave, RATE, RATE_HZ))


@pytest.fixture(scope="module")
def originals() -> list[np.ndarray]:
    return [compared(tune(100 + seed)) for seed in range(8)]


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES.keys())
def test_fingerprints_find_copies_among_other_sounds(originals, copy):
    copies = [compared(np.asarray(copy(tune(100 + seed)), np.float32)) for seed in range(3)]
    pairs = candidates([fingerprint.fingerprint(wave) for wave in [*originals, *copies]])
    for i, wave in enumerate(copies):
        assert (i, len(originals) + i) in pairs
        assert similarity(originals[i], wave) > SAME


def test_fingerprints_of_other_sounds_differ(originals):
    """Noisy tones of other heights, and the same tones in another order: alike in the mean, not in time."""
    found = [similarity(a, b) for i, a in enumerate(originals) for b in originals[:i]]
    assert max(found) < SAME / 2
    wave = tune(100)
    swapped = np.concatenate([wave[len(wave) // 2 :], wave[: len(wave) // 2]])
    assert similarity(compared(wave), compared(swapped)) > SAME, "half of it is the very same sound"
    assert similarity(compared(wave), compared(wave[::-1].copy())) < SAME / 2


def test_fingerprints_of_nothing_and_of_silence_have_no_candidates(originals):
    assert candidates([]) == []
    silent = fingerprint.fingerprint(np.zeros(16_000, np.float32))
    assert len(silent.patches) == len(silent.snippets) == 0
    assert candidates([fingerprint.fingerprint(originals[0]), silent]) == []


def test_copies_are_found_among_many_recordings_too(monkeypatch):
    """More patches than are compared with all: only those around the same centres are."""
    rng = np.random.default_rng(0)
    sounds = [prepared(rng.normal(0, 0.1, 8000).astype(np.float32) * np.hanning(8000)) for _ in range(300)]
    described = [
        fingerprint.fingerprint(wave.astype(np.float32)) for wave in (*sounds, *(0.5 * s for s in sounds[:40]))
    ]
    everything = candidates(described)
    assert {(i, 300 + i) for i in range(40)} <= set(everything)
    monkeypatch.setattr(fingerprint, "COMPARED_WITH_ALL", 256)
    few = candidates(described, block=7)
    assert {(i, 300 + i) for i in range(40)} <= set(few) <= set(everything)


def test_length_table_by_hand():
    clips = pd.DataFrame(
        [("a", "train", True, 1.0), ("b", "train", True, 3.0), ("c", "test", False, 2.0)],
        columns=["path", "split", "verified", "duration_s"],
    )
    table = length_table(clips)
    assert table[["part", "clips", "shortest", "median", "longest", "sum"]].values.tolist() == [
        ["train, verified", 2, 1.0, 2.0, 3.0, 4.0], ["test", 1, 2.0, 2.0, 2.0, 2.0]
    ]  # fmt: skip

"""The embedded data set: procedural sounds in the layout of the Kaggle challenge, a known part of the labels wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from scipy.io import wavfile
from scipy.signal import fftconvolve

from audiotag.data.sources.synthetic_sounds import SOUNDS, Rng, Wave, band_noise, log_uniform
from audiotag.errors import AudiotagError
from audiotag.files import FileLock, write_csv, write_json
from audiotag.randomness import generator, key

VERSION = 1  # one more whenever the same seed gives other sounds or other tables
RATES_HZ = (16_000, 22_050, 32_000, 44_100, 48_000)
FORMATS = {"wav16": 0.4, "flac": 0.45, "float": 0.15}


@dataclass(frozen=True)
class SyntheticSettings:
    """What the embedded data set holds. The same settings give the same bytes.

    Raises AudiotagError where numbers do not fit together.
    """

    seed: int = 0
    """Another seed gives other sounds, other file names and other wrong labels."""
    classes: int = 10
    """How many kinds of sound, taken in the order of `SOUNDS`."""
    verified_per_class: int = 24
    """Training clips of each class whose label is always right."""
    unverified_per_class: int = 48
    """Training clips of each class, some of them under a wrong label."""
    test_per_class: int = 12
    """Test clips of each class: a quarter Public, the others Private."""
    wrong_share: float = 0.3
    """Share of the unverified clips of every class, and under every label, that carry a wrong label."""
    mixed_share: float = 0.15
    """Share of the unverified clips that hold a second class for part of their length; a third of it elsewhere."""
    shortest_s: float = 0.3
    """Length of the shortest clip, seconds."""
    longest_s: float = 8.0
    """Length of the longest clip, seconds."""
    version: int = VERSION
    """Version of the sounds; only the current one can be made."""

    def __post_init__(self) -> None:
        counts = (self.verified_per_class, self.unverified_per_class, self.test_per_class)
        checks = {
            f"classes must be 2 to {len(SOUNDS)}": 2 <= self.classes <= len(SOUNDS),
            "clips per class must not be negative": min(counts) >= 0,
            "there must be training clips": self.verified_per_class + self.unverified_per_class > 0,
            "wrong_share must be 0 to 1": 0 <= self.wrong_share <= 1,
            "mixed_share must be 0 to 1": 0 <= self.mixed_share <= 1,
            "lengths must satisfy 0.1 <= shortest_s <= longest_s": 0.1 <= self.shortest_s <= self.longest_s,
            f"version must be {VERSION}: this release makes no other sounds": self.version == VERSION,
        }
        broken = [rule for rule, kept in checks.items() if not kept]
        if broken:
            raise AudiotagError(f"The synthetic data set cannot be made: {'; '.join(broken)}. Got {self}.")


@dataclass(frozen=True)
class _Clip:
    folder: str
    index: int
    truth: str
    label: str
    second: str | None = None
    verified: int = 0
    usage: str = ""


def _count(share: float, clips: int) -> int:
    return round(share * clips)


def _unverified(settings: SyntheticSettings, rng: Rng) -> Iterator[tuple[str, str, str | None]]:
    """Yield (truth, label, second class) so that every class loses, and every label gains, the same number of clips."""
    ring = list(rng.permutation(list(SOUNDS)[: settings.classes]))
    wrong = _count(settings.wrong_share, settings.unverified_per_class)
    mixed = _count(settings.mixed_share, settings.unverified_per_class)
    # Half of the mixtures are labelled with what is only their second sound: the commonest fault of real labels.
    audible = min(wrong, (mixed + 1) // 2)
    for i in range(settings.unverified_per_class):
        shift = 1 + i % (settings.classes - 1)
        for at, truth in enumerate(ring):
            other = str(ring[(at + shift) % settings.classes])
            second = other if i < audible or wrong <= i < wrong + mixed - audible else None
            yield str(truth), other if i < wrong else str(truth), second


def _plan(settings: SyntheticSettings) -> list[_Clip]:
    rng = generator("synthetic", "plan", settings.version, settings.seed)
    names = list(SOUNDS)[: settings.classes]
    rows: list[_Clip] = []
    for folder, per_class in (("audio_train", settings.verified_per_class), ("audio_test", settings.test_per_class)):
        for i in range(per_class):
            for at, name in enumerate(names):
                is_mixed = i < _count(settings.mixed_share / 3, per_class)
                second = names[(at + int(rng.integers(1, len(names)))) % len(names)] if is_mixed else None
                usage = "Public" if i % 4 == 0 else "Private"
                rows.append(_Clip(folder, len(rows), name, name, second, int(folder == "audio_train"), usage))
    for truth, label, second in _unverified(settings, rng):
        rows.append(_Clip("audio_train", len(rows), truth, label, second))
    return rows


def _body(rng: Rng, clip: _Clip, n: int, rate: int) -> Wave:
    """One sound, or two one after the other, with a room and a background; peak 1."""

    def sound(name: str, samples: int) -> Wave:
        wave = SOUNDS[name](rng, samples, rate)
        fade = min(samples // 8, int(0.005 * rate))
        wave[:fade] *= np.linspace(0, 1, fade)
        wave[-fade:] *= np.linspace(1, 0, fade)
        return wave / (np.abs(wave).max() + 1e-9)

    if clip.second is None:
        wave = sound(clip.truth, n)
    else:
        short = int(n * rng.uniform(0.25, 0.45))
        parts = [sound(clip.truth, n - short), 10 ** (rng.uniform(-6, 2) / 20) * sound(clip.second, short)]
        wave = np.concatenate(parts if rng.uniform() < 0.5 else parts[::-1])
    if rng.uniform() < 0.4:
        tail = int(rng.uniform(0.05, 0.4) * rate)
        echo = rng.standard_normal(tail) * np.exp(-5 * np.arange(tail) / tail)
        wave = wave + rng.uniform(0.1, 0.5) * fftconvolve(wave, echo / np.linalg.norm(echo))[:n]
    hiss = band_noise(rng, n, rate, 40, 0.45 * rate, rng.uniform(0, 1))
    wave = wave / np.abs(wave).max() + 10 ** (rng.uniform(-60, -22) / 20) * hiss
    return wave / np.abs(wave).max()


def _render(settings: SyntheticSettings, clip: _Clip) -> tuple[Wave, int, str]:
    """Return samples of shape [n, channels], sample rate in Hz, and format; keyed by seed and index alone."""
    rng = generator("synthetic", "clip", settings.version, settings.seed, clip.index)
    rate, form = int(rng.choice(RATES_HZ)), str(rng.choice(list(FORMATS), p=list(FORMATS.values())))
    n = int(rate * log_uniform(rng, settings.shortest_s, settings.longest_s))
    head, tail = (int(n * rng.uniform(0.02, 0.2)) if rng.uniform() < 0.7 else 0 for _ in range(2))
    wave = np.zeros(n)
    wave[head : n - tail] = _body(rng, clip, n - head - tail, rate)
    if rng.uniform() < 0.5:  # margins of recording noise, well under what trimming takes for sound
        wave += 10 ** (rng.uniform(-80, -66) / 20) * rng.standard_normal(n)
    wave *= 10 ** (rng.uniform(-30, -0.5) / 20) / np.abs(wave).max()
    if rng.uniform() < 0.25:  # a source a little to one side: weaker, later by up to 0.5 ms
        other = np.roll(wave, int(rng.uniform(0, 0.0005) * rate)) * rng.uniform(0.5, 1.0)
        return np.stack([wave, other], axis=1), rate, form
    return wave[:, None], rate, form


def _write(root: Path, settings: SyntheticSettings, clip: _Clip) -> tuple[str, _Clip]:
    wave, rate, form = _render(settings, clip)
    # An odd multiplier permutes the 32-bit numbers: names are distinct and say nothing about class or order.
    number = (clip.index * 2_654_435_761 + key("synthetic", "name", settings.seed)) % 2**32
    name = f"{number:08x}.{'flac' if form == 'flac' else 'wav'}"
    path = root / clip.folder / name
    if form == "float":  # through scipy: libsndfile would write the time of day into a float file's PEAK chunk
        wavfile.write(path, rate, wave.astype(np.float32))
    else:
        soundfile.write(path, np.round(wave * 32767).astype(np.int16), rate, subtype="PCM_16")
    return name, clip


def make(root: Path, settings: SyntheticSettings, progress: Callable[[int], object] | None = None) -> Path:
    """Make the data set in `root` unless it is there, and return `root`.

    Written beside `root` and renamed when whole, so a process killed half-way leaves nothing that looks finished; a
    second process waits for the first. `progress` is called with the number of clips just written.

    Raises AudiotagError where `root` holds anything else, a set of other settings, or a set that has lost clips.
    """
    asked, root = root, root.resolve()  # a link stays a link: what it points to is filled
    if _is_there(root, settings):
        return asked
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_name(f".{root.name}.lock")):
        if _is_there(root, settings):  # made by another process while this one waited
            return asked
        partial = root.with_name(f".{root.name}.partial")
        if partial.exists():  # left by a process that was killed: the lock says that it runs no longer
            shutil.rmtree(partial)
        for folder in ("audio_train", "audio_test"):
            (partial / folder).mkdir(parents=True)
        _fill(partial, settings, progress)
        if root.exists():
            root.rmdir()  # empty, or _is_there would have refused it
        partial.rename(root)
    return asked


def _fill(root: Path, settings: SyntheticSettings, progress: Callable[[int], object] | None) -> None:
    named: list[tuple[str, _Clip]] = []
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for written in pool.map(lambda clip: _write(root, settings, clip), _plan(settings)):
            named.append(written)
            if progress is not None:
                progress(1)
    named.sort()
    train = [(name, clip) for name, clip in named if clip.folder == "audio_train"]
    test = [(name, clip) for name, clip in named if clip.folder == "audio_test"]
    table = pd.DataFrame([(name, clip.label, clip.verified) for name, clip in train])
    write_csv(root / "train.csv", table.set_axis(["fname", "label", "manually_verified"], axis=1))
    table = pd.DataFrame([(name, clip.label, clip.usage) for name, clip in test], columns=["fname", "label", "usage"])
    write_csv(root / "test_post_competition.csv", table)
    write_csv(root / "truth.csv", pd.DataFrame([(n, c.truth) for n, c in train + test], columns=["fname", "label"]))
    write_json(root / "synthetic.json", {**dataclasses.asdict(settings), "clips": len(named)})


def _is_there(root: Path, settings: SyntheticSettings) -> bool:
    """Say whether `root` holds this very data set; False where there is nothing at all."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    note = root / "synthetic.json"
    if not note.is_file():
        raise AudiotagError(f"{root} holds something else, not the synthetic data set. Choose another folder.")
    made = json.loads(note.read_text(encoding="utf-8"))
    asked = dataclasses.asdict(settings)
    other = [
        f"{name} is {made.get(name)} there, {asked[name]} asked" for name in asked if made.get(name) != asked[name]
    ]
    advice = "Remove the folder to have it made again, or choose another one."
    if other:
        raise AudiotagError(f"The synthetic data set in {root} has other settings: {'; '.join(other)}. {advice}")
    found = sum(1 for folder in ("audio_train", "audio_test") for _ in (root / folder).glob("*.*"))
    if found != made["clips"]:
        raise AudiotagError(f"The synthetic data set in {root} has {found} of its {made['clips']} clips. {advice}")
    return True

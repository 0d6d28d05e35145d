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

from audiotag.config import Data
from audiotag.console import progress
from audiotag.data.sources.kaggle import Kaggle
from audiotag.data.sources.synthetic_sounds import SOUNDS, Rng, Wave, band_noise, log_uniform
from audiotag.data.tables import read_labels
from audiotag.errors import AudiotagError
from audiotag.files import FileLock, write_csv, write_json
from audiotag.randomness import generator, key

VERSION = 1  # one more whenever the same seed gives other sounds or other tables
RATES_HZ = (16_000, 22_050, 32_000, 44_100, 48_000)
FORMATS = {"wav16": 0.4, "flac": 0.45, "float": 0.15}


@dataclass(frozen=True)
class SyntheticSettings:
    """What the embedded data set holds (see `audiotag.config.data.Synthetic`). The same settings give the same bytes.

    `test_per_class`: a quarter is Public, the others Private. `wrong_share` is that of every class, and under every
    label. Of clips that are not unverified, a third of `mixed_share` holds a second class. Lengths are in seconds.
    """

    seed: int = 0
    classes: int = 10
    verified_per_class: int = 24
    unverified_per_class: int = 48
    test_per_class: int = 12
    wrong_share: float = 0.3
    mixed_share: float = 0.15
    shortest_s: float = 0.3
    longest_s: float = 8.0
    version: int = VERSION


class Synthetic(Kaggle):
    """Procedural sounds, made on first use below `cache_dir`, or in `data.root`: `data.synthetic` says which."""

    def root(self, data: Data, cache_dir: Path) -> Path:
        """Return the folder of these sounds."""
        made_in = cache_dir.absolute() / f"synthetic-{key(str(data.synthetic)):016x}"
        return made_in if data.root is None else super().root(data, cache_dir)

    def prepares(self, data: Data) -> bool:
        """Return True."""
        return True

    def prepare(self, root: Path, data: Data) -> None:
        """Make the sounds, unless they are there."""
        settings = SyntheticSettings(**vars(data.synthetic))
        clips_per_class = settings.verified_per_class + settings.unverified_per_class + settings.test_per_class
        with progress("clips") as bar:
            task = bar.add_task("Making the embedded data set", total=settings.classes * clips_per_class)
            make(root, settings, lambda clips: bar.advance(task, clips))

    def truth(self, root: Path, data: Data) -> pd.Series | None:
        """Return the right labels of all clips."""
        return read_labels(root / "truth.csv", "fname", "label") if data.truth is None else super().truth(root, data)


@dataclass(frozen=True)
class _Clip:
    folder: str
    index: int
    truth: str
    label: str
    second: str | None = None
    verified: int = 0
    usage: str = ""


def _unverified(settings: SyntheticSettings, rng: Rng) -> Iterator[tuple[str, str, str | None]]:
    """Yield (truth, label, second class) so that every class loses, and every label gains, the same number of clips."""
    ring = list(rng.permutation(list(SOUNDS)[: settings.classes]))
    wrong = round(settings.wrong_share * settings.unverified_per_class)
    mixed = round(settings.mixed_share * settings.unverified_per_class)
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
                is_mixed = i < round(settings.mixed_share / 3 * per_class)
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


def make(root: Path, settings: SyntheticSettings, advance: Callable[[int], object] = lambda clips: None) -> Path:
    """Make the data set in `root` unless it is there, and return `root`.

    Written beside `root` and renamed when whole, so a process killed half-way leaves nothing that looks finished; a
    second process waits for the first. `advance` is called with the number of clips just written.

    Raises AudiotagError if `root` holds anything else, a set of other settings, or a set that has lost clips.
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
        _fill(partial, settings, advance)
        if root.exists():
            root.rmdir()  # empty, or _is_there would have refused it
        partial.rename(root)
    return asked


def _fill(root: Path, settings: SyntheticSettings, advance: Callable[[int], object]) -> None:
    rows = []
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for name, clip in pool.map(lambda clip: _write(root, settings, clip), _plan(settings)):
            rows.append({"fname": name, **vars(clip), "manually_verified": clip.verified})
            advance(1)
    table = pd.DataFrame(rows).sort_values("fname")
    is_train = table["folder"] == "audio_train"
    write_csv(root / "train.csv", table[is_train][["fname", "label", "manually_verified"]])
    write_csv(root / "test_post_competition.csv", table[~is_train][["fname", "label", "usage"]])
    write_csv(
        root / "truth.csv",
        pd.concat([table[is_train], table[~is_train]])[["fname", "truth"]].set_axis(["fname", "label"], axis=1),
    )
    write_json(root / "synthetic.json", {**dataclasses.asdict(settings), "clips": len(table)})


def _is_there(root: Path, settings: SyntheticSettings) -> bool:
    """Return whether `root` holds this very data set; False if there is nothing at all."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    note = root / "synthetic.json"
    if not note.is_file():
        raise AudiotagError(f"{root} holds something else, not the synthetic data set. Choose another folder.")
    made = json.loads(note.read_text(encoding="utf-8"))
    other = [
        f"{name} is {made.get(name)} there, {value} asked"
        for name, value in dataclasses.asdict(settings).items()
        if made.get(name) != value
    ]
    advice = "Remove the folder to have it made again, or choose another one."
    if other:
        raise AudiotagError(f"The synthetic data set in {root} has other settings: {'; '.join(other)}. {advice}")
    found = sum(1 for folder in ("audio_train", "audio_test") for _ in (root / folder).glob("*.*"))
    if found != made["clips"]:
        raise AudiotagError(f"The synthetic data set in {root} has {found} of its {made['clips']} clips. {advice}")
    return True

"""Small folders of recordings in the challenge's layout, and settings to read them with."""

from __future__ import annotations

import contextlib
import csv
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import soundfile
import yaml

from audiotag.config import Columns, Data, Features, Hardware, TrainConfig

FRONT_ENDS = {"v1": Features().front_end, "v2": {"_target_": "audiotag.features.spectrogram.LogFrontEnd"}}

TOP = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("AUDIOTAG_SHARED", TOP.parent / "shared"))
RATE_HZ = 32_000
TUNE_RATE_HZ = 44_100
EXAMPLES = hypothesis.settings(max_examples=40, deadline=None, derandomize=True, database=None)
HEADER = ("fname", "label", "manually_verified")


def shared_data(name: str) -> Path:
    """Return a folder of real data; skips the test where it is not there."""
    folder = SHARED / "data" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there (AUDIOTAG_SHARED names another place)")
    return folder


def sound(seed: int, seconds: float = 0.1) -> np.ndarray:
    """Make noise (samples,) that no other seed makes."""
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE_HZ)).astype(np.float32)


def tune(seed: int, seconds: float = 1.0) -> np.ndarray:
    """Make a row of noisy, decaying tones (samples,) with a pause at either end, that no other seed makes."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(0.2 * TUNE_RATE_HZ)) / TUNE_RATE_HZ
    notes = [
        np.exp(-8 * t) * (np.sin(2 * np.pi * rng.uniform(200, 3000) * t) + 0.3 * rng.standard_normal(len(t)))
        for _ in range(round(seconds / 0.2))
    ]
    pause = np.zeros(TUNE_RATE_HZ // 20)
    wave = np.round(32768 * 0.3 * np.concatenate([pause, *notes, pause]) / 1.9) / 32768  # so that 16 bit hold it all
    return wave.astype(np.float32)


def write_sound(path: Path, seed: int, seconds: float = 0.1) -> Path:
    """Write a recording, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound(seed, seconds), RATE_HZ, subtype="PCM_16")
    return path


def write_table(path: Path, rows: Iterable[Sequence[Any]], header: Sequence[str] = HEADER) -> Path:
    """Write a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


def make_folder(
    root: Path,
    classes: Sequence[str] = ("Bark", "Meow"),
    verified: int = 4,
    unverified: int = 4,
    lengths_s: Sequence[float] = (0.1,),
) -> list[tuple[str, str, int]]:
    """Make a folder in the challenge's layout, training clips only; return the rows of its table."""
    rows = []
    for at, label in enumerate(classes):
        for i in range(verified + unverified):
            name = f"{label.lower()}{i:02d}.wav"
            seed = 1000 * at + i
            write_sound(root / "audio_train" / name, seed, lengths_s[seed % len(lengths_s)])
            rows.append((name, label, int(i < verified)))
    write_table(root / "train.csv", rows)
    return rows


@contextlib.contextmanager
def no_rights(path: Path) -> Iterator[None]:
    """Take the right to read a file or folder away, from root too: as nobody, in a folder that only root may enter."""
    mode = path.stat().st_mode
    path.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        path.chmod(mode)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nothing be written into a folder or below; for root, to whom rights mean nothing, it is mounted so."""
    if os.geteuid() == 0:
        for options in (("--bind", folder, folder), ("-o", "remount,bind,ro", folder)):
            mounted = subprocess.run(["mount", *options], capture_output=True, text=True)
            if mounted.returncode:
                pytest.skip(f"needs to mount a folder read-only, which is not permitted here: {mounted.stderr.strip()}")
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
        return
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    try:
        yield
    finally:
        for path in folders:
            path.chmod(0o755)


def named(data: str) -> dict[str, Any]:
    """Return name and source of a data set of ours."""
    option = yaml.safe_load((TOP / "conf" / "data" / f"{data}.yaml").read_text(encoding="utf-8"))
    return {"name": option["name"], "source": option["source"]}


def settings(root: Path, cache_dir: Path, name: str = "kaggle", **data: Any) -> TrainConfig:
    """Return the configuration of a run over a folder, in this process only."""
    given = {"columns": Columns(usage="usage"), **data}
    return TrainConfig(
        cache_dir=str(cache_dir), data=Data(**named(name), root=str(root), **given), hardware=Hardware(workers=0)
    )

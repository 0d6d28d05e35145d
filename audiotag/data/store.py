"""The spectrogram store: every clip's spectrogram once, in one memory-mapped half-precision file.

Nothing is padded or repeated on disk: "repeat to 3,000 frames, then cut" is index arithmetic (see `Excerpts`). A store
is named by its settings and by the audio content, so that changed settings or audio can never be served stale.
Shapes: B clips, F bands, T frames; in the file, frames come one after another, (sum of T, F).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audiotag.config import Features
from audiotag.data.manifest import Manifest
from audiotag.data.workers import in_order
from audiotag.errors import AudiotagError
from audiotag.features import audio
from audiotag.features.spectrogram import FrontEnd, build_front_end
from audiotag.files import write_json

FRAMES, INDEX, INFO = "frames.f16", "index.csv", "store.json"
INDEX_COLUMNS = ["content_hash", "start", "frames", "silent"]
FORMAT = 1  # to be raised when the file's layout or the audio path changes


@dataclass(frozen=True)
class Excerpts:
    """Cuts excerpts, on the device that holds the frames."""

    frames: Tensor
    """(sum of T, F) half precision."""
    starts: Tensor
    """First frame of each clip, by row of the store."""
    lengths: Tensor
    """Number of frames T of each clip, by row of the store."""

    def cut(self, rows: Tensor, offsets: Tensor, n_frames: int) -> Tensor:
        """Cut (B, 1, F, n_frames) float32 from clips `rows` (B,), repeated without end, at frame `offsets` (B,)."""
        steps = torch.arange(n_frames, device=rows.device)
        within = (offsets[:, None] + steps) % self.lengths[rows][:, None]
        cut = self.frames[self.starts[rows][:, None] + within]  # (B, n_frames, F)
        return cut.transpose(1, 2).unsqueeze(1).float()

    def to(self, device: torch.device) -> Excerpts:
        """Return the same on another device."""
        return Excerpts(self.frames.to(device), self.starts.to(device), self.lengths.to(device))


class Store:
    """A finished store, opened for reading."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info = json.loads((folder / INFO).read_text(encoding="utf-8"))
        self.index = pd.read_csv(folder / INDEX, dtype={"content_hash": str}).set_index("content_hash")
        self._row = pd.Series(np.arange(len(self.index)), index=self.index.index)

    @functools.cached_property
    def excerpts(self) -> Excerpts:
        """Excerpts cut from the memory-mapped file."""
        # Copy-on-write, because PyTorch has no read-only tensors; nothing is ever written.
        mapped = np.memmap(self.folder / FRAMES, np.float16, "c").reshape(-1, self.info["bands"])
        starts, lengths = (
            torch.from_numpy(self.index[name].to_numpy(np.int64, copy=True)) for name in ("start", "frames")
        )
        return Excerpts(torch.from_numpy(mapped), starts, lengths)

    @property
    def size_bytes(self) -> int:
        """Size of all frames."""
        return (self.folder / FRAMES).stat().st_size

    def rows(self, clips: pd.DataFrame) -> np.ndarray:
        """Return the store's row of every clip of a manifest."""
        return self._row.loc[clips["content_hash"]].to_numpy()

    def silent(self, clips: pd.DataFrame) -> pd.Series:
        """Say which clips are wholly silent, and therefore untrimmed."""
        return self.index["silent"].loc[clips["content_hash"]].astype(bool).set_axis(clips.index)


def build_store(manifest: Manifest, features: Features, cache_dir: Path, workers: int | None) -> Store:
    """Return the store of the training clips, computing what no store with the same settings holds yet.

    A kill at any point loses at most the clips in work; processes that want the same store wait for each other.
    Raises AudiotagError where the disk is too small.
    """
    front_end = build_front_end(features.front_end)
    settings = {"format": FORMAT, "audio": audio.settings(features.trim), "front_end": front_end.settings()}
    clips = manifest.train.drop_duplicates("content_hash").sort_values("content_hash")
    prefix = f"{features.front_end}-{_digest(json.dumps(settings, sort_keys=True))}"
    folder = cache_dir / "stores" / f"{prefix}-{_digest(*clips['content_hash'])}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            others = [other for other in folder.parent.glob(f"{prefix}-*") if (other / INFO).is_file()]
            _build(folder, manifest, clips, features, front_end, [Store(other) for other in others], workers)
            # The folder is renamed last: a store is whole or not there.
            write_json(
                _unfinished(folder) / INFO, {"settings": settings, "bands": front_end.bands, "clips": len(clips)}
            )
            os.replace(_unfinished(folder), folder)
    return Store(folder)


def spectrogram(path: Path, features: Features) -> tuple[np.ndarray, bool]:
    """Compute one file's spectrogram, (T, F) half precision, and whether the file is wholly silent."""
    recording = audio.load(path, features.trim)
    with torch.inference_mode():
        spec = _front_end(features.front_end)(torch.from_numpy(recording.wave)[None])[0]
    return spec.T.contiguous().half().numpy(), recording.silent


@functools.cache
def _front_end(name: str) -> FrontEnd:
    return build_front_end(name)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _unfinished(folder: Path) -> Path:
    return folder.with_suffix(".unfinished")


def _build(
    folder: Path,
    manifest: Manifest,
    clips: pd.DataFrame,
    features: Features,
    front_end: FrontEnd,
    others: list[Store],
    workers: int | None,
) -> None:
    _check_space(folder.parent, clips["duration_s"].sum() * front_end.frames_per_second * front_end.bands * 2)
    writer = _Writer(_unfinished(folder), front_end.bands)
    todo = clips[~clips["content_hash"].isin(writer.written)]
    for other in others:
        held = todo["content_hash"].isin(other.index.index)
        for content_hash in todo[held]["content_hash"]:
            writer.append(content_hash, *_from_store(other, content_hash))
        todo = todo[~held]
    one = functools.partial(_compute, features=features)
    paths = [manifest.root / path for path in todo["path"]]
    computed = in_order(one, paths, workers, f"Computing spectrograms {features.front_end}")
    for content_hash, (frames, silent) in zip(todo["content_hash"], computed, strict=True):
        writer.append(content_hash, frames, silent)
    writer.close()


def _compute(path: Path, features: Features) -> tuple[np.ndarray, bool]:
    torch.set_num_threads(1)  # one clip is too little work to share; the processes share the clips
    return spectrogram(path, features)


def _from_store(store: Store, content_hash: str) -> tuple[np.ndarray, bool]:
    start, frames, silent = store.index.loc[content_hash, ["start", "frames", "silent"]].astype(int)
    return store.excerpts.frames[start : start + frames].numpy(), bool(silent)


def _check_space(folder: Path, needed_bytes: float) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        raise AudiotagError(
            f"{folder}: the spectrogram store needs {needed_bytes / 1e9:.1f} GB and {free_bytes / 1e9:.1f} GB are free: "
            "make room, or set cache_dir= to a larger disk"
        )


class _Writer:
    """Appends clips to an unfinished store, frames first and then their line of the index."""

    def __init__(self, folder: Path, bands: int) -> None:
        folder.mkdir(exist_ok=True)
        self.frames_path, self.index_path = folder / FRAMES, folder / INDEX
        whole = self._whole_lines(bands)
        self.written = {line.split(",")[0] for line in whole}
        end = sum(int(line.split(",")[2]) for line in whole)
        self._end = end
        # What a kill left half-written after the last whole line is cut off.
        self.frames = open(self.frames_path, "ab")  # noqa: SIM115 - open for as long as the writer
        self.frames.truncate(end * bands * 2)
        self.index = open(self.index_path, "w", encoding="utf-8")  # noqa: SIM115
        self.index.writelines([",".join(INDEX_COLUMNS) + "\n", *whole])
        self.index.flush()

    def _whole_lines(self, bands: int) -> list[str]:
        if not self.index_path.is_file() or not self.frames_path.is_file():
            return []
        held_frames = self.frames_path.stat().st_size // (bands * 2)
        lines = self.index_path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]
        whole = []
        for line in lines:
            fields = line.split(",")
            if not line.endswith("\n") or len(fields) != 4 or int(fields[1]) + int(fields[2]) > held_frames:
                break
            whole.append(line)
        return whole

    def append(self, content_hash: str, frames: np.ndarray, silent: bool) -> None:
        """Add one clip, frames (T, F)."""
        self.frames.write(np.ascontiguousarray(frames).tobytes())
        self.frames.flush()
        self.index.write(f"{content_hash},{self._end},{len(frames)},{int(silent)}\n")
        self.index.flush()
        self._end += len(frames)

    def close(self) -> None:
        """Bring everything to the disk."""
        for file in (self.frames, self.index):
            file.flush()
            os.fsync(file.fileno())
            file.close()

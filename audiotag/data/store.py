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
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audiotag.config import Features, TrainConfig
from audiotag.console import console
from audiotag.data.manifest import Manifest, build_manifest
from audiotag.data.parallel import parallel_map
from audiotag.data.scan import hash_of, remember
from audiotag.errors import AudiotagError
from audiotag.features import audio
from audiotag.features.spectrogram import FrontEnd, frames, front_end_of, front_end_settings
from audiotag.files import FileLock, check_folder, check_room, remove_damaged, write_json

FRAMES, INDEX, INFO = "frames.f16", "index.csv", "store.json"
HEADER = b"content_hash,start,frames,silent\n"
INDEX_LINE = re.compile(rb"([0-9a-f]+),([0-9]+),([0-9]+),[01]\n")
FORMAT = 1  # to be raised when the file's layout or the audio path changes
MOST_FRAMES = 30_000  # of a clip that are held, or features.clip_frames if that is more: no excerpt goes beyond


@dataclass(frozen=True)
class Excerpts:
    """Cuts excerpts, on the device that holds the frames."""

    frames: Tensor
    """(sum of T, F) half precision."""
    starts: Tensor
    """First frame of each clip, by row of the store."""
    lengths: Tensor
    """Number of frames T of each clip, by row of the store."""

    def crop(self, rows: Tensor, offsets: Tensor, n_frames: int) -> Tensor:
        """Cut (B, 1, F, n_frames) float32 from clips `rows` (B,), repeated without end, at frame `offsets` (B,)."""
        steps = torch.arange(n_frames, device=rows.device)
        within = (offsets[:, None] + steps) % self.lengths[rows][:, None]
        at = self.starts[rows][:, None] + within
        # By a flat index: four times as fast as by one of two dimensions.
        cut = self.frames.index_select(0, at.flatten()).unflatten(0, at.shape)  # (B, n_frames, F)
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
        self._copies: dict[torch.device, Excerpts] = {}

    @functools.cached_property
    def excerpts(self) -> Excerpts:
        """Excerpts cut from the memory-mapped file."""
        # Copy-on-write, because PyTorch has no read-only tensors; nothing is ever written.
        mapped = np.memmap(self.folder / FRAMES, np.float16, "c").reshape(-1, self.info["bands"])
        starts, lengths = (
            torch.from_numpy(self.index[name].to_numpy(np.int64, copy=True)) for name in ("start", "frames")
        )
        return Excerpts(torch.from_numpy(mapped), starts, lengths)

    def excerpts_on(self, device: torch.device, wanted: bool | None, shared_by: int = 1) -> Excerpts | None:
        """Return excerpts cut on a device, by its one copy of the frames; None where they are to stay with the host.

        `wanted` says so; None: where they take at most half of the free memory, of a GPU `shared_by` as many processes.
        """
        if device.type == "cpu":
            return self.excerpts
        if device not in self._copies and wanted is not False:
            if wanted is None and self.size_bytes > torch.cuda.mem_get_info(device)[0] / 2 / shared_by:
                return None  # the rest of the memory is for the network
            self._copies[device] = self.excerpts.to(device)
        return self._copies.get(device) if wanted is not False else None

    @property
    def size_bytes(self) -> int:
        """Size of all frames."""
        return (self.folder / FRAMES).stat().st_size

    def rows(self, clips: pd.DataFrame) -> np.ndarray:
        """Return the store's row of every clip of a manifest."""
        return self._row.loc[clips["content_hash"]].to_numpy()

    def silent(self, clips: pd.DataFrame) -> pd.Series:
        """Return which clips are wholly silent, and therefore untrimmed."""
        return self.index["silent"].loc[clips["content_hash"]].astype(bool).set_axis(clips.index)


def build_store(manifest: Manifest, features: Features, cache_dir: Path, workers: int | None) -> Store:
    """Return the store of the training clips, computing what no store with the same settings holds yet.

    A kill at any point loses at most the clips in work; processes that want the same store wait for each other.
    Raises AudiotagError if the disk is too small, UnusableClipsError if clips have no spectrogram: of the others
    there is a store then.
    """
    front_end = front_end_of(features)
    of_audio = {**audio.settings(features.trim), "sample_rate_hz": front_end.sample_rate_hz}
    settings = {"format": FORMAT, "audio": of_audio, "front_end": front_end_settings(features)}
    if features.clip_frames > MOST_FRAMES:
        settings["most_frames"] = features.clip_frames
    info = {"settings": json.loads(json.dumps(settings)), "bands": front_end.bands}
    clips = manifest.train.drop_duplicates("content_hash").sort_values("content_hash")
    prefix = f"{features.title}-{_digest(json.dumps(settings, sort_keys=True))}"
    folder = cache_dir / "stores" / f"{prefix}-{_digest(*clips['content_hash'])}"
    check_folder("cache_dir", folder.parent)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if folder.exists() and not _is_whole(folder, info):
            console.print(f"{folder} is damaged: it is computed again", markup=False, soft_wrap=True)
            remove_damaged(folder)
        if not folder.is_dir():
            others = [other for other in sorted(folder.parent.glob(f"{prefix}-*")) if _is_whole(other, info)]
            failed = _build(folder, manifest, clips, features, front_end, [Store(other) for other in others], workers)
            write_json(_unfinished(folder) / INFO, {**info, "clips": len(clips) - len(failed)})
            if failed:
                held = clips[~clips["content_hash"].isin(failed.keys())]["content_hash"]
                _keep(_unfinished(folder), folder.with_name(f"{prefix}-{_digest(*held)}"))
                raise UnusableClipsError(failed)
            os.replace(_unfinished(folder), folder)  # the last: a store is whole or not there
    return Store(folder)


class UnusableClipsError(AudiotagError):
    """Clips without a spectrogram, though they can be decoded: `why` by content hash."""

    def __init__(self, why: dict[str, str]) -> None:
        super().__init__("\n".join(why.values()))
        self.why = why


def manifest_and_store(config: TrainConfig, check: Callable[[Manifest], None]) -> tuple[Manifest, Store]:
    """Return a data set and its spectrograms; raises as `build_manifest`, `check` and `build_store` do.

    `check` may refuse the data set. A clip that can be decoded, but has no spectrogram, is from then on like one that
    cannot: refused, or left out (`data.on_bad_clip=skip`).
    """
    cache_dir, workers = Path(config.cache_dir).absolute(), config.hardware.workers
    manifest = build_manifest(config)
    skip = config.data.on_bad_clip == "skip"
    if not skip:
        check(manifest)  # before hours of work; with `skip`, it depends on the store which clips there are
    try:
        store = build_store(manifest, config.features, cache_dir, workers)
    except UnusableClipsError as unusable:
        scans = {
            path: replace(scan, problem=unusable.why.get(scan.content_hash, scan.problem))
            for path, scan in manifest.scans.items()
        }
        remember(scans, Path(config.cache_dir))
        manifest = build_manifest(config)
        store = build_store(manifest, config.features, cache_dir, workers)
    if skip:
        check(manifest)
    return manifest, store


def spectrogram(path: Path, features: Features) -> tuple[np.ndarray, bool]:
    """Compute one file's spectrogram, (T, F) half precision, and whether the file is wholly silent.

    Of hours, only the beginning: at most MOST_FRAMES or clip_frames.
    """
    front_end = front_end_of(features)
    recording = audio.AudioStream(path, features.trim, rate_hz=front_end.sample_rate_hz)
    pieces, n = [], 0
    for piece in frames(recording, front_end):
        pieces.append(piece)
        n += len(piece)
        if n >= held_frames(features):
            break
    whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    return whole[: held_frames(features)], recording.silent


def held_frames(features: Features) -> int:
    """Return how many frames of a clip are held at most."""
    return max(MOST_FRAMES, features.clip_frames)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _keep(finished: Path, folder: Path) -> None:
    """Keep the store of some of the clips that were asked for, unless there is one."""
    with FileLock(folder.with_suffix(".lock")):
        if (finished / FRAMES).stat().st_size and not folder.is_dir():
            os.replace(finished, folder)
        else:
            shutil.rmtree(finished)


def _unfinished(folder: Path) -> Path:
    return folder.with_suffix(".unfinished")


def _is_whole(folder: Path, info: dict[str, Any]) -> bool:
    """Return whether a folder is a finished store of these settings: the clips in its name, and their frames."""
    try:
        stored = json.loads((folder / INFO).read_text(encoding="utf-8"))
        entries = _whole_entries(folder, info["bands"])
        sizes = tuple((folder / name).stat().st_size for name in (INDEX, FRAMES))
    except (OSError, ValueError):
        return False
    return (
        stored == {**info, "clips": len(entries)}
        and sizes == _sizes(entries, info["bands"])
        and folder.name.endswith(_digest(*sorted(entry[1].decode() for entry in entries)))
    )


def _build(
    folder: Path,
    manifest: Manifest,
    clips: pd.DataFrame,
    features: Features,
    front_end: FrontEnd,
    others: list[Store],
    workers: int | None,
) -> dict[str, str]:
    """Write the frames of all clips; return why some have none, by content hash."""
    writer = _Writer(_unfinished(folder), front_end.bands)
    todo = clips[~clips["content_hash"].isin(writer.written)]
    n_frames = (todo["duration_s"] * front_end.frames_per_second).clip(upper=held_frames(features)).sum()
    needed_bytes = n_frames * front_end.bands * 2
    check_room(folder.parent, needed_bytes, "the spectrogram store", "set cache_dir= to a larger disk")
    held = {content_hash: other for other in others for content_hash in other.index.index}
    new = todo[~todo["content_hash"].isin(held.keys())]
    items = [(manifest.root / path, of) for path, of in zip(new["path"], new["content_hash"], strict=True)]
    one = functools.partial(_compute, features=features)
    computed = parallel_map(one, items, workers, f"Computing spectrograms {features.title}")
    failed = {}
    try:
        # Always in the same order, so that the file's bytes depend on its key alone.
        for content_hash in todo["content_hash"]:
            other = held.get(content_hash)
            found = next(computed) if other is None else _from_store(other, content_hash)
            if isinstance(found, str):
                failed[content_hash] = found
            else:
                writer.append(content_hash, *found)
        writer.close()
    except OSError as error:
        raise AudiotagError(
            f"{folder}: the spectrogram store cannot be written: {error.strerror}. Make room, or set cache_dir= to "
            "another disk; what is there already will be used"
        ) from error
    finally:
        computed.close()
    return failed


def _compute(item: tuple[Path, str], features: Features) -> tuple[np.ndarray, bool] | str:
    """Return a clip's frames and whether it is silent, or why it has none."""
    path, content_hash = item
    torch.set_num_threads(1)  # one clip is too little work to share; the processes share the clips
    try:
        unchanged = hash_of(path) == content_hash
    except OSError as error:
        raise AudiotagError(f"{path} cannot be read any more: {error.strerror}") from error
    if not unchanged:
        raise AudiotagError(f"{path} changed while the data set was read: start again")
    try:
        return spectrogram(path, features)
    except audio.AudioError as error:
        return str(error)


def _from_store(store: Store, content_hash: str) -> tuple[np.ndarray, bool]:
    start, frames, silent = store.index.loc[content_hash, ["start", "frames", "silent"]].to_numpy(np.int64)
    return store.excerpts.frames[start : start + frames].numpy(), bool(silent)


class _Writer:
    """Appends clips to an unfinished store, frames first and then their line of the index."""

    def __init__(self, folder: Path, bands: int) -> None:
        in_the_way = [path for path in (folder / FRAMES, folder / INDEX, folder / INFO) if path.is_dir()]
        for path in [folder] if folder.is_file() else in_the_way:
            remove_damaged(path)
        folder.mkdir(exist_ok=True)
        entries = _whole_entries(folder, bands)
        self.written = {entry[1].decode() for entry in entries}
        self._end = sum(int(entry[3]) for entry in entries)
        # What a kill left half-written is cut off; nothing before it is written again, or a kill here would lose it.
        self.frames, self.index = open(folder / FRAMES, "ab"), open(folder / INDEX, "ab")  # noqa: SIM115
        index_bytes, frame_bytes = _sizes(entries, bands)
        self.frames.truncate(frame_bytes)
        self.index.truncate(index_bytes if entries else 0)
        if not entries:
            self.index.write(HEADER)

    def append(self, content_hash: str, frames: np.ndarray, silent: bool) -> None:
        """Add one clip, frames (T, F)."""
        self.frames.write(np.ascontiguousarray(frames).data)
        self.frames.flush()
        self.index.write(f"{content_hash},{self._end},{len(frames)},{int(silent)}\n".encode())
        self.index.flush()
        self._end += len(frames)

    def close(self) -> None:
        """Bring everything to the disk."""
        for file in (self.frames, self.index):
            file.flush()
            os.fsync(file.fileno())
            file.close()


def _whole_entries(folder: Path, bands: int) -> list[re.Match[bytes]]:
    """Return the clips of an index (hash, start, frames), up to one that is torn or whose frames are not there."""
    if not (folder / INDEX).is_file() or not (folder / FRAMES).is_file():
        return []
    n_frames = (folder / FRAMES).stat().st_size // (bands * 2)
    header, *lines = (folder / INDEX).read_bytes().splitlines(keepends=True) or [b""]
    entries, end = [], 0
    for line in lines if header == HEADER else ():
        match = INDEX_LINE.fullmatch(line)
        if match is None or int(match[2]) != end or end + int(match[3]) > n_frames:
            break
        entries.append(match)
        end += int(match[3])
    return entries


def _sizes(entries: list[re.Match[bytes]], bands: int) -> tuple[int, int]:
    """Return how many bytes of index and frames belong to these clips."""
    return len(HEADER) + sum(len(entry[0]) for entry in entries), sum(int(entry[3]) for entry in entries) * bands * 2

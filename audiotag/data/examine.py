"""What a recording is like, read once: its format, length, level, faults, and what it is recognised by."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiotag.data import fingerprint
from audiotag.data.scan import Scan, hash_of, state_of
from audiotag.data.workers import in_order
from audiotag.features.audio import SAMPLE_RATE_HZ, AudioError, Wave, decode_channels, mono, trim

RUN = 3  # samples in a row at the largest or smallest value, or at full scale, are clipped
FULL_SCALE = 0.9999
LOUD = 0.1  # an extreme below this is no clipping
SHORT_DATA = re.compile(r"(?:data|SSND) *: *(\d+) \(should be (\d+)\)")  # what libsndfile says of WAV and AIFF
UNKNOWN_BYTES = 0x7FFFFFFF  # and above, or 0: written to a pipe, whose length was not known


@dataclass(frozen=True, eq=False)
class Examined:
    """One file. Where `scan.problem` says why it cannot be used, the rest is empty.

    `peak` and `offset` are of full scale, `offset` the mean of the samples (of the worst channel, as is `clipped`, the
    share of samples that are clipped); `kept_s` is what trimming leaves, `n_samples` that at 32 kHz; `quiet` says that
    trimming found nothing loud for long enough. `sound` is the hash of the decoded samples, `patches` (P, F x T) what
    `fingerprint` compares; `truncated` says by what the file is known to be cut off.
    """

    scan: Scan
    rate_hz: int = 0
    channels: int = 0
    coding: str = ""
    peak: float = 0.0
    offset: float = 0.0
    clipped: float = 0.0
    kept_s: float = 0.0
    n_samples: int = 0
    quiet: bool = False
    truncated: str = ""
    sound: str = ""
    patches: NDArray[np.float16] = dataclasses.field(default_factory=lambda: np.zeros((0, 0), np.float16))


def examine_files(paths: list[Path], workers: int | None) -> dict[Path, Examined]:
    """Examine every file once; shows progress."""
    distinct = list(dict.fromkeys(paths))
    return dict(zip(distinct, in_order(examine, distinct, workers, "Examining audio files"), strict=True))


def examine(path: Path) -> Examined:
    """Read and measure a file; what is wrong with it stands in `scan.problem`."""
    scan = state_of(path)
    if scan.problem:
        return Examined(scan)
    try:
        content = path.read_bytes()
        scan = dataclasses.replace(scan, content_hash=hash_of(content))
        frames, rate_hz = decode_channels(path)
        wave = mono(frames)
        trimmed = trim(wave, rate_hz)
        patches = fingerprint.patches(fingerprint.prepared(wave, rate_hz))
    except OSError as error:
        return Examined(dataclasses.replace(scan, problem=f"it cannot be read: {error.strerror}"))
    except AudioError as error:
        return Examined(dataclasses.replace(scan, problem=str(error)))
    info = soundfile.info(str(path), verbose=True)
    return Examined(
        dataclasses.replace(scan, duration_s=len(wave) / rate_hz),
        rate_hz,
        frames.shape[1],
        f"{info.format} {info.subtype}",
        peak=float(np.abs(frames).max()),
        offset=float(np.abs(frames.mean(axis=0, dtype=np.float64)).max()),
        clipped=max(_clipped(channel) for channel in frames.T),
        kept_s=trimmed.n_kept / rate_hz,
        n_samples=round(trimmed.n_kept * SAMPLE_RATE_HZ / rate_hz),
        quiet=trimmed.silent,
        truncated=_truncated(info, content, len(wave)),
        sound=hashlib.sha256(wave.tobytes() + str(rate_hz).encode()).hexdigest()[:16],
        patches=patches,
    )


def _clipped(channel: Wave) -> float:
    """Return the share of the samples (N,) that lie in runs at the largest or the smallest value."""
    n = 0
    for side in (channel, -channel):
        limit = min(float(side.max()), FULL_SCALE)
        if limit < LOUD:
            continue
        edges = np.flatnonzero(np.diff(np.concatenate(([False], side >= limit, [False])).astype(np.int8)))
        lengths = edges[1::2] - edges[::2]
        n += int(lengths[lengths >= RUN].sum())
    return n / len(channel)


def _truncated(info: Any, content: bytes, n_samples: int) -> str:
    """Say how a file is known to be cut off; "" where it is not, or nothing in it would tell."""
    short = SHORT_DATA.search(info.extra_info)
    if short and 0 < int(short[1]) < UNKNOWN_BYTES and int(short[2]) < int(short[1]):
        return f"its header says {short[1]} bytes of audio, and {short[2]} are there"
    last_page = content.rfind(b"OggS")
    if info.format == "OGG" and not content[last_page + 5] & 4:
        return "its last Ogg page is not marked as the last"
    if info.frames > n_samples:
        return f"its header says {info.frames} samples, and {n_samples} are there"
    return ""

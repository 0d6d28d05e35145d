"""What a recording is like, read once: its format, length, level, faults, and what it is recognised by."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audiotag.data.parallel import parallel_map
from audiotag.data.scan import Scan, hash_of, state_of
from audiotag.doctor.fingerprint import NOTHING, Fingerprint, compared, fingerprint
from audiotag.features.audio import AudioError, AudioStream, mono, read_frames
from audiotag.features.trimming import Wave

RUN = 3  # samples in a row at the largest or smallest value, or at full scale, are clipped
FULL_SCALE = 0.9999
LOUD = 0.1  # an extreme below this is not clipping
SHORT_DATA = re.compile(r"(?:data|SSND) *: *(\d+) \(should be (\d+)\)")  # what libsndfile says of WAV and AIFF
LARGEST_PAGE = 65_307  # bytes of a page of an Ogg file
UNKNOWN_BYTES = 0x7FFFFFFF  # and above, or 0: written to a pipe, whose length was not known


@dataclass(frozen=True, eq=False)
class Examined:
    """One file. Where `scan.problem` says why it cannot be used, the rest is empty.

    `peak` and `offset` are of full scale, `offset` the mean of the samples (of the worst channel, as is `clipped`, the
    share of samples that are clipped); `kept_s` is what trimming leaves, `n_samples` that at 32 kHz; `quiet` says that
    trimming found nothing loud for long enough. `sound` is the hash of the decoded samples, `fingerprint` what it
    is compared by; `truncated` says by what the file is known to be cut off.
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
    fingerprint: Fingerprint = NOTHING


def examine_files(paths: list[Path], workers: int | None) -> dict[Path, Examined]:
    """Examine every file once; shows progress."""
    distinct = list(dict.fromkeys(paths))
    return dict(zip(distinct, parallel_map(examine, distinct, workers, "Examining audio files"), strict=True))


def examine(path: Path) -> Examined:
    """Read and measure a file; what is wrong with it stands in `scan.problem`."""
    scan = state_of(path)
    if scan.problem:
        return Examined(scan)
    try:
        scan = dataclasses.replace(scan, content_hash=hash_of(path))
        audio = AudioStream(path)
        measured = _measured(audio)
        described = fingerprint(compared(audio))
    except OSError as error:
        return Examined(dataclasses.replace(scan, problem=f"it cannot be read: {error.strerror}"))
    except AudioError as error:
        return Examined(dataclasses.replace(scan, problem=str(error)))
    info = soundfile.info(str(path), verbose=True)
    begin_s, end_s = audio.kept_s
    return Examined(
        dataclasses.replace(scan, duration_s=audio.duration_s),
        audio.source_rate_hz,
        coding=f"{info.format} {info.subtype}",
        kept_s=end_s - begin_s,
        n_samples=audio.n_samples,
        quiet=audio.silent,
        truncated=_truncated(info, path, audio.n_source),
        fingerprint=described,
        **measured,
    )


class _Side:
    """Counts the samples of one side of a channel that lie in runs at its largest value, block by block."""

    def __init__(self) -> None:
        self.peak, self.limit = 0.0, LOUD
        self.closed, self.open = 0, 0  # samples in runs that have ended, and in one that reaches the block's end

    def add(self, samples: Wave) -> None:
        """Go on with the next samples (n,)."""
        peak = float(samples.max())
        self.peak = max(self.peak, peak)
        if min(peak, FULL_SCALE) > self.limit:  # nothing before was as high
            self.limit, self.closed, self.open = min(peak, FULL_SCALE), 0, 0
        if peak < self.limit:
            self.closed, self.open = self.clipped, 0
            return
        edges = np.flatnonzero(np.diff(samples >= self.limit, prepend=False, append=False))
        lengths = edges[1::2] - edges[::2]
        if edges[0] == 0:
            lengths[0] += self.open
        else:
            self.closed = self.clipped
        self.open = int(lengths[-1]) if edges[-1] == len(samples) else 0
        ended = lengths[:-1] if self.open else lengths
        self.closed += int(ended[ended >= RUN].sum())

    @property
    def clipped(self) -> int:
        """Number of samples in runs so far."""
        return self.closed + (self.open if self.open >= RUN else 0)


def _measured(audio: AudioStream) -> dict[str, Any]:
    """Return what is measured on the samples of a recording, and their hash; see `Examined`."""
    sides: list[_Side] = []  # of every channel, then of every channel upside down
    sums: Any = 0.0
    sound = hashlib.sha256()
    for frames in read_frames(audio.path):  # (n, channels)
        both = np.concatenate([frames.T, -frames.T])
        sides = sides or [_Side() for _ in both]
        for side, samples in zip(sides, both, strict=True):
            side.add(samples)
        sums = sums + frames.sum(axis=0, dtype=np.float64)
        sound.update(mono(frames).tobytes())
    sound.update(str(audio.source_rate_hz).encode())
    channels = len(sides) // 2
    clipped = max(sides[at].clipped + sides[at + channels].clipped for at in range(channels))
    return {
        "channels": channels,
        "peak": max(side.peak for side in sides),
        "offset": float(np.abs(sums).max()) / audio.n_source,
        "clipped": clipped / audio.n_source,
        "sound": sound.hexdigest()[:16],
    }


def _truncated(info: Any, path: Path, n_samples: int) -> str:
    """Return how a file is known to be cut off; "" if it is not, or nothing in it would tell."""
    short = SHORT_DATA.search(info.extra_info)
    if short and 0 < int(short[1]) < UNKNOWN_BYTES and int(short[2]) < int(short[1]):
        return f"its header says {short[1]} bytes of audio, and {short[2]} are there"
    if info.format == "OGG" and not _last_page(path)[5] & 4:
        return "its last Ogg page is not marked as the last"
    if info.frames > n_samples:
        return f"its header says {info.frames} samples, and {n_samples} are there"
    return ""


def _last_page(path: Path) -> bytes:
    """Return an Ogg file from its last page on."""
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 2 * LARGEST_PAGE))
        end = file.read()
    return end[end.rfind(b"OggS") :]

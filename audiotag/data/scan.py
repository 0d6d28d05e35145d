"""What an audio file is, and whether it can be trained on; remembered for as long as the file does not change."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from audiotag.data.workers import in_order
from audiotag.features.audio import AudioError, decode
from audiotag.files import write_parquet
from audiotag.randomness import key

SAVE_EVERY_S = 10.0


@dataclass(frozen=True)
class Scan:
    """One file: state on disk (size, times), SHA-256 of its bytes (16 hex digits), duration, or why it is unusable."""

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    content_hash: str = ""
    duration_s: float = 0.0
    problem: str = ""


def scan_files(paths: list[Path], cache_dir: Path, workers: int | None) -> dict[Path, Scan]:
    """Return a scan of every file; files that have not changed since an earlier scan are not read again."""
    cache = cache_dir / "scans" / f"{key(*sorted({str(path.parent) for path in paths})):016x}.parquet"
    known = _load(cache)
    states = [_state(path) for path in paths]
    todo = [state for state in states if not state.problem and state not in known]
    saved_s = time.monotonic()
    for scan in in_order(_scan, todo, workers, "Reading audio files"):
        known[_state(Path(scan.path))] = scan
        if time.monotonic() - saved_s > SAVE_EVERY_S:
            _save(cache, known)
            saved_s = time.monotonic()
    if todo:
        _save(cache, known)
    return {Path(state.path): known.get(state, state) for state in states}


def _state(path: Path) -> Scan:
    if not path.is_file():
        why = "there is no such file" if not path.exists() else "this is not a file"
        return Scan(str(path), 0, 0, 0, problem=why)
    stat = path.stat()
    return Scan(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _scan(state: Scan) -> Scan:
    path = Path(state.path)
    content_hash = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    try:
        wave, rate_hz = decode(path)
    except AudioError as error:
        return Scan(state.path, state.size, state.mtime_ns, state.ctime_ns, content_hash, problem=str(error))
    return Scan(state.path, state.size, state.mtime_ns, state.ctime_ns, content_hash, len(wave) / rate_hz)


def _load(cache: Path) -> dict[Scan, Scan]:
    if not cache.is_file():
        return {}
    scans = [Scan(**row) for row in pd.read_parquet(cache).to_dict("records")]
    return {Scan(s.path, s.size, s.mtime_ns, s.ctime_ns): s for s in scans}


def _save(cache: Path, known: dict[Scan, Scan]) -> None:
    write_parquet(cache, pd.DataFrame([asdict(scan) for scan in known.values()]))

"""What an audio file is, and whether it can be trained on; remembered for as long as the file does not change."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import pandas as pd

from audiotag.console import console
from audiotag.data.parallel import parallel_map
from audiotag.features.audio import AudioError, measure
from audiotag.files import check_folder, digest, remove_damaged, write_parquet
from audiotag.randomness import key

SAVE_EVERY_S = 10.0
FORMAT = 1  # to be raised when the same file would be judged otherwise
MISSING = "there is no such file"


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


SCAN_FIELDS = [entry.name for entry in fields(Scan)]
SCAN_KINDS = [{"str": "O", "int": "i", "float": "f"}[str(entry.type)] for entry in fields(Scan)]  # in a table


def scan_files(paths: list[Path], cache_dir: Path, workers: int | None) -> dict[Path, Scan]:
    """Return a scan of every file; files that have not changed since an earlier scan are not read again."""
    check_folder("cache_dir", (cache_dir / "scans").absolute())
    cache = _cache(paths, cache_dir)
    known = _load(cache)
    states = [state_of(path) for path in dict.fromkeys(paths)]
    todo = [state for state in states if not state.problem and state not in known]
    saved_s = time.monotonic()
    for scan in parallel_map(_scan, todo, workers, "Reading audio files"):
        known[_unread(scan)] = scan
        if time.monotonic() - saved_s > SAVE_EVERY_S:
            _save(cache, known)
            saved_s = time.monotonic()
    if todo:
        _save(cache, known)
    return {Path(state.path): known.get(state, state) for state in states}


def remember(scans: dict[Path, Scan], cache_dir: Path) -> None:
    """Keep scans that were made otherwise, so that `scan_files` need not read these files again."""
    cache = _cache(list(scans), cache_dir)
    _save(cache, {**_load(cache), **{_unread(scan): scan for scan in scans.values() if scan.content_hash}})


def _cache(paths: list[Path], cache_dir: Path) -> Path:
    return cache_dir / "scans" / f"{key(FORMAT, *sorted({str(path.parent) for path in paths})):016x}.parquet"


def state_of(path: Path) -> Scan:
    """Return what the disk says of a file, which is not read."""
    try:
        if not path.is_file():
            return Scan(str(path), 0, 0, 0, problem=MISSING if not path.exists() else "this is not a file")
        stat = path.stat()
    except OSError as error:  # such as a name longer than the file system allows
        return Scan(str(path), 0, 0, 0, problem=str(error.strerror))
    return Scan(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _unread(scan: Scan) -> Scan:
    return Scan(scan.path, scan.size, scan.mtime_ns, scan.ctime_ns)


def _scan(state: Scan) -> Scan:
    path = Path(state.path)
    try:
        content_hash = hash_of(path)
    except OSError as error:
        return replace(state, problem=f"it cannot be read: {error.strerror}")
    try:
        return replace(state, content_hash=content_hash, duration_s=measure(path))
    except AudioError as error:
        return replace(state, content_hash=content_hash, problem=str(error))


def hash_of(path: Path) -> str:
    """Return what an audio file's content is known by."""
    return digest(path)[:16]


def _load(cache: Path) -> dict[Scan, Scan]:
    if not cache.exists():
        return {}
    try:
        table = pd.read_parquet(cache)[SCAN_FIELDS]
        if [dtype.kind for dtype in table.dtypes] != SCAN_KINDS or table.isna().any(axis=None):
            raise ValueError("other kinds of values")
    except (OSError, ValueError, LookupError):
        console.print(f"{cache} is damaged: the audio files are read again", markup=False, soft_wrap=True)
        remove_damaged(cache)
        return {}
    scans = [Scan(*row) for row in table.itertuples(index=False)]
    return {_unread(scan): scan for scan in scans}


def _save(cache: Path, known: dict[Scan, Scan]) -> None:
    write_parquet(cache, pd.DataFrame([asdict(scan) for scan in known.values()]))

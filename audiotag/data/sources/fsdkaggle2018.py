"""FSDKaggle2018 (Fonseca et al. 2018): fetched from Zenodo, or found where somebody has put it."""

from __future__ import annotations

import errno
import itertools
import lzma
import os
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pooch
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from audiotag.config import Data, ScoredData
from audiotag.data.sources.download import CHUNK_BYTES, Download, size, size_on_server
from audiotag.data.sources.table_layout import LabelTable, TableLayout
from audiotag.data.tables import read_table
from audiotag.errors import AudiotagError, DataError
from audiotag.files import FileLock, check_room

RECORD_PAGE = "https://zenodo.org/records/2552860"
ZENODO_URL = f"{RECORD_PAGE}/files"
META, TEST, TRAIN = (f"FSDKaggle2018.{part}" for part in ("meta", "audio_test", "audio_train"))
# The record's checksums as another project that reads it lists them: embeddings-benchmark/mteb,
# scripts/data/fsdkaggle2018/create_data.py, commit 27f1337.
REGISTRY = {
    f"{META}.zip": "md5:f16828ac8be0e5285b9175a12f90d784",
    f"{TEST}.zip": "md5:f85c8665c3fc39311ea1b748e194a81d",
    f"{TRAIN}.zip": "md5:a8b47ff4b52022c178f88fa5c6f080d0",
}

# Where each part may lie: Zenodo's layout first, then Kaggle's.
PLACES = {
    "training table": (f"{META}/train_post_competition.csv", "train_post_competition.csv", "train.csv"),
    "test table": (
        f"{META}/test_post_competition_scoring_clips.csv",
        f"{META}/test_post_competition.csv",
        "test_post_competition_scoring_clips.csv",
        "test_post_competition.csv",
    ),
    "training clips": (TRAIN, "audio_train"),
    "test clips": (TEST, "audio_test"),
}

MOST_BYTES = {META: 20_000_000, TEST: 8_000_000_000, TRAIN: 8_000_000_000}  # all of it has 5 GB
ENCRYPTED = 1  # of a zip member's flags
# Room asked for before a download: the archive, and its WAV files, which zip makes smaller by a quarter to a third.
ROOM_PER_ARCHIVE_BYTE = 2.5


class FSDKaggle2018(TableLayout):
    """Zenodo's or Kaggle's layout; with `data.download`, what is missing is downloaded first."""

    def prepares(self, data: Data) -> bool:
        """Return whether what is missing is to be downloaded."""
        return data.download

    def prepare(self, root: Path, data: Data) -> None:
        """Download what is not there yet, if that is asked for."""
        if data.download and not is_present(root):
            fetch(root)

    def tables(self, root: Path, data: Data | ScoredData) -> list[LabelTable]:
        """Return both tables; raises AudiotagError naming what is missing."""
        train, test, train_clips, test_clips = tables(root)
        return [LabelTable(train, train_clips), LabelTable(test, test_clips, "test")]

    def scored_tables(self, root: Path, data: Data | ScoredData) -> list[LabelTable]:
        """Return the test table, after the training table if that is there; raises DataError if there is none."""
        train, test = (_find(root)[part] for part in ("training table", "test table"))
        if test is None:
            places = " or ".join(PLACES["test table"])
            raise DataError("The test table is missing:", [f"{root}: no {places}"], "data.root must be its folder.")
        return [*([LabelTable(train, root)] if train else []), LabelTable(test, root, "test")]


def tables(root: Path) -> tuple[Path, Path, Path, Path]:
    """Return (training table, test table, training clips' folder, test clips' folder), in Zenodo's or Kaggle's layout.

    Raises AudiotagError naming what is missing and where it was looked for.
    """
    found = _find(root)
    missing = [f"{part} ({' or '.join(PLACES[part])})" for part, path in found.items() if path is None]
    if missing:
        raise AudiotagError(f"{root} does not hold FSDKaggle2018: no {', no '.join(missing)}.")
    train, test, train_clips, test_clips = (path for path in found.values() if path is not None)
    return train, test, train_clips, test_clips


def is_present(root: Path) -> bool:
    """Return whether nothing has to be fetched: both tables are there, and every clip they name.

    Raises AudiotagError if a table cannot be read.
    """
    return not _wanted(root)


def fetch(
    root: Path,
    base_url: str = ZENODO_URL,
    registry: Mapping[str, str] | None = None,
    *,
    progress: bool = True,
    console: Console | None = None,
    pause_s: float = 1.0,
) -> Path:
    """Bring what is missing of FSDKaggle2018 to `root`, in Zenodo's layout, and return `root`.

    Whatever ends the process, the next call goes on where this one stopped: half a download is continued, extracted
    files are not extracted again. Archives that somebody has put into `root` by hand are checked, used, and left there;
    downloaded ones are removed once extracted. `registry` replaces checksums ("md5:..." or "sha256:...") by archive
    name; `pause_s` is the wait in seconds before the first new attempt after a failure.

    Raises AudiotagError if the network, the server, the disk, a checksum or an archive fails, with what to do.
    """
    console = console or Console(stderr=True, emoji=False)
    job = _Fetch(root, base_url.rstrip("/"), {**REGISTRY, **(registry or {})}, progress, console, pause_s)
    try:
        if not _wanted(root):
            return root
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".fetch.lock"):  # a second process waits here, then finds nothing to do
            job.run()
    except OSError as error:
        full = " Make room and run it again: what has arrived is kept." if error.errno == errno.ENOSPC else ""
        raise AudiotagError(f"FSDKaggle2018 could not be written to {root}: {error}.{full}") from error
    return root


# ---- what is there, what is wanted


def _find(root: Path) -> dict[str, Path | None]:
    return {
        part: next((root / place for place in places if (root / place).exists()), None)
        for part, places in PLACES.items()
    }


def _clips(table: Path) -> set[str]:
    """Return the clips of a table that are asked for: not those that nobody scores (usage Ignored).

    Raises DataError if the table cannot be used.
    """
    rows, problems = read_table(table, {"fname": "fname"})
    if rows.empty:
        problems = [f"{table}: it names no clips"]
    if problems:
        raise DataError("A table of FSDKaggle2018 cannot be used:", problems)
    return set(rows["fname"] if "usage" not in rows else rows["fname"][rows["usage"] != "Ignored"])


def _unusable(table: Path) -> str:
    """Return what is wrong with a downloaded table, "" if nothing is; of others, raise it."""
    try:
        _clips(table)
    except DataError as error:
        if table.parent.name != META:
            raise
        return "; ".join(error.problems)
    return ""


def _is_incomplete(table: Path | None, folder: Path | None) -> bool:
    """Return whether clips are missing; without a table, a folder that exists counts as whole for now."""
    if folder is not None and not folder.is_dir():
        raise AudiotagError(f"{folder} is not a folder: move it away.")
    return folder is None or (table is not None and not _clips(table) <= set(os.listdir(folder)))


def _wanted(root: Path) -> list[str]:
    """Return the parts still needed, small ones first: what is not there, and downloaded tables that are unusable."""
    found = _find(root)
    train, test = (
        path if path and not _unusable(path) else None for path in (found["training table"], found["test table"])
    )
    needed = {
        META: train is None or test is None,
        TEST: _is_incomplete(test, found["test clips"]),
        TRAIN: _is_incomplete(train, found["training clips"]),
    }
    return [part for part, is_needed in needed.items() if is_needed]


# ---- fetching


@dataclass(frozen=True)
class _Fetch:
    """One call of `fetch`, with the lock held. Everything unfinished lives in `root`/.download."""

    root: Path
    base_url: str
    registry: dict[str, str]
    progress: bool
    console: Console
    pause_s: float

    @property
    def staging(self) -> Path:
        return self.root / ".download"

    def run(self) -> None:
        self.staging.mkdir(exist_ok=True)
        for orphan in self.staging.glob(
            "tmp*"
        ):  # pooch's name for a file while its hash is checked, of a killed process
            orphan.unlink()
        self._check_room(self._bytes_to_fetch(_wanted(self.root)), "to be downloaded and extracted")
        while wanted := _wanted(self.root):
            part = wanted[0]
            archive = self._archive(f"{part}.zip")
            self._extract(archive, part)
            if part in _wanted(self.root):
                raise AudiotagError(
                    f"{archive} was extracted, yet files that the tables name are missing in {self.root}."
                )
            if archive.parent == self.staging:
                archive.unlink()
        shutil.rmtree(self.staging)

    def _bar(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        return Progress(*columns, TimeRemainingColumn(), console=self.console, disable=not self.progress)

    def _bytes_to_fetch(self, parts: list[str]) -> float:
        """Return what the archives and their files need on the disk, as far as the server tells their sizes."""
        needed = 0.0
        for name in (f"{part}.zip" for part in parts):
            if (self.root / name).exists() or (self.staging / name).exists():
                continue  # only its extraction is left, and that knows the exact size
            size_bytes = size_on_server(f"{self.base_url}/{name}")
            if size_bytes is None:
                break  # either not told, or the server is out of reach: then the download raises, with advice
            needed += ROOM_PER_ARCHIVE_BYTE * size_bytes - size(self.staging / f"{name}.part")
        return needed

    def _check_room(self, needed_bytes: float, purpose: str) -> None:
        check_room(self.root, needed_bytes, f"FSDKaggle2018, {purpose},", "choose a folder on another disk")

    def _archive(self, name: str) -> Path:
        """Return a whole, checked archive: the one in `root` if somebody put it there, else downloaded."""
        by_hand, part, known_hash = self.root / name, self.staging / f"{name}.part", self.registry[name]
        if by_hand.exists():
            kind, _, expected = known_hash.rpartition(":")
            if (got := pooch.file_hash(by_hand, alg=kind)) != expected:
                raise AudiotagError(
                    f"{by_hand} is not the published file: its {kind} is {got}, not {expected}. Remove it to have it "
                    f"downloaded, or get it again from {RECORD_PAGE}."
                )
            return by_hand
        url, most_bytes = f"{self.base_url}/{name}", MOST_BYTES[name.removesuffix(".zip")]
        advice = f"get the zip files from {RECORD_PAGE} and put them into {self.root}, then run it again."
        downloader = Download(part, self._bar(), most_bytes, self.pause_s, f"Without a network: {advice}")
        try:
            pooch.retrieve(url, known_hash, fname=name, path=self.staging, downloader=downloader)
        except ValueError as error:  # how pooch reports a wrong checksum
            part.unlink(missing_ok=True)
            raise AudiotagError(
                f"{url} arrived with a wrong checksum, and was deleted. Run it again; if that does not help, the "
                f"server has another file than the one of {RECORD_PAGE}. {error}"
            ) from error
        part.unlink(missing_ok=True)
        return self.staging / name

    def _extract(self, archive: Path, part: str) -> None:
        """Extract beside the final place, each file whole or not at all, skip what is there, then move it in.

        Raises AudiotagError if the archive cannot be used; a downloaded one is fetched again by the next call.
        """
        beside = self.staging / part
        beside.mkdir(exist_ok=True)
        try:
            with zipfile.ZipFile(archive) as zipped:
                self._unzip(zipped, beside, part)
            if part == META:
                _check_tables(beside)
                self._move_aside()
        except _ArchiveError as error:
            raise self._refused(archive, beside, str(error)) from error
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError) as error:
            raise self._refused(archive, beside, f"it is not a whole zip archive ({error})") from error
        _move_into(beside, self.root / part)

    def _unzip(self, zipped: zipfile.ZipFile, beside: Path, part: str) -> None:
        members = {path: info for info in zipped.infolist() if (path := _inside(info, part))}
        missing = {path: info for path, info in members.items() if not _is_there(beside / path, info)}
        whole, left = (sum(info.file_size for info in some.values()) for some in (members, missing))
        name = f"{part}.zip"
        self._check_room(left, f"to extract {name}")
        with self._bar() as bar:
            task = bar.add_task(f"extract {name}", total=whole, completed=whole - left)
            for path, info in missing.items():
                half = beside / ".half"
                with zipped.open(info) as source, open(half, "wb") as sink:
                    shutil.copyfileobj(source, sink, CHUNK_BYTES)  # reading to the end checks the CRC
                (beside / path).parent.mkdir(parents=True, exist_ok=True)
                half.replace(beside / path)
                bar.advance(task, info.file_size)

    def _refused(self, archive: Path, beside: Path, why: str) -> AudiotagError:
        """Return the error of an archive that cannot be used, after what came of it is deleted."""
        shutil.rmtree(beside, ignore_errors=True)
        what_to_do = f"Remove it and run it again, or get it from {RECORD_PAGE}."
        if archive.parent == self.staging:
            archive.unlink()
            what_to_do = f"It was deleted: run it again to have it fetched again, or get it from {RECORD_PAGE}."
        return AudiotagError(f"{archive} cannot be used: {why}. {what_to_do}")

    def _move_aside(self) -> None:
        """Make room for the tables that are fetched again; what was there may be somebody's work."""
        for table in (self.root / META).glob("*.csv"):
            if table in _find(self.root).values() and (why := _unusable(table)):
                names = (table.with_name(f"{table.name}.unreadable{n or ''}") for n in itertools.count())
                aside = next(name for name in names if not name.exists())
                table.rename(aside)
                self.console.print(f"fetched again, and kept as {aside.name}: {why}", markup=False, soft_wrap=True)


class _ArchiveError(Exception):
    """Why an archive that is whole cannot be used."""


def _inside(info: zipfile.ZipInfo, part: str) -> PurePosixPath | None:
    """Return a member's path under its part's folder; None for folders and for what file managers add."""
    path = PurePosixPath(info.filename)
    if path.is_absolute() or ".." in path.parts:
        raise _ArchiveError(f"it holds a file that points out of its folder, {info.filename}")
    if info.flag_bits & ENCRYPTED:
        raise _ArchiveError("it is encrypted, which the published one is not")
    if info.is_dir() or path.parts[0] == "__MACOSX" or path.name.startswith("."):
        return None
    return PurePosixPath(*path.parts[1:]) if path.parts[0] == part else path


def _is_there(path: Path, info: zipfile.ZipInfo) -> bool:
    return path.is_file() and path.stat().st_size == info.file_size


def _check_tables(folder: Path) -> None:
    """Raise _ArchiveError unless the tables were extracted to a folder, and can be used."""
    problems: list[str] = []
    for part in ("training table", "test table"):
        there = [path for place in PLACES[part] if (path := folder / Path(place).name).exists()]
        problems += filter(None, map(_unusable, there)) if there else [f"it holds no {part}"]
    if problems:
        raise _ArchiveError("; ".join(problems))


def _move_into(source: Path, target: Path) -> None:
    """Move the files of a folder into another; those that are there stay."""
    if target.exists():
        for path in [path for path in source.rglob("*") if path.is_file()]:
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.unlink() if place.exists() else path.replace(place)
        shutil.rmtree(source)
    else:
        source.replace(target)

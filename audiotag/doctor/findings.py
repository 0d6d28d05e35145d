"""What is wrong or odd with a data set: what training refuses, and what it would take without a word."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from audiotag.config.checks import is_formula
from audiotag.data.checking import Checked
from audiotag.data.paths import is_recording, relative
from audiotag.data.scan import MISSING
from audiotag.features.audio import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from audiotag.doctor.duplicates import Duplicates
    from audiotag.doctor.examine import Examined  # slow to import, and a table may be refused first

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)
# The kinds in the order in which they are listed, the gravest of a severity first.
KINDS = (
    *("table", "table row", "missing file", "unusable file", "class or fold", "left out"),
    *("duplicate in train and test", "duplicate of another label", "duplicate", "group in train and test"),
    *("truncated", "silent", "nearly silent", "clipping", "DC offset", "shorter than a frame", "in no table"),
)
NEARLY_SILENT = 0.001  # peak, of full scale: -60 dB
CLIPPED = 0.001  # share of the samples
OFFSET = 0.01  # mean of the samples, of full scale
IN_TABLE = re.compile(r"^(?P<path>[^:]+):\d+: ")


@dataclass(frozen=True)
class Finding:
    """One thing found. `path` is the audio file's, relative to the data set where it lies there, else the table's."""

    severity: str
    kind: str
    clip_id: str
    path: str
    what: str


def as_table(findings: Iterable[Finding]) -> pd.DataFrame:
    """Return findings as a table, the gravest first."""
    ordered = sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), KINDS.index(f.kind), f.path, f.clip_id))
    return pd.DataFrame([astuple(f) for f in ordered], columns=[entry.name for entry in fields(Finding)])


def refused(problems: Iterable[str], kind: str) -> Iterator[Finding]:
    """Yield what training refuses besides single rows, as text that begins with its place."""
    for problem in problems:
        place = IN_TABLE.match(problem)
        yield Finding(ERROR, kind, "", place["path"] if place else "", problem)


def row_findings(checked: Checked, skip: bool) -> Iterator[Finding]:
    """Yield every row and file that cannot be used; with `skip` they are left out, and no errors."""
    rows = checked.clips
    for at, reasons in sorted(rows.faults.items()):
        row = rows.frame.loc[at]
        scan = checked.scans.get(checked.root / row["path"])
        for why in reasons:
            of_file = scan is not None and scan.problem != "" and why.startswith(scan.problem)
            kind = "table row" if not of_file else "missing file" if why.startswith(MISSING) else "unusable file"
            short = why.removeprefix(f"{checked.root / row['path']}: ")
            severity, kind = (WARNING, "left out") if skip else (ERROR, kind)
            clip_id, path = ("" if is_formula(str(row[name])) else str(row[name]) for name in ("clip_id", "path"))
            yield Finding(severity, kind, clip_id, path, f"{row['where']}: {short}")
    padding = rows.frame.loc[sorted(rows.left_out)].query("split == 'test' and label == ''")
    if len(padding):
        what = f"{len(padding)} test rows without a label, whose files are not there either, are left out"
        yield Finding(NOTE, "left out", "", "", what)


def file_findings(clips: pd.DataFrame, files: Iterable[Examined]) -> Iterator[Finding]:
    """Yield what is odd about single recordings (rows with clip_id and path, and what was measured of each)."""
    for clip_id, path, file in zip(clips["clip_id"], clips["path"], files, strict=True):
        if not file.scan.problem:
            for severity, kind, what in _oddities(file):
                yield Finding(severity, kind, clip_id, path, what)


def _oddities(file: Examined) -> Iterator[tuple[str, str, str]]:
    from audiotag.features.spectrogram import N_FFT  # here: it brings PyTorch, which the workers do not need

    if file.truncated:
        yield WARNING, "truncated", file.truncated
    if file.peak == 0:
        yield WARNING, "silent", "every sample is zero"
    elif file.quiet:
        yield WARNING, "silent", "nothing in it is loud for long enough to be kept by trimming; it is kept whole"
    if 0 < file.peak < NEARLY_SILENT:
        yield WARNING, "nearly silent", f"its peak is {file.peak:.6f} of full scale"
    if file.clipped >= CLIPPED:
        yield WARNING, "clipping", f"{100 * file.clipped:.2f} % of the samples lie in runs at the limit"
    if file.offset >= OFFSET:
        yield NOTE, "DC offset", f"the mean of its samples is {file.offset:.3f} of full scale"
    if file.n_samples < N_FFT:
        kept_ms, frame_ms = 1000 * file.kept_s, 1000 * N_FFT / SAMPLE_RATE_HZ
        yield NOTE, "shorter than a frame", f"{kept_ms:.1f} ms without its silent ends; a frame is {frame_ms:.0f} ms"


def duplicate_findings(clips: pd.DataFrame, duplicates: list[Duplicates]) -> Iterator[Finding]:
    """Yield duplicates among clips (rows with clip_id, path, label, split, group, and fold where known)."""
    rows = clips.to_dict("records")
    for pair in duplicates:
        one, other = rows[pair.one], rows[pair.other]
        alike = "the same sound, sample by sample," if pair.exact else f"nearly the same sound ({pair.similarity:.3f})"
        differ = [
            f"{name} {other[name]} and {one[name]}"
            for name in ("label", "split", "group", "fold")
            if other.get(name) and one.get(name) and other[name] != one[name]
        ]
        what = f"{alike} as {one['path']}" + (f": {', '.join(differ)}" if differ else "")
        if one["split"] != other["split"]:
            severity, kind = WARNING, "duplicate in train and test"
        elif one["label"] != other["label"] and one["label"] and other["label"]:
            severity, kind = WARNING, "duplicate of another label"
        else:
            severity, kind = NOTE, "duplicate"
        yield Finding(severity, kind, str(other["clip_id"]), str(other["path"]), what)


def group_findings(clips: pd.DataFrame) -> Iterator[Finding]:
    """Yield groups, such as speakers, that are both trained and tested on."""
    grouped = clips[clips["group"] != ""]
    for group, rows in grouped.groupby("group"):
        tests, n_train = rows[rows["split"] == "test"], int((rows["split"] == "train").sum())
        if n_train and len(tests):
            what = f"group {group} has {n_train} training clips, and is tested on in {', '.join(tests['path'])}"
            first = tests.iloc[0]
            yield Finding(WARNING, "group in train and test", first["clip_id"], first["path"], what)


def unnamed_findings(folders: Iterable[Path], named: set[Path], root: Path) -> Iterator[Finding]:
    """Yield recordings in the audio folders that no table names."""
    there = {path for folder in folders for path in folder.rglob("*") if is_recording(path) and path.is_file()}
    for path in sorted(there - named):
        yield Finding(NOTE, "in no table", "", relative(path, root), "no table names this file")

"""Everything that is wrong with a data set, gathered before any of it is used: rows, files, classes, folds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.text import Text

from audiotag.config import TrainConfig
from audiotag.console import as_called, console
from audiotag.data.clips import NO_LABEL_GIVEN, ClipTable, check_clips, mark_outside, mark_same_file
from audiotag.data.corrections import apply_corrections, read_corrections
from audiotag.data.folds import plan_folds
from audiotag.data.noise import Labels, with_noise
from audiotag.data.paths import Folders, relative
from audiotag.data.scan import MISSING, Scan, state_of
from audiotag.data.source import Source, build_source, complete_rows
from audiotag.data.tables import collect_problems
from audiotag.errors import FIRST, LAST, DataError

FEW_VERIFIED = re.compile(r"class .*: (\d+) verified clips, \d+ folds")


@dataclass(frozen=True)
class Checked:
    """Everything that is known of a data set before training.

    `clips` hold what is wrong with single rows and files, `problems` what leaving those out does not solve. `frame` are
    the usable rows, folds and corrections in them, `corrections` what a person decided; None if there are problems.
    """

    labels: Labels
    root: Path
    scans: dict[Path, Scan]
    problems: list[str]
    frame: pd.DataFrame | None
    corrections: pd.DataFrame | None

    @property
    def clips(self) -> ClipTable:
        """Rows of the tables, with the noise that was asked for."""
        return self.labels.clips


def data_root(config: TrainConfig) -> Path:
    """Return the absolute folder of the data set."""
    return build_source(config.data).root(config.data, Path(config.cache_dir))


def check_tables(config: TrainConfig) -> None:
    """Raise DataError if the tables of a data set cannot be read; nothing is made or downloaded for it."""
    if not build_source(config.data).prepares(config.data):
        read_clips(config)


def read_clips(config: TrainConfig) -> tuple[ClipTable, list[str], Path, Source]:
    """Read a data set without its audio, made or downloaded first if need be: clips, class list, root, source."""
    data, source = config.data, build_source(config.data)
    root = source.root(data, Path(config.cache_dir))
    source.prepare(root, data)
    rows = complete_rows(source.rows(root, data), root, source)
    clips, classes = check_clips(rows, root, data.classes, data.allow_outside, data.unlabelled or source.unlabelled)
    return clips, classes, root, source


def check_data(
    config: TrainConfig,
    scan: Callable[[list[Path]], dict[Path, Scan]] | None,
    in_any_case: bool = False,
) -> Checked:
    """Read tables and audio files, the latter by `scan` (None: not at all), and gather what is wrong with them.

    If the table of right labels is refused, no audio is read unless `in_any_case`: that may take hours.

    Noise is put in first: a person corrects the labels that a run was given. Raises DataError only if the tables
    cannot be read at all.
    """
    clips, classes, root, source = read_clips(config)
    data, skip = config.data, config.data.on_bad_clip == "skip"
    problems: list[str] = []  # those that leaving out rows does not solve
    labels = Labels(clips, classes, collect_problems(problems, lambda: _truth(config, source, root, clips)))
    scans: dict[Path, Scan] = {}
    if scan is not None:
        folders = Folders()
        match_files(clips, root, folders, data.allow_outside)
        paths = [root / path for path in clips.readable["path"]]
        is_read = in_any_case or not problems
        scans = scan(paths) if is_read else {path: state_of(path) for path in paths}
        problems += _leave_out(clips, root, scans, folders, skip)
    labels = collect_problems(problems, lambda: with_noise(labels, data, config.seed, root)) or labels
    decided = collect_problems(problems, lambda: read_corrections(data, labels.clips.readable, labels.classes, root))
    frame, applied = None, None
    planned = collect_problems(problems, lambda: plan_folds(labels.clips, labels.classes, config))
    if planned is not None:
        corrected = collect_problems(problems, lambda: apply_corrections(planned, decided, config, labels.classes))
        frame, applied = (None, None) if corrected is None else corrected
    return Checked(labels, root, scans, problems, frame, applied)


def refuse(checked: Checked, skip: bool) -> None:
    """Raise DataError with everything that is wrong; with `skip`, only if leaving rows out does not help."""
    skipped, problems = checked.clips.problems, checked.problems
    if problems or (skipped and not skip):
        found = [*(() if skip else map(str, skipped)), *problems]
        advice = _advice(problems, bool(skipped) and not skip)
        if any(NO_LABEL_GIVEN in problem for problem in found):
            advice += " Clips that are to be labelled by the networks, and not trained on, need data.unlabelled=true."
        if len(found) > FIRST + LAST:
            advice += as_called(
                " python -m audiotag.doctor, with the same settings of data and out=DIR, lists them all."
            )
        raise DataError(f"{len(found)} problems in the data set:", found, advice)
    if skipped:
        console.print(
            Text("left out:", "yellow"), f"{len(skipped)} rows or files that cannot be used (see summary.json)"
        )


def _advice(problems: list[str], skipping_helps: bool) -> str:
    """Return what to do about problems, of rows and files if `skipping_helps`, and of classes."""
    advice = []
    if skipping_helps:
        advice.append("Correct these, or set data.on_bad_clip=skip to leave out rows and files that cannot be used.")
    verified = [int(found[1]) for problem in problems if (found := FEW_VERIFIED.search(problem))]
    if verified and min(verified) > 1:
        advice.append(f"Set folds={min(verified)}, or check more labels of these classes by ear.")
    elif verified:
        advice.append("Every class needs a checked clip in each of two folds or more: check labels, or leave it out.")
    return " ".join(advice or ["Correct these."])


def _truth(config: TrainConfig, source: Source, root: Path, clips: ClipTable) -> pd.Series | None:
    """Return the right labels that come with the data set, by clip id; raises DataError if they are of others."""
    truth = source.truth(root, config.data)
    if truth is not None and not clips.frame["clip_id"].isin(truth.index).any():
        raise DataError(
            "The table of right labels is of other clips:",
            [f"data.truth={config.data.truth}: its {config.data.columns.clip} names none of the clips"],
        )
    return truth


def match_files(clips: ClipTable, root: Path, folders: Folders, allow_outside: bool) -> None:
    """Let rows name the files that are meant: as they are written on the disk, and each once."""
    found = clips.readable["path"].map(lambda path: relative(folders.find(root / path), root))
    clips.frame = clips.frame.assign(path=found.reindex(clips.frame.index).fillna(clips.frame["path"]))
    if not allow_outside:
        mark_outside(clips, root)  # what is found in place of a name may be a link
    mark_same_file(clips)


def _leave_out(clips: ClipTable, root: Path, scans: dict[Path, Scan], folders: Folders, skip: bool) -> list[str]:
    """Mark rows for their files; return a problem per missing folder where rows are not to be skipped one by one."""
    frame = clips.readable
    why = frame["path"].map(lambda path: scans[root / path].problem).astype(object)
    missing = why == MISSING
    # The challenge's test table names thousands of clips that nobody scores, and not every copy has their audio.
    clips.left_out |= set(frame.index[missing & (frame["split"] == "test") & (frame["label"] == "")])
    gone: Counter[Path] = Counter()
    if not skip:
        parents = frame["path"].map(lambda path: (root / path).parent).astype(object)
        absent = {folder for folder in set(parents[missing]) if not folder.is_dir()}
        in_absent = missing & parents.isin(absent) & ~frame.index.isin(clips.left_out)
        gone.update(parents[in_absent])
        clips.left_out |= set(frame.index[in_absent])
    bad = (why != "") & ~frame.index.isin(clips.left_out)
    hints = frame["path"][bad & missing].map(lambda path: folders.near(root / path))
    clips.mark_invalid(bad, why + hints.reindex(why.index).fillna(""))
    return [f"{folder}: there is no such folder, and {n} rows name files in it" for folder, n in sorted(gone.items())]

"""What a data set holds, what is wrong with it, and what training will refuse, before any training.

usage: python -m audiotag.doctor data=kaggle data.root=DIR [folds=4] [out=DIR]

Takes the settings of train.py (python train.py --help). Reads every table and every recording; prints clips per class,
formats, lengths, and every finding: errors (training refuses the data set), warnings and notes. With out=DIR, all of
them are written to DIR/doctor.csv, beside classes.csv, clips.csv and lengths.png. The exit code is 0 where training
would accept the data set, 1 where it would refuse it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.table import Table
from rich.text import Text

from audiotag.cli.program import announce, run_command
from audiotag.config import TrainConfig
from audiotag.console import console
from audiotag.data.checking import Checked, check_data
from audiotag.data.manifest_file import with_flags
from audiotag.data.scan import Scan, remember
from audiotag.data.source import build_source
from audiotag.doctor import findings as found
from audiotag.errors import ConfigError, DataError
from audiotag.files import check_output, write_csv
from audiotag.plan import compose_training

if TYPE_CHECKING:
    from audiotag.doctor.examine import Examined  # slow to import, as what is imported in functions below

SHOWN = 5  # findings of a kind that are printed
COLOURS = {found.ERROR: "red", found.WARNING: "yellow", found.NOTE: "cyan"}
CLIP = ["clip_id", "path", "label", "split", "verified", "group", "fold"]
MEASURED = ["rate_hz", "channels", "coding", "peak", "offset", "clipped", "kept_s", "quiet", "truncated"]


@dataclass(frozen=True)
class Diagnosis:
    """What was found, and the usable clips (columns `CLIP`, duration_s, and `MEASURED`)."""

    findings: pd.DataFrame
    clips: pd.DataFrame

    @property
    def refused(self) -> int:
        """Number of errors."""
        return int((self.findings["severity"] == found.ERROR).sum())


def diagnose(config: TrainConfig) -> Diagnosis:
    """Examine a data set; nothing is raised that a finding can say."""
    examined: dict[Path, Examined] = {}

    def scan(paths: list[Path]) -> dict[Path, Scan]:
        from audiotag.doctor.examine import examine_files

        examined.update(examine_files(paths, config.hardware.workers))
        scans = {path: file.scan for path, file in examined.items()}
        remember(scans, Path(config.cache_dir))
        return scans

    try:
        checked = check_data(config, scan, in_any_case=True)
    except DataError as error:
        unreadable = found.refused(error.problems or [str(error)], "table")
        return Diagnosis(found.as_table(unreadable), pd.DataFrame(columns=[*CLIP, "duration_s", *MEASURED]))
    from audiotag.doctor.duplicates import find_duplicates

    clips = _clips(checked)
    files = [examined[checked.root / path] for path in clips["path"]]
    named = {checked.root / path for path in checked.clips.frame["path"]}
    folders = build_source(config.data).audio_folders(checked.root, config.data)
    findings = [
        *found.row_findings(checked, config.data.on_bad_clip == "skip"),
        *found.refused(checked.problems, "class or fold"),
        *found.file_findings(clips, files),
        *found.duplicate_findings(clips, find_duplicates(files, config.hardware.workers)),
        *found.group_findings(clips),
        *found.unnamed_findings(folders, named, checked.root),
    ]
    measured = pd.DataFrame([[getattr(file, name) for name in MEASURED] for file in files], columns=MEASURED)
    measured.insert(0, "duration_s", [file.scan.duration_s for file in files])
    return Diagnosis(found.as_table(findings), pd.concat([clips, measured], axis=1))


def _clips(checked: Checked) -> pd.DataFrame:
    """Return the usable clips, those to train on first, with folds where these could be made."""
    usable = checked.clips.usable if checked.frame is None else checked.frame
    clips = usable.reindex(columns=CLIP, fill_value="")
    return clips.sort_values(["split", "clip_id"], ascending=[False, True], ignore_index=True)


def class_counts(clips: pd.DataFrame) -> pd.DataFrame:
    """Return usable clips per class: label, verified, unverified, verified_share, test."""
    labelled = clips[clips["label"] != ""]
    part = labelled["verified"].map({True: "verified", False: "unverified"}).where(labelled["split"] == "train", "test")
    counts = pd.crosstab(labelled["label"], part).reindex(columns=["verified", "unverified", "test"], fill_value=0)
    counts.insert(2, "verified_share", counts["verified"] / (counts["verified"] + counts["unverified"]))
    return counts.reset_index()


def show(diagnosis: Diagnosis, out: Path | None) -> None:
    """Print what the data set holds, then the findings, long lists shortened."""
    if len(diagnosis.clips):
        _show_clips(diagnosis.clips)
    for (severity, kind), rows in diagnosis.findings.groupby(["severity", "kind"], sort=False):
        colour = COLOURS[str(severity)]
        console.print(Text(f"{severity}:", colour), Text(str(kind), "bold"), f"({len(rows)})", soft_wrap=True)
        for row in rows.head(SHOWN).to_dict("records"):
            path, what = row["path"], row["what"]
            console.print(f"  {what if not path or what.startswith(path) else f'{path}: {what}'}", soft_wrap=True)
        if len(rows) > SHOWN:
            where = "out=DIR lists them all" if out is None else str(out / "doctor.csv")
            console.print(f"  and {len(rows) - SHOWN} more: {where}", soft_wrap=True)
    counts = diagnosis.findings["severity"].value_counts()
    totals = ", ".join(f"{counts.get(name, 0)} {name}s" for name in found.SEVERITIES)
    verdict = ("Training would refuse this data set", "red") if diagnosis.refused else "Training would accept it"
    console.print(Text.assemble(verdict, f": {totals}"), soft_wrap=True)


def _show_clips(clips: pd.DataFrame) -> None:
    from audiotag.evaluation.lengths import show_lengths

    classes = Table("Class", "Verified", "Unverified", "Verified share", "Test")
    for row in class_counts(clips).to_dict("records"):
        share = "-" if pd.isna(row["verified_share"]) else f"{row['verified_share']:.2f}"
        classes.add_row(row["label"], str(row["verified"]), str(row["unverified"]), share, str(row["test"]))
    console.print(classes)
    formats = Table("Format", "Rate, Hz", "Channels", "Clips")
    for (coding, rate_hz, channels), rows in clips.groupby(["coding", "rate_hz", "channels"]):
        formats.add_row(str(coding), str(rate_hz), str(channels), str(len(rows)))
    console.print(formats)
    show_lengths(clips)


def write(diagnosis: Diagnosis, out: Path) -> None:
    """Write findings, counts, clips and the histogram of their lengths into a folder."""
    from audiotag.evaluation.lengths import length_histogram
    from audiotag.plots.figures import save_png

    write_csv(out / "doctor.csv", diagnosis.findings)
    if len(diagnosis.clips):
        write_csv(out / "classes.csv", class_counts(diagnosis.clips))
        write_csv(out / "clips.csv", with_flags(diagnosis.clips))
        save_png(out / "lengths.png", length_histogram(diagnosis.clips))
    console.print(f"Written: {out}", soft_wrap=True)


def main(arguments: list[str]) -> int:
    """Examine, print and write; return the exit code."""
    outs = [argument.removeprefix("out=") for argument in arguments if argument.startswith("out=")]
    if len(outs) > 1 or "" in outs or any(Path(name).is_file() for name in outs):
        raise ConfigError("The findings have no place to be written to:", ["out=DIR is a folder, and given once"])
    out = Path(outs[0]) if outs else None
    if out is not None:
        check_output(out / "doctor.csv", "severity,kind,clip_id,path,what", ("classes.csv", "clips.csv", "lengths.png"))
    config = compose_training([argument for argument in arguments if not argument.startswith("out=")])
    where = "" if config.data.root is None else f" in {config.data.root}"
    announce("audiotag.doctor", f"data {config.data.title}{where}")
    diagnosis = diagnose(config)
    show(diagnosis, out)
    if out is not None:
        write(diagnosis, out)
    return 1 if diagnosis.refused else 0


if __name__ == "__main__":
    run_command(main, __doc__, needs_arguments=True)

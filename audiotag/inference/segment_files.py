"""Files with the parts of recordings: a table of all, label tracks for Audacity, selection tables for Raven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import soundfile

from audiotag.config import PredictConfig
from audiotag.errors import AudiotagError
from audiotag.files import check_output, write_csv, write_text
from audiotag.inference.predict import refuse_losing
from audiotag.inference.recordings import Recording

TABLE = "segments.csv"
OWN = "fname,start_s,end_s,label"  # what it begins with
RAVEN = ["Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"]
RAVEN += ["Label", "Probability"]


def audacity_labels(segments: pd.DataFrame) -> str:
    """Return a label track: a line per part, start, end and label, separated by tabs."""
    rows = zip(segments["start_s"], segments["end_s"], segments["label"], strict=True)
    return "".join(f"{start:.6f}\t{end:.6f}\t{_one_word(label)}\n" for start, end, label in rows)


def raven_selections(segments: pd.DataFrame, highest_hz: float) -> str:
    """Return a selection table, a row per part from 0 Hz to `highest_hz`, separated by tabs."""
    lines = ["\t".join(RAVEN)]
    rows = zip(*(segments[name] for name in ("start_s", "end_s", "label", "probability")), strict=True)
    for number, (start, end, label, probability) in enumerate(rows, 1):
        place = f"{number}\tSpectrogram 1\t1\t{start:.6f}\t{end:.6f}\t0.0\t{highest_hz:.1f}"
        lines.append(f"{place}\t{_one_word(label)}\t{probability:.6f}")
    return "\n".join(lines) + "\n"


def _one_word(label: str) -> str:
    return " ".join(label.split())  # no tab, no line break


@dataclass(frozen=True)
class SegmentFiles:
    """Where the parts of recordings are written: `table`, and for another program a file for each recording."""

    table: Path
    format: str

    def write(self, segments: pd.DataFrame, recordings: Sequence[Recording]) -> None:
        """Write all of them; of recordings in which nothing was found, a file without parts."""
        for recording in recordings if self.format != "predictions" else ():
            write_text(self.of(recording), self._text(segments, recording))
        write_csv(self.table, segments)

    def of(self, recording: Recording) -> Path:
        """Return the file of one recording, beside the table by the name of the recording."""
        suffix = {"audacity": ".txt", "raven": ".selections.txt"}[self.format]
        return self.table.parent / f"{recording.fname}{suffix}"

    def check(self, recordings: Sequence[Recording]) -> None:
        """Raise AudiotagError if files cannot be written, or what somebody wrote or changed would be lost.

        A label track does not say who made it: one is replaced only if it says what the table beside it says.
        """
        check_output(self.table, OWN, inputs=[recording.path for recording in recordings])
        refuse_losing(self.table, {recording.fname for recording in recordings})
        if self.format == "predictions":
            return
        known = self.table.exists() and self.table.stat().st_size
        before = pd.read_csv(self.table, keep_default_na=False, dtype={"fname": str, "label": str}) if known else None
        for recording in recordings:
            file = self.of(recording)
            if file.exists() and (before is None or file.read_bytes() != self._text(before, recording).encode()):
                raise AudiotagError(
                    f"{file} is there already, and does not say what {TABLE} beside it says: it is left as it is; "
                    "name another folder with out=, or move it away"
                )

    def _text(self, segments: pd.DataFrame, recording: Recording) -> str:
        own = segments[segments["fname"] == recording.fname]
        if self.format == "audacity":
            return audacity_labels(own)
        return raven_selections(own, soundfile.info(str(recording.path)).samplerate / 2)


def segment_files(config: PredictConfig, folder: Path) -> SegmentFiles:
    """Return where the parts are written: `out`, or in a folder."""
    if config.format == "predictions":
        default = folder / TABLE
        out = default if config.out is None else Path(config.out).expanduser().absolute()
        if out.suffix.lower() != ".csv":
            raise AudiotagError(f"out={config.out}: parts are written as CSV; name it {out.with_suffix('.csv').name}")
        return SegmentFiles(out, config.format)
    default = folder / config.format
    given = default if config.out is None else Path(config.out).expanduser().absolute()
    if given.exists() and not given.is_dir():
        raise AudiotagError(f"out={config.out} is a file: format={config.format} writes into a folder")
    return SegmentFiles(given / TABLE, config.format)

"""Label parts of recordings: check what is asked for, ask, write, show. All is checked without PyTorch."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.table import Table

from audiotag.config import PredictConfig
from audiotag.console import console
from audiotag.distributed.processes import importing_pytorch
from audiotag.errors import DataError
from audiotag.inference.exported import exported
from audiotag.inference.load import load_tagger
from audiotag.inference.members import choose_members, default_folder
from audiotag.inference.recordings import find_recordings
from audiotag.inference.segment_files import segment_files

SHOWN = 20  # parts that are printed


def predict_segments(config: PredictConfig) -> Path:
    """Label the parts of the recordings that the configuration names, and write them; return the table's path.

    Raises as `predict` does. If some files cannot be read, the others' parts are written before DataError names them.
    """
    one = exported(config)
    default = default_folder(choose_members(config), config.runs_dir) if one is None else one.beside(".segments")
    found = find_recordings(config.source, ())
    files = segment_files(config, default)
    files.check(found.recordings)

    tagger = load_tagger(config, one)
    with importing_pytorch():
        from audiotag.inference.segments import segment_recordings
    segments, unread = segment_recordings(found.recordings, tagger, config, tagger.classes)
    if len(unread) == len(found.recordings):
        raise DataError("None of the recordings can be read; nothing is written:", list(unread.values()))
    read = [recording for recording in found.recordings if recording.fname not in unread]
    files.write(segments, read)
    print_segments(segments)
    if found.passed_over:
        console.print(f"Files in the folders that are not recordings, passed over: {len(found.passed_over)}")
    heard = segments["fname"].nunique()
    console.print(f"Parts: {len(segments)}, in {heard} of {len(read)} recordings")
    console.print(f"Segments: {files.table if config.format == 'predictions' else files.table.parent}", soft_wrap=True)
    if unread:
        counts = f"{len(unread)} of {len(found.recordings)}"
        raise DataError(f"{counts} recordings cannot be read (the others are labelled):", list(unread.values()))
    return files.table


def print_segments(segments: pd.DataFrame) -> None:
    """Print the first parts."""
    if segments.empty:
        return
    shown = Table("Recording", "Start", "End", "Label", "Probability", box=None, pad_edge=False)
    for row in segments.head(SHOWN).to_dict("records"):
        times = (f"{row['start_s']:.2f}", f"{row['end_s']:.2f}")
        shown.add_row(str(row["fname"]), *times, str(row["label"]), f"{row['probability']:.3f}")
    console.print(shown)
    if len(segments) > SHOWN:
        console.print(f"and {len(segments) - SHOWN} more")

"""What the networks answer: asked, averaged, written, scored and shown.

Shapes: M members of an ensemble, N recordings, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from audiotag.config import PredictConfig
from audiotag.distributed.hardware import set_numerics
from audiotag.errors import DataError
from audiotag.files import write_csv
from audiotag.inference.ensemble import Ensembled, choose_fusion, write_ensemble
from audiotag.inference.labelling import EnsembleLabelled, ask_members
from audiotag.inference.members import Member
from audiotag.inference.recordings import Found
from audiotag.inference.results import predictions_table, print_labels, print_rest, score_split
from audiotag.inference.submission import submission_table


def answer(
    config: PredictConfig, members: Sequence[Member], found: Found, asked: list[pd.Series] | None, out: Path
) -> Path:
    """Ask the members about the recordings, and write their labels to `out`, for a split its scores, too; return `out`.

    `asked` are, of a split, the folds of each member to ask about each clip. Raises DataError as `predict` says.
    """
    fusion = choose_fusion(members, config.ensemble)
    set_numerics(config.hardware)
    labelled = ask_members(members, found.recordings, asked, config)
    _refuse_unread(labelled, len(found.recordings), config)
    together = Ensembled(members, labelled.posteriors(config.ensemble.mean), fusion, config.ensemble)

    classes = members[0].folder.classes
    names = [recording.fname for recording in labelled.recordings]
    table = predictions_table(names, together.posteriors, classes, config.top)
    write_csv(out, submission_table(names, together.posteriors, classes) if config.format == "submission" else table)
    write_ensemble(out.parent, together)
    if config.split in ("test", "valid"):
        score_split(labelled, together, out.parent, config)
    else:
        print_labels(table)
    print_rest(found, labelled, out, members)
    if labelled.problems:
        counts = f"{len(found.recordings) - len(names)} of {len(found.recordings)}"
        raise DataError(f"{counts} recordings cannot be read (the others are labelled):", labelled.problems)
    return out


def _refuse_unread(labelled: EnsembleLabelled, n_asked: int, config: PredictConfig) -> None:
    n_unread = n_asked - len(labelled.recordings)
    if n_unread and config.split is not None:
        counts = f"{n_unread} of {n_asked} clips of the split"
        raise DataError(f"{counts} cannot be read; nothing is written:", labelled.problems)
    if not labelled.recordings:
        raise DataError("None of the recordings can be read; nothing is written:", labelled.problems)

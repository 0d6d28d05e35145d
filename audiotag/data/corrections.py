"""Decisions of a person about labels, `data.corrections=FILE`: read strictly, applied to the training clips, kept.

Folds are made before corrections are applied, so that a run and its corrected successor hold out the same clips. A
person looks at what networks found suspicious: clips that only a correction has verified are trained on and held out as
verified ones are, but they are in no figure, and nothing is chosen or calibrated by them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path

import pandas as pd
from rich.text import Text

from audiotag.config import Data, TrainConfig
from audiotag.console import console
from audiotag.data.clips import UNLABELLED, Problem
from audiotag.data.folds import check_classes
from audiotag.data.tables import collect_problems, find_file, read_table, unknown_label
from audiotag.errors import DataError, Nearest
from audiotag.files import write_csv

KEEP, RELABEL, DROP = "keep", "relabel", "drop"
DONE = {KEEP: "kept", RELABEL: "relabelled", DROP: "dropped"}
# `label` and `verified` are those of the data set; `decision` is keep, relabel X or drop. Can be given again as FILE.
CORRECTION_COLUMNS = ["clip_id", "path", "label", "verified", "fold", "decision"]
NO_CORRECTIONS = pd.DataFrame(columns=CORRECTION_COLUMNS).astype({"verified": bool})
ADVICE = "A decision is keep, relabel LABEL or drop; rows without one are ignored."


def read_corrections(data: Data, clips: pd.DataFrame, classes: list[str], root: Path) -> pd.DataFrame | None:
    """Return the decided rows of `data.corrections`: clip_id, decision and where (file:line); None if none is given.

    `clips` are the rows of the data set's tables (clip_id, label, split). Raises DataError with every row that does not
    fit them.
    """
    if data.corrections is None:
        return None
    path = find_file("data.corrections", data.corrections, root)
    table, problems = read_table(path, {"clip_id": "clip_id", "decision": "decision"})
    decided = table[table["decision"] != ""]
    decided = decided.assign(where=[f"{path}:{line}" for line in decided.index])
    if decided.empty:
        problems.append(f"{path}: no row has a decision (keep, relabel LABEL or drop in the column decision)")
    known = clips.drop_duplicates("clip_id").set_index("clip_id")
    if len(decided) and not decided["clip_id"].isin(known.index).any():
        problems.append(f"{path}: its clip_id names none of the clips: it belongs to another data set")
    else:
        problems += _row_problems(decided, known, classes)
    if problems:
        raise DataError("The corrections cannot be used:", problems, ADVICE)
    decision = decided["decision"].map(lambda text: " ".join(decision_parts(text)).strip())
    return decided.assign(decision=decision)[["clip_id", "decision", "where"]]


def _row_problems(decided: pd.DataFrame, known: pd.DataFrame, classes: list[str]) -> Iterator[str]:
    first: dict[str, str] = {}
    near_clip, near_class = Nearest(known.index), Nearest(classes)
    for row in decided.to_dict("records"):
        clip, where = row["clip_id"], row["where"]
        for why in _decision_problems(row["decision"], classes, near_class):
            yield f"{where}: {clip}: {why}"
        if clip in first:
            why = f"decided twice, first in {first[clip]}"
        elif clip not in known.index:
            why = "the data set has no such clip" + near_clip(clip)
        else:
            why = _clip_problem(row, known.loc[clip])
        if why:
            yield f"{where}: {clip}: {why}"
        first.setdefault(clip, where)


def _decision_problems(text: str, classes: list[str], near: Nearest) -> list[str]:
    word, label = decision_parts(text)
    if word not in (KEEP, RELABEL, DROP) or (label and word != RELABEL):
        return [f"unknown decision {text}" + Nearest([KEEP, RELABEL, DROP])(word)]
    if word == RELABEL and not label:
        return ["relabel names no label: write relabel LABEL"]
    return [unknown_label(label, near)] if word == RELABEL and label not in classes else []


def _clip_problem(row: Mapping[Hashable, str], clip: pd.Series) -> str:
    """Return what is wrong with a decision about a clip of the data set, "" if nothing."""
    if clip["split"] == "test":
        return "a test clip: test labels are never corrected"
    if clip["split"] == UNLABELLED:
        return "a clip without a label: give it its label in the table"
    given = row.get("label", "")
    if given not in ("", clip["label"]):
        return f"its label here is {given}, in the data set {clip['label']}: the file belongs to other data"
    if decision_parts(row["decision"]) == (RELABEL, clip["label"]):
        return f"relabel {clip['label']}: that is its label already; write keep"
    return ""


def decision_parts(text: str) -> tuple[str, str]:
    """Return the word of a decision, lower case, and the label after it."""
    word, _, label = text.strip().partition(" ")
    return word.lower(), label.strip()


def apply_corrections(
    frame: pd.DataFrame, decided: pd.DataFrame | None, config: TrainConfig, classes: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the usable rows with corrections applied, and what was applied (columns `CORRECTION_COLUMNS` and where).

    A kept or relabelled clip is verified from then on; a dropped one is no longer there. Decisions about rows that
    cannot be used are passed over. Raises DataError if what is left cannot be trained on.
    """
    if decided is None:
        return frame, NO_CORRECTIONS.assign(where="")
    here = decided.set_index("clip_id")
    applied = frame[frame["clip_id"].isin(here.index)].drop(columns="where", errors="ignore").join(here, on="clip_id")
    parts = pd.DataFrame([decision_parts(text) for text in applied["decision"]], applied.index, ["word", "label"])
    changed = frame.copy()
    changed.loc[parts.index, "verified"] = True
    relabelled = parts[parts["word"] == RELABEL]
    changed.loc[relabelled.index, "label"] = relabelled["label"]
    changed = changed.drop(index=parts.index[parts["word"] == DROP])
    _check_rest(changed[changed["split"] == "train"], applied, config, classes)
    return changed, applied[[*CORRECTION_COLUMNS, "where"]].sort_values("clip_id", ignore_index=True)


def _check_rest(train: pd.DataFrame, applied: pd.DataFrame, config: TrainConfig, classes: list[str]) -> None:
    """Raise DataError if the corrected clips cannot be trained on, in the folds that they have."""
    problems: list[str] = []
    collect_problems(problems, lambda: check_classes(train, config.folds, classes))
    folds = train.groupby("label")["fold"].nunique()
    problems += [f"class {label}: all its clips are in one fold" for label in folds.index[folds < 2]]
    before = train["verified"] & ~train["clip_id"].isin(verified_by_correction(applied))
    empty = sorted({str(fold) for fold in range(config.folds)} - set(train["fold"][before]))
    problems += [f"fold {fold}: no clip to validate on that was verified before" for fold in empty]
    if config.finetune_rounds > 0 and train["verified"].all():
        problems.append(
            "there is nothing left to verify: every label is verified (set finetune_rounds=0 to only train)"
        )
    if problems:
        problems = [f"with data.corrections applied: {problem}" for problem in problems]
        raise DataError("The corrected clips cannot be trained on:", problems, "Take some corrections back.")


def verified_by_correction(corrections: pd.DataFrame) -> set[str]:
    """Return the ids of the clips that were not verified before a person decided about them."""
    return set(corrections["clip_id"][~corrections["verified"]])


def write_applied(path: Path, applied: pd.DataFrame) -> None:
    """Write a run's `corrections.csv`; it can be given again as `data.corrections`."""
    write_csv(path, applied.assign(verified=applied["verified"].astype(int)))


def read_applied(path: Path) -> pd.DataFrame:
    """Read a run's `corrections.csv` (columns `CORRECTION_COLUMNS`); raises DataError if it cannot be used."""
    table, problems = read_table(path, {name: name for name in CORRECTION_COLUMNS})
    if problems:
        raise DataError("The corrections that the run has kept cannot be read:", problems)
    return table[CORRECTION_COLUMNS].assign(verified=table["verified"] == "1").reset_index(drop=True)


def dropped_problems(applied: pd.DataFrame) -> list[Problem]:
    """Return what the summary says of dropped clips."""
    rows = applied[applied["decision"] == DROP].to_dict("records")
    return [Problem(row["path"], "dropped by a person", row["where"]) for row in rows]


def say_applied(applied: pd.DataFrame) -> None:
    """Print how many labels a person has kept, changed and dropped."""
    if applied.empty:
        return
    words = applied["decision"].map(lambda text: decision_parts(text)[0])
    counts = ", ".join(f"{(words == word).sum()} {done}" for word, done in DONE.items())
    console.print(f"Corrections by a person: {counts}", soft_wrap=True)
    changed = int((applied["verified"] & (words != KEEP)).sum())
    if changed:
        labels = "1 label of a verified clip was" if changed == 1 else f"{changed} labels of verified clips were"
        console.print(
            Text(f"{labels} changed or dropped:", "yellow"),
            "validation is on other labels than before; compare with earlier runs on the test set",
            soft_wrap=True,
        )

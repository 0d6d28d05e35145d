"""The challenge's submission file: written from posteriors, and scored against a test table without any network.

Two columns, `fname,label`: a row per test clip, up to three labels apart by a space, best first. Nothing here needs
PyTorch. Shapes: N clips, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.text import Text

from audiotag.config import PredictConfig
from audiotag.console import console
from audiotag.data.answers import Answers, read_answers
from audiotag.data.tables import collect_problems, read_csv
from audiotag.errors import AudiotagError, DataError, Nearest
from audiotag.evaluation.metrics import MAP_DEPTH, ranked_labels
from audiotag.evaluation.scores import ScoreFiles, report_scores
from audiotag.files import check_output

COLUMNS = ["fname", "label"]
SHOWN = 10  # problems of a kind that are listed one by one
FORM = (
    "A submission has the header fname,label and a row per test clip, up to three labels apart by a space, best first."
)


def check_submittable(classes: Sequence[str]) -> None:
    """Make sure that labels apart by a space can be told apart; raises AudiotagError."""
    spaced = [label for label in classes if len(label.split()) != 1]
    if spaced:
        raise AudiotagError(
            f"format=submission sets labels apart by a space, and these classes have one in their names: "
            f"{', '.join(map(repr, spaced))}; leave format= away, or train on labels without spaces (Hi_hat, Hi-hat)"
        )


def submission_table(names: Sequence[str], posteriors: NDArray[np.float64], classes: Sequence[str]) -> pd.DataFrame:
    """Return the rows of a submission for N clips and posteriors (N, C), in the order of the clips."""
    labels = [" ".join(ranked) for ranked in ranked_labels(posteriors, classes, MAP_DEPTH)]
    return pd.DataFrame({"fname": list(names), "label": labels}, columns=COLUMNS)


@dataclass(frozen=True)
class Submission:
    """The labels of each scored clip, best first, in the order of the right ones; what of them are no classes.

    `beside` counts rows of clips that the table of scored clips does not name.
    """

    ranked: list[list[str]]
    unknown: list[str]
    beside: int


def score_submission(config: PredictConfig) -> Path:
    """Score the submission that the configuration names; write its scores, and return their file.

    Raises DataError with everything that is wrong with the submission or the test table; nothing is written then.
    """
    assert config.submission is not None  # the schema asks for it
    path = Path(config.submission).expanduser().absolute()
    out = _out_path(config, path)
    check_output(out, '{\n  "usage"', ScoreFiles(out.parent, out.stem).others, [path])
    answers = read_answers(config.data, config.usage)
    submission = read_submission(path, answers)
    right = answers.right
    title = f"{path.name}, {config.usage or 'all clips with a label'}"
    about = {"submission": path.name, "unknown_labels": len(submission.unknown)}
    files = ScoreFiles(out.parent, out.stem)
    report_scores(
        files, submission.ranked, right.tolist(), answers.classes, config.usage, config.bootstrap, title, {}, about
    )
    if submission.unknown:
        console.print(Text("labels that are no classes,", "yellow"), f"scored as wrong: {len(submission.unknown)}")
        for line in _some(submission.unknown):
            console.print(f"  - {line}", soft_wrap=True)
    if submission.beside:
        console.print(f"{submission.beside} rows are of clips that {answers.table.name} does not score")
    console.print(f"Scored: {len(right)} of {len(answers.clips)} test clips, {config.usage or 'all that have a label'}")
    console.print(f"Scores: {out}", soft_wrap=True)
    return out


def read_submission(path: Path, answers: Answers) -> Submission:
    """Read a submission strictly, for the clips that are scored.

    Of more than three labels the first three count, as in the challenge. Raises DataError with every missing column,
    malformed row, file name that is unknown or stands twice, row without labels, and scored clip without a row.
    """
    if not path.is_file():
        raise DataError("There is no submission to score:", [f"submission={path}: there is no such file"])
    problems: list[str] = []
    read = collect_problems(problems, lambda: read_csv(path))
    if read is None:
        raise DataError("The submission cannot be read:", problems, FORM)
    table, malformed = read
    there = list(table.columns)
    problems = [f"{path}:1: no column {name}; there are {', '.join(there)}" for name in COLUMNS if name not in there]
    problems += [f"{path}:1: there are {there.count(name)} columns {name}" for name in COLUMNS if there.count(name) > 1]
    if not problems:
        problems = _row_problems(path, table, malformed, answers)
    if problems:
        raise DataError("The submission cannot be scored:", problems, FORM)
    labels = {name: text.split()[:MAP_DEPTH] for name, text in zip(table["fname"], table["label"], strict=True)}
    beside = int((~table["fname"].isin(answers.clips["clip_id"])).sum())
    return Submission([labels[name] for name in answers.right.index], _unknown(path, table, answers), beside)


def _row_problems(path: Path, table: pd.DataFrame, malformed: pd.Series, answers: Answers) -> list[str]:
    fine = malformed == ""
    names = table["fname"]
    rows = table[fine]
    first = {name: line for line, name in reversed(list(rows["fname"].items()))}
    doubled = rows["fname"].duplicated()
    unknown = fine & ~names.isin(answers.clips["clip_id"]) & answers.is_whole
    absent = list(answers.right.index[~answers.right.index.isin(names)])
    kinds: list[list[str]] = [
        [f"{path}:{line}: {why}" for line, why in malformed[~fine].items()],
        [
            f"{path}:{line}: {name}: stands twice, first in line {first[name]}"
            for line, name in rows["fname"][doubled].items()
        ],
        [f"{path}:{line}: {name}: no clip of {answers.table}" for line, name in names[unknown].items()],
        [f"{path}:{line}: {name}: no label" for line, name in rows["fname"][rows["label"] == ""].items()],
    ]
    found = [line for kind in kinds for line in _some(kind)]
    if absent:
        listed = ", ".join([*absent[:SHOWN], *(["..."] if len(absent) > SHOWN else [])])
        found.append(f"{path}: {len(absent)} of the {len(answers.right)} scored clips have no row: {listed}")
    return found


def _unknown(path: Path, table: pd.DataFrame, answers: Answers) -> list[str]:
    """Return a line for every label that counts and is no class."""
    scored, classes, near = set(answers.right.index), set(answers.classes), Nearest(answers.classes)
    lines = []
    for line, name, text in zip(table.index, table["fname"], table["label"], strict=True):
        for label in text.split()[:MAP_DEPTH] if name in scored else ():
            if label not in classes:
                lines.append(f"{path}:{line}: {label}{near(label)}")
    return lines


def _some(lines: Sequence[str]) -> Iterable[str]:
    return [*lines[:SHOWN], *([f"... and {len(lines) - SHOWN} more like these"] if len(lines) > SHOWN else [])]


def _out_path(config: PredictConfig, submission: Path) -> Path:
    """Return the file for the scores; raises AudiotagError where it is no JSON file or would replace the submission."""
    if config.out is None:
        usage = f"-{config.usage}" if config.usage else ""
        return submission.with_name(f"{submission.stem}-scores{usage}.json")
    out = Path(config.out).expanduser().absolute()
    if out.suffix != ".json" or out.is_dir():
        raise AudiotagError(
            f"out={config.out}: name the file of the scores, such as scores.json; others stand beside it"
        )
    return out

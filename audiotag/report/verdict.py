"""What happened in a run, in words, and what to do next, each with the whole command."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from audiotag.data.clips import UNLABELLED
from audiotag.report import review
from audiotag.report.data import ReportData
from audiotag.report.reproduce import program, training, value
from audiotag.report.rounding import counted, percent
from audiotag.run.naming import run_named
from audiotag.run.summary import few_accepted, other_rules
from audiotag.verification.rules import rule_of


@dataclass(frozen=True)
class Step:
    """Something to do next: why, and a command that does it."""

    key: str
    title: str
    words: str
    command: str


def verdict(facts: ReportData, rows: pd.DataFrame | None) -> list[str]:
    """Return a run's result in sentences, the most important first; `rows` are those of `review.csv`."""
    if facts.config.data.train_on_all:
        return [
            "Every network was trained on all clips (data.train_on_all=true); a test set can say how good they are."
        ]
    if not facts.rounds:
        return ["No round is complete yet: there are no results so far but the curves below."]
    said = [_recognised(facts)]
    if not facts.decided.empty:
        said.append(_accepted(facts))
    if rows is not None:
        said += _contradicted(facts, rows)
    return said


def _recognised(facts: ReportData) -> str:
    best, first, clips = facts.of_best, facts.rounds[0], facts.checked
    share = best["valid_accuracy"]
    said = (
        f"The networks of round {facts.best} recognise {percent(share, clips)} of the {clips} verified clips, each "
        f"judged by a network that was not trained on it."
    )
    guessed = 1 / len(facts.classes)
    if share < 2 * guessed:
        return f"{said} Guessing would give {percent(guessed, clips)}: they have hardly learnt anything; train longer."
    if facts.best == 0:
        later = " Fine-tuning on accepted labels has not lowered the validation loss." if len(facts.rounds) > 1 else ""
        return said + later
    gained = round((share - first["valid_accuracy"]) * clips)
    chance = math.sqrt(clips * share * (1 - share))
    small = "; that may be chance" if abs(gained) <= chance else ""
    than = f"{abs(gained)} {'more' if gained >= 0 else 'fewer'} than" if gained else "as many as"
    return f"{said} Of these clips they recognise {than} round 0, which learnt from all labels{small}."


def _accepted(facts: ReportData) -> str:
    best = facts.of_best
    said = f"Of {best['considered']} unverified labels the rule accepted {best['accepted']}."
    if getattr(rule_of(facts.config.verification), "agreement", False):
        said += " With these the networks agree, each asked about clips that it had never heard."
    if facts.truth is not None:
        right, known = facts.right_accepted(facts.best)
        said += f" {counted(right, known)} of these are right (data.truth)." if known else ""
    return said


def _contradicted(facts: ReportData, rows: pd.DataFrame) -> list[str]:
    said = []
    unchecked, checked = rows["reason"].isin([review.CHECKED, review.EARLIER]), rows["reason"] == review.CHECKED
    if not facts.decided.empty:
        said.append(
            f"{counted(int((~unchecked).sum()), len(facts.decided))} unverified labels are contradicted: the networks "
            "predict another class. These are the labels most worth an ear."
        )
    if checked.any():
        said.append(
            f"{counted(int(checked.sum()), facts.checked)} verified labels are contradicted too. A person has checked "
            "these, so the networks are likely to be wrong; but not in all cases."
        )
    return said


def few(facts: ReportData) -> str:
    """Say that the rule accepted next to nothing, and which command shows what others would; "" if it did not."""
    rule = facts.config.verification
    said = few_accepted(facts.rounds, rule) if facts.rounds else ""
    return said and f"{said} {other_rules(value(run_named(facts.folder.path)), rule)}"


def steps(facts: ReportData, rows: pd.DataFrame | None) -> list[Step]:
    """Return what to do next with a run."""
    folder, run, config = facts.folder, run_named(facts.folder.path), facts.config
    made = []
    if len(facts.rounds) < config.finetune_rounds + 1 and not config.data.train_on_all:
        made.append(Step("go-on", "Go on", "This goes on with the run where it was.", training(config, folder)))
    if facts.best is None:
        return made
    splits = set(folder.manifest["split"])
    if "test" in splits:
        words = "Label the test clips with all networks of the best round, and score them where their labels are known."
        made.append(Step("test", "Test", words, program("predict.py", run=run, split="test")))
    if UNLABELLED in splits:
        words = "Propose labels for the clips that have none."
        made.append(Step("propose", "Propose", words, program("predict.py", run=run, split=UNLABELLED)))
    words = "Label recordings of your own: name a file or a folder in place of my_recordings."
    own = program("predict.py", run=run, source="my_recordings", out="predictions.csv")
    made.append(Step("predict", "Predict", words, own))
    if not facts.decided.empty:
        words = "What other rules would accept, from the stored votes and without training."
        made.append(Step("verify", "Verify", words, other_rules(value(run), config.verification)))
    if rows is not None and len(rows):
        made.append(Step("correct", "Correct", *_correct(facts)))
    return made


def _correct(facts: ReportData) -> tuple[str, str]:
    folder = facts.folder
    parent = folder.path.parent
    file = folder.path / review.FILE
    shown = file.relative_to(Path.cwd()) if parent == Path("runs").absolute() else file
    words = (
        f"Listen to contradicted labels below and decide; download review.csv, put it in place of {shown}, and train "
        "anew: the folds stay as they are, so that the two runs can be compared."
    )
    name, number = _successor(folder.path.name), 2
    while (parent / name).exists():
        name, number = f"{_successor(folder.path.name)}-{number}", number + 1
    return words, training(facts.config, folder, {"run": name, "data.corrections": str(shown)})


def _successor(name: str) -> str:
    return name.partition("-corrected")[0] + "-corrected"

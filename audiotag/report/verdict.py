"""What happened in a run, in words, and what to do next, each with the whole command."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from audiotag.data.clips import UNLABELLED
from audiotag.report import review
from audiotag.report.data import ReportData
from audiotag.report.reproduce import program, run_words, training
from audiotag.report.rounding import counted, percent
from audiotag.run.summary import few_accepted, other_rules
from audiotag.verification.rules import rule_of

TEST = "Label the test clips with all networks of the best round, and score them where their labels are known."
PROPOSE = "Propose labels for the clips that have none."
PREDICT = "Label recordings of your own: name a file or a folder in place of my_recordings."
LISTEN = "Hear contradicted labels one after another, in a page that takes a key for a verdict and keeps it at once."
VERIFY = "What other rules would accept, from the stored votes and without training."


@dataclass(frozen=True)
class Step:
    """Something to do next: why, and a command that does it."""

    key: str
    title: str
    words: str
    command: str


def verdict(data: ReportData, rows: pd.DataFrame | None) -> list[str]:
    """Return a run's result in sentences, the most important first; `rows` are those of `review.csv`."""
    if data.config.data.train_on_all:
        return [
            "Every network was trained on all clips (data.train_on_all=true); a test set can say how good they are."
        ]
    if not data.rounds:
        return ["No round is complete yet: there are no results so far but the curves below."]
    sentences = [_recognised(data)]
    if not data.decided.empty:
        sentences.append(_accepted(data))
    return sentences + ([] if rows is None else _contradicted(data, rows))


def _recognised(data: ReportData) -> str:
    best, first, clips = data.of_best, data.rounds[0], data.checked
    share = best["valid_accuracy"]
    text = (
        f"The networks of round {data.best} recognise {percent(share, clips)} of the {clips} verified clips, each "
        f"judged by a network that was not trained on it."
    )
    guessed = 1 / len(data.classes)
    if share < 2 * guessed:
        return f"{text} Guessing would give {percent(guessed, clips)}: they have hardly learnt anything; train longer."
    if data.best == 0:
        later = " Fine-tuning on accepted labels has not lowered the validation loss." if len(data.rounds) > 1 else ""
        return text + later
    gained = round((share - first["valid_accuracy"]) * clips)
    chance = math.sqrt(clips * share * (1 - share))
    small = "; that may be chance" if abs(gained) <= chance else ""
    than = f"{abs(gained)} {'more' if gained >= 0 else 'fewer'} than" if gained else "as many as"
    return f"{text} Of these clips they recognise {than} round 0, which learnt from all labels{small}."


def _accepted(data: ReportData) -> str:
    best = data.of_best
    text = f"Of {best['considered']} unverified labels the rule accepted {best['accepted']}."
    if getattr(rule_of(data.config.verification), "agreement", False):
        text += " With these the networks agree, each asked about clips that it had never heard."
    if data.truth is not None:
        right, known = data.right_accepted(data.best)
        text += f" {counted(right, known)} of these are right (data.truth)." if known else ""
    return text


def _contradicted(data: ReportData, rows: pd.DataFrame) -> list[str]:
    sentences = []
    unchecked, checked = rows["reason"].isin([review.CHECKED, review.EARLIER]), rows["reason"] == review.CHECKED
    if not data.decided.empty:
        sentences.append(
            f"{counted(int((~unchecked).sum()), len(data.decided))} unverified labels are contradicted: the networks "
            "predict another class. These are the labels most worth an ear."
        )
    if checked.any():
        sentences.append(
            f"{counted(int(checked.sum()), data.checked)} verified labels are contradicted too. A person has checked "
            "these, so the networks are likely to be wrong; but not in all cases."
        )
    return sentences


def other_rules_hint(data: ReportData) -> str:
    """Return that the rule accepted next to nothing, and the command that shows what others would; "" if it did not."""
    rule = data.config.verification
    if not data.rounds:
        return ""
    last = data.ledger[data.ledger["round"] == data.rounds[-1]["round"]]
    text = few_accepted(data.rounds, rule, last)
    return text and f"{text} {other_rules(shlex.join(run_words(data.folder)), rule, last)}"


def steps(data: ReportData, rows: pd.DataFrame | None) -> list[Step]:
    """Return what to do next with a run."""
    folder, config = data.folder, data.config
    made = []
    if len(data.rounds) < config.finetune_rounds + 1 and not config.data.train_on_all:
        made.append(Step("go-on", "Go on", "This goes on with the run where it was.", training(config, folder)))
    if data.best is None:
        return made
    for split, step, words in (("test", "Test", TEST), (UNLABELLED, "Propose", PROPOSE)):
        if split in set(folder.manifest["split"]):
            made.append(Step(step.lower(), step, words, program("python predict.py", folder, split=split)))
    own = program("python predict.py", folder, source="my_recordings", out="predictions.csv")
    made.append(Step("predict", "Predict", PREDICT, own))
    if not data.decided.empty:
        others = other_rules(shlex.join(run_words(folder)), config.verification, data.decided)
        made.append(Step("verify", "Verify", VERIFY, others))
    if rows is not None and len(rows):
        made.append(Step("listen", "Listen", LISTEN, program("python -m audiotag.review", folder)))
        made.append(Step("correct", "Correct", *_correct(data)))
    return made


def _correct(data: ReportData) -> tuple[str, str]:
    folder = data.folder
    parent = folder.path.parent
    desk = folder.path / review.DESK_FILE
    file = desk if desk.is_file() else folder.path / review.FILE
    shown = file.relative_to(Path.cwd()) if parent == Path("runs").absolute() else file
    decide = f"Listen to contradicted labels below and decide; download review.csv, put it in place of {shown}"
    if file == desk:
        decide = f"What was decided in the listening desk is in {shown}: decide what is left"
    words = f"{decide}, and train anew: the folds stay as they are, so that the two runs can be compared."
    name, number = _successor(folder.path.name), 2
    while (parent / name).exists():
        name, number = f"{_successor(folder.path.name)}-{number}", number + 1
    return words, training(data.config, folder, {"run": name, "data.corrections": str(shown)})


def _successor(name: str) -> str:
    return name.partition("-corrected")[0] + "-corrected"

"""How good the networks of a round are: on the verified clips that each held out, and on test clips, once scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from audiotag.console import as_called
from audiotag.evaluation.metrics import Scores, ranking, score_posteriors
from audiotag.files import read_json
from audiotag.run.folder import RunFolder
from audiotag.verification.ledger import by_rule


@dataclass(frozen=True)
class HeldOut:
    """Labels and predictions of all folds' verified held-out clips, and their scores."""

    labels: list[str]
    predicted: list[str]
    scores: Scores


def held_out(folder: RunFolder, round_: int) -> HeldOut | None:
    """Return what a complete round's networks predict, by consensus; None if nothing was held out to vote on."""
    if folder.config.data.train_on_all:
        return None
    votes = pd.concat([vote.verified for vote in folder.votes(round_).values()], ignore_index=True)
    posteriors = votes[folder.classes].to_numpy(np.float64)
    labels = folder.train.loc[votes["clip_id"], "label"].tolist()
    first = ranking(posteriors, 1)[:, 0]
    predicted = [folder.classes[i] for i in first]
    return HeldOut(labels, predicted, score_posteriors(posteriors, labels, folder.classes))


def test_scores(folder: RunFolder, round_: int) -> dict[str, Any]:
    """Return the scores of a round's networks together, of as much of the test set as `predict.py` has scored."""
    for usage in ("", "private_public", "private", "public"):
        for asked in (f"round{round_}", ""):
            file = folder.path / "predict" / "-".join(filter(None, ["test", usage, asked])) / "scores.json"
            if file.is_file():
                scores = read_json(file, as_called("delete it, and predict.py split=test writes it again"))
                if scores.get("round") == round_:
                    return scores
    return {}


def per_class_table(scores: Scores, decided: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of each class, and how many of its unverified labels the rule accepted in a round's ledger."""
    labels = scores.per_class["label"]
    counts = by_rule(decided).groupby("label")["accepted"].agg(considered="count", accepted="sum")
    return scores.per_class.assign(
        **{name: labels.map(counts[name]).fillna(0).astype(int) for name in ("considered", "accepted")}
    )

"""The ledger: one row per unverified clip and round, with the decision and its reason.

Clips whose label a person has corrected (`data.corrections`) have rows too, so that nothing vanishes from it; they are
no longer the rule's to decide, and count in no figure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from audiotag.data.corrections import DONE, DROP, decision_parts
from audiotag.errors import RunError
from audiotag.verification.calibration import fit_temperature, sharpen
from audiotag.verification.noise_model import Evidence, right_probabilities
from audiotag.verification.rules import RELABELLED, Rule, decide

POSTERIORS, VERIFIED_POSTERIORS = "posteriors.parquet", "verified_posteriors.parquet"  # of a cell's folder
BY_PERSON = "by a person"  # in the reason of every row that the rule has not decided
WAS = "relabelled, was "  # begins the reason of every clip that the rule accepted under another label
COLUMNS = ["round", "fold", "clip_id", "label", "predicted", "posterior", "p_right", "accepted", "reason"]


@dataclass(frozen=True)
class Votes:
    """One fold's consensus posteriors (columns `clip_id` and the classes): unverified clips, verified, corrected ones.

    `corrected` clips are verified by a person's correction alone: nothing is measured or calibrated on them.
    `temperature` is the one that the posteriors have been calibrated with, 1 of those that the networks gave.
    """

    unverified: pd.DataFrame
    verified: pd.DataFrame
    corrected: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["clip_id"]))
    temperature: float = 1.0


def calibrated(votes: dict[int, Votes], train: pd.DataFrame, classes: list[str]) -> dict[int, Votes]:
    """Return votes at a temperature per fold, fitted on its verified held-out clips; `train` are clips by id."""
    found = {}
    for fold, vote in votes.items():
        labels = class_codes(train.loc[vote.verified["clip_id"], "label"], classes)
        temperature = fit_temperature(_values(vote.verified, classes), labels)
        unverified, verified, corrected = (
            pd.DataFrame(sharpen(_values(one, classes), temperature), one.index, classes).assign(clip_id=one["clip_id"])
            for one in (vote.unverified, vote.verified, vote.corrected)
        )
        found[fold] = Votes(unverified, verified, corrected, temperature)
    return found


def decide_round(
    round_: int,
    votes: dict[int, Votes],
    train: pd.DataFrame,
    classes: list[str],
    rule: Rule,
    corrections: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return the ledger of one round: the rule, applied to all folds' votes together, and what a person has decided.

    `train` are the training clips by id. Of the label, `posterior` is what the rule saw, and `p_right` the probability
    that it is right as given; a clip that the rule relabels has the new one. Raises RunError if votes are missing or of
    other clips, or the rule breaks its contract.
    """
    _check_votes(votes, train)
    scored, e = _gathered(votes, train, classes)
    accepted, reasons, labels = decide(rule, e.posteriors, e.labels, e.verified_posteriors, e.verified_labels)
    names, labels = np.array(classes, dtype=object), e.labels if labels is None else labels
    was = [
        f", was {name}" if reason == RELABELLED else "" for reason, name in zip(reasons, names[e.labels], strict=True)
    ]
    can_tell = len(e.labels) and len(e.verified_labels)
    ledger = pd.DataFrame(
        {
            "round": round_,
            "fold": scored.index.get_level_values(0),
            "clip_id": scored["clip_id"].to_numpy(),
            "label": names[labels],
            "predicted": names[e.predicted] if len(names) else [],
            "posterior": e.posteriors[np.arange(len(labels)), labels],
            "p_right": right_probabilities(e).round(6) if can_tell else np.full(len(labels), np.nan),
            "accepted": accepted.astype(int),
            "reason": np.array([f"{reason}{old}" for reason, old in zip(reasons, was, strict=True)], dtype=object),
        }
    )
    by_person = None if corrections is None else corrected_rows(round_, votes, classes, corrections)
    if by_person is None or by_person.empty:
        return ledger
    return pd.concat([ledger, by_person], ignore_index=True).sort_values("clip_id", ignore_index=True)


def evidence(votes: dict[int, Votes], train: pd.DataFrame, classes: list[str]) -> Evidence:
    """Return what all folds' networks say of unverified and of verified clips."""
    return _gathered(votes, train, classes)[1]


def _gathered(votes: dict[int, Votes], train: pd.DataFrame, classes: list[str]) -> tuple[pd.DataFrame, Evidence]:
    """Return the unverified clips' votes by clip id, their fold in the index, and all as arrays."""
    # The fold stands in the index: a class may be called fold, too.
    tables = [
        pd.concat({f: getattr(vote, kind) for f, vote in sorted(votes.items())}) for kind in ("unverified", "verified")
    ]
    scored, verified = (table.sort_values("clip_id", kind="stable") for table in tables)
    codes = [class_codes(train.loc[table["clip_id"], "label"], classes) for table in (scored, verified)]
    return scored, Evidence(_values(scored, classes), codes[0], _values(verified, classes), codes[1])


def _check_votes(votes: dict[int, Votes], train: pd.DataFrame) -> None:
    """Make sure that every unverified clip is scored once, by the network that never heard it; raises RunError.

    Not by assertions: these vanish under `python -O`.
    """
    found = []
    for fold, vote in votes.items():
        checked = pd.concat([vote.verified["clip_id"], vote.corrected["clip_id"]])
        for voted, verified in ((vote.unverified["clip_id"], False), (checked, True)):
            held_out = train.index[(train["fold"] == fold) & (train["verified"] == verified)]
            wrong = sorted(set(voted) ^ set(held_out))
            name = "verified" if verified else "unverified"
            if wrong:
                found.append(f"fold {fold} did not score just its held-out {name} clips: {', '.join(wrong[:5])}")
            if not voted.is_unique:
                found.append(f"fold {fold} scored {name} clips twice")
    unscored = sorted(set(train["fold"]) - votes.keys())
    found += [f"there are no votes of fold {fold}" for fold in unscored]
    if found:
        raise RunError("The stored posteriors are not those of this manifest's clips: " + "; ".join(found))


def corrected_rows(round_: int, votes: dict[int, Votes], classes: list[str], corrections: pd.DataFrame) -> pd.DataFrame:
    """Return the ledger's rows of clips that were unverified before a person corrected them (columns `COLUMNS`).

    Kept and relabelled clips have what their fold's network, which never heard them, says to them; `label` and
    `posterior` are those of the label that they have now. Dropped ones have nobody's.
    """
    scored = pd.concat([vote.corrected for vote in votes.values()]).set_index("clip_id").reindex(columns=classes)
    rows = []
    for row in corrections[~corrections["verified"]].to_dict("records"):
        clip, fold = row["clip_id"], int(row["fold"])
        word, label = decision_parts(row["decision"])
        reason = f"{DONE[word]} {BY_PERSON}" + (f", was {row['label']}" if label else "")
        label, predicted, posterior = label or row["label"], "", np.nan
        if clip in scored.index:
            predicted, posterior = str(scored.loc[clip].idxmax()), scored.loc[clip].to_dict()[label]
        rows.append((round_, fold, clip, label, predicted, posterior, np.nan, int(word != DROP), reason))
    return pd.DataFrame(rows, columns=COLUMNS)


def by_rule(ledger: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a ledger that the rule has decided, not a person."""
    return ledger[~ledger["reason"].str.contains(BY_PERSON, regex=False).astype(bool)]


def corrected_share(ledger: pd.DataFrame) -> tuple[int, float | None]:
    """Return how many clips of a round a person's correction alone has verified, and the share predicted right."""
    person = ledger[ledger["reason"].str.contains(BY_PERSON, regex=False).astype(bool) & (ledger["accepted"] == 1)]
    return len(person), _ratio(int((person["predicted"] == person["label"]).sum()), len(person))


def was_label(ledger: pd.DataFrame) -> pd.Series:
    """Return the labels that clips came with, also of those that the rule has relabelled."""
    return ledger["reason"].str.removeprefix(WAS).where(ledger["reason"].str.startswith(WAS), ledger["label"])


def measure(ledger: pd.DataFrame, truth: pd.Series | None) -> dict[str, float | int | None]:
    """Return clips considered and accepted and, against right labels by clip id, precision and recall.

    Precision: share of the accepted labels that are right. Recall: share of the right labels that are accepted. Both
    over clips whose right label is known; None where that leaves nothing to divide by. Labels that the rule has changed
    count apart, as `relabelled`. What a person has decided does not count.
    """
    ledger = by_rule(ledger)
    relabelled = ledger["reason"].str.startswith(WAS).astype(bool)
    accepted = (ledger["accepted"] == 1) & ~relabelled
    expected = ledger["p_right"][accepted].mean()
    result: dict[str, float | int | None] = {
        "considered": len(ledger),
        "accepted": int(accepted.sum()),
        "expected_precision": None if pd.isna(expected) else float(expected),
    }
    known = right = new_right = pd.Series(False, ledger.index)
    if truth is not None:
        actual = ledger["clip_id"].map(truth)
        known, right, new_right = actual.notna(), actual == was_label(ledger), actual == ledger["label"]
    both = int((accepted & right).sum())
    result |= {"precision": _ratio(both, int((accepted & known).sum())), "recall": _ratio(both, int(right.sum()))}
    if relabelled.any():
        changed = int((relabelled & new_right).sum())
        result |= {"relabelled": int(relabelled.sum())}
        result |= {"relabelled_precision": _ratio(changed, int((relabelled & known).sum()))}
    return result


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _values(votes: pd.DataFrame, classes: list[str]) -> np.ndarray:
    return votes.reindex(columns=classes).to_numpy(np.float64)


def class_codes(labels: pd.Series, classes: list[str]) -> np.ndarray:
    """Return the positions (N,) of labels in the class list."""
    return pd.Categorical(labels, classes).codes.astype(np.int64)

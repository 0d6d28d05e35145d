"""The summary of a run: figures per round, the best round, what was left out."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.table import Table

from audiotag.config import Verification
from audiotag.console import as_called, console
from audiotag.data.manifest import Manifest
from audiotag.data.tables import find
from audiotag.errors import DataError, RunError
from audiotag.files import write_json
from audiotag.run.audit import audit_figures
from audiotag.run.folder import RunFolder
from audiotag.run.ledgers import noise_figures
from audiotag.run.naming import own_words, run_named
from audiotag.verification.ledger import by_rule, corrected_share, measure
from audiotag.verification.rules import rule_of

if TYPE_CHECKING:
    from audiotag.data.store import Store  # it needs PyTorch, which verify.py does without

FEW = 0.05  # share of the labels below which a rule has accepted next to nothing
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.8, 0.9, 0.95)  # to be tried: the highest five that accept anything


def write_summary(
    folder: RunFolder, manifest: Manifest, store: Store, ledger: pd.DataFrame, wall_s: float
) -> dict[str, Any]:
    """Write `summary.json` for the complete rounds; `wall_s` of earlier processes of this run is added."""
    rounds = round_figures(folder, ledger, manifest.truth)
    try:
        earlier_s = folder.summary.get("wall_s", 0)
    except RunError as error:  # all but the time is made again
        console.print(f"{error}; it is written anew", soft_wrap=True)
        earlier_s = 0
    silent = store.silent(manifest.train)
    summary = {
        "classes": manifest.classes,
        "folds": folder.config.folds,
        "best_round": best_round(rounds),
        "rounds": rounds,
        **_audit(folder, ledger, best_round(rounds)),
        **before_corrections(folder),
        "skipped": [{"path": problem.path, "why": f"{problem.where}: {problem.why}"} for problem in manifest.skipped],
        "silent": sorted(silent.index[silent]),
        "wall_s": round(earlier_s + wall_s, 3),
    }
    write_json(folder.summary_file, summary)
    return summary


def _audit(folder: RunFolder, ledger: pd.DataFrame, best: int | None) -> dict[str, Any]:
    """Return what was heard of the best round's accepted labels, apart from what is promised of them."""
    try:
        figures = audit_figures(folder, ledger[ledger["round"] == best], 0.95)
    except DataError as error:  # a table that a person is working on must not end a run
        console.print(f"{error}", soft_wrap=True)
        return {}
    return {"audit": figures} if figures else {}


MOVED = ("right_share", "considered", "accepted", "expected_precision", "promised")


def before_corrections(folder: RunFolder) -> dict[str, Any]:
    """Return what the best round of the run said whose labels a person has decided on for this one, if any.

    That is the run in whose folder the decisions lie, or in that of its desk.
    """
    name = folder.config.data.corrections
    if name is None or folder.config.data.root is None:
        return {}
    places = find(name, Path(folder.config.data.root)).parents[:2]
    earlier = next((run for place in places if (run := RunFolder(place)).config_file.is_file()), None)
    if earlier is None or earlier.path == folder.path or not earlier.summary_file.is_file():
        return {}
    summary = earlier.summary
    best: dict[str, Any] = next((r for r in summary.get("rounds", []) if r["round"] == summary.get("best_round")), {})
    figures = {name: best.get(name) for name in MOVED}
    return {"before_corrections": {"run": earlier.path.name, "corrections": len(folder.corrections), **figures}}


def moved(summary: Mapping[str, Any]) -> list[str]:
    """Return a line on how what is said of the labels has moved since a person corrected some, if one did."""
    before = summary.get("before_corrections")
    now = next((r for r in summary["rounds"] if r["round"] == summary["best_round"]), None)
    if before is None or now is None:
        return []
    shares = [("right labels", "right_share"), ("precision expected", "expected_precision"), ("promised", "promised")]
    parts = [f"accepted {now['accepted']} of {now['considered']} ({before['accepted']} of {before['considered']})"]
    parts += [
        f"{words} {now[name]:.1%} ({'-' if before[name] is None else format(before[name], '.1%')})"
        for words, name in shares
        if now.get(name) is not None
    ]
    return [f"After {before['corrections']} corrections (before, in {before['run']}): {', '.join(parts)}."]


def best_round(rounds: list[dict[str, Any]]) -> int | None:
    """Return the round with the lowest mean validation loss over folds (paper section 4.2), the earlier of equals."""
    return min(rounds, key=lambda r: r["valid_loss"])["round"] if rounds else None


def valid_map3(folder: RunFolder, round_: int) -> float:
    """Return MAP@3 on the verified held-out clips in a complete round, the mean over folds."""
    cells = [folder.status(cell) or {} for cell in folder.cells(round_)]
    return statistics.fmean(cell["valid_map3"] for cell in cells)


def round_figures(folder: RunFolder, ledger: pd.DataFrame, truth: pd.Series | None) -> list[dict[str, Any]]:
    """Return the figures of each complete round."""
    rounds = []
    for round_ in folder.complete_rounds():
        cells = [folder.status(cell) or {} for cell in folder.cells(round_)]
        accuracies = [cell["valid_accuracy"] for cell in cells]
        figures = {
            "round": round_,
            "valid_accuracy": statistics.fmean(accuracies),
            "valid_accuracy_std": statistics.pstdev(accuracies),
            "valid_loss": statistics.fmean(cell["valid_loss"] for cell in cells),
            **measure(ledger[ledger["round"] == round_], truth),
            **({} if folder.config.data.train_on_all else noise_figures(folder, round_, folder.config.verification)),
        }
        corrected, share = corrected_share(ledger[ledger["round"] == round_])
        if corrected:
            figures |= {"corrected": corrected, "corrected_accuracy": share}
        rounds.append(rounded(figures))
    return rounds


def rounded(figures: dict[str, Any]) -> dict[str, Any]:
    """Return figures as summaries keep them, with 6 digits."""
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in figures.items()}


def rate(value: float | None) -> str:
    """Return precision or recall as it is shown, "-" where it is not known."""
    return "-" if pd.isna(value) else f"{value:.4f}"


def promise_lines(rounds: Sequence[Mapping[Any, Any]]) -> list[str]:
    """Return what is to be said below a table of rounds: the share of right labels, relabelled ones, no promise."""
    lines = []
    if rounds and rounds[-1].get("right_share") is not None:
        low, share, high = (rounds[-1][f"right_share{end}"] for end in ("_low", "", "_high"))
        n, round_ = rounds[-1]["considered"], rounds[-1]["round"]
        lines.append(
            f"By round {round_}, an estimated {share:.0%} ({low:.0%} to {high:.0%}) of {n} unverified labels are right."
        )
    for figures in rounds:
        if figures.get("relabelled"):
            known = figures["relabelled_precision"]
            right = "" if known is None else f", {known:.4f} of them rightly"
            lines.append(
                f"Round {figures['round']}: {figures['relabelled']} clips are accepted under another label{right}."
            )
        if str(figures.get("promise", "")).startswith("withdrawn"):
            lines.append(f"Round {figures['round']}: promise {figures['promise']}.")
    return lines


def few_accepted(rounds: list[dict[str, Any]], verification: Verification, ledger: pd.DataFrame) -> str:
    """Say that the last round accepted next to nothing, to be followed by `other_rules`; "" if it did not."""
    last = rounds[-1]
    if not last["considered"] or last["accepted"] >= FEW * last["considered"]:
        return ""
    counts = f"{last['accepted']} of {last['considered']} labels in round {last['round']}"
    others = "thresholds" if _thresholds(verification, _of_last_round(rounds, ledger)) else "rules"
    return f"The rule accepted next to nothing: {counts}. What other {others} accept, without training:"


def print_few(
    rounds: list[dict[str, Any]], folder: RunFolder, verification: Verification, ledger: pd.DataFrame
) -> None:
    """Say that the last round accepted next to nothing, if it did; the command is a line of its own, to be copied."""
    if few := few_accepted(rounds, verification, ledger):
        console.print(few, soft_wrap=True)
        run = shlex.join([f"run={run_named(folder.path)}", *own_words(folder.config)])
        console.out(other_rules(run, verification, _of_last_round(rounds, ledger)))


def other_rules(run: str, verification: Verification, ledger: pd.DataFrame) -> str:
    """Return the command that shows what other thresholds would accept of a round, or other rules if none would.

    `run` are the words of a shell that name the run.
    """
    thresholds = ",".join(f"{threshold:g}" for threshold in _thresholds(verification, ledger))
    other = f"verification.rule.threshold={thresholds}" if thresholds else "verification=calibrated,as_coded"
    return f"{as_called('python verify.py')} {run} -m {other}"


def _of_last_round(rounds: list[dict[str, Any]], ledger: pd.DataFrame) -> pd.DataFrame:
    return ledger[ledger["round"] == rounds[-1]["round"]]


def _thresholds(verification: Verification, ledger: pd.DataFrame) -> list[float]:
    """Return thresholds that a label of the ledger exceeds which the networks predict; none of a rule without."""
    if getattr(rule_of(verification), "threshold", None) is None:
        return []
    agreeing = by_rule(ledger)[lambda rows: rows["predicted"] == rows["label"]]
    return [threshold for threshold in THRESHOLDS if (agreeing["posterior"] > threshold).any()][-5:]


def print_summary(summary: dict[str, Any], folder: RunFolder, ledger: pd.DataFrame) -> None:
    """Print a short table: per round accuracy, loss, and what was accepted, and where everything is."""
    if not summary["rounds"]:
        console.print(f"No round is complete yet: {folder.path}", soft_wrap=True)
        return
    promises = any("promised" in r for r in summary["rounds"])
    rates = (*(["promised"] if promises else []), "precision", "recall")
    accepted = f"Accepted\nof {summary['rounds'][-1]['considered']}"  # as many in every round
    table = Table("Round", "Accuracy", "Loss", accepted, *map(str.capitalize, rates))
    for r in summary["rounds"]:
        star = " *" if r["round"] == summary["best_round"] else ""
        table.add_row(
            f"{r['round']}{star}",
            f"{r['valid_accuracy']:.4f} ± {r['valid_accuracy_std']:.4f}",
            f"{r['valid_loss']:.4f}",
            str(r["accepted"]),
            *(rate(r.get(name)) for name in rates),
        )
    console.print(table)
    console.print(
        "* best round: lowest loss. Accuracy and loss: of validation, means over the folds; accepted: by the networks "
        "of that round",
        soft_wrap=True,
    )
    for line in (*promise_lines(summary["rounds"]), *moved(summary)):
        console.print(line, soft_wrap=True)
    best = next(r for r in summary["rounds"] if r["round"] == summary["best_round"])
    if "corrected" in best:
        console.print(
            f"Of {best['corrected']} corrected clips, which are in no figure above, the best round's networks that "
            f"held them out recognise {best['corrected'] * best['corrected_accuracy']:.0f}",
            soft_wrap=True,
        )
    print_few(summary["rounds"], folder, folder.config.verification, ledger)
    if summary["skipped"]:
        console.print(f"{len(summary['skipped'])} rows or files were left out: see summary.json")
    console.print(f"Results: {folder.path}", soft_wrap=True)

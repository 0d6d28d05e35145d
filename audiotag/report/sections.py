"""The sections of a report: what each figure says, its numbers, and how to read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pandas as pd

from audiotag.plots.figures import confusion_matrix, confusion_table, curves_over_rounds
from audiotag.report.data import ReportData, measure_calibration
from audiotag.report.figures import (
    accepted_per_round,
    consensus_histograms,
    learning_curves,
    promise_chart,
    reliability_diagram,
)
from audiotag.report.page import Chart, Section, Table, chart
from audiotag.report.rounding import counted, decimals, percent
from audiotag.report.tables import (
    RELIABILITY_BINS,
    confusions,
    consensus_counts,
    epoch_means,
    noise_per_class,
    promised_precision,
    reasons_per_class,
)
from audiotag.run.audit import more_to_hear_for
from audiotag.run.held_out import per_class_table
from audiotag.run.ledgers import CONFIDENCE
from audiotag.run.summary import moved
from audiotag.verification.ledger import is_relabelled, measure, short_reasons
from audiotag.verification.promise import bounds
from audiotag.verification.rules import ACCEPTED, BELOW, DIFFERS, FULL, in_words, rule_of

MOST_CONFUSIONS = 15

Content = tuple[list[str], list[Chart], list[Table]]  # paragraphs, and what stands beside and below them


def sections(data: ReportData) -> list[Section]:
    """Return the sections of the page; one that has nothing to show says why."""
    made = []
    for key, title, missing, content in SECTIONS:
        why = missing(data)
        made.append(Section(key, title, [why]) if why else Section(key, title, *content(data)))
    return made


def _nothing_held_out(data: ReportData) -> str:
    """Return why no network was tested on verified clips; "" if one was."""
    if data.config.data.train_on_all:
        return "Nothing was held out (data.train_on_all=true), so nothing can be said of it."
    return "No round is complete yet." if data.best is None else ""


def _nothing_decided(data: ReportData) -> str:
    """Return why the rule decided on no label; "" if it did."""
    if not data.decided.empty:
        return ""
    return _nothing_held_out(data) or "All training clips are verified: there was nothing to decide on."


def _curves(data: ReportData) -> Content:
    """Loss and accuracy over epochs and over rounds."""
    means = epoch_means(data.metrics)
    lowest = means.iloc[int(means["valid_loss"].argmin())]
    loss, accuracy = (means[name] for name in ("valid_loss", "valid_accuracy"))
    digits = decimals(data.checked)
    begin, end = (percent(accuracy.iloc[at], data.checked) for at in (0, -1))
    alt = (
        f"Line chart over {len(means)} epochs in {means['round'].nunique()} rounds. Validation loss goes from "
        f"{loss.iloc[0]:.{digits}f} to {loss.iloc[-1]:.{digits}f}; its lowest mean, "
        f"{lowest['valid_loss']:.{digits}f}, is in round {lowest['round']:.0f}, epoch {lowest['epoch']:.0f}. "
        f"Validation accuracy goes from {begin} to {end}."
    )
    text = [
        "Each fold has a network of its own. Lines are means over the folds, bands one standard deviation to either "
        "side; validation is on verified clips that the network did not train on."
    ]
    if data.config.data.train_on_all:
        text = ["Lines are means over the folds. The validation clips were trained on too: these figures flatter."]
    text.append(
        "A validation loss that rises while the training loss falls means that training went on for too long, which "
        "does no harm: every network is kept as it was at its lowest validation loss. In round 0 the training loss is "
        "of mixed clips and wrong labels too, and may lie above the validation loss."
    )
    charts = [chart("epochs", learning_curves(means), alt)]
    tables = [Table("epochs", "Numbers of the curves: mean and deviation over folds, per epoch", means, digits)]
    if data.rounds:
        text.append(
            "Over the rounds the figures are of the networks as they were kept. The best round is the one with the "
            f"lowest mean validation loss: round {data.best}."
        )
        shown, alt = _rounds(data)
        charts.append(chart("rounds", curves_over_rounds(data.rounds, across=2), alt))
        tables.append(Table("rounds", "Numbers per round", pd.DataFrame(data.rounds), digits, shown=shown))
    return text, charts, tables


def _rounds(data: ReportData) -> tuple[pd.DataFrame, str]:
    """Return the figures of the rounds as a table for people, and in words."""
    rows, words = [], []
    for r in data.rounds:
        accuracy = f"{percent(r['valid_accuracy'], data.checked)} ± {percent(r['valid_accuracy_std'], data.checked)}"
        words.append(
            f"round {r['round']}: accuracy {accuracy}, loss {r['valid_loss']:.{decimals(data.checked)}f}, "
            f"accepted {r['accepted']} of {r['considered']}"
        )
        row = {"round": r["round"], "accuracy": accuracy, "loss": r["valid_loss"]}
        row["accepted"] = counted(r["accepted"], r["considered"])
        if data.truth is not None:
            row["of these right"] = counted(*data.right_accepted(r["round"]))
        rows.append(row)
    alt = f"Charts of validation accuracy, validation loss and accepted labels over rounds. {'; '.join(words)}."
    return pd.DataFrame(rows), alt


def _acceptance(data: ReportData) -> Content:
    """Accepted labels per class and round, with the cap."""
    verification, rule = data.config.verification, rule_of(data.config.verification)
    cap, calibrated = getattr(rule, "cap", None), " of calibrated posteriors" if verification.calibrate else ""
    counts = reasons_per_class(data.ledger, data.classes)
    last = counts[counts["round"] == data.best]
    full = list(last["label"][last[FULL] > 0])
    most, least = (last.loc[last[ACCEPTED].agg(which)] for which in ("idxmax", "idxmin"))
    text = [
        f"Every round decides anew over all unverified clips, by the rule {verification.title}{calibrated}: "
        f"{in_words(rule)}. What it accepts, the next round trains on."
    ]
    if cap is None:
        text.append("This rule has no cap.")
    elif cap > counts["unverified"].max():
        text.append(f"The cap of {cap} is not drawn: no class has so many unverified clips.")
    else:
        stopped = f"{_listed(full)} in round {data.best}" if full else "no class"
        text.append(f"The dashed line is the cap of {cap} labels per class over all folds. It stopped {stopped}.")
    alt = (
        f"A small chart for each of {len(data.classes)} classes: accepted and unverified clips over "
        f"{counts['round'].nunique()} rounds. In round {data.best} most were accepted of {most['label']} "
        f"({most[ACCEPTED]} of {most['unverified']}), fewest of {least['label']} ({least[ACCEPTED]} of "
        f"{least['unverified']})."
    )
    charts = [chart("accepted", accepted_per_round(counts, cap), alt)]
    return text, charts, [Table("accepted", "Clips per class, round and reason", counts, 0)]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" and {names[-1]}"


def _nothing_estimated(data: ReportData) -> str:
    """Return why nothing can be said of how many labels are right; "" if it can."""
    why = _nothing_decided(data)
    return why or ("" if data.checked else "No verified clip was held out to tell by.")


def _right_labels(data: ReportData) -> Content:
    """How many of the unverified labels are right, and what is promised of the accepted ones."""
    best, n = data.of_best, len(data.decided)
    rule = rule_of(data.config.verification)
    low, share, high = (best[f"right_share{end}"] for end in ("_low", "", "_high"))
    text = [
        f"Of the {n} unverified labels an estimated {percent(share, n)} are right ({percent(low, n)} to "
        f"{percent(high, n)}, with 90 % confidence), by what the networks of round {data.best} say of verified clips "
        "under right and wrong labels. How this is estimated, and when not to trust it: docs/promise.md."
    ]
    if best.get("promised") is not None:
        text.append(
            f"Promised of the {best['accepted']} accepted labels: {best['promise']}. The bound of the set that was "
            f"chosen is {best['promised']:.3f}; a share of {best['expected_precision']:.3f} is to be expected."
        )
    elif "promise" in best:
        text.append(f"Promise {best['promise']}.")
    if best.get("relabelled"):
        known = best["relabelled_precision"]
        right = "" if known is None else f", {percent(known, best['relabelled'])} of them rightly (data.truth)"
        text.append(f"{best['relabelled']} clips were accepted under the label that the networks are sure of{right}.")
    if audit := data.summary.get("audit"):
        text.append(
            f"Audit, which assumes nothing: of {audit['heard']} accepted labels of round {audit['round']} that were "
            f"heard, {audit['right']} are right, so {percent(audit['precision_at_least'], n)} of all at least, with "
            f"{percent(audit['confidence'], 100)} confidence. {more_to_hear_for(audit)}"
        )
    text += moved(data.summary) if data.summary else []
    sets = promised_precision(bounds(data.evidence, CONFIDENCE), data.decided, data.truth)
    table, confused = noise_per_class(data.evidence, data.decided, data.classes)
    confused = confused[confused["clips"] >= 0.5].head(MOST_CONFUSIONS)
    charts = []
    if len(sets):
        words = "; ".join(f"{row.labels} labels: at least {row.low:.3f}" for row in sets.itertuples())
        alt = f"Line chart of the share of right labels over the number of labels, surest first. {words}."
        charts = [chart("promise", promise_chart(sets, getattr(rule, "precision", None)), alt)]
    return (
        text,
        charts,
        [
            Table("right_labels", "Right labels of each class, estimated", table, 2),
            Table("wrong_labels", "Which classes are given which wrong label, estimated", confused, 0),
            Table("promise", "Numbers of the chart: sets of labels, surest first", sets, 3),
        ],
    )


def _consensus(data: ReportData) -> Content:
    """Distribution of the consensus per class, by what became of the clips."""
    verification, counts = data.config.verification, consensus_counts(data.decided, data.classes)
    threshold = getattr(rule_of(verification), "threshold", None)
    text = [
        f"The posterior of the given label, the mean of {verification.excerpts} excerpts, as the rule of round "
        f"{data.best} compared it{' (calibrated)' if verification.calibrate else ''}. Each panel has its own scale.",
        f"What piles up on the right was recognised with certainty. “{DIFFERS}” on the left are labels that the "
        f"networks contradict; “{BELOW}” close to the line are those that another threshold would take (the command "
        "under Verify, above, tries it in seconds).",
    ]
    totals = ", ".join(f"{count} {reason}" for reason, count in short_reasons(data.decided).value_counts().items())
    limit = "the rule has no threshold" if threshold is None else f"the threshold is {threshold:g}"
    alt = (
        f"A small histogram for each of {len(data.classes)} classes of the posterior of the given label in round "
        f"{data.best}, stacked by decision: {totals}; {limit}."
    )
    charts = [chart("consensus", consensus_histograms(counts, data.classes, threshold), alt)]
    return (
        text,
        charts,
        [Table("consensus", "Clips per class and decision, by the lower border of the posterior", counts, 0)],
    )


def _calibration(data: ReportData) -> Content:
    """Reliability of held-out posteriors."""
    curves, temperatures = measure_calibration(data)
    digits = decimals(data.checked)
    errors = "; ".join(f"{name}: {curve.error:.{digits}f}" for name, curve in curves.items())
    text = [
        f"How often the prediction of a verified, held-out clip is right, by how sure the networks of round "
        f"{data.best} are of it. Above the dotted line they are better than they say, below it they are too sure.",
        f"Expected calibration error: {errors}. It is the mean over clips of |accuracy - confidence| of their bin, "
        f"with {RELIABILITY_BINS} bins of equal width of the highest posterior (Guo et al. 2017).",
    ]
    if temperatures:
        of_folds = ", ".join(f"{temperature:.2f}" for temperature in temperatures)
        text.append(
            f"“calibrated” is at the temperature fitted for each fold ({of_folds}) on these same clips, which makes it "
            "look a little better than it is on others."
        )
    alt = f"Reliability diagram of {data.checked} verified held-out clips. Expected calibration error: {errors}."
    bins = {name: curve.bins for name, curve in curves.items()}
    table = pd.concat(bins, names=["posterior"]).reset_index(level=0).reset_index(drop=True)
    held = table[table["clips"] > 0]
    shown = held[["posterior"]].assign(
        confidence=[f"{above:.1f} to {to:.1f}" for above, to in zip(held["above"], held["to"], strict=True)],
        mean=held["confidence"],
        right=_counted((held["accuracy"] * held["clips"]).round().astype(int), held["clips"]),
    )
    charts = [chart("reliability", reliability_diagram(bins), alt)]
    return text, charts, [Table("reliability", "Numbers of the bins", table, digits, shown=shown)]


def _confusion(data: ReportData) -> Content:
    """What is taken for what."""
    held_out = data.held_out
    assert held_out is not None
    pairs = confusions(held_out.labels, held_out.predicted)
    wrong = int(pairs["count"].sum())
    text = [
        f"Verified clips, each predicted by the network of round {data.best} that held it out: {wrong} of "
        f"{data.checked} are taken for another class."
    ]
    alt = f"Confusion matrix of {data.checked} verified held-out clips: {wrong} off the diagonal."
    if wrong:
        alt += f" Most frequent: {pairs['label'][0]} taken for {pairs['taken_for'][0]}, {pairs['count'][0]} clips."
    charts = [chart("confusions", confusion_matrix(held_out.labels, held_out.predicted, data.classes), alt)]
    most = f" (the first {MOST_CONFUSIONS} of {len(pairs)})" if len(pairs) > MOST_CONFUSIONS else ""
    first = pairs[:MOST_CONFUSIONS]
    clips = first["label"].map(pd.Series(held_out.labels, dtype=object).value_counts())
    shown = first[["label", "taken_for"]].assign(clips=_counted(first["count"], clips))
    matrix = confusion_table(held_out.labels, held_out.predicted, data.classes)
    matrix.columns = pd.Index(["label \\ predicted", *matrix.columns[1:]])
    return (
        text,
        charts,
        [
            Table("confused_most", f"What is confused most{most}", first, 0, alone=True, shown=shown),
            Table("confusions", "Numbers of the matrix", matrix, 0),
        ],
    )


def _classes(data: ReportData) -> Content:
    """Scores and acceptance of each class."""
    held_out = data.held_out
    assert held_out is not None
    table = per_class_table(held_out.scores, data.decided)
    predicted = table["label"].map(pd.Series(held_out.predicted, dtype=object).value_counts()).fillna(0).astype(int)
    right = (table["accuracy"] * table["count"]).round().astype(int)
    shown = table[["label"]].assign(
        recognised=_counted(right, table["count"]),
        predictions_right=_counted(right, predicted),
        f1=table["f1"],
        accepted=_counted(table["accepted"], table["considered"]),
    )
    text = [
        f"Recognised: of the verified clips of a class, how many the network of round {data.best} that held them out "
        "takes for it (accuracy, recall). Predictions right: of the verified clips that networks take for the class, "
        "how many are of it (precision). Accepted: of the unverified labels, how many the rule accepted."
    ]
    if data.truth is not None and not data.decided.empty:
        by_class = {str(label): measure(rows, data.truth) for label, rows in data.decided.groupby("label")}
        for name in ("precision", "recall"):
            table[f"{name}_of_accepted"] = [by_class.get(label, {}).get(name) for label in table["label"]]
        shown = shown.assign(**_against_truth(data.decided, data.truth, table["label"]))
        text.append(
            "Right labels of unverified clips were given (data.truth) and are used for nothing else. Accepted right: "
            "how many of the accepted labels are right (precision), right accepted how many of the right labels were "
            "accepted (recall)."
        )
    return text, [], [Table("classes", "Every class", table, 2, alone=True, shown=shown)]


def _against_truth(decided: pd.DataFrame, truth: pd.Series, classes: pd.Series) -> dict[str, list[str]]:
    """Return per class how many of the accepted labels are right, and how many of the right labels are accepted."""
    decided = decided[~is_relabelled(decided)]
    actual = decided["clip_id"].map(truth)
    right, accepted = actual == decided["label"], decided["accepted"] == 1
    marks = pd.DataFrame({"both": accepted & right, "accepted": accepted & actual.notna(), "right": right})
    counts = marks.groupby(decided["label"]).sum().reindex(classes, fill_value=0)
    return {
        "accepted_right": _counted(counts["both"], counts["accepted"]),
        "right_accepted": _counted(counts["both"], counts["right"]),
    }


def _counted(parts: Iterable[int], wholes: Iterable[int]) -> list[str]:
    return [counted(part, whole) for part, whole in zip(parts, wholes, strict=True)]


SECTIONS: list[tuple[str, str, Callable[[ReportData], str], Callable[[ReportData], Content]]] = [
    ("curves", "Learning curves", lambda data: "", _curves),
    ("accepted", "Accepted labels", _nothing_decided, _acceptance),
    ("right", "Right labels", _nothing_estimated, _right_labels),
    ("consensus", "Consensus", _nothing_decided, _consensus),
    ("reliability", "Reliability", _nothing_held_out, _calibration),
    ("confusions", "Confusions", _nothing_held_out, _confusion),
    ("classes", "Classes", _nothing_held_out, _classes),
]

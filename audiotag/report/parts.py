"""The chapters of a report: what each figure says, its numbers, and how to read it."""

from __future__ import annotations

import pandas as pd

from audiotag.plots.figures import confusion_matrix, curves_over_rounds
from audiotag.report.data import ReportData, measure_calibration
from audiotag.report.figures import (
    accepted_per_round,
    consensus_histograms,
    learning_curves,
    reliability_diagram,
)
from audiotag.report.page import Section, Table, picture
from audiotag.report.rounding import counted, decimals, percent
from audiotag.report.tables import (
    RELIABILITY_BINS,
    confusions,
    consensus_counts,
    epoch_means,
    reasons_per_class,
)
from audiotag.run.held_out import per_class_table
from audiotag.verification.ledger import measure
from audiotag.verification.rules import ACCEPTED, BELOW, DIFFERS, FULL, rule_of

MOST_CONFUSIONS = 15
UNHELD = "Nothing was held out (data.train_on_all=true), so nothing can be said of it."
NO_ROUND = "No round is complete yet."


def curves(facts: ReportData) -> Section:
    """Loss and accuracy over epochs and over rounds."""
    means = epoch_means(facts.metrics)
    lowest = means.iloc[int(means["valid_loss"].argmin())]
    loss, accuracy = (means[name] for name in ("valid_loss", "valid_accuracy"))
    digits = decimals(facts.checked)
    begin, end = (percent(accuracy.iloc[at], facts.checked) for at in (0, -1))
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
    if facts.config.data.train_on_all:
        text = ["Lines are means over the folds. The validation clips were trained on too: these figures flatter."]
    text.append(
        "A validation loss that rises while the training loss falls means that training went on for too long, which "
        "does no harm: every network is kept as it was at its lowest validation loss. In round 0 the training loss is "
        "of mixed clips and wrong labels too, and may lie above the validation loss."
    )
    pictures = [picture("epochs", learning_curves(means), alt)]
    tables = [Table("epochs", "Numbers of the curves: mean and deviation over folds, per epoch", means, digits)]
    if facts.rounds:
        rounds = pd.DataFrame(facts.rounds)
        text.append(
            "Over the rounds the figures are of the networks as they were kept. The best round is the one with the "
            f"lowest mean validation loss: round {facts.best}."
        )
        pictures.append(picture("rounds", curves_over_rounds(facts.rounds, across=2), _alt_of_rounds(facts)))
        tables.append(Table("rounds", "Numbers per round", rounds, digits, shown=_rounds_shown(facts)))
    return Section("curves", "Learning curves", text, pictures, tables)


def _rounds_shown(facts: ReportData) -> pd.DataFrame:
    clips = facts.checked
    rows = [
        {
            "round": r["round"],
            "accuracy": f"{percent(r['valid_accuracy'], clips)} ± {percent(r['valid_accuracy_std'], clips)}",
            "loss": r["valid_loss"],
            "accepted": counted(r["accepted"], r["considered"]),
        }
        | ({} if facts.truth is None else {"of these right": counted(*facts.right_accepted(r["round"]))})
        for r in facts.rounds
    ]
    return pd.DataFrame(rows)


def _alt_of_rounds(facts: ReportData) -> str:
    clips = facts.checked
    each = "; ".join(
        f"round {r['round']}: accuracy {percent(r['valid_accuracy'], clips)} ± "
        f"{percent(r['valid_accuracy_std'], clips)}, loss {r['valid_loss']:.{decimals(clips)}f}, accepted "
        f"{r['accepted']} of {r['considered']}"
        for r in facts.rounds
    )
    return f"Charts of validation accuracy, validation loss and accepted labels over rounds. {each}."


def acceptance(facts: ReportData) -> Section:
    """Accepted labels per class and round, with the cap."""
    title = "Accepted labels"
    if facts.ledger.empty:
        return Section("accepted", title, [_nothing_decided(facts)])
    verification, rule = facts.config.verification, rule_of(facts.config.verification)
    cap, calibrated = getattr(rule, "cap", None), " of calibrated posteriors" if verification.calibrate else ""
    counts = reasons_per_class(facts.ledger, facts.classes)
    last = counts[counts["round"] == facts.best]
    full = list(last["label"][last[FULL] > 0])
    most, least = (last.loc[last[ACCEPTED].agg(which)] for which in ("idxmax", "idxmin"))
    text = [
        f"Every round decides anew over all unverified clips, by the rule {verification.title}{calibrated}: "
        f"{rule}. What it accepts, the next round trains on."
    ]
    if cap is None:
        text.append("This rule has no cap.")
    elif cap > counts["unverified"].max():
        text.append(f"The cap of {cap} is not drawn: no class has so many unverified clips.")
    else:
        names = f" It stopped {_listed(full)} in round {facts.best}." if full else " It stopped no class."
        text.append(f"The dashed line is the cap of {cap} labels per class over all folds.{names}")
    alt = (
        f"A small chart for each of {len(facts.classes)} classes: accepted and unverified clips over "
        f"{counts['round'].nunique()} rounds. In round {facts.best} most were accepted of {most['label']} "
        f"({most[ACCEPTED]} of {most['unverified']}), fewest of {least['label']} ({least[ACCEPTED]} of "
        f"{least['unverified']})."
    )
    pictures = [picture("accepted", accepted_per_round(counts, cap), alt)]
    return Section(
        "accepted", title, text, pictures, [Table("accepted", "Clips per class, round and reason", counts, 0)]
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" and {names[-1]}"


def _nothing_decided(facts: ReportData) -> str:
    if facts.config.data.train_on_all:
        return UNHELD
    return NO_ROUND if facts.best is None else "All training clips are verified: there was nothing to decide on."


def consensus(facts: ReportData) -> Section:
    """Distribution of the consensus per class, by what became of the clips."""
    title = "Consensus"
    if facts.decided.empty:
        return Section("consensus", title, [_nothing_decided(facts)])
    threshold = getattr(rule_of(facts.config.verification), "threshold", None)
    counts = consensus_counts(facts.decided, facts.classes)
    totals = facts.decided["reason"].value_counts()
    verification = facts.config.verification
    text = [
        f"The posterior of the given label, the mean of {verification.excerpts} excerpts, as the rule of round "
        f"{facts.best} compared it{' (calibrated)' if verification.calibrate else ''}. Each panel has a scale of its "
        "own.",
        f"What piles up on the right was recognised with certainty. “{DIFFERS}” on the left are labels that the "
        f"networks contradict; “{BELOW}” close to the line are those that another threshold would take (the command "
        "under Verify, above, tries it in seconds).",
    ]
    alt = (
        f"A small histogram for each of {len(facts.classes)} classes of the posterior of the given label in round "
        f"{facts.best}, stacked by decision: "
        + ", ".join(f"{count} {reason}" for reason, count in totals.items())
        + (f"; the threshold is {threshold:g}." if threshold is not None else "; the rule has no threshold.")
    )
    pictures = [picture("consensus", consensus_histograms(counts, facts.classes, threshold), alt)]
    table = Table("consensus", "Clips per class and decision, by the lower border of the posterior", counts, 0)
    return Section("consensus", title, text, pictures, [table])


def calibration(facts: ReportData) -> Section:
    """Reliability of held-out posteriors."""
    title = "Reliability"
    if facts.held_out is None:
        return Section("reliability", title, [NO_ROUND if facts.best is None else UNHELD])
    curves, temperatures = measure_calibration(facts)
    digits = decimals(len(facts.held_out.labels))
    named = "; ".join(f"{name}: {curve.error:.{digits}f}" for name, curve in curves.items())
    text = [
        f"How often the prediction of a verified, held-out clip is right, by how sure the networks of round "
        f"{facts.best} are of it. Above the dotted line they are better than they say, below it they are too sure.",
        f"Expected calibration error: {named}. It is the mean over clips of |accuracy - confidence| of their bin, with "
        f"{RELIABILITY_BINS} bins of equal width of the highest posterior (Guo et al. 2017).",
    ]
    if temperatures:
        of_folds = ", ".join(f"{temperature:.2f}" for temperature in temperatures)
        text.append(
            f"“calibrated” is at the temperature fitted for each fold ({of_folds}) on these same clips, which makes it "
            "look a little better than it is on others."
        )
    clips = len(facts.held_out.labels)
    alt = f"Reliability diagram of {clips} verified held-out clips. Expected calibration error: {named}."
    bins = {name: curve.bins for name, curve in curves.items()}
    pictures = [picture("reliability", reliability_diagram(bins), alt)]
    table = pd.concat([rows.assign(posterior=name) for name, rows in bins.items()], ignore_index=True)
    table = table[["posterior", *table.columns[:-1]]]
    return Section(
        "reliability",
        title,
        text,
        pictures,
        [Table("reliability", "Numbers of the bins", table, digits, shown=_bins_shown(table))],
    )


def _bins_shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return the bins that hold clips, with how many of these are right."""
    held = table[table["clips"] > 0]
    rows = held.to_dict("records")
    right = [counted(round(row["accuracy"] * row["clips"]), row["clips"]) for row in rows]
    spans = [f"{row['above']:.1f} to {row['to']:.1f}" for row in rows]
    return held[["posterior"]].assign(confidence=spans, mean=held["confidence"], right=right)


def confusion(facts: ReportData) -> Section:
    """What is taken for what."""
    title = "Confusions"
    heard = facts.held_out
    if heard is None:
        return Section("confusions", title, [NO_ROUND if facts.best is None else UNHELD])
    pairs = confusions(heard.labels, heard.predicted)
    wrong = int(pairs["count"].sum())
    text = [
        f"Verified clips, each predicted by the network of round {facts.best} that held it out: {wrong} of "
        f"{len(heard.labels)} are taken for another class."
    ]
    worst = "" if pairs.empty else (
        f" Most frequent: {pairs['label'][0]} taken for {pairs['taken_for'][0]}, {pairs['count'][0]} clips."
    )  # fmt: skip
    alt = f"Confusion matrix of {len(heard.labels)} verified held-out clips: {wrong} off the diagonal.{worst}"
    pictures = [picture("confusions", confusion_matrix(heard.labels, heard.predicted, facts.classes), alt)]
    most = f" (the first {MOST_CONFUSIONS} of {len(pairs)})" if len(pairs) > MOST_CONFUSIONS else ""
    first = pairs[:MOST_CONFUSIONS]
    clips = pd.Series(heard.labels, dtype=object).value_counts()
    shown = first[["label", "taken_for"]].assign(
        clips=[counted(row["count"], clips[row["label"]]) for row in first.to_dict("records")]
    )
    tables = [
        Table("confused_most", f"What is confused most{most}", first, 0, alone=True, shown=shown),
        Table("confusions", "Numbers of the matrix", _matrix(heard.labels, heard.predicted, facts.classes), 0),
    ]
    return Section("confusions", title, text, pictures, tables)


def _matrix(labels: list[str], predicted: list[str], classes: list[str]) -> pd.DataFrame:
    """Return the counts behind a confusion matrix, a row per label."""
    counts = pd.crosstab(pd.Series(labels, dtype=object), pd.Series(predicted, dtype=object))
    counts = counts.reindex(index=classes, columns=classes, fill_value=0)
    counts.insert(0, "label \\ predicted", classes, allow_duplicates=True)
    return counts


def per_class(facts: ReportData) -> Section:
    """Scores and acceptance of each class."""
    title = "Classes"
    heard = facts.held_out
    if heard is None:
        return Section("classes", title, [NO_ROUND if facts.best is None else UNHELD])
    table = per_class_table(heard.scores, facts.decided)
    named = pd.Series(heard.predicted, dtype=object).value_counts()
    right = [round(row["accuracy"] * row["count"]) for row in table.to_dict("records")]
    predicted = [int(named.get(label, 0)) for label in table["label"]]
    shown = table[["label"]].assign(
        recognised=[counted(part, whole) for part, whole in zip(right, table["count"], strict=True)],
        predictions_right=[counted(part, whole) for part, whole in zip(right, predicted, strict=True)],
        f1=table["f1"],
        accepted=[counted(part, whole) for part, whole in zip(table["accepted"], table["considered"], strict=True)],
    )
    text = [
        f"Recognised: of the verified clips of a class, how many the network of round {facts.best} that held them out "
        "takes for it (accuracy, recall). Predictions right: of the verified clips that networks take for the class, "
        "how many are of it (precision). Accepted: of the unverified labels, how many the rule accepted."
    ]
    if facts.truth is not None and not facts.decided.empty:
        by_class = {str(label): measure(rows, facts.truth) for label, rows in facts.decided.groupby("label")}
        for name in ("precision", "recall"):
            table[f"{name}_of_accepted"] = [by_class.get(label, {}).get(name) for label in table["label"]]
        shown = shown.assign(**_against_truth(facts.decided, facts.truth, table["label"]))
        text.append(
            "Right labels of unverified clips were given (data.truth) and are used for nothing else. Accepted right: "
            "how many of the accepted labels are right (precision), right accepted how many of the right labels were "
            "accepted (recall)."
        )
    return Section("classes", title, text, tables=[Table("classes", "Every class", table, 2, alone=True, shown=shown)])


def _against_truth(decided: pd.DataFrame, truth: pd.Series, classes: pd.Series) -> dict[str, list[str]]:
    """Return per class how many of the accepted labels are right, and how many of the right labels are accepted."""
    actual = decided["clip_id"].map(truth)
    known, right, accepted = actual.notna(), actual == decided["label"], decided["accepted"] == 1
    counts = {
        name: which.groupby(decided["label"]).sum().reindex(classes, fill_value=0)
        for name, which in (("both", accepted & right), ("accepted", accepted & known), ("right", right))
    }
    return {
        "accepted_right": [counted(*pair) for pair in zip(counts["both"], counts["accepted"], strict=True)],
        "right_accepted": [counted(*pair) for pair in zip(counts["both"], counts["right"], strict=True)],
    }

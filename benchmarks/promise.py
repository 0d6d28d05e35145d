"""Is the promise kept? A coverage study from stored votes: `python -m benchmarks.promise [REPETITIONS] [PROCESSES]`.

`votes.parquet` holds the round-0 votes of 97 trained data sets: embedded, fsdd-noisy and fsdkaggle2018-mini; symmetric,
confusion and open-set noise of 10, 30 and 50 %, noise of instances of 30 %; 10, 20 and 40 % of the clips verified; the
sets as they come; and verified clips that are easier than the others (shift). Every repetition draws 80 % of a set's
clips, calibrates anew and decides. Writes docs/pictures/promise.webp and prints the tables of docs/promise.md.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from audiotag.randomness import generator
from audiotag.verification.calibration import fit_temperature, sharpen
from audiotag.verification.noise_model import Evidence, right_probabilities
from audiotag.verification.promise import PromiseRule, bounds
from audiotag.verification.rules import AgreementRule, CleanlabRule, decide

VOTES = Path(__file__).with_name("votes.parquet")
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "promise.webp"
TARGETS = (0.9, 0.95, 0.99)
RULES = {
    "calibrated": AgreementRule(0.95, None),
    "as_coded": AgreementRule(None, None),
    "cleanlab": CleanlabRule(),
    **{f"promise {target}": PromiseRule(precision=target, fallback="none") for target in TARGETS},
    "with fallback": PromiseRule(),
    "relabel 0.8": PromiseRule(relabel=True, relabel_precision=0.8),
}


def study(name: str, votes: pd.DataFrame, repetitions: int) -> list[dict[str, Any]]:
    """Return what every rule accepts in every repetition of one data set, and how much of it is right."""
    rng, rows = generator("coverage", name), []
    for repetition in range(repetitions):
        drawn = votes.iloc[np.sort(rng.permutation(len(votes))[: round(0.8 * len(votes))])]
        e, truth = evidence(drawn)
        right, p_right = truth == e.labels, right_probabilities(e)
        found = bounds(e, 0.9)
        about = {
            "set": name,
            "repetition": repetition,
            "right_share": right.mean(),
            "estimated_share": found.right_share[1],
            "share_inside": found.right_share[0] <= right.mean() <= found.right_share[2],
            "brier": np.mean((p_right - right) ** 2),
        }
        for rule, one in RULES.items():
            accepted, _, labels = decide(one, e.posteriors, e.labels, e.verified_posteriors, e.verified_labels)
            if rule.startswith("relabel"):
                assert labels is not None
                changed = labels != e.labels
                share = (truth == labels)[changed].mean() if changed.any() else np.nan
                rows.append(
                    {**about, "rule": rule, "precision": share, "recall": changed.sum() / max((~right).sum(), 1)}
                )
                continue
            promised = one.figures(e)["promised"] if isinstance(one, PromiseRule) else None
            precision = right[accepted].mean() if accepted.any() else np.nan
            recall = (accepted & right).sum() / right.sum()
            rows.append({**about, "rule": rule, "precision": precision, "recall": recall, "promised": promised})
    return rows


def evidence(votes: pd.DataFrame) -> tuple[Evidence, np.ndarray]:
    """Return the votes at a temperature per fold, and the right classes of the unverified clips."""
    posteriors = np.stack(votes["posteriors"].to_numpy()).astype(np.float64) / 65535
    posteriors /= posteriors.sum(axis=1, keepdims=True)
    labels, verified = votes["label"].to_numpy(np.int64), votes["verified"].to_numpy(bool)
    for fold in votes["fold"].unique():
        inside = (votes["fold"] == fold).to_numpy()
        checked = inside & verified
        posteriors[inside] = sharpen(posteriors[inside], fit_temperature(posteriors[checked], labels[checked]))
    e = Evidence(posteriors[~verified], labels[~verified], posteriors[verified], labels[verified])
    return e, votes["right"].to_numpy(np.int64)[~verified]


def tables(rows: pd.DataFrame) -> None:
    """Print how often the promise is kept and what is found, by data set, noise and share of verified clips."""
    rows = rows.copy()
    rows[["data", "noise"]] = rows["set"].str.extract(r"^(\w+)-([a-z_-]*[a-z])")
    rows["share"], rows["verified"] = rows["set"].str.extract(r"-(\d+)-v")[0], rows["set"].str.extract(r"-v(\d+)")[0]
    rows["target"] = pd.to_numeric(rows["rule"].str.extract(r"promise (.+)")[0])
    rows["kept"] = (~(rows["precision"] < rows["target"].fillna(0.95))).astype(float)
    rows["kept if made"] = rows["kept"].where(rows["promised"].notna())
    for by in (["data"], ["data", "noise"], ["data", "share"], ["data", "verified"]):
        for figure in ("kept", "kept if made", "recall"):
            table = rows.pivot_table(figure, by, "rule", "mean")
            print(f"\n{figure} (calibrated, as_coded, cleanlab: precision at least 0.95)\n{table.round(3).to_string()}")
    once = rows[rows["rule"] == "calibrated"]
    figures = once.groupby(["data", "noise"])[["right_share", "estimated_share", "share_inside", "brier"]].mean()
    print(
        "\nshare of right labels: real, estimated, inside its interval of 90 %; Brier score of p_right\n"
        f"{figures.round(3).to_string()}"
    )
    sets = rows[rows["target"].notna()].groupby(["rule", "set"])["kept"].mean().unstack("rule")
    print("\nsets in which a promise is kept in fewer than 90 % of the repetitions")
    print(sets[(sets < 0.9).any(axis=1)].round(2).to_string())


def picture(rows: pd.DataFrame) -> None:
    """Draw the real precision over the promised one, a point per data set and target (means over repetitions)."""
    made = rows[rows["promised"].notna() & rows["precision"].notna()]
    points = made.groupby(["rule", "set"])[["promised", "precision"]].mean().reset_index()
    figure = Figure(figsize=(6.4, 5.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.plot([0.88, 1], [0.88, 1], color="black", linewidth=1, linestyle=":", label="as promised")
    looks = {"embedded": ("#0072B2", "o"), "fsdd": ("#D55E00", "s"), "mini": ("#009E73", "^")}
    for name, (colour, marker) in looks.items():
        mine = points[points["set"].str.startswith(name)]
        style = {"color": colour, "marker": marker, "alpha": 0.65, "markersize": 6}
        axes.plot(mine["promised"], mine["precision"], linestyle="none", label=name, **style)  # type: ignore[arg-type]
    axes.set_xlabel("precision promised, with confidence 0.9")
    axes.set_ylabel("real precision")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, pil_kwargs={"quality": 85})


def main(repetitions: int = 20, processes: int = 2) -> None:
    """Run the study."""
    votes = pd.read_parquet(VOTES)
    sets = [(str(name), of_set) for name, of_set in votes.groupby("set", observed=True)]
    with ProcessPoolExecutor(processes) as pool:
        work = pool.map(study, *zip(*sets, strict=True), [repetitions] * len(sets))
        rows = pd.DataFrame([row for of_set in work for row in of_set])
    rows.to_parquet("coverage.parquet")
    print(f"{rows['set'].nunique()} sets, {repetitions} repetitions each")
    tables(rows)
    picture(rows)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

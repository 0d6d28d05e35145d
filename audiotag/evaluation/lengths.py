"""How long recordings are: numbers and a histogram."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter
from rich.table import Table

from audiotag.console import console
from audiotag.plots.figures import BLUE, GREEN, GREY, ORANGE

QUANTILES = {"shortest": 0.0, "5 %": 0.05, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95, "longest": 1.0}
PARTS = {"train, verified": BLUE, "train, unverified": ORANGE, "test": GREEN, "unlabelled": GREY, "recordings": BLUE}


def parts(clips: pd.DataFrame) -> pd.Series:
    """Name the part of the data set that each clip belongs to; recordings of no data set have no column `split`."""
    if "split" not in clips:
        return pd.Series("recordings", index=clips.index)
    train = "train, " + clips["verified"].map({True: "verified", False: "unverified"})
    return train.where(clips["split"] == "train", clips["split"])


def length_table(clips: pd.DataFrame) -> pd.DataFrame:
    """Return clips and quantiles of their lengths in seconds, a row per part."""
    rows = []
    for part, seconds in _by_part(clips).items():
        quantiles = {name: float(seconds.quantile(q)) for name, q in QUANTILES.items()}
        rows.append({"part": part, "clips": len(seconds), **quantiles, "sum": float(seconds.sum())})
    return pd.DataFrame(rows, columns=["part", "clips", *QUANTILES, "sum"])


def _by_part(clips: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the lengths of the clips of each part that has any."""
    by_part = dict(list(clips["duration_s"].astype(float).groupby(parts(clips))))
    return {part: by_part[part] for part in PARTS if part in by_part}


def length_histogram(clips: pd.DataFrame) -> Figure:
    """Draw how many clips there are of which length, the parts on top of each other; a logarithmic axis of seconds."""
    seconds = clips["duration_s"].astype(float)
    figure = Figure(figsize=(7, 3.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    lowest = max(seconds.min(), 1e-3)
    edges = np.geomspace(lowest * 0.999, max(seconds.max(), 1.05 * lowest) * 1.001, 31)
    by_part = _by_part(clips)
    axes.hist(
        [lengths.clip(lower=lowest) for lengths in by_part.values()],
        edges.tolist(),
        stacked=True,
        color=[PARTS[part] for part in by_part],
        label=[f"{part}: {len(lengths)}" for part, lengths in by_part.items()],
    )
    if edges[-1] > 4 * edges[0]:  # else its ticks would be too few
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="length, s", ylabel="clips", title="Lengths of the recordings")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def show_lengths(clips: pd.DataFrame) -> None:
    """Print quantiles of the lengths (columns path, duration_s), a column per part, and the files at either end."""
    numbers = length_table(clips)
    table = Table("Length, s", *numbers["part"].map(lambda part: part.capitalize()))
    table.add_row("clips", *map(str, numbers["clips"]))
    for name in [*QUANTILES, "sum"]:
        table.add_row(name, *(f"{value:.3f}" for value in numbers[name]))
    console.print(table)
    ordered = clips.sort_values(["duration_s", "path"])
    for name, at in (("Shortest", 0), ("Longest", -1)):
        seconds, path = float(ordered["duration_s"].iloc[at]), str(ordered["path"].iloc[at])
        console.print(f"{name}: {seconds:.3f} s, {path}", soft_wrap=True)

"""What is wrong with a value, in a line each; an empty list where nothing is."""

from __future__ import annotations

import difflib
import re
from typing import Any

# What a spreadsheet runs when it opens a table: =1+1, @SUM(1), -2+cmd|'/C calc'!A1; but no name such as -20dB.wav.
FORMULA = re.compile(r"[=@]|[+-].*[(|!]", re.DOTALL)


def is_formula(text: str) -> bool:
    """Say whether a spreadsheet would run a text as a formula."""
    return FORMULA.match(text) is not None


def formula_problem(text: str) -> str:
    """Say that a name is refused for being a formula."""
    return f"a spreadsheet would run {text} as a formula: give it another name"


def one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> list[str]:
    if value in allowed:
        return []
    near = difflib.get_close_matches(str(value), [str(a) for a in allowed], n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return [f"{name}={value} is none of {', '.join(map(str, allowed))}{hint}"]


def at_least(name: str, value: float | None, least: float) -> list[str]:
    return [f"{name}={value} must be {least} or more"] if value is not None and value < least else []


def share(name: str, value: float | None) -> list[str]:
    return [f"{name}={value} must lie in 0 to 1"] if value is not None and not 0 <= value <= 1 else []


def needs_run(run: Any) -> list[str]:
    return ["run=NAME is missing: the run folder to read"] if not run else []


def class_list(classes: list[str] | None) -> list[str]:
    """Say unless a class list is two or more different labels."""
    labels = [label for label in classes or () if isinstance(label, str)]  # lists in lists pass for labels until here
    if classes is None or (len(labels) == len(classes) == len(set(labels)) > 1):
        return [f"data.classes: {formula_problem(label)}" for label in labels if is_formula(label)]
    return [f"data.classes={classes} must be two or more different labels"]


# The largest that makes sense, of every number that a person can set and that is no share of 1.
LARGEST = {
    "seed": 2**63 - 1, "data.noise.seed": 2**63 - 1, "data.synthetic.seed": 2**63 - 1,
    "finetune_rounds": 1000, "folds": 1000, "round": 1000, "fold": 1000, "devices": 4096,
    "data.synthetic.classes": 12, "data.synthetic.verified_per_class": 100_000,
    "data.synthetic.unverified_per_class": 100_000, "data.synthetic.test_per_class": 100_000,
    "features.excerpt_frames": 100_000, "features.clip_frames": 1_000_000,
    "model.width": 1024,
    "augment.time_masks": 100, "augment.time_mask_frames": 100_000,
    "augment.band_masks": 100, "augment.band_mask_bands": 1000,
    "training.batch_size": 100_000, "training.valid_batch_size": 100_000,
    **{f"training.{phase}.{name}": most for phase in ("pretrain", "finetune") for name, most in {
        "epochs": 100_000, "learning_rate": 10.0, "decay_from_epoch": 100_000, "mixup_alpha": 100.0,
        "min_steps": 100_000_000,
    }.items()},
    "verification.excerpts": 10_000, "verification.cap": 1_000_000_000,
    "hardware.threads": 1024, "hardware.workers": 1024, "hardware.wait_s": 30 * 86_400.0,
    "top": 10_000, "bootstrap": 1_000_000, "windows": 10_000, "ensemble.l2": 1e9,
}  # fmt: skip


def out_of_proportion(name: str, value: Any) -> list[str]:
    """Say that a number is larger than the largest that makes sense, or below its negative."""
    largest = LARGEST.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if largest is None or not is_number or -largest <= value <= largest:
        return []
    return [f"{name}={value} is out of all proportion: {largest:,} is the largest that makes sense"]

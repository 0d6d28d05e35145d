"""The noise laboratory: known wrong labels, put into a data set whose right labels are known.

Every share is exact: round(share x clips of a class), not a chance per clip. Verified clips keep their labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from audiotag.config import Data, Noise
from audiotag.console import console
from audiotag.data.clips import ClipTable
from audiotag.data.tables import collect_problems, find_file, read_csv, unknown_label
from audiotag.errors import DataError, Nearest
from audiotag.files import damage_reported
from audiotag.randomness import generator


@dataclass(frozen=True)
class Labels:
    """Clips and class list of a data set, its right labels by clip id where they are known, and what was made wrong.

    `injected` has a row per clip that was given a wrong label: clip_id, label, right_label.
    """

    clips: ClipTable
    classes: list[str]
    truth: pd.Series | None
    injected: pd.DataFrame | None = None


def with_noise(labels: Labels, data: Data, seed: int, root: Path) -> Labels:
    """Return the labels with the noise that was asked for, and right labels for all unverified clips.

    Unverified clips are given their right labels first, so that no other noise is left. Those whose right label is not
    known are marked invalid. Raises DataError if the noise is of other classes, or there are too few clips for it.
    """
    noise = data.noise
    if noise.kind == "none":
        return labels
    seed = seed if noise.seed is None else noise.seed
    _check_classes(noise, labels.classes)
    known = [name for name in labels.classes if name not in (noise.left_out or ())]
    _mark_unknown(labels, skip=data.on_bad_clip == "skip")
    usable = labels.clips.usable
    right = _right(usable[usable["split"] == "train"], labels.truth)
    posteriors = None if noise.posteriors is None else read_posteriors(noise.posteriors, right, known, root)
    right = _unchecked(right, noise, seed, posteriors)
    if right["verified"].all():
        raise _refused(
            "every training label is verified, so there is none to make wrong: set data.noise.unverified to the share "
            "of each class that is to be unverified, such as 0.6"
        )
    if noise.kind == "open_set":
        noisy = open_set(right, known, noise.share, seed)
    elif noise.kind == "instance":
        assert posteriors is not None  # the configuration has seen to it
        noisy = instance(right, posteriors, noise.share, seed)
    else:
        noisy = closed_set(right, weights(noise, known, root), noise.share, seed)
    return _put_together(labels, known, right, noisy, noise)


def closed_set(clips: pd.DataFrame, targets: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Return clips (clip_id, label, verified) with round(share x n) of the n unverified ones of each class mislabelled.

    `targets` (C, C) are the proportions in which a class (row) is given other labels (column); a class of no targets
    keeps its own. What does not come out even goes to the largest remainders.
    """
    given = clips["label"].copy()
    for label, of_class in clips[~clips["verified"]].sort_values("clip_id").groupby("label"):
        proportions = targets.loc[str(label)]
        if proportions.sum() == 0:
            continue
        rng = generator(seed, "noise", str(label))
        counts = apportioned(proportions.to_numpy(), round(share * len(of_class)), rng)
        chosen = rng.permutation(of_class.index.to_numpy())[: counts.sum()]
        given[chosen] = np.repeat(targets.columns.to_numpy(dtype=object), counts)
    return clips.assign(label=given)


def open_set(clips: pd.DataFrame, known: list[str], share: float, seed: int) -> pd.DataFrame:
    """Return the clips of known classes, and among them unverified ones of left-out classes under known labels.

    Of each known class's unverified clips, n right ones and the others, round(share / (1 - share) x n), are no clips of
    it. Which left-out clip gets which label is random; those that are not needed are left out. Raises DataError if
    they are too few.
    """
    inside = clips["label"].isin(known)
    counts = clips[inside & ~clips["verified"]]["label"].value_counts().reindex(known, fill_value=0)
    wrong = {label: round(share / (1 - share) * int(n)) for label, n in counts.items()}
    needed, pool = sum(wrong.values()), clips[~inside].sort_values("clip_id")
    if needed > len(pool):
        raise _refused(
            f"data.noise.share={share} needs {needed} clips of left-out classes, there are {len(pool)}: leave out more "
            "classes (data.noise.left_out), or set it lower"
        )
    rng = generator(seed, "noise", "open_set")
    chosen = rng.permutation(pool.index.to_numpy())[:needed]
    others = pool.loc[chosen].assign(label=np.repeat(list(wrong), list(wrong.values())), verified=False)
    return pd.concat([clips[inside], others]).loc[lambda frame: clips.index[clips.index.isin(frame.index)]]


def instance(clips: pd.DataFrame, posteriors: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Return the clips, round(share x n) of the n unverified ones of each class mislabelled as another network would.

    `posteriors` (N, C), by clip id, are that network's. The clips in which it hears other classes most go wrong first;
    each gets a wrong label drawn by what it hears.
    """
    given = clips["label"].copy()
    for label, of_class in clips[~clips["verified"]].sort_values("clip_id").groupby("label"):
        rng = generator(seed, "noise", str(label))
        others = posteriors.loc[of_class["clip_id"]].drop(columns=str(label))
        order = np.lexsort((rng.random(len(others)), -others.sum(axis=1).to_numpy()))
        for i in order[: round(share * len(of_class))]:
            proportions = others.iloc[i].to_numpy(np.float64) + 1e-9
            given[of_class.index[i]] = rng.choice(others.columns.to_numpy(), p=proportions / proportions.sum())
    return clips.assign(label=given)


def read_posteriors(name: str, clips: pd.DataFrame, classes: list[str], root: Path) -> pd.DataFrame:
    """Return another network's posteriors (N, C) of clips by id; of a run, those of round 0, of clips held out.

    Raises DataError if there is no such run or table, or it lacks clips or classes, RunError if it cannot be read.
    """
    path = Path(name).expanduser()
    path = path.absolute() if path.exists() else root / path
    files = sorted(path.glob("round00/fold*/*posteriors.parquet")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise _refused(f"data.noise.posteriors={name}: {path} is neither a run with a round 0 nor a table")
    tables = []
    for file in files:
        with damage_reported(file, "name another run or table"):
            tables.append(
                pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, dtype={"clip_id": str})
            )
    table = pd.concat(tables)
    missing = [column for column in ("clip_id", *classes) if column not in table]
    if missing:
        raise _refused(f"data.noise.posteriors={name}: has no column {', '.join(missing[:5])}")
    table = table.drop_duplicates("clip_id").set_index("clip_id")[classes].apply(pd.to_numeric, errors="coerce")
    found = table.reindex(clips["clip_id"][clips["label"].isin(classes)])
    unknown = found.index[~np.isfinite(found).all(axis=1) | (found < 0).any(axis=1)]
    if len(unknown):
        raise _refused(f"data.noise.posteriors={name}: says nothing of {len(unknown)} clips, such as {unknown[0]}")
    return found


def apportioned(proportions: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """Return whole numbers in these proportions that sum to `total`: largest remainders, ties by chance."""
    exact = proportions / proportions.sum() * total
    counts = np.floor(exact + 1e-9).astype(int)
    remainders = np.round(exact - counts, 9)
    order = np.lexsort((rng.random(len(exact)), -remainders))
    counts[order[: total - counts.sum()]] += 1
    return counts


def weights(noise: Noise, classes: list[str], root: Path) -> pd.DataFrame:
    """Return in what proportions each class (row) is given other labels (column); the diagonal is zero."""
    found = np.zeros((len(classes), len(classes)))
    if noise.kind == "symmetric":
        found += 1.0
    elif noise.matrix is not None:
        found += _matrix(noise.matrix, classes, root).to_numpy()
    else:
        in_turn = zip(classes, [*classes[1:], classes[0]], strict=True)
        for right, given in noise.confuse or in_turn:
            found[classes.index(right), classes.index(given)] += 1.0
    np.fill_diagonal(found, 0.0)
    return pd.DataFrame(found, index=classes, columns=classes)


def _matrix(name: str, classes: list[str], root: Path) -> pd.DataFrame:
    """Read a confusion matrix: a row per right class, named in the first column, and a column per given one."""
    problems: list[str] = []
    path = collect_problems(problems, lambda: find_file("data.noise.matrix", name, root))
    if path is None:
        raise _refused(*problems)
    table, malformed = read_csv(path)
    problems += [f"{path}:{line}: {why}" for line, why in malformed[malformed != ""].items()]
    table = table.set_index(table.columns[0])
    if table.empty:
        raise _refused(*problems, f"{path}: names no class in its rows, or none in its columns")
    near = Nearest(classes)
    strange = sorted({*map(str, table.index), *map(str, table.columns)} - set(classes))
    problems += [f"{path}: {label}: {unknown_label(label, near)}" for label in strange]
    numbers = table.apply(pd.to_numeric, errors="coerce").fillna(-1)
    unique = table.index.is_unique and table.columns.is_unique
    if not unique or not ((numbers >= 0) & (numbers < np.inf)).to_numpy().all():
        problems.append(f"{path}: must hold finite numbers of 0 or more, and each class in one row and one column")
    if problems:
        raise _refused(*problems)
    return numbers.reindex(index=classes, columns=classes, fill_value=0.0)


def _refused(*problems: str) -> DataError:
    return DataError("The noise cannot be put in:", problems)


def _check_classes(noise: Noise, classes: list[str]) -> None:
    named = [("confuse", label) for pair in noise.confuse or () for label in pair]
    named += [("left_out", label) for label in noise.left_out or ()]
    near = Nearest(classes)
    problems = [f"data.noise.{s}: {unknown_label(label, near)}" for s, label in named if label not in classes]
    if problems:
        raise _refused(*dict.fromkeys(problems))


def _mark_unknown(labels: Labels, skip: bool) -> None:
    """Mark unverified clips whose right label nobody knows, or is not one of the classes; raises DataError for all."""
    usable = labels.clips.usable
    unverified = usable[(usable["split"] == "train") & ~usable["verified"]]
    if labels.truth is None and len(unverified) and not skip:
        raise _refused(
            f"data.noise: the right labels of {len(unverified)} unverified clips are not known: name a table of them "
            "with data.truth=FILE, or set data.on_bad_clip=skip to do without these clips"
        )
    right = unverified["clip_id"].map({} if labels.truth is None else labels.truth)
    advice = "name a table of right labels with data.truth=FILE"
    why = f"its right label is not known, without which data.noise cannot be measured: {advice}"
    labels.clips.mark_invalid(right.isna(), why)
    strange, near = right.notna() & ~right.isin(labels.classes), Nearest(labels.classes)
    labels.clips.mark_invalid(strange, right[strange].map(lambda label: f"right label: {unknown_label(label, near)}"))


def _right(train: pd.DataFrame, truth: pd.Series | None) -> pd.DataFrame:
    """Return training clips with their right labels."""
    if truth is None:
        return train
    corrected = train["clip_id"].map(truth).where(~train["verified"])
    return train.assign(label=corrected.fillna(train["label"]))


def _unchecked(clips: pd.DataFrame, noise: Noise, seed: int, posteriors: pd.DataFrame | None) -> pd.DataFrame:
    """Return the clips, of each class's verified ones round(data.noise.unverified x n) made unverified.

    With shift=groups, these come group after group, so that at most one group of a class is both.
    """
    if noise.shift == "groups" and not (clips["group"] != "").any():
        raise _refused("data.noise.shift=groups needs data.group=COLUMN, the column of groups")
    verified = clips["verified"].copy()
    groups = sorted(set(clips["group"]))
    turn = dict(zip(groups, generator(seed, "unverified groups").permutation(len(groups)), strict=True))
    for label, of_class in clips[clips["verified"]].sort_values("clip_id").groupby("label"):
        order = generator(seed, "unverified", str(label)).permutation(len(of_class))
        if noise.shift == "groups":
            order = order[np.argsort(of_class["group"].map(turn).to_numpy()[order], kind="stable")]
        elif noise.shift == "easier" and posteriors is not None and label in posteriors:
            # Rather the hard ones: half by rank, half by chance, so that no clear line divides them.
            ease = posteriors.loc[of_class["clip_id"], str(label)].rank(method="first").to_numpy()
            order = np.argsort(ease + np.argsort(order), kind="stable")
        verified[of_class.index[order[: round(noise.unverified * len(of_class))]]] = False
    return clips.assign(verified=verified)


def _put_together(labels: Labels, known: list[str], right: pd.DataFrame, noisy: pd.DataFrame, noise: Noise) -> Labels:
    """Return the whole data set with the noisy training clips, without clips of classes that are left out."""
    clips = labels.clips
    usable = clips.usable
    elsewhere = (usable["split"] != "train") & usable["label"].isin(noise.left_out or ())
    gone = usable.index[elsewhere | ((usable["split"] == "train") & ~usable.index.isin(noisy.index))]
    frame = clips.frame.copy()
    frame.loc[noisy.index, ["label", "verified"]] = noisy[["label", "verified"]]
    unverified = noisy.index[~noisy["verified"]]
    truth = right.loc[unverified].set_index("clip_id")["label"]
    wrong = unverified[(noisy.loc[unverified, "label"] != right.loc[unverified, "label"]).to_numpy()]
    injected = noisy.loc[wrong, ["clip_id", "label"]].assign(right_label=right.loc[wrong, "label"])
    console.print(
        f"Noise: {len(wrong)} of {len(unverified)} unverified labels are wrong on purpose ({noise.kind})"
        + (f"; {len(gone)} clips of left-out classes are not used" if len(gone) else ""),
        soft_wrap=True,
    )
    kept = replace(clips, frame=frame.drop(index=gone))
    return Labels(kept, known, truth, injected.sort_values("clip_id", ignore_index=True))

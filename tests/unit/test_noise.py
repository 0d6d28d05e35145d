"""The noise laboratory: exact counts for every kind, verified labels untouched, right labels known."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from audiotag.config import Data, Noise, TrainConfig
from audiotag.config.schema import validate
from audiotag.data.clips import ClipTable
from audiotag.data.noise import Labels, apportioned, weights, with_noise
from audiotag.errors import ConfigError, DataError, RunError

CLASSES = ["a", "b", "c"]
HERE = Path()


def data_set(verified: int = 5, unverified: int = 10, test: int = 2, classes: list[str] = CLASSES) -> Labels:
    """Return so many clips per class, in no order of class; every third unverified label is wrong already."""
    rows, truth = [], {}
    for i, label in enumerate(classes):
        for split, flag, n in (("train", True, verified), ("train", False, unverified), ("test", False, test)):
            for number in range(n):
                clip = f"{number}{split}{int(flag)}{label}.wav"
                wrong = split == "train" and not flag and number % 3 == 0
                given = classes[(i + 2) % len(classes)] if wrong else label
                rows.append((clip, clip, given, flag, split, "", "", f"t.csv:{len(rows)}"))
                truth[clip] = label
    columns = ["clip_id", "path", "label", "verified", "split", "usage", "group", "where"]
    frame = pd.DataFrame(rows, columns=columns).sample(frac=1, random_state=3).reset_index(drop=True)
    return Labels(ClipTable(frame), list(classes), pd.Series(truth))


def noisy(noise: Noise, labels: Labels | None = None, seed: int = 0, root: Path = HERE, **data: str) -> Labels:
    return with_noise(data_set() if labels is None else labels, Data(noise=noise, **data), seed, root)


def pairs(labels: Labels) -> Counter[tuple[str, str]]:
    """Count the unverified training clips by (right label, given label)."""
    frame = labels.clips.usable
    unverified = frame[(frame["split"] == "train") & ~frame["verified"]]
    return Counter(zip(unverified["clip_id"].map(labels.truth), unverified["label"], strict=True))


def test_noise_symmetric_by_hand():
    """30 % of ten are three: one label twice, the other once, in every class."""
    counts = pairs(noisy(Noise(kind="symmetric", share=0.3)))
    for label in CLASSES:
        others = sorted(counts[label, other] for other in CLASSES if other != label)
        assert (counts[label, label], others) == (7, [1, 2])
    even = pairs(noisy(Noise(kind="symmetric", share=0.4)))
    assert all(even[right, given] == (6 if right == given else 2) for right in CLASSES for given in CLASSES)


def test_noise_by_confusion_by_hand(tmp_path):
    counts = pairs(noisy(Noise(kind="confusion", share=0.25)))  # 2.5 is two, as Python rounds
    assert counts == {("a", "a"): 8, ("a", "b"): 2, ("b", "b"): 8, ("b", "c"): 2, ("c", "c"): 8, ("c", "a"): 2}
    counts = pairs(noisy(Noise(kind="confusion", share=0.5, confuse=[["a", "c"]])))
    assert counts == {("a", "a"): 5, ("a", "c"): 5, ("b", "b"): 10, ("c", "c"): 10}
    # Of four wrong labels, three to one; the diagonal says nothing; c is in no row.
    (tmp_path / "matrix.csv").write_text("right,a,b,c\na,9,3,1\nb,0.5,2,0.5\n")
    counts = pairs(noisy(Noise(kind="confusion", share=0.4, matrix="matrix.csv"), root=tmp_path))
    expected = {("a", "a"): 6, ("a", "b"): 3, ("a", "c"): 1, ("b", "a"): 2, ("b", "b"): 6, ("b", "c"): 2}
    assert counts == {**expected, ("c", "c"): 10}


def test_noise_of_open_sets_by_hand():
    """20 % wrong beside ten right ones: 2.5, which is two, clips of c under each known label."""
    labels = noisy(Noise(kind="open_set", share=0.2, left_out=["c"]))
    assert labels.classes == ["a", "b"]
    assert pairs(labels) == {("a", "a"): 10, ("b", "b"): 10, ("c", "a"): 2, ("c", "b"): 2}
    frame = labels.clips.usable
    assert set(frame["label"]) == {"a", "b"}, "nothing that is said to be c is left, in training or test"
    assert Counter(frame["split"]) == {"train": 2 * (5 + 10) + 4, "test": 4}
    assert len(labels.injected) == 4
    assert set(labels.injected["right_label"]) == {"c"}


def test_noise_of_open_sets_beyond_the_clips_is_refused():
    with pytest.raises(DataError, match="needs 20 clips of left-out classes, there are 15"):
        noisy(Noise(kind="open_set", share=0.5, left_out=["c"]))


@pytest.mark.parametrize(
    "noise",
    [Noise(kind="symmetric"), Noise(kind="confusion"), Noise(kind="open_set", share=0.2, left_out=["b"])],
)
def test_noise_of_every_kind_keeps_its_promises(noise):
    before = data_set()
    original = before.clips.frame.copy()
    labels = noisy(noise, before)
    pd.testing.assert_frame_equal(before.clips.frame, original)  # the input is left alone
    frame = labels.clips.usable.set_index("clip_id")
    verified = frame[frame["verified"]]
    assert (verified["label"] == original.set_index("clip_id")["label"][verified.index]).all()
    unverified = frame[(frame["split"] == "train") & ~frame["verified"]]
    assert set(labels.truth.index) == set(unverified.index), "all of them can be measured"
    wrong = unverified[unverified["label"] != labels.truth[unverified.index]]
    injected = labels.injected.set_index("clip_id")
    assert sorted(wrong.index) == list(injected.index)
    assert (injected["label"] == wrong["label"][injected.index]).all()
    assert (injected["right_label"] == labels.truth[injected.index]).all()
    # The same for the same seed, whatever the order of the rows; other clips for another one.
    mixed = data_set()
    mixed.clips.frame = mixed.clips.frame[::-1].reset_index(drop=True)
    pd.testing.assert_frame_equal(noisy(noise, mixed).injected, labels.injected)
    other = Noise(**{**vars(noise), "seed": 5})
    assert noisy(other, seed=0).injected["clip_id"].tolist() != injected.index.tolist()
    pd.testing.assert_frame_equal(noisy(other, seed=1).injected, noisy(noise, seed=5).injected)


def test_noise_makes_a_part_of_verified_clips_unverified():
    labels = data_set(verified=10, unverified=0)
    with pytest.raises(DataError, match=r"set data\.noise\.unverified"):
        noisy(Noise(kind="symmetric"), labels)
    found = noisy(Noise(kind="symmetric", share=0.5, unverified=0.6), Labels(labels.clips, CLASSES, None))
    frame = found.clips.usable
    assert Counter(frame["verified"]) == {True: 12, False: 24}
    counts = pairs(found)
    assert [sum(n for (right, _), n in counts.items() if right == label) for label in CLASSES] == [6, 6, 6]
    assert [counts[label, label] for label in CLASSES] == [3, 3, 3]


def test_clips_whose_right_label_is_not_known_are_named():
    labels = data_set()
    labels.truth["1train0a.wav"] = "A"
    known = labels.truth.drop("2train0b.wav")
    found = noisy(Noise(kind="symmetric", share=0.3), Labels(labels.clips, CLASSES, known))
    why = sorted(str(problem) for problem in found.clips.problems)
    assert len(why) == 2
    assert any("1train0a.wav: right label: unknown label A" in text for text in why)
    assert any("2train0b.wav: its right label is not known" in text and "data.truth=FILE" in text for text in why)
    assert sum(pairs(found).values()) == 28, "with data.on_bad_clip=skip, the rest is used"


def test_noise_needs_right_labels():
    unknown = Labels(data_set().clips, CLASSES, None)
    noise = Noise(kind="symmetric", share=0.5, unverified=0.4)
    with pytest.raises(DataError, match="the right labels of 30 unverified clips are not known"):
        noisy(noise, unknown)
    found = noisy(noise, unknown, on_bad_clip="skip")
    assert len(found.clips.problems) == 30
    assert sum(pairs(found).values()) == 6, "two of five verified clips a class"


def test_noise_of_unknown_classes(tmp_path):
    for noise in (Noise(kind="confusion", confuse=[["a", "B"]]), Noise(kind="open_set", left_out=["B"])):
        with pytest.raises(DataError, match="unknown label B"):
            noisy(noise)
    (tmp_path / "m.csv").write_text("right,a,d\na,0,-1\n")
    with pytest.raises(DataError, match="unknown label d") as caught:
        noisy(Noise(kind="confusion", matrix="m.csv"), root=tmp_path)
    assert len(caught.value.problems) == 2, "the negative number too"
    for odd in ("inf", "nan", "1e999"):
        (tmp_path / "m.csv").write_text(f"right,a,b\na,0,{odd}\n")
        with pytest.raises(DataError, match="finite numbers"):
            noisy(Noise(kind="confusion", matrix="m.csv"), root=tmp_path)
    with pytest.raises(DataError, match="not here, nor in"):
        noisy(Noise(kind="confusion", matrix="gone.csv"), root=tmp_path)


@pytest.mark.parametrize(
    ("noise", "problem"),
    [
        ({"kind": "asymetric"}, "did you mean symmetric"),
        ({"kind": "symmetric", "share": 1.2}, "must lie in 0 to 1"),
        ({"kind": "open_set"}, "needs data.noise.left_out"),
        ({"kind": "open_set", "left_out": ["a"], "share": 1.0}, "leaves no clip"),
        ({"kind": "symmetric", "left_out": ["a"]}, "left_out belongs to data.noise.kind=open_set"),
        ({"kind": "confusion", "confuse": [["a"]]}, "pairs of two different labels"),
        ({"kind": "confusion", "confuse": [["a", "b"]], "matrix": "m.csv"}, "either data.noise.confuse or"),
        ({"kind": "instance"}, "need data.noise.posteriors=RUN_FOLDER"),
        ({"kind": "symmetric", "posteriors": "runs/a"}, "others do not"),
        ({"kind": "symmetric", "shift": "groups"}, "data.noise.unverified above 0"),
    ],
)
def test_noise_settings_that_cannot_be_are_refused(noise, problem):
    with pytest.raises(ConfigError) as caught:
        validate(OmegaConf.create({"data": {"noise": noise}}), TrainConfig)
    (found,) = caught.value.problems
    assert problem in found


def test_noise_counts_follow_the_weights_and_leave_nothing_over():
    assert weights(Noise(kind="symmetric"), CLASSES, HERE).to_numpy().tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    rng = np.random.default_rng(0)
    assert list(apportioned(np.array([0.0, 1.0, 3.0]), 4, rng)) == [0, 1, 3]
    assert list(apportioned(np.array([5.0, 3.0, 2.0]), 7, rng)) == [4, 2, 1]  # 3.5, 2.1 and 1.4
    left_over = Counter(tuple(apportioned(np.ones(3), 4, rng)) for _ in range(60))
    assert set(left_over) == {(2, 1, 1), (1, 2, 1), (1, 1, 2)}, "who gets what is left over is chance"


def taken_for(labels: Labels, seed: int = 0) -> pd.DataFrame:
    """Return what another network makes of the training clips: posteriors by clip id, over all classes."""
    frame = labels.clips.usable
    clips = frame["clip_id"][frame["split"] == "train"].sort_values()
    drawn = np.random.default_rng(seed).dirichlet(np.ones(len(labels.classes)), len(clips))
    return pd.DataFrame(drawn, columns=labels.classes).assign(clip_id=clips.to_numpy())


@pytest.mark.parametrize("as_run", [False, True])
def test_noise_of_instances_by_another_network(tmp_path, as_run):
    """The clips in which it hears other classes most go wrong; of a run, all cells of round 0 are read."""
    labels = data_set()
    table = taken_for(labels)
    if as_run:
        for name, part in (("posteriors", table[::2]), ("verified_posteriors", table[1::2])):
            (tmp_path / "other" / "round00" / "fold0").mkdir(parents=True, exist_ok=True)
            part.to_parquet(tmp_path / "other" / "round00" / "fold0" / f"{name}.parquet")
    else:
        table.to_csv(tmp_path / "other", index=False)
    noise = Noise(kind="instance", share=0.3, posteriors="other")
    found = noisy(noise, root=tmp_path)
    counts = pairs(found)
    assert {label: counts[label, label] for label in CLASSES} == dict.fromkeys(CLASSES, 7)
    of_clip = table.set_index("clip_id")
    right = found.truth
    doubt = pd.Series({clip: 1 - of_clip.loc[clip, label] for clip, label in right.items()})
    wrong = set(found.injected["clip_id"])
    for label in CLASSES:
        surest = doubt[right.index[right == label]].nlargest(3)
        assert set(surest.index) == {clip for clip in wrong if right[clip] == label}
    pd.testing.assert_frame_equal(noisy(noise, root=tmp_path).injected, found.injected)


def test_noise_shifts_verified_clips_to_easier_ones(tmp_path):
    labels = data_set(verified=40, unverified=0)
    table = taken_for(labels)
    table.to_parquet(tmp_path / "other.parquet")
    plain = Noise(kind="symmetric", unverified=0.5)
    easier = Noise(kind="symmetric", unverified=0.5, shift="easier", posteriors="other.parquet")
    right = labels.clips.frame.set_index("clip_id")["label"]
    ease = pd.Series({clip: row[right[clip]] for clip, row in table.set_index("clip_id").iterrows()})
    means = []
    for noise in (plain, easier):
        frame = noisy(noise, Labels(labels.clips, CLASSES, None), root=tmp_path).clips.usable.set_index("clip_id")
        train = frame[frame["split"] == "train"]
        assert train["verified"].sum() == 60
        means.append(ease[train.index[train["verified"]]].mean() - ease[train.index[~train["verified"]]].mean())
    assert abs(means[0]) < 0.1
    assert means[1] > 0.2


def test_noise_shifts_verified_clips_to_other_groups():
    labels = data_set(verified=40, unverified=0)
    labels.clips.frame["group"] = [
        f"speaker{int(clip.split('train')[0].split('test')[0]) % 4}" for clip in labels.clips.frame["clip_id"]
    ]
    frame = noisy(Noise(kind="symmetric", unverified=0.5, shift="groups"), labels).clips.usable
    train = frame[frame["split"] == "train"]
    groups = train.groupby("verified")["group"].agg(set)
    assert not groups[True] & groups[False]
    labels.clips.frame["group"] = ""
    with pytest.raises(DataError, match=r"data\.group"):
        noisy(Noise(kind="symmetric", unverified=0.5, shift="groups"), labels)


def test_noise_by_posteriors_that_cannot_be_used_is_refused(tmp_path):
    labels = data_set()
    noise = Noise(kind="instance", posteriors="other.csv")
    with pytest.raises(DataError, match="neither a run with a round 0 nor a table"):
        noisy(noise, labels, root=tmp_path)
    taken_for(labels).drop(columns="b").to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(DataError, match="has no column b"):
        noisy(noise, labels, root=tmp_path)
    taken_for(labels)[2:].to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(DataError, match="says nothing of 2 clips, such as 0train0a"):
        noisy(noise, labels, root=tmp_path)
    (tmp_path / "other.csv").write_bytes(b"")
    with pytest.raises(RunError, match=r"other\.csv is damaged"):
        noisy(noise, labels, root=tmp_path)

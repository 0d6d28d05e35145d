"""The ledger: every unverified clip once a round, decided over all folds together, by networks that never heard it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from audiotag.errors import RunError
from audiotag.verification.calibration import fit_temperature, sharpen
from audiotag.verification.ledger import Votes, calibrated, decide_round, measure
from audiotag.verification.rules import AgreementRule

CLASSES = ["Bark", "Meow", "Moo"]
CODED = AgreementRule(threshold=None, cap=None)


def make_train(n: int = 24, folds: int = 4) -> pd.DataFrame:
    """Return clips of every class, verification and fold, their ids in no order of fold."""
    rng = np.random.default_rng(3)
    ids = [f"{number:03d}.wav" for number in rng.permutation(n)]
    return pd.DataFrame(
        {
            "label": [CLASSES[i % 3] for i in range(n)],
            "verified": [i // 3 % 2 == 1 for i in range(n)],
            "fold": [i // 6 % folds for i in range(n)],
        },
        index=pd.Index(ids, name="clip_id"),
    ).sort_index()


def make_votes(train: pd.DataFrame, seed: int = 0, sharpness: float = 1.0) -> dict[int, Votes]:
    """Return posteriors of every fold's held-out clips, in any order of clips."""
    rng = np.random.default_rng(seed)

    def score(clips: pd.DataFrame) -> pd.DataFrame:
        order = rng.permutation(len(clips))
        posteriors = rng.dirichlet(np.full(3, 1 / sharpness), len(clips)).astype(np.float32)
        return pd.DataFrame(posteriors, columns=CLASSES).assign(clip_id=clips.index[order])[["clip_id", *CLASSES]]

    held_out = {fold: train[train["fold"] == fold] for fold in range(4)}
    return {f: Votes(score(c[~c["verified"]]), score(c[c["verified"]])) for f, c in held_out.items()}


def test_ledger_has_its_columns_order_and_values():
    train = make_train()
    votes = make_votes(train)
    ledger = decide_round(7, votes, train, CLASSES, CODED)
    assert ",".join(ledger.columns) == "round,fold,clip_id,label,predicted,posterior,p_right,accepted,reason"  # DESIGN
    assert list(ledger["clip_id"]) == sorted(train.index[~train["verified"]])
    assert set(ledger["round"]) == {7}
    scores = pd.concat([vote.unverified for vote in votes.values()]).set_index("clip_id")
    for row in ledger.to_dict("records"):
        mine = scores.loc[row["clip_id"]]
        assert row["fold"] == train.loc[row["clip_id"], "fold"]
        assert row["label"] == train.loc[row["clip_id"], "label"]
        assert row["predicted"] == mine.idxmax()
        assert row["posterior"] == pytest.approx(mine[row["label"]])
        agrees = row["predicted"] == row["label"]
        assert (row["accepted"], row["reason"]) == ((1, "accepted") if agrees else (0, "label differs"))
    assert set(ledger["accepted"]) == {0, 1}


def test_ledger_does_not_depend_on_the_order_of_folds_or_rows():
    train = make_train()
    votes = make_votes(train)
    turned = {
        fold: Votes(vote.unverified[::-1].reset_index(drop=True), vote.verified)
        for fold, vote in reversed(list(votes.items()))
    }
    expected = decide_round(0, votes, train, CLASSES, AgreementRule(threshold=0.5, cap=2))
    pd.testing.assert_frame_equal(
        decide_round(0, turned, train[::-1], CLASSES, AgreementRule(threshold=0.5, cap=2)), expected
    )


@pytest.mark.parametrize("name", ["fold", "round", "label", "posterior"])
def test_ledger_takes_a_class_called_like_one_of_its_columns(name):
    train = make_train()
    votes = make_votes(train)
    ledger = decide_round(0, votes, train, CLASSES, CODED)
    renamed = {
        fold: Votes(vote.unverified.rename(columns={"Moo": name}), vote.verified.rename(columns={"Moo": name}))
        for fold, vote in votes.items()
    }
    found = decide_round(0, renamed, train.replace({"label": {"Moo": name}}), ["Bark", "Meow", name], CODED)
    pd.testing.assert_frame_equal(found, ledger.replace({"label": {"Moo": name}, "predicted": {"Moo": name}}))


def test_ledger_caps_over_all_folds_together():
    train = make_train()
    votes = make_votes(train)
    for vote in votes.values():  # every network agrees with every label, more or less surely
        labels = train.loc[vote.unverified["clip_id"], "label"]
        sure = 0.6 + 0.3 * np.random.default_rng(len(labels)).random(len(labels))
        for name in CLASSES:
            vote.unverified[name] = np.where(labels == name, sure, (1 - sure) / 2).astype(np.float32)
    ledger = decide_round(0, votes, train, CLASSES, AgreementRule(threshold=0.5, cap=2))
    for _, of_class in ledger.groupby("label"):
        best = of_class.sort_values(["posterior", "clip_id"], ascending=[False, True])
        assert list(best["reason"]) == ["accepted"] * 2 + ["class is full"] * (len(best) - 2)


def test_ledger_is_calibrated_by_fold_on_its_verified_clips():
    train = make_train(96)
    votes = make_votes(train, sharpness=0.5)
    plain = decide_round(0, votes, train, CLASSES, CODED).set_index("clip_id")
    scaled = calibrated(votes, train, CLASSES)
    ledger = decide_round(0, scaled, train, CLASSES, AgreementRule(threshold=0.6, cap=None)).set_index("clip_id")
    temperatures = set()
    for fold, vote in votes.items():
        codes = train.loc[vote.verified["clip_id"], "label"].map(CLASSES.index).to_numpy()
        temperature = fit_temperature(vote.verified[CLASSES].to_numpy(np.float64), codes)
        temperatures.add(round(temperature, 6))
        assert scaled[fold].temperature == temperature
        sharp = sharpen(vote.unverified[CLASSES].to_numpy(np.float64), temperature)
        labels = train.loc[vote.unverified["clip_id"], "label"].map(CLASSES.index).to_numpy()
        stated = pd.Series(sharp[np.arange(len(labels)), labels], vote.unverified["clip_id"])
        np.testing.assert_allclose(ledger.loc[stated.index, "posterior"], stated, rtol=1e-9)
    assert len(temperatures) == 4
    assert (ledger["predicted"] == plain["predicted"]).all(), "a temperature changes no prediction"
    assert ((ledger["accepted"] == 1) == ((ledger["predicted"] == ledger["label"]) & (ledger["posterior"] > 0.6))).all()


def other_votes(change) -> dict[int, Votes]:
    votes = make_votes(make_train())
    votes[1] = change(votes)
    return votes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda v: v[0], "fold 1 did not score just its held-out unverified clips", id="of another fold"),
        pytest.param(
            lambda v: Votes(v[1].unverified[1:], v[1].verified), "held-out unverified", id="a clip is missing"
        ),
        pytest.param(
            lambda v: Votes(pd.concat([v[1].unverified, v[1].unverified[:1]]), v[1].verified),
            "twice",
            id="a clip twice",
        ),
        pytest.param(lambda v: Votes(v[1].verified, v[1].verified), "held-out unverified", id="verified ones"),
        pytest.param(lambda v: Votes(v[1].unverified, v[0].verified), "held-out verified", id="calibrated on others"),
        pytest.param(
            lambda v: Votes(v[1].unverified.replace(v[1].unverified["clip_id"].iloc[0], "unknown.wav"), v[1].verified),
            "unknown.wav",
            id="not of the manifest",
        ),
    ],
)
def test_ledger_refuses_votes_of_other_clips(change, message):
    with pytest.raises(RunError, match=message):
        decide_round(0, other_votes(change), make_train(), CLASSES, CODED)


def test_ledger_refuses_missing_votes_of_a_fold():
    votes = make_votes(make_train())
    del votes[2]
    with pytest.raises(RunError, match="no votes of fold 2"):
        decide_round(0, votes, make_train(), CLASSES, CODED)


@pytest.mark.parametrize("calibrate", [False, True])
def test_ledger_of_a_fold_or_all_folds_without_unverified_clips(calibrate):
    train = make_train()
    rule = AgreementRule()

    def votes_of(clips: pd.DataFrame) -> dict[int, Votes]:
        votes = make_votes(clips)
        return calibrated(votes, clips, CLASSES) if calibrate else votes

    some = train[(train["fold"] != 2) | train["verified"]]
    assert len(decide_round(0, votes_of(some), some, CLASSES, rule)) == (~some["verified"]).sum()
    none = train[train["verified"]]
    ledger = decide_round(0, votes_of(none), none, CLASSES, rule)
    assert len(ledger) == 0
    assert measure(ledger, None) == {
        "considered": 0,
        "accepted": 0,
        **dict.fromkeys(["expected_precision", "precision", "recall"]),
    }


def decided(*rows: tuple[str, str, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["clip_id", "label", "accepted"]).assign(
        reason="", p_right=[0.5, 1.0, 0.125, 0.75, 0.25, 0.75]
    )


LEDGER = decided(
    ("a", "Bark", 1), ("b", "Bark", 1), ("c", "Meow", 0), ("d", "Meow", 1), ("e", "Moo", 0), ("f", "Moo", 1)
)


def test_measure_precision_and_recall_by_hand():
    # Right labels: a, c, d. Accepted: a, b, d, f, of which a and d are right; c is right and was not accepted.
    truth = pd.Series({"a": "Bark", "b": "Meow", "c": "Meow", "d": "Meow", "e": "Bark", "f": "Bark", "x": "Moo"})
    assert measure(LEDGER, truth) == {
        "considered": 6,
        "accepted": 4,
        "expected_precision": 0.75,
        "precision": 2 / 4,
        "recall": 2 / 3,
    }


def test_measure_leaves_out_clips_of_unknown_truth():
    truth = pd.Series({"a": "Bark", "b": "Meow", "c": "Meow"})
    assert measure(LEDGER, truth) == {
        "considered": 6,
        "accepted": 4,
        "expected_precision": 0.75,
        "precision": 1 / 2,
        "recall": 1 / 2,
    }
    assert measure(LEDGER, pd.Series({"c": "Bark"}))["precision"] is None
    assert measure(LEDGER, pd.Series({"c": "Bark"}))["recall"] is None
    unmeasured = measure(LEDGER, None)
    assert (unmeasured["precision"], unmeasured["recall"]) == (None, None)

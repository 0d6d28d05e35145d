"""The audit: exact bounds by hand, samples that grow, verdicts that are never lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audiotag.audit import audit
from audiotag.config import AuditConfig
from audiotag.errors import DataError, RunError
from audiotag.files import read_json, write_json
from audiotag.run.audit import lower_bound, more_to_hear, recalibrated
from tests.report_run import change_config, made_run

CLASSES = ["Bark", "Meow", "Hiss"]


def test_audit_bound_is_that_of_clopper_and_pearson():
    for n in (1, 10, 59):
        assert lower_bound(n, n) == pytest.approx(0.05 ** (1 / n)), "all right: the share whose n-th power is 5 %"
    assert lower_bound(59, 59) >= 0.95 > lower_bound(58, 58)
    assert lower_bound(0, 10) == 0
    # One wrong of n: n p^(n-1) (1-p) + p^n = 0.05 at the bound p.
    p = lower_bound(92, 93)
    assert 93 * p**92 * (1 - p) + p**93 == pytest.approx(0.05)


def test_audit_says_how_many_more_to_hear():
    assert more_to_hear(0, 0, 0.95) == 59
    assert more_to_hear(59, 59, 0.95) == 0
    assert more_to_hear(30, 31, 0.95) == 93 - 31
    assert more_to_hear(0, 10_000, 0.95) is None


def test_audit_moves_the_probabilities_to_what_was_heard():
    p_right = pd.Series(np.full(400, 0.9), [f"clip{i}" for i in range(400)])
    for share in (0.5, 0.9, 1.0):
        verdicts = pd.Series([i < share * 100 for i in range(100)], p_right.index[:100])
        now = recalibrated(p_right, verdicts)
        assert now.mean() == pytest.approx(share, abs=0.03)
        assert now.nunique() == 1
    few = recalibrated(p_right, pd.Series([False], ["clip0"]))
    assert 0.6 < few.mean() < 0.9, "one verdict moves them, but not to zero"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A complete run whose rule accepts all six unverified labels."""
    folder = made_run(tmp_path / "run", tmp_path / "set", CLASSES)
    change_config(folder, verification__rule__threshold=None, verification__rule__agreement=False)
    write_json(folder / "summary.json", {"best_round": 0, "rounds": [{"round": 0}], "wall_s": 1.0})
    return folder


def sample(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "audit.csv", dtype=str, keep_default_na=False)


def give(run: Path, **verdicts: str) -> None:
    """Write verdicts into the sample, by row: row0="right"."""
    table = sample(run)
    for row, verdict in verdicts.items():
        table.loc[int(row.removeprefix("row")), "verdict"] = verdict
    table.to_csv(run / "audit.csv", index=False)


def audited(run: Path, **settings: object) -> dict:
    return audit(AuditConfig(run=str(run), **settings))


def test_audit_draws_at_random_and_more_begins_with_the_same(run):
    assert audited(run, n=3) == {}
    first = sample(run)
    assert list(first.columns) == ["clip_id", "path", "label", "round", "verdict"]
    assert len(first) == 3
    give(run, row0="right", row2="Wrong ")
    audited(run, n=5)
    more = sample(run)
    assert list(more["clip_id"][:3]) == list(first["clip_id"])
    assert list(more["verdict"]) == ["right", "", "wrong", "", ""], "verdicts are kept"
    for n in (2, None):
        audited(run, n=n)
        assert list(sample(run)["clip_id"]) == list(more["clip_id"]), "a smaller n, or none, leaves it as it is"
    (run / "audit.csv").unlink()
    audited(run, n=99)
    assert len(sample(run)) == 6, "all there are"


def test_audit_says_what_was_heard_and_keeps_it_in_the_summary(run):
    audited(run, n=6)
    give(run, row0="right", row1="right", row2="unsure", row3="wrong")
    found = audited(run, precision=0.9)
    assert {name: found[name] for name in ("round", "heard", "right", "wrong", "unsure")} == {
        "round": 0,
        "heard": 4,
        "right": 2,
        "wrong": 1,
        "unsure": 1,
    }
    assert found["precision_at_least"] == pytest.approx(lower_bound(2, 4), abs=1e-6), "unsure counts as wrong"
    assert found["more_to_hear"] == more_to_hear(2, 4, 0.9)
    assert 0 <= found["expected_precision_now"] <= 1
    summary = read_json(run / "summary.json", "")
    assert summary["audit"] == found
    assert summary["wall_s"] == 1.0


def test_audit_keeps_verdicts_of_another_round(run):
    audited(run, n=6)
    give(run, row0="right", row1="wrong")
    table = sample(run).assign(round="7")
    table.to_csv(run / "audit.csv", index=False)
    found = audited(run, n=6)
    assert (found["heard"], found["right"]) == (2, 1), "a label that was heard once need not be heard again"
    assert sorted(sample(run)["round"]) == ["0"] * 6 + ["7"] * 2


def test_audit_that_cannot_be_is_refused(run):
    audited(run, n=4)
    give(run, row0="rihgt", row1="right")
    before = (run / "audit.csv").read_bytes()
    with pytest.raises(DataError, match=r"audit\.csv:2: verdict rihgt is none of right, wrong, unsure"):
        audited(run)
    assert (run / "audit.csv").read_bytes() == before
    with pytest.raises(RunError, match="round 3 has no decisions to audit"):
        audited(run, round=3)
    (run / "audit.csv").unlink()
    change_config(run, verification__rule__threshold=0.99)
    with pytest.raises(RunError, match="accepted no label"):
        audited(run)
    assert not (run / "audit.csv").exists()

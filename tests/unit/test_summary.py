"""What the end of a run says in words."""

from __future__ import annotations

import warnings

import pandas as pd
import pytest

from audiotag.config import TrainConfig, Verification
from audiotag.run.folder import RunFolder
from audiotag.run.summary import few_accepted, print_few
from audiotag.run.warnings_log import warnings_kept, warnings_to
from tests.clips import TOP


@pytest.mark.parametrize(
    ("accepted", "threshold", "surest", "says"),
    [
        (2, 0.95, 0.96, ("What other thresholds accept", "verification.rule.threshold=0.5,0.7,0.8,0.9,0.95")),
        (2, 0.95, 0.35, ("What other thresholds accept", "verification.rule.threshold=0.1,0.2,0.3")),
        (2, 0.95, 0.09, ("What other rules accept", "verification=calibrated,as_coded")),
        (2, None, 0.96, ("What other rules accept", "verification=calibrated,as_coded")),
        (5, 0.95, 0.96, ()),
    ],
)
def test_summary_of_a_rule_that_accepts_next_to_nothing_says_what_to_try(
    accepted, threshold, surest, says, tmp_path, capsys
):
    """Thresholds that would accept something: of the last round, and of what the networks predict."""
    rounds = [{"round": round_, "considered": 100, "accepted": accepted} for round_ in (0, 1)]
    rows = [(0, "a", "a", 0.99, ""), (1, "b", "a", 0.99, ""), (1, "a", "a", 0.99, "kept by a person")]
    rows += [(1, "a", "a", surest, ""), (1, "a", "a", 0.05, "")]
    ledger = pd.DataFrame(rows, columns=["round", "predicted", "label", "posterior", "reason"])
    rule = {"_target_": "audiotag.verification.rules.AgreementRule", "threshold": threshold}
    folder = RunFolder(tmp_path / "x")
    folder.save(TrainConfig())
    print_few(rounds, folder, Verification(rule=rule), ledger)
    said = capsys.readouterr().out
    assert bool(said) == bool(says)
    if says:
        sentence, command = said.splitlines()
        assert "2 of 100 labels in round 1" in sentence
        assert says[0] in sentence
        assert command == f"python verify.py run={tmp_path / 'x'} -m {says[1]}"


def test_summary_says_nothing_of_a_run_with_nothing_to_accept():
    assert few_accepted([{"round": 0, "considered": 0, "accepted": 0}], Verification(), pd.DataFrame()) == ""


def test_warnings_are_counted_if_they_concern_the_run(tmp_path, capsys):
    log = tmp_path / "warnings.log"
    with warnings_to(log):
        warnings.warn_explicit("LeafSpec is deprecated", FutureWarning, "/lib/pytorch_lightning/x.py", 21)
    assert capsys.readouterr().out == ""
    with warnings_to(log):
        warnings.warn_explicit("no GPU", UserWarning, "/lib/torch/x.py", 3)
        warnings.warn_explicit("to be removed", FutureWarning, str(TOP / "audiotag" / "ranks.py"), 4)
    assert "2 warnings of libraries" in capsys.readouterr().out
    assert warnings_kept(log) == 2
    assert "LeafSpec is deprecated" in log.read_text(), "all are kept"

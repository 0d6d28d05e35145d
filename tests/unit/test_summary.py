"""What the end of a run says in words."""

from __future__ import annotations

import warnings

import pytest

from audiotag.config import Verification
from audiotag.run.summary import few_accepted, print_few
from audiotag.run.warnings_log import warnings_kept, warnings_to
from tests.clips import TOP


@pytest.mark.parametrize(
    ("accepted", "threshold", "says"),
    [
        (2, 0.95, ("What other thresholds accept", "verification.rule.threshold=0.5")),
        (2, None, ("What other rules accept", "verification=calibrated,as_coded")),
        (5, 0.95, ()),
    ],
)
def test_summary_of_a_rule_that_accepts_next_to_nothing_says_what_to_try(accepted, threshold, says, tmp_path, capsys):
    rounds = [{"round": 0, "considered": 100, "accepted": accepted}]
    rule = {"_target_": "audiotag.verification.rules.AgreementRule", "threshold": threshold}
    print_few(rounds, tmp_path / "x", Verification(rule=rule))
    said = capsys.readouterr().out
    assert bool(said) == bool(says)
    if says:
        sentence, command = said.splitlines()
        assert "2 of 100 labels in round 0" in sentence
        assert says[0] in sentence
        assert command.startswith(f"python verify.py run={tmp_path / 'x'} -m {says[1]}")


def test_summary_says_nothing_of_a_run_with_nothing_to_accept():
    assert few_accepted([{"round": 0, "considered": 0, "accepted": 0}], Verification()) == ""


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

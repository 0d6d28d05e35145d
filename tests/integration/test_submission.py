"""The challenge's own table of answers."""

from __future__ import annotations

from audiotag.config import Columns, ScoredData
from audiotag.data.answers import read_answers
from tests.clips import shared_data


def test_submission_answers_of_the_challenges_own_table():
    """Its 9,400 rows: 301 Public and 1,299 Private ones are scored, 7,800 Ignored ones are not."""
    root = shared_data("fsdkaggle2018-metadata")
    data = ScoredData("kaggle", str(root), columns=Columns(usage="usage"))
    answers = {usage: read_answers(data, usage) for usage in (None, "public", "private", "private_public")}
    assert {usage: len(found.right) for usage, found in answers.items()} == {
        None: 1600, "public": 301, "private": 1299, "private_public": 1600,
    }  # fmt: skip
    clips = answers[None].clips
    assert len(clips) == 9400
    assert len(answers[None].classes) == 41
    ignored = clips[clips["usage"] == "Ignored"]
    assert len(ignored) == 7800
    assert not ignored["scored"].any()
    assert (ignored["label"] == "").all()

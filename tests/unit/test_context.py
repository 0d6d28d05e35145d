"""What a process that is no rank of a job is told."""

from __future__ import annotations

from audiotag.distributed import context


def test_context_alone_exchanges_with_itself():
    assert context.all_gather("x") == ["x"]
    assert context.broadcast("x") == "x"
    assert context.is_rank_zero()
    assert context.is_job_leader()
    context.assert_same_on_all_ranks("Anything", "text")

from __future__ import annotations

from bulkhead.gpu_tasks.diagnostics.collective import all_reduce


def test_two_processes_add_up_exactly() -> None:
    found = all_reduce(2, "cpu", 1, 0.1)
    assert (found.wrong, found.more) == ("", {"devices": 2})
    assert found.value > 0


def test_what_a_rank_says_is_told() -> None:
    assert "RuntimeError" in all_reduce(2, "cpu", -1, 0.1).wrong

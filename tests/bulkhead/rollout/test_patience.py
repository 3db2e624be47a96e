from __future__ import annotations

from datetime import timedelta

from bulkhead.rollout.patience import Patience
from tests.worlds import Clock


def test_what_fails_is_tried_ever_more_rarely_and_at_once_after_a_success() -> None:
    clock = Clock()
    patience, waits = Patience(clock, timedelta(seconds=5)), []
    for _ in range(5):
        assert patience.failed("x") is (not waits)
        begin = clock.now
        while not patience.ready("x"):
            clock.pass_by(0.5)
        waits.append((clock.now - begin).total_seconds())
    assert waits == [1, 2, 4, 5, 5]
    patience.succeeded("x")
    assert patience.ready("x")
    assert patience.failed("x")


def test_one_failure_keeps_nothing_else_waiting() -> None:
    patience = Patience(Clock())
    patience.failed(("rollout", 1))
    assert not patience.ready(("rollout", 1))
    assert patience.ready(("rollout", 2))


def test_a_clock_that_is_set_back_makes_nothing_wait_longer() -> None:
    clock = Clock()
    patience = Patience(clock)
    patience.failed("x")
    clock.pass_by(-400)
    assert patience.ready("x")

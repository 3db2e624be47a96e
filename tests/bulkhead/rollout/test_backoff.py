from __future__ import annotations

from datetime import timedelta

from bulkhead.rollout.backoff import Backoff
from tests.worlds import Clock


def test_what_fails_is_tried_ever_more_rarely_and_at_once_after_a_success() -> None:
    clock = Clock()
    backoff, waits = Backoff(clock, timedelta(seconds=5)), []
    for _ in range(5):
        assert backoff.failed("x") is (not waits)
        begin = clock.now
        while not backoff.ready("x"):
            clock.pass_by(0.5)
        waits.append((clock.now - begin).total_seconds())
    assert waits == [1, 2, 4, 5, 5]
    backoff.succeeded("x")
    assert backoff.ready("x")
    assert backoff.failed("x")


def test_one_failure_keeps_nothing_else_waiting() -> None:
    backoff = Backoff(Clock())
    backoff.failed(("rollout", 1))
    assert not backoff.ready(("rollout", 1))
    assert backoff.ready(("rollout", 2))


def test_a_clock_that_is_set_back_makes_nothing_wait_longer() -> None:
    clock = Clock()
    backoff = Backoff(clock)
    backoff.failed("x")
    clock.pass_by(-400)
    assert backoff.ready("x")

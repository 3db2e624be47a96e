"""Whether a part lives and does its work."""

import threading

import pytest
from prometheus_client import CollectorRegistry

from bulkhead.errors import UnavailableError
from bulkhead.monitoring.loop import Loop


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loop(clock: Clock) -> Loop:
    return Loop("reconciler", 60, clock)


def _value(registry: CollectorRegistry, name: str) -> float | None:
    return registry.get_sample_value(name, {"component": "reconciler"})


def test_it_is_ready_once_a_pass_has_ended_well(loop: Loop) -> None:
    assert loop.not_ready() == "no pass has ended yet"
    with loop.one_pass():
        assert loop.not_ready() == "no pass has ended yet"
    assert loop.not_ready() is None


def test_a_pass_that_fails_is_counted_and_goes_on_its_way(loop: Loop) -> None:
    with loop.one_pass():
        pass
    with pytest.raises(ValueError, match="wrong"), loop.one_pass():
        raise ValueError("wrong")
    assert loop.not_ready() == "the last pass failed: wrong"
    assert _value(loop.registry, "bulkhead_pass_failures_total") == 1
    assert _value(loop.registry, "bulkhead_pass_seconds_count") == 2
    with loop.one_pass():
        pass
    assert loop.not_ready() is None


def test_a_pass_that_does_not_end_is_hung(loop: Loop, clock: Clock) -> None:
    with loop.one_pass():
        clock.now += 60
        assert loop.hung() is None
        clock.now += 1
        assert loop.hung() == "no sign of life for 61 s"
    assert loop.hung() is None
    assert _value(loop.registry, "bulkhead_pass_seconds_sum") == 61


def test_so_is_a_wait_that_does_not_end(loop: Loop, clock: Clock) -> None:
    with loop.one_pass():
        pass
    clock.now += 61
    assert loop.hung() == "no sign of life for 61 s"


def test_when_it_last_ended_well_stays_when_one_fails(loop: Loop) -> None:
    with loop.one_pass():
        pass
    last = _value(loop.registry, "bulkhead_pass_last_success_timestamp_seconds")
    with pytest.raises(ValueError), loop.one_pass():
        raise ValueError
    assert last and _value(loop.registry, "bulkhead_pass_last_success_timestamp_seconds") == last


def test_what_a_pass_raises_costs_that_pass_alone(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    stop, errors = threading.Event(), [UnavailableError("the ledger is away"), ValueError("wrong")]

    def work() -> None:
        if errors:
            raise errors.pop(0)
        stop.set()

    loop.repeat(work, 0.0, stop)
    assert _value(loop.registry, "bulkhead_pass_failures_total") == 2
    assert loop.not_ready() is None
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert "not now: the ledger is away" in caplog.text

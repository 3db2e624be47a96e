import threading
from pathlib import Path

from bulkhead.rollout.wake import wake, wakeups
from tests.waiting import until


def _collect(home: Path, stop: threading.Event, seen: list[None]) -> threading.Thread:
    def loop() -> None:
        for poll in wakeups(home, stop):
            seen.append(poll)

    thread = threading.Thread(target=loop)
    thread.start()
    return thread


def test_it_looks_at_once_at_every_nudge_and_when_there_is_none(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("bulkhead.rollout.wake._POLL_MS", 60_000)
    stop, seen = threading.Event(), []
    thread = _collect(tmp_path, stop, seen)
    until(lambda: len(seen) == 1, "the first poll")

    def woken() -> bool:
        wake(tmp_path)
        return len(seen) >= 2

    until(woken, "a poll after a wake")
    stop.set()
    wake(tmp_path)
    thread.join(240)
    assert not thread.is_alive()


def test_a_lost_nudge_costs_one_period(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("bulkhead.rollout.wake._POLL_MS", 50)
    stop, seen = threading.Event(), []
    thread = _collect(tmp_path, stop, seen)
    until(lambda: len(seen) >= 3, "looks without a wake")
    stop.set()
    thread.join(240)
    assert not thread.is_alive()

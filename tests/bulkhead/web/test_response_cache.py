"""Answers that many ask for at once: how often each is made, and how long it is kept."""

import threading

import pytest

from bulkhead.errors import UnavailableError
from bulkhead.web.documents import Trouble
from bulkhead.web.response_cache import ResponseCache


def test_a_change_is_seen_within_a_second() -> None:
    now = [0.0]
    cache = ResponseCache(lambda: now[0])
    counted: list[int] = []

    def make() -> Trouble:
        counted.append(1)
        return Trouble(error=str(len(counted)))

    bodies = []
    for at in (0.0, 0.5, 0.99, 1.0, 1.5):
        now[0] = at
        bodies.append(cache.give("key", make))
    assert len(counted) == 2 and bodies[0] == bodies[2] != bodies[3] == bodies[4]
    cache.give("another", make)
    assert len(counted) == 3


def test_many_who_ask_at_once_are_answered_by_one_look() -> None:
    cache, begun, go = ResponseCache(), threading.Event(), threading.Event()
    counted: list[int] = []

    def make() -> Trouble:
        counted.append(1)
        begun.set()
        assert go.wait(60)
        return Trouble(error="once")

    threads = [threading.Thread(target=cache.give, args=("key", make)) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    go.set()
    for thread in threads:
        thread.join(60)
    assert len(counted) == 1


def _away() -> Trouble:
    raise UnavailableError("the ledger is away")


def test_answers_are_not_kept_for_ever() -> None:
    now = [0.0]
    cache = ResponseCache(lambda: now[0])
    for index in range(2000):
        now[0] = float(index)
        cache.give(f"key {index}", lambda: Trouble(error=""))
    for index in range(2000):
        with pytest.raises(UnavailableError):
            cache.give(f"lost {index}", _away)
    assert len(cache._entries) < 600

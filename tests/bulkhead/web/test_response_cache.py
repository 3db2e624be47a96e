"""Answers that many ask for at once: how often each is made, how often the ledger is asked, and what is kept."""

import threading
from typing import NoReturn

import pytest

from bulkhead.errors import UnavailableError
from bulkhead.ledger.changes import EVENTS, FLEET, Changes, events_of
from bulkhead.web.documents import Trouble
from bulkhead.web.response_cache import FRESH_S, OLDEST_S, ResponseCache

DIGITS, OTHER = events_of("digits"), events_of("other")


class World:
    """A ledger that counts who asks it. Attributes: now (seconds), changes, looks, made (answers by key)."""

    def __init__(self) -> None:
        self.now, self.looks = 0.0, 0
        self.changes = {EVENTS: "0", FLEET: "0", DIGITS: "0"}
        self.made: dict[str, int] = {}
        self.cache = ResponseCache(self._look, lambda: self.now)

    def _look(self, before: Changes) -> Changes:
        self.looks += 1
        return {**before, **self.changes}

    def happen(self, *topics: str) -> None:
        for topic in topics:
            self.changes[topic] = str(int(self.changes.get(topic, "0")) + 1)

    def ask(self, key: str, *topics: str) -> str:
        def make() -> tuple[Trouble, tuple[str, ...]]:
            self.made[key] = self.made.get(key, 0) + 1
            return Trouble(error=f"{key} {self.made[key]}"), topics

        return Trouble.model_validate_json(self.cache.give(key, make)).error


@pytest.fixture
def world() -> World:
    return World()


def test_what_has_not_changed_is_made_once_and_looked_at_now_and_then(world: World) -> None:
    for tick in range(200):
        world.now = tick / 10
        assert world.ask("a", EVENTS) == "a 1"
        assert world.ask("b", EVENTS, FLEET) == "b 1"
    assert world.looks == 200 / 10 / FRESH_S


def test_a_change_is_seen_at_the_next_look_by_what_depends_on_it(world: World) -> None:
    for key, topic in (("a", FLEET), ("b", DIGITS), ("c", OTHER), ("d", EVENTS)):
        world.ask(key, topic)
    world.happen(EVENTS, DIGITS)
    world.now = FRESH_S / 2
    assert world.ask("b", DIGITS) == "b 1"
    world.now = FRESH_S
    assert (world.ask("a", FLEET), world.ask("b", DIGITS)) == ("a 1", "b 2")
    assert (world.ask("c", OTHER), world.ask("d", EVENTS)) == ("c 1", "d 2")


def test_what_nobody_has_heard_of_yet_is_a_change_once_it_happens(world: World) -> None:
    world.ask("c", OTHER)
    world.happen(EVENTS, OTHER)
    world.now = FRESH_S
    assert world.ask("c", OTHER) == "c 2"


def test_an_answer_that_began_between_two_looks_is_as_late_as_the_others(world: World) -> None:
    world.ask("a", EVENTS)
    world.now = FRESH_S - 0.1
    world.ask("b", EVENTS)
    world.happen(EVENTS)
    world.now = FRESH_S
    assert world.ask("b", EVENTS) == "b 2"


def test_what_changes_without_a_word_is_seen_in_the_end(world: World) -> None:
    world.ask("a", EVENTS)
    world.now = OLDEST_S - 0.1
    assert world.ask("a", EVENTS) == "a 1"
    world.now = OLDEST_S + FRESH_S
    assert world.ask("a", EVENTS) == "a 2"


def test_who_has_changed_something_sees_it_at_once(world: World) -> None:
    world.ask("a", EVENTS)
    world.happen(EVENTS)
    world.cache.clear()
    assert world.ask("a", EVENTS) == "a 2"


def test_an_answer_that_failed_is_made_again(world: World) -> None:
    with pytest.raises(UnavailableError):
        world.cache.give("a", _away)
    assert world.ask("a", EVENTS) == "a 1"


def test_many_who_ask_at_once_are_answered_by_one_look() -> None:
    begun, go = threading.Event(), threading.Event()
    cache = ResponseCache(lambda _: {EVENTS: "0"})
    counted: list[int] = []

    def make() -> tuple[Trouble, tuple[str]]:
        counted.append(1)
        begun.set()
        assert go.wait(60)
        return Trouble(error="once"), (EVENTS,)

    threads = [threading.Thread(target=cache.give, args=("key", make)) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    go.set()
    for thread in threads:
        thread.join(60)
    assert len(counted) == 1


def _away() -> NoReturn:
    raise UnavailableError("the ledger is away")


def test_answers_are_not_kept_for_ever(world: World) -> None:
    for index in range(2000):
        world.now = float(index)
        world.ask(f"key {index}", EVENTS)
    for index in range(2000):
        with pytest.raises(UnavailableError):
            world.cache.give(f"lost {index}", _away)
    assert len(world.cache._entries) < 600


def test_what_many_watch_is_kept_however_much_it_is(world: World) -> None:
    for tick in range(20):
        world.now = 2.0 * tick
        assert {world.ask(f"key {index}", EVENTS) for index in range(500)} == {f"key {index} 1" for index in range(500)}

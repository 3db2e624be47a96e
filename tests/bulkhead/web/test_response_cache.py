"""Answers that many ask for at once: how often each is made, how often the ledger is asked, and what is kept."""

import threading

import pytest

from bulkhead.errors import UnavailableError
from bulkhead.ledger.changes import Changes, Part
from bulkhead.web.documents import Trouble
from bulkhead.web.response_cache import FRESH_S, OLDEST_S, ResponseCache


class World:
    """A ledger that counts who asks it. Attributes: now (seconds), changes, looks, made (answers by key)."""

    def __init__(self) -> None:
        self.now, self.looks = 0.0, 0
        self.changes: dict[Part, int] = dict.fromkeys(Part, 0)
        self.made: dict[str, int] = {}
        self.cache = ResponseCache(self._look, lambda: self.now)

    def _look(self) -> Changes:
        self.looks += 1
        return dict(self.changes)

    def ask(self, key: str, parts: Part) -> str:
        def make() -> Trouble:
            self.made[key] = self.made.get(key, 0) + 1
            return Trouble(error=f"{key} {self.made[key]}")

        return Trouble.model_validate_json(self.cache.give(key, parts, make)).error


@pytest.fixture
def world() -> World:
    return World()


def test_what_has_not_changed_is_made_once_and_looked_at_now_and_then(world: World) -> None:
    for tick in range(200):
        world.now = tick / 10
        assert world.ask("a", Part.EVENTS) == "a 1"
        assert world.ask("b", Part.EVENTS | Part.FLEET) == "b 1"
    assert world.looks == 200 / 10 / FRESH_S


def test_a_change_is_seen_at_the_next_look_by_what_depends_on_it(world: World) -> None:
    world.ask("a", Part.EVENTS)
    world.ask("b", Part.EVENTS | Part.MEASUREMENTS)
    world.changes[Part.MEASUREMENTS] += 1
    world.now = FRESH_S / 2
    assert world.ask("b", Part.EVENTS | Part.MEASUREMENTS) == "b 1"
    world.now = FRESH_S
    assert (world.ask("a", Part.EVENTS), world.ask("b", Part.EVENTS | Part.MEASUREMENTS)) == ("a 1", "b 2")


def test_an_answer_that_began_between_two_looks_is_as_late_as_the_others(world: World) -> None:
    world.ask("a", Part.EVENTS)
    world.now = FRESH_S - 0.1
    world.ask("b", Part.EVENTS)
    world.changes[Part.EVENTS] += 1
    world.now = FRESH_S
    assert world.ask("b", Part.EVENTS) == "b 2"


def test_what_changes_without_a_word_is_seen_in_the_end(world: World) -> None:
    world.ask("a", Part.EVENTS)
    world.now = OLDEST_S - 0.1
    assert world.ask("a", Part.EVENTS) == "a 1"
    world.now = OLDEST_S + FRESH_S
    assert world.ask("a", Part.EVENTS) == "a 2"


def test_who_has_changed_something_sees_it_at_once(world: World) -> None:
    world.ask("a", Part.EVENTS)
    world.changes[Part.EVENTS] += 1
    world.cache.clear()
    assert world.ask("a", Part.EVENTS) == "a 2"


def test_an_answer_that_failed_is_made_again(world: World) -> None:
    with pytest.raises(UnavailableError):
        world.cache.give("a", Part.EVENTS, _away)
    assert world.ask("a", Part.EVENTS) == "a 1"


def test_many_who_ask_at_once_are_answered_by_one_look() -> None:
    begun, go = threading.Event(), threading.Event()
    cache = ResponseCache(lambda: dict.fromkeys(Part, 0))
    counted: list[int] = []

    def make() -> Trouble:
        counted.append(1)
        begun.set()
        assert go.wait(60)
        return Trouble(error="once")

    threads = [threading.Thread(target=cache.give, args=("key", Part.EVENTS, make)) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    go.set()
    for thread in threads:
        thread.join(60)
    assert len(counted) == 1


def _away() -> Trouble:
    raise UnavailableError("the ledger is away")


def test_answers_are_not_kept_for_ever(world: World) -> None:
    for index in range(2000):
        world.now = float(index)
        world.ask(f"key {index}", Part.EVENTS)
    for index in range(2000):
        with pytest.raises(UnavailableError):
            world.cache.give(f"lost {index}", Part.EVENTS, _away)
    assert len(world.cache._entries) < 600

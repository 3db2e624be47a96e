"""Leases on services."""

import os
import socket
from collections.abc import Callable

import pytest
from sqlalchemy import update

from bulkhead.ledger.leases import Leases
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Service

TTL_S = 6.0


class Time:
    """Seconds that only the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def lessee(ledger: Ledger, time: Time) -> Callable[[], Leases]:
    for name in ("digits", "words"):
        revision = {"id": f"{name}-1", "service": name, "model_name": name, "model_uri": "m", "image": "i"}
        ledger.rollouts.request({**revision, "serve": {}, "evidence": {}}, {}, Request(name, "", "test"), owner="o")
    return lambda: Leases(ledger.engine, TTL_S, time)


def test_the_first_gets_all_and_the_second_nothing(ledger: Ledger, lessee: Callable[[], Leases]) -> None:
    first, second = lessee(), lessee()
    assert first.hold(ledger.services.all()) == {"digits", "words"}
    assert second.hold(ledger.services.all()) == set()
    assert first.hold(ledger.services.all()) == {"digits", "words"}


def test_of_two_that_read_the_same_one_gets_it(ledger: Ledger, lessee: Callable[[], Leases]) -> None:
    first, second, read = lessee(), lessee(), ledger.services.all()
    assert first.hold(read) == {"digits", "words"}
    assert second.hold(read) == set()


def test_a_holder_that_renews_keeps_it(ledger: Ledger, lessee: Callable[[], Leases], time: Time) -> None:
    first, second = lessee(), lessee()
    first.hold(ledger.services.all())
    for _ in range(10):
        assert second.hold(ledger.services.all()) == set()
        time.now += TTL_S - 1
        first.hold(ledger.services.all())
    assert not second.unsure


def test_a_holder_that_died_loses_it_and_finds_out(ledger: Ledger, lessee: Callable[[], Leases], time: Time) -> None:
    first, second = lessee(), lessee()
    first.hold(ledger.services.all())
    time.now = 100  # however long ago: what counts is for how long the second has watched it
    assert second.hold(ledger.services.all()) == set()
    assert second.unsure
    time.now += TTL_S - 0.1
    assert second.hold(ledger.services.all()) == set()
    time.now += 0.1
    assert second.hold(ledger.services.all()) == {"digits", "words"}
    assert not second.unsure
    assert first.renew() == set()
    assert first.hold(ledger.services.all()) == set()


def test_what_is_released_is_free_at_once(ledger: Ledger, lessee: Callable[[], Leases]) -> None:
    first, second = lessee(), lessee()
    first.hold(ledger.services.all())
    second.hold(ledger.services.all())
    first.release()
    assert second.hold(ledger.services.all()) == {"digits", "words"}
    first.release()  # which is no longer its own
    assert second.hold(ledger.services.all()) == {"digits", "words"}


def test_it_is_renewed_no_more_often_than_it_needs(ledger: Ledger, lessee: Callable[[], Leases], time: Time) -> None:
    leases = lessee()
    leases.hold(ledger.services.all())
    before = ledger.services.get("digits").renewals
    for _ in range(60):
        leases.hold(ledger.services.all())
        time.now += TTL_S / 60
    assert ledger.services.get("digits").renewals - before <= 3


def test_a_holder_whose_ledger_was_restored_from_a_backup_lives(
    ledger: Ledger, lessee: Callable[[], Leases], time: Time
) -> None:
    """Its renewals count lower than before: they move, and that is what counts."""
    first, second = lessee(), lessee()
    first.hold(ledger.services.all())
    for renewals in (900, 700, 500, 300, 100):
        with ledger._writing() as session:
            session.execute(update(Service).values(renewals=renewals))
        assert second.hold(ledger.services.all()) == set()
        time.now += TTL_S - 1
    assert not second.unsure


def test_it_is_renewed_after_a_third_of_its_time_and_counts_by_one(
    ledger: Ledger, lessee: Callable[[], Leases], time: Time
) -> None:
    leases = lessee()
    assert leases.renew() == set()  # nothing is held yet
    leases.hold(ledger.services.all())
    counts = []
    for now in (0.0, 1.9, 2.0, 3.9, 4.0):
        time.now = now
        assert leases.renew() == {"digits", "words"}
        counts.append(ledger.services.get("digits").renewals)
    assert counts == [2, 2, 3, 3, 4]


def test_one_lets_go_of_its_own_alone(ledger: Ledger, lessee: Callable[[], Leases]) -> None:
    first, second = lessee(), lessee()
    digits, words = ledger.services.all()
    assert first.hold([digits]) == {"digits"}
    assert second.hold([words]) == {"words"}
    assert first._holder != second._holder
    first.release()
    assert first.renew() == set()
    assert (ledger.services.get("digits").held_by, ledger.services.get("words").held_by) == (None, second._holder)
    assert second.hold(ledger.services.all()) == {"digits", "words"}


def test_what_is_held_and_what_is_taken_are_both_ones_own(ledger: Ledger, lessee: Callable[[], Leases]) -> None:
    leases = lessee()
    assert leases.hold(ledger.services.all()[:1]) == {"digits"}
    assert leases.hold(ledger.services.all()) == {"digits", "words"}


def test_a_holder_that_follows_another_is_watched_anew(
    ledger: Ledger, lessee: Callable[[], Leases], time: Time
) -> None:
    """Though it counts from where the other was."""
    first, second, watcher = lessee(), lessee(), lessee()
    first.hold(ledger.services.all())
    watcher.hold(ledger.services.all())
    assert watcher.unsure
    time.now += TTL_S - 1
    with ledger._writing() as session:
        session.execute(update(Service).values(held_by=second._holder))
    assert watcher.hold(ledger.services.all()) == set()
    time.now += TTL_S - 1
    assert watcher.hold(ledger.services.all()) == set()
    assert watcher.unsure  # it has not been seen to renew
    time.now += 1
    assert watcher.hold(ledger.services.all()) == {"digits", "words"}


def test_one_that_is_seen_to_renew_is_watched_from_then_on(
    ledger: Ledger, lessee: Callable[[], Leases], time: Time
) -> None:
    first, second = lessee(), lessee()
    first.hold(ledger.services.all())
    second.hold(ledger.services.all())
    time.now = TTL_S - 1
    first.renew()
    assert second.hold(ledger.services.all()) == set()
    assert not second.unsure
    time.now += TTL_S - 1
    assert second.hold(ledger.services.all()) == set()
    assert not second.unsure
    time.now += 1
    assert second.hold(ledger.services.all()) == {"digits", "words"}


def test_what_was_renewed_or_taken_since_it_was_read_is_not_taken(
    ledger: Ledger, lessee: Callable[[], Leases], time: Time
) -> None:
    first, second, third = lessee(), lessee(), lessee()
    first.hold(ledger.services.all())
    for late in (second, third):
        late.hold(ledger.services.all())
    time.now = TTL_S
    read = ledger.services.all()
    first.renew()
    assert second.hold(read) == set()  # renewed meanwhile
    time.now = 3 * TTL_S
    read = ledger.services.all()
    assert second.hold(read) == set()  # which it sees now
    time.now = 4 * TTL_S
    assert second.hold(read) == {"digits", "words"}
    assert third.hold(read) == set()  # taken meanwhile


def test_it_says_who_holds(ledger: Ledger, lessee: Callable[[], Leases]) -> None:
    leases = lessee()
    leases.hold(ledger.services.all())
    machine, process, number = str(ledger.services.get("digits").held_by).rsplit("/", 2)
    assert (machine, process, len(number)) == (socket.gethostname(), str(os.getpid()), 8)

"""Every test here runs on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from bulkhead.errors import BusyError, ConflictError, FencedError, NotFoundError
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase
from tests.rollouts import advance, promote, request

# Asking for a rollout


def test_a_request_is_an_intent_a_rollout_and_an_event_at_once(ledger: Ledger) -> None:
    rollout = request(ledger, "a")
    assert (rollout.phase, rollout.generation, rollout.sequence) == (Phase.REQUESTED, 1, 1)
    assert [one.id for one in ledger.rollouts.active()] == [rollout.id]
    assert [event.kind for event in ledger.events.select(rollout.id)] == ["requested"]


def test_the_same_key_gives_the_same_rollout_however_often(ledger: Ledger) -> None:
    first = request(ledger, "a", key="k")
    assert request(ledger, "a", key="k").id == first.id
    advance(ledger, first, Phase.PROMOTED)
    assert request(ledger, "a", key="k").phase is Phase.PROMOTED
    assert ledger.services.get("digits").generation == 1


def test_a_service_has_one_rollout_in_progress_and_the_other_is_told_who_holds_it(ledger: Ledger) -> None:
    holder = request(ledger, "a", owner="first")
    with pytest.raises(BusyError, match=r"rollout 1 of revision 'digits-\w+' is requested for first") as caught:
        request(ledger, "b", owner="second")
    assert (caught.value.rollout_id, caught.value.key) == (holder.id, holder.key)
    assert len(ledger.rollouts.latest()) == 1


def test_services_do_not_wait_for_each_other(ledger: Ledger) -> None:
    request(ledger, "a", service="digits")
    request(ledger, "b", service="letters")
    assert [service.name for service in ledger.services.all()] == ["digits", "letters"]


def test_the_stable_revision_need_not_be_rolled_out_again(ledger: Ledger) -> None:
    promote(ledger, "a")
    again = request(ledger, "a", key="again")
    assert (again.phase, again.reason) == (Phase.PROMOTED, "it is the stable revision already")
    assert ledger.rollouts.active() == []


def test_promotion_makes_the_revision_stable_and_the_next_rollout_knows_it(ledger: Ledger) -> None:
    first = promote(ledger, "a")
    assert ledger.services.get("digits").stable_revision == first.revision_id
    assert request(ledger, "b").stable_id == first.revision_id


@pytest.mark.parametrize("writers", [2, 8])
def test_of_racing_writers_one_wins_and_the_others_are_told(ledger_url: str, writers: int) -> None:
    ledgers = [Ledger(ledger_url) for _ in range(writers)]

    def ask(number: int) -> str:
        try:
            request(ledgers[number], f"model-{number}", owner=f"run {number}")
        except ConflictError:
            return "told"
        return "won"

    with ThreadPoolExecutor(writers) as pool:
        results = list(pool.map(ask, range(writers)))
    assert sorted(results) == ["told"] * (writers - 1) + ["won"]
    ledger = ledgers[0]
    assert len(ledger.rollouts.latest()) == 1
    assert [event.kind for event in ledger.events.select()] == ["requested"]  # nothing of the losers is left
    with ledger.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM revisions")).scalar() == 1
        assert connection.execute(text("SELECT count(*) FROM intents")).scalar() == 1


def test_two_processes_may_open_a_new_ledger_at_once(ledger_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(Ledger, [ledger_url] * 4))
    assert request(opened[0], "a").id == opened[3].rollouts.active()[0].id


# Moving on, fenced


def test_a_transition_from_an_old_view_is_refused_and_changes_nothing(ledger: Ledger) -> None:
    rollout = request(ledger, "a")
    moved = ledger.rollouts.transition(rollout, Phase.REGISTERED, "registered", {})
    with pytest.raises(FencedError, match="has moved on since sequence 1"):
        ledger.rollouts.transition(rollout, Phase.LAUNCHED, "launched", {})
    assert ledger.rollouts.get(rollout.id).phase is moved.phase is Phase.REGISTERED


def test_of_racing_transitions_one_wins(ledger_url: str) -> None:
    ledgers = [Ledger(ledger_url) for _ in range(4)]
    rollout = request(ledgers[0], "a")

    def move(ledger: Ledger) -> bool:
        try:
            ledger.rollouts.transition(rollout, Phase.REGISTERED, "registered", {})
        except FencedError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(move, ledgers)) == 1
    assert len(ledgers[0].events.select(rollout.id, "registered")) == 1


def test_turning_round_raises_the_generation_so_that_the_way_forward_is_refused(ledger: Ledger) -> None:
    rollout = advance(ledger, request(ledger, "a"), Phase.ANALYSING)
    turned = ledger.rollouts.abort(rollout, "25 % failed", {"rule": "errors"})
    assert (turned.phase, turned.generation) == (Phase.RESTORING, rollout.generation + 1)
    assert ledger.services.get("digits").generation == turned.generation
    with pytest.raises(FencedError):
        ledger.rollouts.transition(rollout, Phase.SHIFTING, "shifting", {})
    with pytest.raises(FencedError):
        ledger.rollouts.abort(rollout, "again", {})


def test_whoever_read_another_stable_revision_gets_no_new_generation(ledger: Ledger) -> None:
    promote(ledger, "old")
    stale = ledger.services.get("digits")
    promote(ledger, "new")
    with pytest.raises(FencedError, match="is stable, no more what was read"):
        ledger.services.new_generation(stale, "its server died")
    assert ledger.events.select(kind="repair") == []


def test_a_new_generation_moves_the_rollout_in_progress_along(ledger: Ledger) -> None:
    rollout = request(ledger, "a")
    assert ledger.services.new_generation(ledger.services.get("digits"), "its server died") == 2
    assert ledger.rollouts.get(rollout.id).generation == 2
    with pytest.raises(FencedError):
        ledger.rollouts.transition(rollout, Phase.REGISTERED, "registered", {})


# Taking back


def test_a_rollback_turns_the_rollout_round_at_once(ledger: Ledger) -> None:
    rollout = advance(ledger, request(ledger, "a"), Phase.ANALYSING)
    found = ledger.rollouts.request_rollback(Request("r", "a person", "cli"), service="digits").rollout
    assert found is not None and found.id == rollout.id
    assert (found.phase, found.reason, found.decision) == (Phase.RESTORING, "a person", {"by": "cli"})
    assert found.decided_at is not None


def test_a_rollback_with_the_same_key_is_the_same(ledger: Ledger) -> None:
    rollout = request(ledger, "a")
    first = ledger.rollouts.request_rollback(Request("r", "x", "cli"), rollout_id=rollout.id)
    again = ledger.rollouts.request_rollback(Request("r", "x", "cli"), rollout_id=rollout.id)
    assert first.intent_id == again.intent_id
    assert ledger.services.get("digits").generation == 2
    assert len(ledger.events.select(rollout.id, "rollback")) == 1


def test_a_second_rollback_does_not_turn_it_round_again(ledger: Ledger) -> None:
    rollout = request(ledger, "a")
    for key in ("r1", "r2"):
        ledger.rollouts.request_rollback(Request(key, key, "cli"), rollout_id=rollout.id)
    assert ledger.rollouts.get(rollout.id).reason == "r1"


@pytest.mark.parametrize("phase", [Phase.RETIRING, Phase.PROMOTED])
def test_what_was_promoted_is_not_turned_round(ledger: Ledger, phase: Phase) -> None:
    rollout = advance(ledger, request(ledger, "a"), phase)
    found = ledger.rollouts.request_rollback(Request("r", "late", "cli"), service="digits")
    assert found.rollout is None
    assert ledger.rollouts.get(rollout.id).phase is phase


def test_withdrawing_takes_back_what_the_owner_has_in_progress_in_every_service(ledger: Ledger) -> None:
    for service in ("digits", "letters"):
        request(ledger, f"of {service}", service=service, owner="late run")
    other = request(ledger, "c", service="signs", owner="punctual run")
    taken = ledger.rollouts.withdraw("late run", Request("w", "deadline", "airflow"))
    assert [(one.service, one.phase) for one in taken] == [
        ("digits", Phase.RESTORING),
        ("letters", Phase.RESTORING),
    ]
    assert ledger.rollouts.get(other.id).phase is Phase.REQUESTED


def test_withdrawing_refuses_what_the_owner_asks_for_later(ledger: Ledger) -> None:
    assert ledger.rollouts.withdraw("late run", Request("w", "missed its deadline", "airflow")) == []
    with pytest.raises(ConflictError, match=r"late run was withdrawn at .* by airflow \(missed its deadline\); clear"):
        request(ledger, "a", owner="late run")
    assert ledger.rollouts.latest() == []


def test_a_person_who_clears_the_task_asks_again_on_purpose(ledger: Ledger) -> None:
    ledger.rollouts.withdraw("run", Request("w", "deadline", "airflow"))
    assert request(ledger, "a", owner="run", cleared=True).phase is Phase.REQUESTED


def test_withdrawing_again_with_the_same_key_does_nothing(ledger: Ledger) -> None:
    ledger.rollouts.withdraw("run", Request("w", "deadline", "airflow"))
    request(ledger, "a", owner="run", cleared=True)
    assert ledger.rollouts.withdraw("run", Request("w", "deadline", "airflow")) == []
    assert len(ledger.rollouts.active()) == 1


# Reading


def test_the_previous_revision_is_what_the_stable_one_replaced(ledger: Ledger) -> None:
    first = promote(ledger, "a")
    with pytest.raises(NotFoundError, match="no earlier revision"):
        ledger.revisions.previous("digits")
    promote(ledger, "b")
    assert ledger.revisions.previous("digits") == first.revision_id


def test_unknown_things_are_named_with_what_is_known(ledger: Ledger) -> None:
    promote(ledger, "a")
    with pytest.raises(NotFoundError, match="unknown service 'letters'; services in the ledger: digits"):
        ledger.services.get("letters")
    with pytest.raises(NotFoundError, match="no revision 'x'"):
        ledger.revisions.get("x")
    with pytest.raises(NotFoundError, match="no rollout 99"):
        ledger.rollouts.get(99)


def test_events_can_be_chosen(ledger: Ledger) -> None:
    rollout = request(ledger, "a")
    ledger.services.new_generation(ledger.services.get("digits"), "its server died")
    assert [event.kind for event in ledger.events.select(service="digits", kind="repair")] == ["repair"]
    assert ledger.events.select(service="letters") == []
    assert ledger.events.select(since=datetime.now(UTC) + timedelta(minutes=1)) == []
    assert len(ledger.events.select(rollout.id)) == 2


def test_a_revision_gets_its_version_once(ledger: Ledger) -> None:
    rollout = request(ledger, "a")
    ledger.revisions.set_model_version(rollout.revision_id, "3")
    ledger.revisions.set_model_version(rollout.revision_id, "3")
    with pytest.raises(ConflictError, match="is version 3, not 4"):
        ledger.revisions.set_model_version(rollout.revision_id, "4")


@pytest.mark.parametrize("statement", ["UPDATE events SET kind = 'x'", "DELETE FROM events"])
def test_the_database_itself_refuses_to_change_the_event_log(ledger: Ledger, statement: str) -> None:
    request(ledger, "a")
    with pytest.raises(DatabaseError, match="append-only"), ledger.engine.begin() as connection:
        connection.execute(text(statement))
    assert len(ledger.events.select()) == 1


def test_times_come_back_in_utc(ledger: Ledger) -> None:
    assert request(ledger, "a").created_at.tzinfo is UTC
    assert ledger.rollouts.latest()[0].created_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize("going", [True, False])
def test_the_same_request_that_comes_many_times_at_once_is_recorded_once(ledger: Ledger, going: bool) -> None:
    old = promote(ledger, "old")
    if going:
        request(ledger, "new", owner="run")
    for number in range(5):
        rollback, withdrawal, isolation = (Request(f"{kind}{number}", "", "x") for kind in "rwi")
        with ThreadPoolExecutor(8) as pool:
            several = [pool.submit(ledger.rollouts.request_rollback, rollback, service="digits") for _ in range(8)]
            withdrawn = [pool.submit(ledger.rollouts.withdraw, "run", withdrawal) for _ in range(8)]
            isolated = [pool.submit(ledger.isolations.isolate, old.revision_id, isolation) for _ in range(8)]
        assert len({answer.result().intent_id for answer in several}) == 1
        assert all(answer.exception() is None for answer in (*withdrawn, *isolated))
    assert [len(ledger.intents.of_kind(kind)) for kind in ("rollback", "withdraw", "isolate")] == [5, 5, 5]


def test_the_same_release_that_is_asked_for_many_times_at_once_is_one(ledger: Ledger) -> None:
    promote(ledger, "old")
    with ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(lambda _: request(ledger, "new", key="k").id, range(8)))
    assert len(set(asked)) == 1 and len(ledger.rollouts.active()) == 1

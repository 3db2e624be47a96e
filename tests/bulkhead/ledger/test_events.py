"""The events of a ledger, on SQLite and on PostgreSQL."""

from datetime import UTC, datetime, timedelta

from bulkhead.events import EventKind
from bulkhead.gate_overrides import override
from bulkhead.ledger.ledger import Ledger
from tests.rollouts import request


def test_the_latest_event_of_each_rollout_is_known_by_its_id(ledger: Ledger) -> None:
    one, other = request(ledger, "a"), request(ledger, "b", service="letters")
    ledger.events.append(one, EventKind.WAITING, {"for": "metrics"})
    ledger.events.append(other, EventKind.WAITING, {"for": "metrics"})
    ledger.events.append(one, EventKind.PASSED, {})
    ids = {rollout.id: [event.id for event in ledger.events.select(rollout.id)] for rollout in (one, other)}
    assert ledger.events.latest_ids([one.id, other.id]) == {number: events[-1] for number, events in ids.items()}
    assert ledger.events.latest_ids([one.id]) == {one.id: max(ids[one.id])}
    assert ledger.events.latest_ids([99]) == ledger.events.latest_ids([]) == {}


def test_events_after_one_that_was_seen_are_read_in_their_order(ledger: Ledger) -> None:
    rollout = request(ledger, "a")
    first = ledger.events.latest_ids([rollout.id])[rollout.id]
    for kind in (EventKind.WAITING, EventKind.PASSED):
        ledger.events.append(rollout, kind, {"for": "x"})
    found = ledger.events.select(rollout.id, after=first)
    assert [event.kind for event in found] == ["waiting", "passed"]
    assert [(event.service, event.data) for event in found] == [("digits", {"for": "x"})] * 2
    assert ledger.events.select(after=found[-1].id) == []
    assert ledger.events.select(since=found[0].at - timedelta(minutes=1), kind="passed")[0].id == found[1].id


def test_what_fails_is_what_has_not_recovered_since(ledger: Ledger) -> None:
    for kind, work, why in (
        (EventKind.FAILING, "metrics", "old"),
        (EventKind.FAILING, "router", "away"),
        (EventKind.FAILING, "metrics", "new"),
        (EventKind.RECOVERED, "router", ""),
        (EventKind.RECOVERED, "pods", ""),
    ):
        ledger.events.record("digits", kind, {"for": work, "why": why})
    ledger.events.record("letters", EventKind.FAILING, {"for": "pods", "why": "gone"})
    ledger.events.record("digits", EventKind.DRIFT, {"for": "nothing", "why": "of it"})
    assert ledger.events.failing("digits") == {"metrics": "new"}
    assert ledger.events.failing("letters") == {"pods": "gone"}
    assert ledger.events.failing("nobody") == {}


def test_of_persons_words_on_a_model_the_latest_counts(ledger: Ledger) -> None:
    now = datetime.now(UTC)

    def say(model: str, reason: str) -> None:
        word = override("ada", reason, now, now + timedelta(hours=1)).model_dump(mode="json")
        ledger.events.record(None, EventKind.GATE_OVERRIDE, {"models": ["models:/churn/1", model], **word})

    say("models:/m-1", "old")
    say("models:/m-1", "new")
    say("models:/m-2", "another")
    said = {model: ledger.events.gate_override(model) for model in ("models:/m-1", "models:/churn/1", "models:/m-3")}
    assert {model: word.reason if word else None for model, word in said.items()} == {
        "models:/m-1": "new",
        "models:/churn/1": "another",
        "models:/m-3": None,
    }

"""Whatever is written to a ledger, on SQLite and on PostgreSQL: it is kept, made storable, or refused by name."""

import itertools
import json
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import column, insert, table

from bulkhead.errors import InvalidInputError, RefusedError
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.quarantines import Target
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase
from bulkhead.pods.identity import TaskIdentity
from bulkhead.text import bounded
from tests.hostile import TEXT
from tests.rollouts import request

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBERS = itertools.count()
LONGEST = TaskIdentity("d" * 250, "r" * 250, "t" * 250, 1024, 7)


@FEW
@given(text=TEXT, key=TEXT)
def test_any_wish_is_recorded_once_under_its_key(ledger: Ledger, text: str, key: str) -> None:
    key = f"{next(NUMBERS)} {key}"  # all examples have one ledger
    rollout = request(ledger, "a", service="digits", key=f"rollout {key}", owner=f"owner {key}")
    assert request(ledger, "a", service="digits", key=f"rollout {key}", owner=f"owner {key}").id == rollout.id
    found = ledger.rollouts.request_rollback(Request(f"back {key}", text, text), rollout_id=rollout.id)
    again = ledger.rollouts.request_rollback(Request(f"back {key}", "another", "x"), rollout_id=rollout.id)
    assert again.intent_id == found.intent_id
    assert ledger.rollouts.get(rollout.id).reason == bounded(text)
    assert ledger.rollouts.latest(owner=f"owner {key}")[0].id == rollout.id
    ledger.rollouts.transition(
        ledger.rollouts.get(rollout.id), Phase.ROLLED_BACK, "rolled_back", {text: [text, {"x": text}]}
    )
    ledger.rollouts.withdraw(f"owner {key}", Request(f"withdraw {key}", text, text))
    suspicions, before = ledger.suspicions, datetime.now(UTC)
    for _ in range(2):
        suspicions.add(node=text, owner=text, cause=text, reason=text, key=f"suspect {key}")
    assert [one.reason for one in suspicions.since(before)] == [bounded(text)]


@FEW
@given(text=TEXT)
def test_any_event_and_any_memory_of_a_fleet_is_kept(ledger: Ledger, text: str) -> None:
    ledger.events.record("digits", "failing", {"why": text, text: float("nan")})
    assert ledger.events.select()[-1].data["why"] == bounded(text)
    quarantines = ledger.quarantines
    ledger.fleet.remember({text: {"device": {"model": text}, text: float("inf")}})
    row = quarantines.start(
        Target(f"GPU {text}", "device", f"node {text}", text, text),
        reason="person",
        evidence=text,
        action="contact-support",
        holder=text,
        probation_s=60,
        evidence_at=datetime.now(UTC),
        budget=None,
    )
    assert quarantines.end(f"GPU {text}", reason=text, holder=text).id == row.id
    quarantines.refused(f"GPU {text}", text)


@FEW
@given(text=TEXT)
def test_any_reason_ends_a_launch(ledger: Ledger, text: str) -> None:
    launches = ledger.launches
    pod = f"{next(NUMBERS)} {text}"
    launches.record({"a": 1}, "ml", pod, owner=pod, instance=pod, task={})
    assert launches.end_run(pod, text) == 1
    assert launches.ended()[-1].reason == bounded(text)


def test_the_ids_of_airflow_are_kept_at_their_full_lengths(ledger: Ledger) -> None:
    rollout = request(ledger, "a", owner=LONGEST.owner, key=LONGEST.key)
    assert (rollout.owner, rollout.key) == (LONGEST.owner, LONGEST.key)
    assert LONGEST.owns(rollout.key) and "~" not in rollout.key
    ledger.rollouts.withdraw(LONGEST.owner, Request(f"callback/{LONGEST.key}/return", "late", "a test"))
    assert ledger.rollouts.get(rollout.id).phase is Phase.RESTORING
    launches = ledger.launches
    launches.record({"a": 1}, "ml", "pod", owner=LONGEST.owner, instance=LONGEST.instance, task={})
    assert launches.end_instance(LONGEST.instance, "over") == 1


def test_ids_of_other_letters_are_shortened_alike_wherever_they_are_named(ledger: Ledger) -> None:
    task = TaskIdentity("\u6a21" * 250, "\u578b" * 250, "\U0001f642" * 250)
    rollout = request(ledger, "a", owner=task.owner, key=task.key)
    assert task.owns(rollout.key) and rollout.owner == task.owner


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"model_uri": "models:/a\x00"}, "model_uri"),
        ({"model_name": "caf\udce9"}, "model_name"),
        ({"serve": {"env": {"A": "\x00"}}}, r"serve\.env\.A"),
    ],
)
def test_what_may_not_be_changed_is_refused_and_nothing_is_written(
    ledger: Ledger, more: dict[str, object], field: str
) -> None:
    columns = {"id": "digits-1", "service": "digits", "model_name": "m", "model_uri": "u", "image": "i"}
    columns |= {"serve": {}, "evidence": {}, "model_version": None, **more}
    with pytest.raises(InvalidInputError, match=rf"^{field} = .*leave out NUL characters"):
        ledger.rollouts.request(columns, {}, Request("k", "", "a test"), owner="o")
    assert ledger.rollouts.latest() == [] and ledger.events.select() == []


def test_a_value_that_the_database_refuses_is_no_ledger_that_is_away(postgresql_url: str) -> None:
    ledger = Ledger(postgresql_url)
    services = table("services", column("name"), column("generation"))
    with pytest.raises(RefusedError, match="cannot hold"), ledger._writing() as session:
        session.execute(insert(services).values(name="x" * 64, generation=1))


def test_documents_are_kept_as_they_were_written(ledger: Ledger) -> None:
    data = {"n": 1, "f": 0.25, "none": None, "yes": True, "list": [1, "é"], "deep": {"a": {"b": "c\td\n"}}}
    ledger.events.record("digits", "noted", data)
    kept = ledger.events.select()[-1].data
    assert kept == data and json.dumps(kept) == json.dumps(data)

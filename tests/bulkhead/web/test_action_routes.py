"""Acting over HTTP: who may, from where, how often, and what is said where it cannot be."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from bulkhead.commands import Commands
from bulkhead.events import IntentKind
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.pods.identity import run_owner
from bulkhead.settings import Settings
from bulkhead.web.actions import Person
from bulkhead.web.api import create_app
from tests.hostile import NASTY
from tests.rollouts import advance, promote, request

KEY = {"Idempotency-Key": "11111111-2222"}


@pytest.fixture
def ledger(sqlite_url: str) -> Ledger:
    return Ledger(sqlite_url)


@pytest.fixture
def going(ledger: Ledger) -> Rollout:
    promote(ledger, "old")
    return advance(ledger, request(ledger, "new", owner=run_owner("release", "r")), Phase.ANALYSING)


def _client(ledger: Ledger, home: Path, *dags: str, name: str = "ada") -> TestClient:
    """Of somebody who may edit some DAGs."""
    person = Person(name, lambda dag_id: dag_id in dags)
    return TestClient(create_app(lambda: Commands(Settings(home=home), ledger), lambda: person))


def test_who_may_edit_the_dag_acts_and_it_is_shown_at_once(ledger: Ledger, going: Rollout, tmp_path: Path) -> None:
    client, path = _client(ledger, tmp_path, "release"), f"/releases/{going.id}"
    permission = client.get(f"{path}/permission").json()
    assert permission == {"person": "ada", "dag_id": "release", "allowed": True}
    assert [action["kind"] for action in client.get(path).json()["actions"]] == ["rollback", "promote", "isolate"]
    answer = client.post(f"{path}/rollback", json={"reason": "  it leaks "}, headers=KEY)
    assert answer.status_code == 200 and answer.json()["release"] == going.id
    shown = client.get(path).json()
    assert (shown["phase"], shown["reason"]) == ("restoring", "it leaks")
    assert "asked for by web: ada" in shown["events"][-1]["words"]


def test_who_may_not_is_told_what_it_would_take(ledger: Ledger, going: Rollout, tmp_path: Path) -> None:
    client, path = _client(ledger, tmp_path, "another"), f"/releases/{going.id}"
    assert client.get(f"{path}/permission").json()["allowed"] is False
    answer = client.post(f"{path}/rollback?dag_id=another", json={"reason": "x"}, headers=KEY)
    assert answer.status_code == 403 and "edit DAG 'release'" in answer.json()["error"]
    by_hand = request(ledger, "x", service="words", owner="cli: root")
    answer = client.post(f"/releases/{by_hand.id}/rollback", json={"reason": "x"}, headers=KEY)
    assert answer.status_code == 403 and "edit every DAG" in answer.json()["error"]
    assert ledger.intents.of_kind(IntentKind.ROLLBACK) == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 422),
        ({"Idempotency-Key": "short"}, 422),
        ({"Idempotency-Key": "with spaces in it"}, 422),
        ({**KEY, "Sec-Fetch-Site": "cross-site"}, 403),
        ({**KEY, "Sec-Fetch-Site": "same-site"}, 403),
        ({**KEY, "Content-Type": "text/plain"}, 422),
    ],
)
def test_what_another_site_could_send_is_refused(
    ledger: Ledger, going: Rollout, tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    client = _client(ledger, tmp_path, "release")
    typed = {"Content-Type": "application/json", **headers}
    answer = client.post(f"/releases/{going.id}/rollback", content='{"reason": "x"}', headers=typed)
    assert answer.status_code == status and answer.json()["error"]
    assert ledger.rollouts.get(going.id).phase is Phase.ANALYSING


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "  "}, {"reason": "x" * 1001}, {"reason": 1}, []])
def test_a_reason_is_asked_for(ledger: Ledger, going: Rollout, tmp_path: Path, body: object) -> None:
    answer = _client(ledger, tmp_path, "release").post(f"/releases/{going.id}/rollback", json=body, headers=KEY)
    assert answer.status_code == 422 and "body" in answer.json()["error"]


def test_each_person_has_keys_of_their_own(ledger: Ledger, going: Rollout, tmp_path: Path) -> None:
    path, body = f"/releases/{going.id}/isolate", {"reason": "it leaks", "levels": ["traffic"]}
    for name in ("ada", "ada", "bob"):
        client = _client(ledger, tmp_path, "release", name=name)
        assert client.post(path, json=body, headers=KEY).status_code == 200
    assert [intent.requested_by for intent in ledger.intents.of_kind(IntentKind.ISOLATE)] == ["web: ada", "web: bob"]


def test_what_is_not_possible_any_more_is_a_conflict(ledger: Ledger, going: Rollout, tmp_path: Path) -> None:
    client = _client(ledger, tmp_path, "release")
    for path, body in (("approve", {"reason": "x", "step": 1}), ("return", {"reason": "x"})):
        answer = client.post(f"/releases/{going.id}/{path}", json=body, headers=KEY)
        assert answer.status_code == 409 and "digits" in answer.json()["error"], answer.text
    assert client.post("/releases/77/rollback", json={"reason": "x"}, headers=KEY).status_code == 404


@pytest.mark.parametrize("text", NASTY)
def test_no_text_of_a_person_breaks_anything(ledger: Ledger, going: Rollout, tmp_path: Path, text: str) -> None:
    client = _client(ledger, tmp_path, "release", name=text)
    reason = text[:900].encode("utf-8", "replace").decode() + "."
    path = f"/releases/{going.id}"
    assert client.post(f"{path}/isolate", json={"reason": reason}, headers=KEY).status_code == 200
    assert client.post(f"{path}/rollback", json={"reason": reason}, headers=KEY).status_code == 200
    assert client.get(path).status_code == 200

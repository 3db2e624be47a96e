"""The JSON API over HTTP: what it answers, to whom, and how often it asks the ledger for that."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import HTTPException
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

from bulkhead.commands import Commands
from bulkhead.errors import InvalidInputError, UnavailableError
from bulkhead.ledger.ledger import Ledger
from bulkhead.pods.identity import run_owner
from bulkhead.settings import Settings
from bulkhead.web.actions import Person
from bulkhead.web.api import create_app
from tests.hostile import NASTY
from tests.rollouts import promote, request


def anybody() -> Person:
    return Person("ada", lambda _: True)


@pytest.fixture
def ledger(sqlite_url: str) -> Ledger:
    return Ledger(sqlite_url)


@pytest.fixture
def client(ledger: Ledger, tmp_path: Path) -> TestClient:
    return TestClient(create_app(lambda: Commands(Settings(home=tmp_path), ledger), anybody))


def test_services_and_releases_are_read(ledger: Ledger, client: TestClient) -> None:
    promote(ledger, "old")
    rollout = request(ledger, "new", owner=run_owner("release", "run/1 +"))
    page = client.get("/services").json()
    assert [one["name"] for one in page["items"]] == ["digits"] and page["total"] == 1
    assert client.get("/services/digits").json()["release"]["id"] == rollout.id
    of_run = client.get("/dags/release/releases", params={"run_id": "run/1 +"}).json()
    assert [one["id"] for one in of_run["items"]] == [rollout.id]
    assert client.get(f"/releases/{rollout.id}").json()["events"][0]["kind"] == "requested"


def test_what_has_not_changed_is_not_sent_again(ledger: Ledger, client: TestClient) -> None:
    promote(ledger, "old")
    first = client.get("/services/digits")
    assert "no-cache" in first.headers["Cache-Control"]
    tag = {"If-None-Match": f'"other", W/{first.headers["ETag"]}'}
    again = client.get("/services/digits", headers=tag)
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/services/nothing", 404, "nothing"),
        ("/releases/77", 404, "77"),
        ("/releases/0", 422, "release_id"),
        ("/releases/99999999999", 422, "release_id"),
        ("/releases?limit=0", 422, "limit"),
        ("/releases?limit=9999", 422, "limit"),
        ("/dags/release/releases", 422, "run_id"),
        ("/openapi.yaml", 404, "Not Found"),
        ("/docs", 404, "Not Found"),
    ],
)
def test_what_does_not_fit_is_said(client: TestClient, path: str, status: int, words: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status and words in answer.text


@pytest.mark.parametrize("text", NASTY)
def test_text_from_outside_is_found_and_breaks_nothing(ledger: Ledger, client: TestClient, text: str) -> None:
    rollout = request(ledger, "new", owner=run_owner("release", text))
    ledger.rollouts.abort(rollout, text, {"by": text})
    answer = client.get(f"/releases/{rollout.id}")
    assert answer.status_code == 200 and answer.json()["id"] == rollout.id
    assert client.get("/services").status_code == 200


def test_a_ledger_that_does_not_answer_is_said_and_asked_again(ledger: Ledger, tmp_path: Path) -> None:
    away = [True]

    def opened() -> Commands:
        if away[0]:
            raise UnavailableError("the ledger does not answer: connection refused; it is tried again")
        return Commands(Settings(home=tmp_path), ledger)

    client = TestClient(create_app(opened, anybody))
    answer = client.get("/services")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "connection refused" in answer.json()["error"]
    away[0] = False
    assert client.get("/services").status_code == 200


def test_a_configuration_that_is_wrong_is_no_fault_of_who_asks() -> None:
    def wrong() -> Commands:
        raise InvalidInputError("ledger_url", "mysql://", "give a URL of SQLite or PostgreSQL")

    answer = TestClient(create_app(wrong, anybody)).get("/services")
    assert answer.status_code == 500 and "configuration: ledger_url = 'mysql://'" in answer.json()["error"]


def test_no_route_is_open_to_who_may_not_read(ledger: Ledger, tmp_path: Path) -> None:
    def nobody() -> Person:
        raise HTTPException(401, "Not authenticated")

    promote(ledger, "old")
    app = create_app(lambda: Commands(Settings(home=tmp_path), ledger), nobody)
    client = TestClient(app)
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    assert {"/services", "/releases/{release_id}/rollback", "/openapi.json"} <= {route.path for route in routes}
    for route in routes:
        path = route.path.format(name="digits", release_id=1, dag_id="release")
        for method in route.methods:
            assert client.request(method, path, json={}).status_code == 401, path
    assert client.get("/services").json() == {"error": "Not authenticated"}


def test_all_that_it_answers_is_what_its_document_says(ledger: Ledger, tmp_path: Path) -> None:
    promote(ledger, "old")
    request(ledger, "new", owner=run_owner("release", "run"))
    app = create_app(lambda: Commands(Settings(home=tmp_path), ledger), anybody)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == 17
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(max_examples=40, suppress_health_check=list(HealthCheck))
        def conforms(case: Any) -> None:
            case.call_and_validate()

        conforms()

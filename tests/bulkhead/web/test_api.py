"""The JSON API over HTTP: what it answers, to whom, and how often it asks the ledger for that."""

from typing import Any

import pytest
import schemathesis
from fastapi import Depends, HTTPException
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

from bulkhead.errors import UnavailableError
from bulkhead.ledger.ledger import Ledger
from bulkhead.pods.identity import run_owner
from bulkhead.web.api import create_app
from tests.hostile import NASTY
from tests.rollouts import promote, request


@pytest.fixture
def ledger(sqlite_url: str) -> Ledger:
    return Ledger(sqlite_url)


@pytest.fixture
def client(ledger: Ledger) -> TestClient:
    return TestClient(create_app(lambda: ledger))


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


def test_a_ledger_that_does_not_answer_is_said_and_asked_again(ledger: Ledger) -> None:
    away = [True]

    def opened() -> Ledger:
        if away[0]:
            raise UnavailableError("the ledger does not answer: connection refused; it is tried again")
        return ledger

    client = TestClient(create_app(opened))
    answer = client.get("/services")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "connection refused" in answer.json()["error"]
    away[0] = False
    assert client.get("/services").status_code == 200


def test_no_route_is_open_to_who_may_not_read(ledger: Ledger) -> None:
    def nobody() -> None:
        raise HTTPException(401, "Not authenticated")

    dependency: Any = Depends(nobody)
    app = create_app(lambda: ledger, [dependency])
    client = TestClient(app)
    paths = [route.path for route in app.routes if hasattr(route, "methods")]
    assert {"/services", "/releases", "/openapi.json"} <= set(paths)
    for path in paths:
        assert client.get(path.format(name="digits", release_id=1, dag_id="release")).status_code == 401, path


def test_all_that_it_answers_is_what_its_document_says(ledger: Ledger) -> None:
    promote(ledger, "old")
    request(ledger, "new", owner=run_owner("release", "run"))
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(lambda: ledger))
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == 5
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(max_examples=40, suppress_health_check=list(HealthCheck))
        def conforms(case: Any) -> None:
            case.call_and_validate()

        conforms()

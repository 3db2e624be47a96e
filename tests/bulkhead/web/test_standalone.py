"""The Control Room without Airflow: who may open it, and in whose name it acts."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from bulkhead import web
from bulkhead.commands import Commands
from bulkhead.events import IntentKind
from bulkhead.ledger.ledger import Ledger
from bulkhead.settings import Settings
from bulkhead.web.standalone import create_standalone
from tests.rollouts import promote, request

TOKEN = "correct-horse-battery"
KEY = {"Idempotency-Key": "11111111-2222"}


@pytest.fixture
def ledger(sqlite_url: str) -> Ledger:
    return Ledger(sqlite_url)


@pytest.fixture
def client(ledger: Ledger, tmp_path: Path) -> TestClient:
    promote(ledger, "old")
    app = create_standalone(lambda: Commands(Settings(home=tmp_path), ledger), TOKEN, "ada")
    return TestClient(app, base_url="http://127.0.0.1:8790", follow_redirects=False)


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], "ü"])
def test_without_the_token_nothing_is_shown(client: TestClient, token: str) -> None:
    for path in ("/", "/plugin/bulkhead", "/bulkhead/api/services", f"/bulkhead/api{web.STANDALONE}"):
        answer = client.get(path, params={"token": token}, headers={"Authorization": f"Bearer {token}".encode()})
        assert answer.status_code == 401 and "digits" not in answer.text, path
        assert "'bulkhead ui' has printed" in answer.text
    assert client.post("/bulkhead/api/releases/1/isolate", json={"reason": "x"}, headers=KEY).status_code == 401


def test_the_token_opens_it_once_and_leaves_the_address(client: TestClient) -> None:
    first = client.get("/plugin/bulkhead", params={"release": 1, "token": TOKEN})
    assert (first.status_code, first.headers["Location"]) == (303, "http://127.0.0.1:8790/plugin/bulkhead?release=1")
    assert "HttpOnly" in first.headers["Set-Cookie"] and "SameSite=lax" in first.headers["Set-Cookie"]
    page = client.get("/plugin/bulkhead?release=1")
    assert page.status_code == 200 and web.STANDALONE in page.text and TOKEN not in page.text
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert client.get(f"/bulkhead/api{web.STANDALONE}").status_code == 200
    assert client.get("/bulkhead/api/services").json()["total"] == 1


def test_what_is_done_is_done_in_the_name_of_who_has_started_it(ledger: Ledger, client: TestClient) -> None:
    rollout, bearer = request(ledger, "new"), {"Authorization": f"Bearer {TOKEN}"}
    path = f"/bulkhead/api/releases/{rollout.id}"
    assert client.get(f"{path}/permission", headers=bearer).json()["allowed"] is True
    answer = client.post(f"{path}/rollback", json={"reason": "it leaks"}, headers={**bearer, **KEY})
    assert answer.status_code == 200
    assert [intent.requested_by for intent in ledger.intents.of_kind(IntentKind.ROLLBACK)] == ["web: ada"]


def test_another_name_of_this_machine_is_refused(client: TestClient) -> None:
    assert client.get("/", params={"token": TOKEN}, headers={"Host": "evil.example"}).status_code == 400

"""The webhook, over real HTTP."""

import http.client
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from bulkhead.alerts.alertmanager import Alert, Responder
from bulkhead.alerts.server import AlertServer
from bulkhead.control import Control
from bulkhead.errors import InvalidInputError, UnavailableError
from bulkhead.ledger.tables import Intent, Phase
from tests.hostile import NASTY
from tests.ports import free_port
from tests.rollouts import advance, promote, request
from tests.servers import until_json
from tests.waiting import until

TOKEN = "a token that is long enough"
ALERT = {
    "status": "firing",
    "labels": {"alertname": "Slow", "bulkhead_service": "digits"},
    "annotations": {},
    "startsAt": "2026-11-25T10:00:00.123Z",
    "fingerprint": "f00d",
    "generatorURL": "http://prometheus/graph",
}
PAYLOAD = {"version": "4", "groupKey": "{}", "receiver": "bulkhead", "status": "firing", "alerts": [ALERT]}


@pytest.fixture
def server(control: Control) -> Iterator[AlertServer]:
    made = AlertServer(("127.0.0.1", 0), TOKEN, Responder(control))
    thread = Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def _post(
    server: AlertServer,
    body: Any = PAYLOAD,
    path: str = "/alertmanager",
    token: str = TOKEN,
    scheme: str = "Bearer",
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", path, text, {"Authorization": f"{scheme} {token}"})
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def test_an_alert_takes_a_release_back(server: AlertServer, control: Control) -> None:
    rollout = request(control.ledger, "new")
    status, document = _post(server)
    assert (status, document) == (200, {"alerts": [{"alert": "Slow", "did": f"rolled back: {rollout.revision_id}"}]})
    assert control.ledger.rollouts.get(rollout.id).phase is Phase.RESTORING


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", "tøken"])
def test_without_the_token_nothing_is_heard(server: AlertServer, control: Control, token: str) -> None:
    rollout = request(control.ledger, "new")
    assert _post(server, token=token.encode().decode("latin-1"))[0] == 401
    assert control.ledger.rollouts.get(rollout.id).phase is Phase.REQUESTED


@pytest.mark.parametrize("scheme", ["Basic", "bearer", "Token", ""])
def test_nor_with_the_token_by_another_scheme(server: AlertServer, control: Control, scheme: str) -> None:
    rollout = request(control.ledger, "new")
    assert _post(server, scheme=scheme)[0] == 401
    assert control.ledger.rollouts.get(rollout.id).phase is Phase.REQUESTED


@pytest.mark.parametrize(
    ("body", "path", "status"),
    [
        (b"no JSON", "/alertmanager", 400),
        (b"\xff\x00", "/alertmanager", 400),
        (b"[" * 100_000, "/alertmanager", 400),
        ({"version": "4", "alerts": "x" * 900_000}, "/alertmanager", 400),
        ({"version": "3", "alerts": []}, "/alertmanager", 400),
        ({**PAYLOAD, "alerts": [{**ALERT, "startsAt": "yesterday"}]}, "/alertmanager", 400),
        (PAYLOAD, "/alerts", 404),
        (b" " * (1024 * 1024 + 1), "/alertmanager", 413),
    ],
)
def test_what_is_no_alert_is_refused(server: AlertServer, body: Any, path: str, status: int) -> None:
    assert _post(server, body, path)[0] == status


def test_a_ledger_that_is_away_makes_alertmanager_tell_it_again(
    server: AlertServer, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Intent | None:
        raise UnavailableError("the ledger does not answer")

    rollout = request(control.ledger, "new")
    with monkeypatch.context() as patch:
        patch.setattr(type(control.ledger.intents), "find", away)
        assert _post(server) == (
            503,
            {"alerts": [{"alert": "Slow", "did": "is to be told again: the ledger does not answer"}]},
        )
    assert _post(server)[0] == 200
    assert control.ledger.rollouts.get(rollout.id).phase is Phase.RESTORING


def test_an_alert_that_cannot_be_carried_out_keeps_no_other_from_it(
    server: AlertServer, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = request(control.ledger, "new")
    respond = type(server.responder).respond

    def failing(responder: Responder, alert: Alert) -> str:
        if alert.name == "Odd":
            raise KeyError("a fault that nobody foresaw")
        return respond(responder, alert)

    monkeypatch.setattr(type(server.responder), "respond", failing)
    odd = {**ALERT, "labels": {**ALERT["labels"], "alertname": "Odd"}, "fingerprint": "0dd"}
    status, document = _post(server, {**PAYLOAD, "alerts": [odd, ALERT]})
    assert (status, [one["did"] for one in document["alerts"]]) == (
        503,
        ["failed: KeyError", f"rolled back: {rollout.revision_id}"],
    )
    assert control.ledger.rollouts.get(rollout.id).phase is Phase.RESTORING


@pytest.mark.parametrize("text", NASTY)
def test_whatever_an_alert_says_it_contains(server: AlertServer, control: Control, text: str) -> None:
    rollout = request(control.ledger, "new")
    alert = {**ALERT, "labels": {**ALERT["labels"], "alertname": text}, "annotations": {"summary": text}}
    assert _post(server, {**PAYLOAD, "alerts": [alert]})[0] in (200, 400)  # no JSON text has half of a surrogate pair
    if "\ud800" not in text and "\udce9" not in text:
        assert control.ledger.rollouts.get(rollout.id).phase is Phase.RESTORING


def test_it_says_that_it_lives_to_anybody(server: AlertServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request("GET", "/ping")
    assert connection.getresponse().status == 200


def test_a_token_that_is_no_secret_is_refused(control: Control) -> None:
    with pytest.raises(InvalidInputError, match=r"token = '<hidden>': give at least 16"):
        AlertServer(("127.0.0.1", 0), "short", Responder(control))


@pytest.fixture
def alertmanager(server: AlertServer, tmp_path: Path) -> Iterator[str]:
    """A real Alertmanager that tells the server of every alert; its URL."""
    binary = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if binary is None:
        pytest.skip("NOT TESTED WITH ALERTMANAGER: install it (on Debian: apt-get install prometheus-alertmanager)")
    webhook = {
        "url": f"http://127.0.0.1:{server.server_port}/alertmanager",
        "http_config": {"authorization": {"credentials": TOKEN}},
        "send_resolved": False,
    }
    route = {"receiver": "bulkhead", "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1s"}
    config = tmp_path / "alertmanager.yml"
    config.write_text(json.dumps({"route": route, "receivers": [{"name": "bulkhead", "webhook_configs": [webhook]}]}))
    address = f"127.0.0.1:{free_port()}"
    flags = [f"--config.file={config}", f"--storage.path={tmp_path}/am", f"--web.listen-address={address}"]
    with (tmp_path / "am.log").open("wb") as log:
        process = subprocess.Popen([binary, *flags, "--cluster.listen-address="], stdout=log, stderr=log)
    url = f"http://{address}"

    until_json(f"{url}/api/v2/status", "Alertmanager")
    yield url
    process.kill()
    process.wait()


def test_a_real_alertmanager_takes_a_release_back_once(alertmanager: str, control: Control) -> None:
    old, new = promote(control.ledger, "old"), promote(control.ledger, "new")
    body = json.dumps([{"labels": ALERT["labels"], "annotations": {"summary": "p99 is 3 s"}}]).encode()
    asked = urllib.request.Request(f"{alertmanager}/api/v2/alerts", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(asked, timeout=60).close()
    back = until(lambda: control.ledger.rollouts.active_of("digits"), "the way back")
    assert back.revision_id == old.revision_id
    advance(control.ledger, back, Phase.PROMOTED)
    assert control.ledger.services.get("digits").stable_revision == old.revision_id != new.revision_id

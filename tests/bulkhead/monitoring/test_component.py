"""Probes and metrics over real HTTP."""

import http.client
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bulkhead.errors import InvalidInputError, UnavailableError
from bulkhead.ledger.ledger import Ledger
from bulkhead.monitoring.component import monitored
from bulkhead.monitoring.loop import Loop
from bulkhead.settings import MonitoringSettings
from tests.ports import free_port
from tests.rollouts import promote

TOKEN = "a token that is long enough"


@pytest.fixture
def sqlite_ledger(sqlite_url: str) -> Ledger:
    return Ledger(sqlite_url)


@contextmanager
def _open(ledger: Ledger, every_s: float | None = 1.0, **settings: object) -> Iterator[tuple[Loop, int]]:
    port = free_port()
    with monitored(MonitoringSettings(port=port, **settings), "reconciler", lambda: ledger, every_s=every_s) as loop:
        yield loop, port


def _get(port: int, path: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    read = answer.status, answer.read().decode()
    connection.close()
    return read


def test_probes_say_yes_or_no(sqlite_ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    with _open(sqlite_ledger) as (loop, port):
        assert _get(port, "/livez") == (200, "ok\n")
        assert _get(port, "/readyz") == (503, "failing; the log says why\n")
        assert "/readyz fails: no pass has ended yet" in caplog.text
        with loop.one_pass():
            pass
        assert _get(port, "/readyz?verbose") == (200, "ok\n")


def test_a_pass_that_hangs_fails_the_liveness_probe(sqlite_ledger: Ledger) -> None:
    with _open(sqlite_ledger, hung_after_s=1e-9, every_s=0.0) as (loop, port), loop.one_pass():
        assert _get(port, "/livez")[0] == 503


def test_a_part_without_passes_is_ready_where_the_ledger_answers(
    sqlite_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _open(sqlite_ledger, every_s=None) as (_, port):
        assert _get(port, "/readyz")[0] == 200

        def away() -> None:
            raise UnavailableError("the ledger does not answer: db.example")

        monkeypatch.setattr(sqlite_ledger, "ping", away)
        status, text = _get(port, "/readyz")
        assert status == 503 and "db.example" not in text
        assert _get(port, "/livez")[0] == 200


def test_on_loopback_the_metrics_are_open(sqlite_ledger: Ledger) -> None:
    promote(sqlite_ledger, "good")
    with _open(sqlite_ledger) as (loop, port):
        with loop.one_pass():
            pass
        status, text = _get(port, "/metrics")
    assert status == 200
    assert 'bulkhead_rollouts_total{result="promoted",rule="",service="digits"} 1.0' in text
    assert re.search(r'bulkhead_pass_seconds_count{component="reconciler"} 1\.0', text)


def test_elsewhere_they_want_a_token(sqlite_ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    with _open(sqlite_ledger, host="0.0.0.0", token_file=file) as (_, port):
        assert _get(port, "/metrics")[0] == 401
        assert _get(port, "/metrics", Authorization=f"Bearer {TOKEN[:-1]}")[0] == 401
        assert _get(port, "/metrics", Authorization=f"Basic {TOKEN}")[0] == 401
        assert _get(port, "/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert _get(port, "/livez")[0] == 200


def test_without_a_token_they_are_not_there(sqlite_ledger: Ledger) -> None:
    with _open(sqlite_ledger, host="0.0.0.0") as (_, port):
        assert _get(port, "/metrics")[0] == 404
        assert _get(port, "/")[0] == 404


def test_without_settings_no_port_is_open(sqlite_ledger: Ledger) -> None:
    with monitored(None, "reconciler", lambda: sqlite_ledger, every_s=1.0) as loop, loop.one_pass():
        pass
    assert loop.not_ready() is None


@pytest.mark.parametrize("text", [None, "short"])
def test_a_token_that_is_none_is_refused(sqlite_ledger: Ledger, tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "token"
    if text is not None:
        file.write_text(text)
    with (
        pytest.raises(InvalidInputError, match=r"monitoring.token_file = .*token"),
        _open(sqlite_ledger, token_file=file),
    ):
        pass


def test_a_port_that_is_taken_is_named(sqlite_ledger: Ledger) -> None:
    with (
        _open(sqlite_ledger) as (_, port),
        pytest.raises(UnavailableError, match=rf"monitoring.port {port}: .*name one that is free"),
        monitored(MonitoringSettings(port=port), "other", lambda: sqlite_ledger, every_s=1.0),
    ):
        pass


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("db.example", False)],
)
def test_what_counts_as_this_machine(host: str, local: bool) -> None:
    assert MonitoringSettings(port=1, host=host).is_local is local

"""Each long-running part as a process of its own: its probes and metrics, and its end."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.control import Control
from bulkhead.settings import (
    CONFIG_VARIABLE,
    Exporter,
    FleetSettings,
    MonitoringSettings,
    ServicePorts,
    Settings,
)
from tests.ports import free_port
from tests.rollouts import promote
from tests.servers import Backend
from tests.waiting import until

PROMOTED = 'bulkhead_rollouts_total{result="promoted",rule="",service="digits"} 1.0'
GPU = 'DCGM_FI_DEV_GPU_TEMP{UUID="GPU-a0",Hostname="a",modelName="H100"} 50\n'


@pytest.fixture
def exporter() -> Iterator[Backend]:
    made = Backend(GPU)
    yield made
    made.stop()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def control(tmp_path: Path, exporter: Backend, port: int, monkeypatch: pytest.MonkeyPatch) -> Control:
    settings = Settings(
        home=tmp_path / "home",
        services={"digits": ServicePorts(port=free_port(), admin_port=free_port())},
        monitoring=MonitoringSettings(port=port),
        fleet=FleetSettings(exporters=(Exporter(url=f"http://127.0.0.1:{exporter.port}/metrics"),), poll_s=0.2),
    )
    (tmp_path / "config.yaml").write_text(json.dumps(json.loads(settings.model_dump_json())))
    (tmp_path / "token").write_text("a token that is long enough")
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "config.yaml"))
    return Control(settings)


def _get(port: int, path: str) -> str:
    """What it answers; nothing while it is not there, or not ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, ConnectionError):
        return ""


def test_alerts_are_heard_where_the_ledger_is_away_at_the_start(control: Control, port: int, tmp_path: Path) -> None:
    """Alertmanager is told 503, and tells them again."""
    away = control.settings.model_copy(update={"ledger_url": f"postgresql://nobody@127.0.0.1:{free_port()}/ledger"})
    (tmp_path / "config.yaml").write_text(away.model_dump_json())
    command = [str(Path(sys.executable).with_name("bulkhead")), "alerts", "--port", "0", "--token-file", "token"]
    part = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _get(port, "/livez") or part.poll(), "it to live")
        assert part.poll() is None
        assert _get(port, "/readyz") == ""
        assert "bulkhead_ledger_up 0.0" in _get(port, "/metrics")
    finally:
        part.send_signal(signal.SIGTERM)
    assert part.wait(240) == 0


@pytest.mark.parametrize(
    ("words", "metric"),
    [
        ("reconcile --watch", 'bulkhead_pass_seconds_count{component="reconciler"}'),
        ("collect --watch --every 1", "bulkhead_pods_collected_total 0.0"),
        ("fleet --watch", 'bulkhead_quarantine_budget_devices{model="H100"} 1.0'),
        ("alerts --port 0 --token-file token", 'bulkhead_service{service="digits"} 1.0'),
    ],
)
def test_it_says_how_it_is(control: Control, port: int, tmp_path: Path, words: str, metric: str) -> None:
    promote(control.ledger, "good")
    command = [str(Path(sys.executable).with_name("bulkhead")), *words.split()]
    part = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: _get(port, "/readyz"), f"{words} to be ready") == "ok\n"
        assert _get(port, "/livez") == "ok\n"
        until(lambda: metric in _get(port, "/metrics"), metric)
        assert PROMOTED in _get(port, "/metrics")
    finally:
        part.send_signal(signal.SIGTERM)
    assert part.wait(240) == 0
    assert _get(port, "/livez") == ""

"""Sensors of devices, the fleet watch and diagnostics, under a real scheduler and triggerer."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml

from tests.e2e.conftest import Kept
from tests.servers import Backend
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("examples_begun")]


def exposition(**xids: int) -> str:
    """GPUs of nodes a and b, each with its last Xid."""
    lines = []
    for name, xid in xids.items():
        labels = f'UUID="GPU-{name}",Hostname="{name[0]}",modelName="NVIDIA H100 80GB HBM3"'
        lines += [f"DCGM_FI_DEV_GPU_TEMP{{{labels}}} 50", f"DCGM_FI_DEV_XID_ERRORS{{{labels}}} {xid}"]
    return "\n".join(lines) + "\n"


@pytest.fixture
def exporter(kept: Kept) -> Iterator[Backend]:
    """The fleet of the demo's configuration: two nodes, of which one has lost a GPU."""
    made = Backend(exposition(a0=0, a1=0, b0=0))
    config = kept.folder / "config.yaml"
    before = config.read_text()
    fleet = {"exporters": [{"url": f"http://127.0.0.1:{made.port}/metrics"}], "poll_s": 0.5}
    config.write_text(yaml.safe_dump({**yaml.safe_load(before), "fleet": fleet}))
    yield made
    config.write_text(before)
    made.stop()


def test_devices_are_waited_for_tested_watched_and_quarantined(kept: Kept, exporter: Backend) -> None:
    kept.deferred("fleet_waits", "one", "devices")
    exporter.name = exposition(a0=0, a1=0, b0=0, b1=0)
    kept.task("fleet_waits", "one", "devices", "success")
    kept.task("fleet_waits", "one", "diagnose", "success")
    log = kept.airflow.log("fleet_waits", "one", "devices")
    assert "there are 4 on 2 nodes" in log

    kept.start("fleet_gives_up", "one", {})
    kept.task("fleet_gives_up", "one", "devices", "skipped")

    # The schedule's own DAG, by hand: one unhealthy device is told of, and quarantined within the budget.
    until(lambda: kept.airflow.has_dag("bulkhead_fleet_health"), "the DAG")
    kept.airflow.call("PATCH", "/api/v2/dags/bulkhead_fleet_health", {"is_paused": False})
    kept.airflow.trigger("bulkhead_fleet_health", "first", {})
    kept.task("bulkhead_fleet_health", "first", "look", "success")
    exporter.name = exposition(a0=95, a1=0, b0=0, b1=0)
    kept.airflow.trigger("bulkhead_fleet_health", "second", {})
    kept.task("bulkhead_fleet_health", "second", "look", "success")
    kept.airflow.call("PATCH", "/api/v2/dags/bulkhead_fleet_health", {"is_paused": True})
    (held,) = kept.control.ledger.quarantines.open_ones()
    assert (held.target, held.action, held.applied_phase) == ("GPU-a0", "reset", "held")
    events = kept.airflow.call("GET", "/api/v2/assets/events?source_dag_id=bulkhead_fleet_health")["asset_events"]
    assert any(event["extra"]["quarantined"] == ["GPU-a0"] for event in events)

    def message() -> bool:
        runs = kept.airflow.call("GET", "/api/v2/dags/fleet_fault/dagRuns")["dag_runs"]
        return any(one["state"] == "success" for one in runs)

    until(message, "the run that the fault starts")
    (run, *_) = kept.airflow.call("GET", "/api/v2/dags/fleet_fault/dagRuns")["dag_runs"]
    path = f"/api/v2/dags/fleet_fault/dagRuns/{run['dag_run_id']}/taskInstances/tell/xcomEntries/return_value"
    found = kept.airflow.call("GET", path)["value"]
    found = json.loads(found) if isinstance(found, str) else found
    assert (found["device"], found["node"], found["action"]) == ("GPU-a0", "a", "reset")
    assert kept.cli("fleet", "--json").returncode == 1

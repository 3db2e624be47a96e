"""The commands about fleets, over real exporters and a real ledger."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bulkhead import fleets
from bulkhead.cli import app
from bulkhead.control import Control
from bulkhead.errors import InvalidInputError
from bulkhead.health.verdict import Health
from bulkhead.ledger.quarantines import Target
from bulkhead.settings import CONFIG_VARIABLE, Exporter, FleetPrometheus, FleetSettings, KernelLog, Settings
from tests.servers import Backend
from tests.waiting import until

runner = CliRunner()


def text(**xids: int) -> str:
    """Each GPU with its last Xid."""
    labels = '{{UUID="GPU-{0}",Hostname="{1}",modelName="H100"}}'
    lines = []
    for name, xid in xids.items():
        block = labels.format(name, name[0])
        lines += [f"DCGM_FI_DEV_GPU_TEMP{block} 50", f"DCGM_FI_DEV_XID_ERRORS{block} {xid}"]
    return "\n".join(lines) + "\n"


@pytest.fixture
def exporter() -> Iterator[Backend]:
    made = Backend(text(a0=0, a1=0, b0=0, b1=0))
    yield made
    made.stop()


@pytest.fixture
def control(exporter: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Control:
    fleet = FleetSettings(exporters=(Exporter(url=f"http://127.0.0.1:{exporter.port}/metrics"),), poll_s=0.1)
    settings = Settings(home=tmp_path / "home", fleet=fleet)
    (tmp_path / "config.yaml").write_text(settings.model_dump_json())
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "config.yaml"))
    return Control(settings)


def shown(*arguments: str) -> tuple[int, Any]:
    result = runner.invoke(app, ["fleet", "--json", *arguments])
    return result.exit_code, json.loads(result.output)


def test_a_healthy_fleet_is_shown_and_exits_with_0(control: Control) -> None:
    status, document = shown()
    assert status == 0
    assert document["summary"] == {"healthy": 4, "suspect": 0, "unknown": 0, "unhealthy": 0}
    assert {node["node"]: node["healthy"] for node in document["nodes"]} == {"a": "2 of 2", "b": "2 of 2"}
    assert "4 healthy" in runner.invoke(app, ["fleet"]).output


def test_an_exporter_is_asked_by_its_url_alone(control: Control, exporter: Backend) -> None:
    status, document = shown("--source", f"http://127.0.0.1:{exporter.port}/metrics")
    assert (status, len(document["devices"]), document["quarantines"]) == (0, 4, [])


def test_a_fleet_of_which_nothing_is_known_exits_with_3(control: Control) -> None:
    status, document = shown("--source", "http://127.0.0.1:9/metrics")
    assert status == 3
    assert "does not answer" in document["failed"]["http://127.0.0.1:9/metrics"]


def test_no_source_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text(Settings(home=tmp_path).model_dump_json())
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "config.yaml"))
    result = runner.invoke(app, ["fleet"])
    assert result.exit_code == 2
    assert "fleet = 'no source': name exporters, prometheus" in result.stderr


def test_the_watch_quarantines_what_turns_unhealthy_and_shows_it(control: Control, exporter: Backend) -> None:
    command = [str(Path(sys.executable).with_name("bulkhead")), "fleet", "--watch"]
    watch = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    until(lambda: "a" in control.ledger.fleet.remembered(), "the first poll")
    exporter.name = text(a0=95, a1=0, b0=0, b1=0)
    until(
        lambda: [quarantine.target for quarantine in control.ledger.quarantines.open_ones()] == ["GPU-a0"],
        "the quarantine",
    )
    until(
        lambda: [quarantine.applied_phase for quarantine in control.ledger.quarantines.open_ones()] == ["held"],
        "it to be shown on paper",
    )
    watch.send_signal(signal.SIGTERM)
    assert watch.wait(240) == 0
    status, document = shown()
    assert status == 1
    (held,) = document["quarantines"]
    assert (held["target"], held["action"]) == ("GPU-a0", "reset")
    assert "Xid 95" in runner.invoke(app, ["fleet"]).output


def test_a_person_starts_passes_and_ends_a_quarantine(control: Control) -> None:
    fleets.watch(control.settings, control.ledger).remember()
    watch = fleets.watch(control.settings, control.ledger)
    watch.poll()
    watch.remember()
    asked = runner.invoke(app, ["quarantine", "start", "a", "--reason", "it smells"])
    assert "a is in quarantine; on paper" in asked.output
    assert control.ledger.quarantines.open_ones()[0].size == 2
    assert "has passed" in runner.invoke(app, ["quarantine", "passed", "a", "--reason", "a new fan"]).output
    assert "may work again" in runner.invoke(app, ["quarantine", "end", "a", "--reason", "done"]).output
    assert control.ledger.quarantines.open_ones() == []
    runner.invoke(app, ["quarantine", "impose", "a", "--reason", "again"])
    old = runner.invoke(app, ["quarantine", "release", "a", "--reason", "done"])
    assert "may work again" in old.output and "deprecated" in old.stderr
    unknown = runner.invoke(app, ["quarantine", "start", "z", "--reason", "?"])
    assert unknown.exit_code == 2
    assert "'z' is no node or device that a watch has seen" in unknown.stderr


def test_every_source_of_the_configuration_is_asked(tmp_path: Path) -> None:
    fleet = FleetSettings(
        exporters=(Exporter(url="http://e/metrics"),),
        prometheus=FleetPrometheus(url="http://p"),
        nvml=True,
        kernel_logs=(KernelLog(path=tmp_path / "kern.log"),),
    )
    watch = fleets.watch(Settings(home=tmp_path, fleet=fleet), None)
    assert [source.name for source in watch.sources] == [
        "http://e/metrics",
        "http://p",
        "nvml",
        f"kernel log {tmp_path}/kern.log",
    ]


def test_a_policy_that_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("heat: {hot_c: hot}\n")
    fleet = FleetSettings(nvml=True, policy=tmp_path / "policy.yaml")
    with pytest.raises(InvalidInputError, match=r"policy\.yaml\.heat\.hot_c"):
        fleets.watch(Settings(home=tmp_path, fleet=fleet), None)


def test_what_tasks_say_is_weighed_by_what_the_watch_has_left(control: Control, exporter: Backend) -> None:
    said = {"cause": "device_fault/ecc", "reason": "ECC error"}
    exporter.name = text(a0=0, b0=0, c0=0, d0=0)
    control.ledger.suspicions.add(node="a", owner="one", key="1", **said)
    assert control.avoidance().discouraged == ("a",)  # of nodes that no watch has seen
    watch = control.fleet_watch()
    node = watch.poll().nodes["a"]
    assert (node.health, node.text) == (Health.SUSPECT, "a task's pod failed there: ECC error")
    watch.remember()
    assert control.avoidance().discouraged == ("a",)  # by one DAG alone; its own word confirms nothing
    control.ledger.suspicions.add(node="a", owner="two", key="2", **said)
    assert control.avoidance().forbidden == ("a",)
    control.ledger.suspicions.add(node="b", owner="one", key="3", **said)
    exporter.name = text(a0=0, b0=79, c0=0, d0=0)
    watch.poll()
    watch.remember()
    found = control.avoidance()
    assert (found.forbidden, found.discouraged) == (("b",), ("a",))  # readings first, and the budget is one of four
    person = Target("c", "node", "c", "H100")
    control.ledger.quarantines.start(person, **_BY_A_PERSON, evidence_at=datetime.now(UTC))
    person = Target("d", "node", "d", "H100")
    control.ledger.quarantines.start(person, **_BY_A_PERSON, evidence_at=datetime.now(UTC))
    assert control.avoidance().discouraged == ("a", "b")  # they are the last two


_BY_A_PERSON: dict[str, Any] = {
    "reason": "person",
    "evidence": "by hand",
    "action": "contact-support",
    "holder": "me",
    "probation_s": 60.0,
    "budget": None,
}

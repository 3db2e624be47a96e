"""Rules and dashboard: checked by promtool, and by a real Prometheus over the metrics that the code gives."""

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client as k8s
from prometheus_client import CollectorRegistry, generate_latest

from bulkhead.health.observation import Device
from bulkhead.health.quarantine import QuarantineChanges
from bulkhead.health.verdict import Assessment, DeviceVerdict, Health, Reason
from bulkhead.ledger.statistics import BOUNDS_S, Durations, LedgerNumbers
from bulkhead.monitoring.collector_metrics import CollectorMetrics
from bulkhead.monitoring.fleet_metrics import FleetMetrics
from bulkhead.monitoring.ledger_metrics import LedgerMetrics
from bulkhead.monitoring.loop import Loop
from bulkhead.router_agent.agent import RouterAgent
from bulkhead.xids import RecommendedAction
from tests.fixtures.prometheus import Expose
from tests.waiting import until

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docker" / "monitoring" / "rules.yaml"
DASHBOARD = json.loads((ROOT / "docker" / "monitoring" / "dashboard.json").read_text())
EXPRESSIONS = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
NOW = datetime.now(UTC)
DURATIONS = {"digits": Durations([1] * (len(BOUNDS_S) - 1) + [2], 2, 5.0)}
DEVICE = Device("GPU-1", "node-a", "H100")
VERDICT = DeviceVerdict(DEVICE, Health.HEALTHY, Reason.NOTHING, "", RecommendedAction.NONE, 1.0, 0.0, 0.0)
NUMBERS = LedgerNumbers(
    ended={("digits", "rolled_back", "errors"): 2},
    in_progress={("digits", "analysing"): 1},
    detection=DURATIONS,
    rollback=DURATIONS,
    oldest={"rollout": NOW - timedelta(seconds=90), "isolation": None, "launch": None},
    leases={"digits": "host-1"},
    isolations={"model": 3},
    launches=4,
    quarantines={("device", "held"): 5},
    quarantined={"H100": 5},
    gate={("digits", "refused"): 6},
    services=["digits"],
)


@pytest.fixture(scope="module")
def exposition(tmp_path_factory: pytest.TempPathFactory) -> str:
    """All that the parts say, in one."""
    return "".join(generate_latest(registry).decode() for registry in _registries(tmp_path_factory.mktemp("routers")))


def _registries(folder: Path) -> list[CollectorRegistry]:
    ledger = CollectorRegistry()
    ledger.register(LedgerMetrics(lambda: NUMBERS))
    loop = Loop("reconciler", 60)
    with loop.one_pass():
        pass
    FleetMetrics(loop.registry, lambda devices: devices).show(Assessment(0.0, {"GPU-1": VERDICT}), QuarantineChanges())
    CollectorMetrics(loop.registry).show([], [])
    agent = RouterAgent("digits", folder, lambda: k8s.ApiClient(k8s.Configuration(host="http://127.0.0.1:1")), "ml")
    loop.registry.register(agent.up_to_date)
    return [ledger, loop.registry]


def _promtool(*words: str) -> None:
    binary = shutil.which("promtool")
    if binary is None:
        pytest.skip("RULES NOT TESTED: promtool is not here (on Debian: apt-get install prometheus)")
    done = subprocess.run([binary, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_what_prometheus_takes() -> None:
    _promtool("check", "rules", str(RULES))


def test_each_alert_fires_where_it_should_and_not_where_it_should_not() -> None:
    _promtool("test", "rules", str(Path(__file__).with_name("rules_test.yaml")))


def _documented(names: str) -> set[str]:
    docs = (ROOT / "docs" / "monitoring.md").read_text()
    return set(re.findall(rf"^\| `({names})` \|", docs, re.MULTILINE))


def test_each_alert_is_tested_both_ways_and_has_a_line_in_the_docs() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    alerts = {rule["alert"] for rule in rules if "alert" in rule}
    tests = yaml.safe_load(Path(__file__).with_name("rules_test.yaml").read_text())["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", [])]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == alerts
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == alerts
    assert _documented(r"Bulkhead\w+") == alerts


def test_rules_and_dashboard_name_metrics_that_there_are_and_the_docs_name_all(exposition: str) -> None:
    there = {name for name in re.findall(r"^# TYPE (\w+)", exposition, re.MULTILINE) if not name.endswith("_created")}
    told = RULES.read_text() + json.dumps(DASHBOARD)
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\bbulkhead_\w+", told)} <= there
    assert _documented(r"bulkhead_\w+") == there


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_each_panel_has_data(expression: str, prometheus: str, expose: Expose, exposition: str) -> None:
    expose(exposition)
    query = expression.replace("$service", ".*").replace("$__rate_interval", "1m")

    def rows() -> Any:
        asked = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)["data"]["result"]

    assert until(rows, query)

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bulkhead.control import Control
from bulkhead.errors import InvalidInputError
from bulkhead.ledger.quarantines import Target
from bulkhead.operators.diagnose import GpuDiagnosticOperator

PASSED = {"passed": True, "level": "quick", "node": "n1", "devices": [{"uuid": "GPU-1"}], "wrong": {}, "run_id": "r1"}


def hold(control: Control, name: str) -> None:
    control.ledger.quarantines.start(
        Target(name, "device", "n1"),
        reason="xid",
        evidence="",
        action="",
        holder="",
        probation_s=60,
        evidence_at=datetime.now(UTC),
        budget=None,
    )


def test_what_has_passed_may_leave_its_quarantine(control: Control) -> None:
    hold(control, "GPU-1")
    hold(control, "GPU-2")
    operator = GpuDiagnosticOperator(task_id="t")
    assert operator._report(PASSED) == PASSED
    passed = {
        quarantine.target: quarantine.passed_at is not None for quarantine in control.ledger.quarantines.open_ones()
    }
    assert passed == {"GPU-1": True, "GPU-2": False}


def test_a_node_that_was_named_has_passed_with_its_devices(control: Control) -> None:
    hold(control, "n1")
    GpuDiagnosticOperator(task_id="t", image="x", node="n1")._report(PASSED)
    assert [quarantine.passed_at is not None for quarantine in control.ledger.quarantines.open_ones()] == [True]


def test_what_has_not_passed_fails_the_task_and_stays(control: Control) -> None:
    hold(control, "GPU-1")
    result = {**PASSED, "passed": False, "wrong": {"GPU-1": ["memory: it lies"]}}
    with pytest.raises(AirflowFailException, match="quick diagnostic of n1 has not passed: GPU-1: memory: it lies"):
        GpuDiagnosticOperator(task_id="t")._report(result)
    assert [quarantine.passed_at for quarantine in control.ledger.quarantines.open_ones()] == [None]


def test_its_pod_goes_to_the_node_in_quarantine_and_knows_its_name(
    control: Control, context: Callable[..., Any], cluster_connection: str
) -> None:
    operator = GpuDiagnosticOperator(task_id="t", node="n1", gpus=8, level="medium", runtime_conn_id=cluster_connection)
    pod = operator.pod_of(context("t"), operator.runtime())
    (term,) = pod.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution.node_selector_terms
    assert [(field.key, field.operator, field.values) for field in term.match_fields] == [
        ("metadata.name", "In", ["n1"])
    ]
    assert {toleration.key for toleration in pod.spec.tolerations} >= {
        "bulkhead.dev/quarantine",
        "node.kubernetes.io/unschedulable",
    }
    fields = {one.name: one.value_from.field_ref.field_path for one in pod.spec.containers[0].env if one.value_from}
    assert fields["BULKHEAD_NODE"] == "spec.nodeName"
    assert pod.spec.containers[0].command[-2:] == ["--level", "medium"]


def test_this_machine_has_no_node_to_choose(control: Control, context: Callable[..., Any]) -> None:
    with pytest.raises(AirflowFailException, match="node = 'n1': the local runtime has one machine"):
        GpuDiagnosticOperator(task_id="t", node="n1").execute(context("t"))


def test_bad_input_is_refused_when_the_dag_is_read() -> None:
    with pytest.raises(InvalidInputError, match="level = 'deep': give one of quick, medium, long"):
        GpuDiagnosticOperator(task_id="t", image="x", level="deep")

"""Hostile jobs against everybody else: whatever their pods say, the rest of the fleet and of the releases stays."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkhead.control import Control
from bulkhead.ledger.fleet import NodeStand
from bulkhead.operators.avoidance import elsewhere
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.retry import ContainmentRetryPolicy
from bulkhead.pods.exceptions import error
from bulkhead.pods.failure import classify
from bulkhead.pods.gpu_request import GpuRequest
from bulkhead.pods.outcome import Outcome
from bulkhead.pods.policy import Changes
from bulkhead.rollout.devices import Devices
from bulkhead.workloads.base import Placement
from tests.hostile import TEXT

NODES = [f"gpu-{number}" for number in range(6)]
NUMBERS = itertools.count()
_WORDS = TEXT | st.sampled_from(
    [
        "CUDA error: uncorrectable ECC error encountered",
        "NVRM: Xid (PCI:0000:3b:00): 79, pid=1, GPU has fallen off the bus.",
        "RuntimeError: CUDA error: unspecified launch failure",
        "NCCL WARN NET/IB : Got completion with error 12",
        Outcome().encode(),
    ]
)
_ENDS = st.tuples(st.sampled_from("abc"), st.sampled_from(NODES), _WORDS, st.integers(-1, 255))


def _pod(node: str, message: str, code: int) -> dict[str, Any]:
    terminated = {"exitCode": code, "reason": "Error", "message": message}
    status = {"phase": "Failed", "containerStatuses": [{"name": "base", "state": {"terminated": terminated}}]}
    return {"metadata": {"name": "p"}, "spec": {"nodeName": node, "containers": [{"name": "base"}]}, "status": status}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ends=st.lists(_ENDS, max_size=12))
def test_no_sequence_of_outcomes_takes_more_than_the_budget_or_any_release_back(
    control: Control, context: Callable[..., Any], ends: list[tuple[str, str, str, int]]
) -> None:
    control.ledger.fleet.remember({}, [NodeStand(node, "H100", "a") for node in NODES])
    policy = ContainmentRetryPolicy()
    for dag, node, message, code in ends:
        task = context(f"train-{next(NUMBERS)}", retries=3)
        task["ti"].dag_id = dag
        failure = classify(_pod(node, message, code), ())
        if failure is not None:
            policy.evaluate(error(f"p-{next(NUMBERS)}", failure, node), 1, 3, task)
    request = elsewhere(GpuRequest(), Changes(), BulkheadHook.default_conn_name)
    assert len(request.exclude_nodes) <= 1  # of six: one in twenty, one at least
    devices = Devices(control.ledger.quarantines, control.ledger.fleet, control.settings.fleet)
    for node in NODES:
        assert devices.fault(Placement(frozenset({node}), frozenset({"default/p"}))) is None
    assert not control.ledger.quarantines.open_ones()


def test_a_ledger_that_is_away_keeps_no_pod_from_its_launch(monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setenv("BULKHEAD_LEDGER_URL", "postgresql://nobody@127.0.0.1:1/none")
    request = GpuRequest(exclude_nodes=("n",))
    assert elsewhere(request, Changes(avoid_nodes=("m", "n")), "bulkhead_default") == GpuRequest(
        exclude_nodes=("n",), avoid_nodes=("m",)
    )
    assert "suspected nodes cannot be avoided" in caplog.text

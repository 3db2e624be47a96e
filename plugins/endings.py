"""What is done once a task or a run has ended in Airflow: its pods are ended, and its rollout is taken back."""

from __future__ import annotations

import logging
from collections.abc import Callable

from bulkhead.collector import Collector
from bulkhead.errors import BulkheadError
from bulkhead.ledger.launches import Launches
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Rollout
from bulkhead.operators.clusters import connect
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.insistence import insist
from bulkhead.pods.identity import TaskIdentity, run_owner

log = logging.getLogger(__name__)

_REMEDY = "run 'bulkhead status'; 'bulkhead collect' ends pods"


def end_task(dag_id: str, run_id: str, task_id: str, map_index: int) -> None:
    """End the pods of a task instance that a person marked, and take its rollout back.

    Args:
        dag_id: of the task instance.
        run_id: of the task instance.
        task_id: of the task instance.
        map_index: of the task instance.
    """
    task = TaskIdentity(dag_id, run_id, task_id, map_index)
    reason = "its task was marked in Airflow"
    _end(
        task.instance,
        lambda rollout: task.owns(rollout.key),
        lambda launches: launches.end_instance(task.instance, reason),
        reason,
    )


def end_run(dag_id: str, run_id: str) -> None:
    """End the pods of a run that is over, and take its rollouts back."""
    owner, reason = run_owner(dag_id, run_id), "its DAG run has ended"
    _end(owner, lambda rollout: rollout.owner == owner, lambda launches: launches.end_run(owner, reason), reason)


def _end(
    whose: str, concerned: Callable[[Rollout], bool], end_launches: Callable[[Launches], int], reason: str
) -> None:
    def record() -> Launches | None:
        control = BulkheadHook().control()
        for rollout in filter(concerned, control.ledger.rollouts.active()):
            control.commands.abort(rollout.id, Request(f"ended/{rollout.id}", reason, "airflow: listener"))
        return control.ledger.launches if end_launches(control.ledger.launches) else None

    try:
        launches = insist(record)
        if launches is not None:
            insist(Collector(launches, connect).collect)
    except BulkheadError as error:
        # Airflow's process must go on; what was not done shows in its log and in 'bulkhead status'.
        log.error("%s: %s, and what it has in progress could not be ended: %s; %s", whose, reason, error, _REMEDY)
    except Exception:
        log.exception("%s: %s, and what it has in progress could not be ended; %s", whose, reason, _REMEDY)

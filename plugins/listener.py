"""The listener: what a person, or Airflow, ended has its pods ended and its rollout rolled back.

Airflow's other ways to learn of this are lossy: ``BaseTrigger.on_kill`` never runs where the triggerer is down, nor
where a task is marked within the second before its trigger has started (measured on 3.3.2); a task's callbacks are
lost on SIGKILL. The hooks here ran in every case that was tried: ``on_task_instance_*`` in the api-server when a
person sets a task's state, ``on_dag_run_*`` where the run ends. They must not block there, so the work is done by a
thread, which insists where the ledger is busy. All of it is idempotent, since ``on_kill`` may do the same.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

from bulkhead.collector import Collector
from bulkhead.errors import BulkheadError
from bulkhead.ledger.launches import Launches
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Rollout
from bulkhead.operators.clusters import connect
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.insistence import insist
from bulkhead.pods.identity import TaskIdentity, run_owner

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

log = logging.getLogger(__name__)

_REMEDY = "run 'bulkhead status'; 'bulkhead collect' ends pods"


@hookimpl
def on_task_instance_failed(previous_state: Any, task_instance: Any) -> None:
    """A task failed.

    Args:
        previous_state: None where a person set the state.
    """
    _task_ended(previous_state, task_instance)


@hookimpl
def on_task_instance_success(previous_state: Any, task_instance: Any) -> None:
    """A task succeeded.

    Args:
        previous_state: None where a person set the state.
    """
    _task_ended(previous_state, task_instance)


@hookimpl
def on_task_instance_skipped(previous_state: Any, task_instance: Any) -> None:
    """A task was skipped.

    Args:
        previous_state: None where a person set the state.
    """
    _task_ended(previous_state, task_instance)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """A run failed: take back what it has in progress."""
    _in_background(end_run, dag_run.dag_id, dag_run.run_id)


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """A run succeeded; where a person said so, something may still be in progress."""
    _in_background(end_run, dag_run.dag_id, dag_run.run_id)


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


def _task_ended(previous_state: Any, task_instance: Any) -> None:
    if previous_state is None:
        map_index = -1 if task_instance.map_index is None else task_instance.map_index
        _in_background(end_task, task_instance.dag_id, task_instance.run_id, task_instance.task_id, map_index)


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


def _in_background(work: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=work, args=arguments, name="bulkhead-listener", daemon=True).start()

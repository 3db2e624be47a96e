"""The listener: what a person, or Airflow, ended has its pods ended and its rollout rolled back.

Airflow's other ways to learn of this are lossy: ``BaseTrigger.on_kill`` never runs where the triggerer is down, nor
where a task is marked within the second before its trigger has started (measured on 3.3.2); a task's callbacks are
lost on SIGKILL. The hooks here ran in every case that was tried: ``on_task_instance_*`` in the api-server when a
person sets a task's state, ``on_dag_run_*`` where the run ends. They must not block there, so the work is done by a
thread, which insists where the ledger is busy. All of it is idempotent, since ``on_kill`` may do the same.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun


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
    _in_background("end_run", dag_run.dag_id, dag_run.run_id)


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """A run succeeded; where a person said so, something may still be in progress."""
    _in_background("end_run", dag_run.dag_id, dag_run.run_id)


def _task_ended(previous_state: Any, task_instance: Any) -> None:
    if previous_state is None:
        map_index = -1 if task_instance.map_index is None else task_instance.map_index
        _in_background("end_task", task_instance.dag_id, task_instance.run_id, task_instance.task_id, map_index)


def _in_background(ending: str, *arguments: Any) -> None:
    threading.Thread(target=_end, args=(ending, *arguments), name="bulkhead-listener", daemon=True).start()


def _end(ending: str, *arguments: Any) -> None:
    # Every process of Airflow's loads this module, and few ever end anything: Kubernetes' clients alone are 70 MB.
    from bulkhead.plugins import endings

    getattr(endings, ending)(*arguments)

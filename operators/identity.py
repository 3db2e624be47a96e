"""Whose pod or rollout it is, from a task's context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bulkhead.pods.identity import TaskIdentity

if TYPE_CHECKING:
    from airflow.sdk import Context


def identity(context: Context) -> TaskIdentity:
    """The task instance's identity: the same over retries, another after a clear.

    Args:
        context: of the running task.
    """
    return identity_of(context["ti"])


def identity_of(ti: Any) -> TaskIdentity:
    """The task instance's identity.

    Args:
        ti: the running task instance, as Airflow has it in the context and gives it to extra links.
    """
    return TaskIdentity(ti.dag_id, ti.run_id, ti.task_id, -1 if ti.map_index is None else ti.map_index, ti.max_tries)

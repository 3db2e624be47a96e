"""Recording which task runs which pod: before the pod is created, and when nothing is left to do about it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bulkhead.collector import Collector
from bulkhead.errors import BulkheadError
from bulkhead.ledger.tables import Launch
from bulkhead.operators.clusters import connect
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.identity import identity
from bulkhead.pods.exceptions import PodFailedError, error
from bulkhead.pods.outcome import Failure, FailureClass

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


def record(
    conn_id: str,
    context: Context,
    access: Mapping[str, Any],
    namespace: str,
    pod: str,
    keep: str = "never",
    kind: str = "Pod",
) -> Sequence[Launch]:
    """Record that a task is about to create a pod.

    Args:
        conn_id: connection of type ``bulkhead``.
        access: how to reach the pod; see ``bulkhead.collector``.
        keep: whether it stays once it has finished: ``never``, ``failed`` or ``always``.
        kind: ``Pod``, or what makes pods: ``Job``, ``JobSet``.

    Returns:
        Launches of the same task instance whose pods are not known to be gone, from before it was cleared or tried
        again.

    Raises:
        ClusterUnreachableError: the ledger does not answer. Nothing was created.
    """
    task = identity(context)
    task_ids = {"dag_id": task.dag_id, "run_id": task.run_id, "task_id": task.task_id, "map_index": task.map_index}
    try:
        launches = BulkheadHook(conn_id).control().ledger.launches
        whose: dict[str, Any] = {"owner": task.owner, "instance": task.instance, "task": task_ids}
        return launches.record(access, namespace, pod, **whose, keep=keep, kind=kind)
    except BulkheadError as away:
        raise ledger_away(pod, away) from away


def ledger_away(pod: str, away: BulkheadError) -> PodFailedError:
    """What a launch that needs the ledger fails with where that does not answer; another try may find it.

    Args:
        pod: that was to be created.
    """
    message = f"the launch cannot be recorded, so nothing was created: {away}"
    return error(pod, Failure(failure_class=FailureClass.CLUSTER_UNREACHABLE, kind="ledger", message=message))


def mark_gone(conn_id: str, access: Mapping[str, Any], namespace: str, pod: str, reason: str) -> None:
    """Record that nothing is left to do about a pod. A ledger that is away is no reason to fail a task that is done:
    the collector finds out by itself.

    Args:
        conn_id: connection of type ``bulkhead``.
        access: as given to ``record``.
    """
    try:
        BulkheadHook(conn_id).control().ledger.launches.mark_gone(access, namespace, pod, reason)
    except BulkheadError as away:
        log.warning("that pod %s/%s is done with could not be recorded: %s", namespace, pod, away)


def end(conn_id: str, launch: Launch) -> tuple[bool, str]:
    """Take one step towards the end of what an earlier try left running.

    Args:
        conn_id: connection of type ``bulkhead``.
        launch: of the earlier try.

    Returns:
        Whether nothing is left to do, and what was found or done, in a few words.

    Raises:
        BulkheadError: the cluster cannot be reached, or refuses.
    """
    done, what = Collector(BulkheadHook(conn_id).control().ledger.launches, connect).end(launch)
    if done:
        mark_gone(conn_id, launch.access, launch.namespace, launch.pod, what)
    return done, what

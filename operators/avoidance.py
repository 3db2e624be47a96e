"""Where a pod should not go: nodes on which this task has failed, and those that are suspected by others."""

from __future__ import annotations

import logging
from dataclasses import replace

from bulkhead.errors import BulkheadError
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.pods.gpu_request import GpuRequest
from bulkhead.pods.policy import Changes
from bulkhead.pods.suspicion import Avoidance

log = logging.getLogger(__name__)


def elsewhere(request: GpuRequest, changed: Changes, bulkhead_conn_id: str) -> GpuRequest:
    """The request, away from nodes that failed.

    Args:
        request: what the author asked for.
        changed: by what has failed of this task.
        bulkhead_conn_id: connection of the ledger, which has what others say.
    """
    avoidance = _avoidance(bulkhead_conn_id)
    forbidden = sorted({*request.exclude_nodes, *changed.exclude_nodes, *avoidance.forbidden})
    if avoidance.forbidden:
        log.info("not on %s: their devices are suspected", ", ".join(avoidance.forbidden))
    avoided = {*request.avoid_nodes, *changed.avoid_nodes, *avoidance.discouraged}
    return replace(request, exclude_nodes=tuple(forbidden), avoid_nodes=tuple(sorted(avoided - {*forbidden})))


def _avoidance(bulkhead_conn_id: str) -> Avoidance:
    """What others suspect. To know of none for once is better than not to launch."""
    try:
        return BulkheadHook(bulkhead_conn_id).control().avoidance()
    except BulkheadError as away:
        log.warning("suspected nodes cannot be avoided: %s", away)
        return Avoidance()

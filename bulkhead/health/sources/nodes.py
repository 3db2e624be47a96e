"""What a Kubernetes cluster says of its nodes: conditions, taints, and Xids in events.

node-problem-detector and its kin write conditions that are true of a problem, some products ones that are true of
health; their names tell which. Source: node-problem-detector's README, "Problem API".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import urllib3
from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException

from bulkhead.health.kernel_log import xids
from bulkhead.health.observation import NodeState, Snapshot, place
from bulkhead.pods.gpu_request import PRODUCT_LABEL
from bulkhead.pods.identity import LABEL_PREFIX
from bulkhead.pods.spec import GPU_RESOURCE

POOL_LABELS = (
    f"{LABEL_PREFIX}pool",
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "karpenter.sh/nodepool",
    "kubernetes.azure.com/agentpool",
)
"""Labels that name a node's pool; the first that is there counts."""

_OF_DEVICES = re.compile(r"gpu|nvidia|nvlink|nvswitch|xid|dcgm|accelerat|^ib[A-Z]|infiniband", re.IGNORECASE)
_OF_HEALTH = re.compile(r"(?<!un)(?<!not)(ready|healthy|health|ok|available|schedulable)$", re.IGNORECASE)
# A taint that only keeps other work away from GPU nodes is no fault: its key or value has to name a problem.
_OF_TROUBLE = re.compile(
    r"unhealthy|not-?(ready|healthy)|fault|fail|error|xid|ecc|degraded|broken|bad|lost|repair|maintenance|quarantin|remediat",
    re.IGNORECASE,
)
_TIMEOUT_S = (3.0, 20.0)
_PAGE = 500


class NodeSource:
    """The nodes of a cluster.

    Args:
        api: of the cluster; needs to list nodes and events.
        name: of the cluster, for people.
    """

    def __init__(self, api: k8s.ApiClient, name: str = "kubernetes") -> None:
        self.name = name
        self._core = k8s.CoreV1Api(api)

    def poll(self, at: float) -> Snapshot:
        """See ``Source.poll``.

        Args:
            at: the time, in seconds since 1970.
        """
        snapshot = Snapshot(self.name, at)
        try:
            snapshot.nodes = {node.metadata.name: state(node) for node in self._nodes()}
            events = self._core.list_event_for_all_namespaces(
                field_selector="involvedObject.kind=Node,type=Warning", limit=_PAGE, _request_timeout=_TIMEOUT_S
            ).items
        except (ApiException, urllib3.exceptions.HTTPError, OSError) as error:
            snapshot.failed = f"{self.name}: {type(error).__name__}: {str(error)[:200]}"
            return snapshot
        for event in events:
            self._event(event, snapshot)
        return snapshot

    def _nodes(self) -> Iterable[Any]:
        more = ""
        while True:
            page = self._core.list_node(limit=_PAGE, _continue=more, _request_timeout=_TIMEOUT_S)
            yield from page.items
            more = page.metadata._continue
            if not more:
                return

    def _event(self, event: Any, snapshot: Snapshot) -> None:
        when = event.last_timestamp or event.event_time
        at = min(when.timestamp(), snapshot.at) if when is not None else snapshot.at
        node = event.involved_object.name
        for pci, xid in xids((event.message or "").splitlines(), at):
            snapshot.xids.setdefault(place(node, pci), []).append(xid)


def state(node: Any) -> NodeState:
    """What a node's object says.

    Args:
        node: the ``V1Node``.
    """
    labels, conditions = node.metadata.labels or {}, node.status.conditions or []
    ready = next((condition.status == "True" for condition in conditions if condition.type == "Ready"), None)
    faults = [
        f"{condition.type}: {condition.message or condition.reason}" for condition in conditions if _is_fault(condition)
    ]
    for taint in node.spec.taints or []:
        taint_text = f"{taint.key}={taint.value or ''}"
        if (
            _OF_DEVICES.search(taint.key)
            and _OF_TROUBLE.search(taint_text)
            and taint.key != GPU_RESOURCE
            and not taint.key.startswith(LABEL_PREFIX)
        ):
            faults.append(f"taint {taint_text}")
    return NodeState(
        name=node.metadata.name,
        ready=ready,
        cordoned=bool(node.spec.unschedulable),
        pool=next((labels[pool_label] for pool_label in POOL_LABELS if pool_label in labels), ""),
        faults=tuple(faults),
        product=labels.get(PRODUCT_LABEL, ""),
    )


def _is_fault(condition: Any) -> bool:
    if not _OF_DEVICES.search(condition.type):
        return False
    return bool(condition.status == ("False" if _OF_HEALTH.search(condition.type) else "True"))

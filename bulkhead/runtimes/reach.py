"""From how a launch's pods are reached, as the ledger keeps it, to the runtime that has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kubernetes import client as k8s

from bulkhead.runtimes.base import TaskRuntime
from bulkhead.runtimes.kubernetes.access import Access
from bulkhead.runtimes.kubernetes.tasks import KubernetesTaskRuntime
from bulkhead.runtimes.local.runtime import LocalRuntime
from bulkhead.runtimes.local.tasks import LOCAL_ROOT, LocalTaskRuntime

Connect = Callable[[Access], k8s.ApiClient]
"""Gives a client of a cluster."""


def reach(access: Mapping[str, Any], connect: Connect) -> TaskRuntime:
    """The runtime of a launch.

    Args:
        access: ``TaskRuntime.access``, as the ledger kept it.
        connect: gives a client of a cluster.
    """
    if LOCAL_ROOT in access:
        return LocalTaskRuntime(LocalRuntime(access[LOCAL_ROOT]))
    cluster = Access(**access)
    return KubernetesTaskRuntime(connect(cluster), cluster)

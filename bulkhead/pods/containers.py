"""Which of a pod's containers is the task's own: the base container, beside its init containers and sidecars.

The kubelet sorts ``containerStatuses`` by name, so the first is not the task's. KubernetesPodOperator calls it
``base``, the local runtime ``main``; whatever its name, it stands first in the spec.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_NAMES = ("base", "main")


def base_name(pod: Mapping[str, Any]) -> str | None:
    """Name of the base container, by the spec; None for a pod of which only the status is known.

    Args:
        pod: a ``v1.Pod`` in its JSON form.
    """
    containers = (pod.get("spec") or {}).get("containers") or []
    return str(containers[0]["name"]) if containers else None


def base(status: Mapping[str, Any], name: str | None = None) -> Mapping[str, Any]:
    """The status of the base container; empty where there is none yet.

    Args:
        name: of the container; by default the one that is called so by custom, else the first.
    """
    statuses: Sequence[Mapping[str, Any]] = status.get("containerStatuses") or []
    for base_name in [name] if name is not None else _NAMES:
        for container in statuses:
            if container.get("name") == base_name:
                return container
    return statuses[0] if statuses and name is None else {}


def terminated(container: Mapping[str, Any]) -> Mapping[str, Any]:
    """How a container has ended; empty where it has not."""
    return (container.get("state") or {}).get("terminated") or {}


def sidecars(pod: Mapping[str, Any]) -> frozenset[str]:
    """Names of the init containers that run beside the others (KEP-753: their restart policy is ``Always``).

    Args:
        pod: a ``v1.Pod`` in its JSON form.
    """
    init = (pod.get("spec") or {}).get("initContainers") or []
    return frozenset(str(container["name"]) for container in init if container.get("restartPolicy") == "Always")


def asks_for_gpu(pod: Mapping[str, Any]) -> bool:
    """Whether a pod has a GPU, by device plugin or by claim; True where only the status is known.

    Args:
        pod: a ``v1.Pod`` in its JSON form.
    """
    spec = pod.get("spec") or {}
    containers = spec.get("containers")
    if not containers or not any("resources" in container for container in containers):
        return True
    if spec.get("resourceClaims"):
        return True
    requested = [container.get("resources") or {} for container in containers]
    return any("gpu" in name or "/mig-" in name for resources in requested for name in (resources.get("limits") or {}))

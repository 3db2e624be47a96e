"""Where a pod of a cluster answers, and which life of it that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class PodAddress(NamedTuple):
    """A pod that may answer.

    Attributes:
        life: another one after each start of its container.
        host: as part of a URL.
        ready: whether clients are sent to it.
    """

    life: str
    host: str
    ready: bool


def address_of(pod: Mapping[str, Any], container: str) -> PodAddress | None:
    """Where a pod answers; None where it has no address yet, or is about to end.

    Args:
        pod: in its JSON form.
        container: name of the one that answers.
    """
    metadata, status = pod["metadata"], pod.get("status") or {}
    address = status.get("podIP", "")
    if not address or metadata.get("deletionTimestamp"):
        return None
    starts = {each["name"]: each.get("restartCount", 0) for each in status.get("containerStatuses") or []}
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions") or []}
    life = f"{metadata['name']}/{metadata['uid']}/{starts.get(container, 0)}"
    return PodAddress(life, f"[{address}]" if ":" in address else address, conditions.get("Ready") == "True")

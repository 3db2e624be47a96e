"""Pods of a revision in a cluster: how they do, what they show, and keeping them apart for inspection."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException

from bulkhead.pods.failure import classify
from bulkhead.pods.identity import LABEL_PREFIX
from bulkhead.pods.status import Phase, PodStatus
from bulkhead.runtimes.kubernetes.objects import DEPLOYMENT, POD, REPLICA_SET, Document, Objects
from bulkhead.workloads.manifests import REVISION, SERVES, name

KEPT_UNTIL = LABEL_PREFIX + "kept-until"
"""Annotation of a pod that is kept: seconds since 1970. A label of the same name finds it."""

_LOG_LINES = 5000
_RESTARTS = 2


def pods(objects: Objects, labels: Mapping[str, str]) -> list[Document]:
    """Pods by label.

    Args:
        objects: of their namespace.
        labels: that they carry.
    """
    return objects.list(POD, labels)


def deployed(deployment: Mapping[str, Any]) -> PodStatus:
    """A Deployment's pods taken together.

    Args:
        deployment: as the API server has it.

    Returns:
        Ready once the newest spec has all of its pods available.
    """
    status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    available, updated = status.get("availableReplicas", 0), status.get("updatedReplicas", 0)
    ready = bool(seen and wanted and available >= wanted and updated >= wanted)
    message = next((one.get("message", "") for one in status.get("conditions", []) if one["status"] == "False"), "")
    phase = Phase.RUNNING if status.get("replicas") else Phase.PENDING
    return PodStatus(phase, ready=ready, message=message)


def failing(found: Iterable[Mapping[str, Any]]) -> PodStatus | None:
    """A failure of pods that does not mend by waiting, or None.

    Args:
        found: the pods of a Deployment of which none is available.
    """
    for pod in found:
        if pod["metadata"].get("deletionTimestamp"):
            continue
        failure = classify(_as_ended(pod))
        if failure is not None:
            message = f"{pod['metadata']['name']}: {failure.message}"
            return PodStatus(Phase.FAILED, reason=failure.kind, message=message, failure=failure)
    return None


def _as_ended(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """A pod whose container ends again and again is as good as ended, with the way in which it did last."""
    status = pod.get("status") or {}
    containers = [_as_last(one) for one in status.get("containerStatuses") or []]
    if any("terminated" in (one.get("state") or {}) for one in containers):
        return {**pod, "status": {**status, "phase": "Failed", "containerStatuses": containers}}
    return pod


def _as_last(container: Mapping[str, Any]) -> Mapping[str, Any]:
    last = (container.get("lastState") or {}).get("terminated")
    if last and not container.get("ready") and container.get("restartCount", 0) >= _RESTARTS:
        return {**container, "state": {"terminated": last}}
    return container


def evidence(core: k8s.CoreV1Api, objects: Objects, revision_id: str) -> dict[str, str]:
    """What a revision's pods show: objects, events, logs of every container, and of the one before it.

    Args:
        core: of the cluster.
        objects: of the namespace.
        revision_id: of the revision.

    Returns:
        Text by file name.
    """
    found = {}
    deployment = objects.read(DEPLOYMENT, name(revision_id))
    if deployment is not None:
        found["deployment.json"] = json.dumps(deployment, indent=1)
    for pod in pods(objects, {REVISION: revision_id}):
        own = pod["metadata"]["name"]
        found[f"{own}.json"] = json.dumps(pod, indent=1)
        found[f"{own}.events.json"] = _events(core, objects.namespace, pod["metadata"]["uid"])
        spec = pod["spec"]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            for before in (False, True):
                text = _log(core, objects.namespace, own, container["name"], before)
                if text:
                    found[f"{own}.{container['name']}{'.before' if before else ''}.log"] = text
    return found


def _events(core: k8s.CoreV1Api, namespace: str, uid: str) -> str:
    try:
        events = core.list_namespaced_event(namespace, field_selector=f"involvedObject.uid={uid}").items
    except ApiException as refused:
        return f"not to be had: {refused.status} {refused.reason}"
    return json.dumps(core.api_client.sanitize_for_serialization(events), indent=1)


def _log(core: k8s.CoreV1Api, namespace: str, pod: str, container: str, before: bool) -> str:
    try:
        answer = core.read_namespaced_pod_log(
            pod, namespace, container=container, previous=before, tail_lines=_LOG_LINES, _preload_content=False
        )
    except ApiException as refused:
        # A container that never started, or did not start before, has none.
        return "" if refused.status == 400 else f"not to be had: {refused.status} {refused.reason}"
    return bytes(answer.data).decode(errors="replace")


def let_go(objects: Objects, revision_id: str, until: float) -> None:
    """Keep a revision's pods, without whoever would replace or delete them and without requests.

    Args:
        objects: of the namespace.
        revision_id: of the revision.
        until: when they may be deleted, in seconds since 1970.
    """
    labels = {REVISION: revision_id}
    objects.delete(DEPLOYMENT, name(revision_id), None, orphan=True)
    for one in objects.list(REPLICA_SET, {**labels, SERVES: revision_id}):
        objects.delete(REPLICA_SET, one["metadata"]["name"], None, orphan=True)
    for pod in pods(objects, {**labels, SERVES: revision_id}):
        notes = {"labels": {SERVES: None, KEPT_UNTIL: "set"}, "annotations": {KEPT_UNTIL: str(int(until))}}
        objects.patch(POD, pod["metadata"]["name"], {"metadata": notes})


def sweep(objects: Objects, now: float) -> None:
    """Delete pods that were kept for long enough.

    Args:
        objects: of the namespace.
        now: seconds since 1970.
    """
    for pod in pods(objects, {KEPT_UNTIL: "set"}):
        metadata = pod["metadata"]
        until = (metadata.get("annotations") or {}).get(KEPT_UNTIL, "")
        if until.isdigit() and int(until) <= now and not metadata.get("deletionTimestamp"):
            objects.delete(POD, metadata["name"], None)

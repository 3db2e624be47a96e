"""Pods of a revision in a cluster: how they do, what they show, and keeping them apart for inspection."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException

from bulkhead.pods.answering import address_of
from bulkhead.pods.failure import classify
from bulkhead.pods.identity import LABEL_PREFIX
from bulkhead.pods.policy import hopeless
from bulkhead.pods.serving_names import server_name
from bulkhead.pods.status import PodPhase, PodStatus
from bulkhead.runtimes.kubernetes.objects import (
    DEPLOYMENT,
    POD,
    REPLICA_SET,
    STATEFUL_SET,
    Document,
    Kind,
    Objects,
)
from bulkhead.workloads.manifests import REVISION
from bulkhead.workloads.workload_kinds import GROUP, SERVES, WORKLOAD_KINDS, name_of

KEPT_UNTIL = LABEL_PREFIX + "kept-until"
"""Annotation of a pod that is kept: seconds since 1970. A label of the same name finds it."""

_LOG_LINES = 5000
_RESTARTS = 2


def pods(objects: Objects, labels: Mapping[str, str]) -> list[Document]:
    """Pods by label."""
    return objects.list(POD, labels)


def kept_by(objects: Objects, server: str, revision_id: str | None) -> tuple[Kind, Document] | None:
    """Who keeps a server's pods, whatever kind that is.

    Args:
        server: name of its Service.
        revision_id: that it serves; None for a comparer, which has a Deployment.
    """
    for kind in WORKLOAD_KINDS if revision_id is not None else (DEPLOYMENT,):
        if kind != DEPLOYMENT and not objects.serves(kind):
            continue  # there can be none
        workload = objects.read(kind, name_of(kind, server, revision_id))
        if workload is not None:
            return kind, workload
    return None


def ready_pods(pods: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The pods that answer: the life of each, and its address as part of a URL.

    Args:
        pods: pods of a server; its container is the first.
    """
    addresses = [address_of(pod, pod["spec"]["containers"][0]["name"]) for pod in pods]
    return [(address.life, address.host) for address in addresses if address is not None and address.ready]


Events = Callable[[str], Iterable[Mapping[str, Any]]]
"""Gives the events about a pod, by its name, in their JSON form."""


def failing(pods: Iterable[Mapping[str, Any]], events: Events) -> PodStatus | None:
    """Why the pods of a server do not answer, or None where nothing is known to be in their way.

    Args:
        pods: the pods of a server of which none answers.
        events: asked for the first pod that has not started, and for no other: they are alike.

    Returns:
        Failed where waiting does not mend it; pending, with the failure, where it may yet: a node pool that is scaled
        up from zero, a registry that is busy.
    """
    there = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    first = next((pod for pod in there if _has_not_started(pod)), None)
    waits = None
    for pod in there:
        pod_events = list(events(pod["metadata"]["name"])) if pod is first else []
        shown = _as_ended(pod)
        # A node on its way makes waiting right, where no client is served yet; the pod does not answer all the same.
        failure = classify(shown, pod_events) or classify(shown)
        if failure is None:
            continue
        mends = _has_not_started(pod) and not hopeless(failure, pod_events)
        message = f"{pod['metadata']['name']}: {failure.message}"
        phase = PodPhase.PENDING if mends else PodPhase.FAILED
        status = PodStatus(phase, reason=failure.kind, message=message, failure=failure)
        if not mends:
            return status
        waits = waits or status
    return waits


def _has_not_started(pod: Mapping[str, Any]) -> bool:
    return str((pod.get("status") or {}).get("phase") or PodPhase.PENDING) == PodPhase.PENDING


def _as_ended(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """A pod whose container ends again and again is as good as ended, with the way in which it did last."""
    status = pod.get("status") or {}
    containers = [_as_last(started) for started in status.get("containerStatuses") or []]
    if any("terminated" in (container.get("state") or {}) for container in containers):
        return {**pod, "status": {**status, "phase": "Failed", "containerStatuses": containers}}
    return pod


def _as_last(container: Mapping[str, Any]) -> Mapping[str, Any]:
    last = (container.get("lastState") or {}).get("terminated")
    if last and not container.get("ready") and container.get("restartCount", 0) >= _RESTARTS:
        return {**container, "state": {"terminated": last}}
    return container


def evidence(core: k8s.CoreV1Api, objects: Objects, revision_id: str) -> dict[str, str]:
    """What a revision's pods show: objects, events, logs of every container, and of the one before it.

    Returns:
        Text by file name.
    """
    evidence_files = {}
    workload = kept_by(objects, server_name(revision_id), revision_id)
    if workload is not None:
        evidence_files[f"{workload[0].kind.lower()}.json"] = json.dumps(workload[1], indent=1)
    for pod in pods(objects, {REVISION: revision_id}):
        own = pod["metadata"]["name"]
        evidence_files[f"{own}.json"] = json.dumps(pod, indent=1)
        evidence_files[f"{own}.events.json"] = _events(core, objects.namespace, pod["metadata"]["uid"])
        spec = pod["spec"]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            for before in (False, True):
                text = _log(core, objects.namespace, own, container["name"], before)
                if text:
                    evidence_files[f"{own}.{container['name']}{'.before' if before else ''}.log"] = text
    return evidence_files


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


def orphan(objects: Objects, revision_id: str, until: float) -> None:
    """Keep a revision's pods, without what would replace or delete them and without requests.

    Args:
        until: when they may be deleted, in seconds since 1970.
    """
    workload = kept_by(objects, server_name(revision_id), revision_id)
    if workload is not None:
        objects.delete(workload[0], workload[1]["metadata"]["name"], None, orphan=True)
    # The label tells the revision's own pods from those of the comparer of its answers; a group's workers have none.
    own_pods = [
        pod for pod in pods(objects, {REVISION: revision_id}) if _labels(pod).get(SERVES, revision_id) == revision_id
    ]
    for kind, own in _inner(revision_id, grouped=any(GROUP in _labels(pod) for pod in own_pods)):
        for document in objects.list(kind, own):
            objects.delete(kind, document["metadata"]["name"], None, orphan=True)
    for pod in own_pods:
        if KEPT_UNTIL not in _labels(pod):
            notes = {"labels": {SERVES: None, KEPT_UNTIL: "set"}, "annotations": {KEPT_UNTIL: str(int(until))}}
            objects.patch(POD, pod["metadata"]["name"], {"metadata": notes})


def _inner(revision_id: str, grouped: bool) -> list[tuple[Kind, dict[str, str]]]:
    """Kinds by which a workload keeps pods, with labels of what it made, from the outermost to the innermost."""
    sets = [(STATEFUL_SET, {GROUP: revision_id})] if grouped else []
    return [(DEPLOYMENT, {SERVES: revision_id}), *sets, (REPLICA_SET, {SERVES: revision_id})]


def _labels(pod: Mapping[str, Any]) -> Mapping[str, str]:
    labels: Mapping[str, str] = pod["metadata"].get("labels") or {}
    return labels


def expire(objects: Objects, now: float) -> None:
    """Delete pods that were kept for long enough.

    Args:
        now: seconds since 1970.
    """
    for pod in pods(objects, {KEPT_UNTIL: "set"}):
        metadata = pod["metadata"]
        until = (metadata.get("annotations") or {}).get(KEPT_UNTIL, "")
        if until.isdigit() and int(until) <= now and not metadata.get("deletionTimestamp"):
            objects.delete(POD, metadata["name"], None)

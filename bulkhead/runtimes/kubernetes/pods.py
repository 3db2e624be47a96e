"""A pod's life on Kubernetes as few requests: created or adopted, found again, read, ended.

Every refusal of the API server, and its silence, is raised as the failure that it is (``bulkhead.pods.refusal``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import urllib3
from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException

from bulkhead.pods.distributed import GANG
from bulkhead.pods.event_texts import plain
from bulkhead.pods.exceptions import PodFailedError, error
from bulkhead.pods.identity import MANAGED, matches
from bulkhead.pods.outcome import Failure, FailureClass
from bulkhead.pods.refusal import classify_refusal
from bulkhead.pods.status import PodPhase, of_task

MOST_EVENTS = 100
"""About one pod, that are read."""

log = logging.getLogger(__name__)


def create_or_adopt(core: k8s.CoreV1Api, pod: k8s.V1Pod, own: Mapping[str, str]) -> tuple[k8s.V1Pod, bool]:
    """Create a pod. Creating is the lock: one that is there already is adopted if it is ours and lives.

    Args:
        own: labels that it has if it is ours.

    Returns:
        The pod, and whether this call created it.

    Raises:
        PodFailedError: the cluster refused it, or the name is taken.
    """
    name, namespace = pod.metadata.name, pod.metadata.namespace
    with refusal_named(name, namespace):
        try:
            return core.create_namespaced_pod(namespace, pod), True
        except ApiException as refused:
            if refused.status != 409:
                raise
        there = core.read_namespaced_pod(name, namespace)
    check_ours(name, there.metadata.labels, there.metadata.deletion_timestamp, own)
    return there, False


def ensure_claim_template(api: k8s.ApiClient, template: k8s.V1ResourceClaimTemplate, pod: str) -> None:
    """Create a template for resource claims, unless it is there. Its name says what it holds, so it never changes.

    Args:
        template: with its name and namespace.

    Raises:
        PodFailedError: the cluster refused it, or knows no resource claims.
    """
    namespace = template.metadata.namespace
    with refusal_named(pod, namespace):
        try:
            k8s.ResourceV1Api(api).create_namespaced_resource_claim_template(namespace, template)
        except ApiException as refused:
            if refused.status == 404 and "namespaces" not in str(refused.body):
                message = "the cluster does not serve resource.k8s.io/v1 (from 1.34 on it may); leave device_class out"
                raise error(pod, _failure(FailureClass.CONFIG, "dra", message)) from refused
            if refused.status != 409:
                raise


def find_unfailed(core: k8s.CoreV1Api, namespace: str, own: Mapping[str, str]) -> k8s.V1Pod | None:
    """A pod that may still succeed, or has.

    Args:
        own: labels that it has.

    Raises:
        PodFailedError: the API server refuses, or does not answer.
    """
    selector = ",".join(f"{key}={value}" for key, value in own.items())
    with refusal_named(selector, namespace):
        items = core.list_namespaced_pod(namespace, label_selector=selector).items
    for pod in items:
        dying = pod.metadata.deletion_timestamp
        phase = of_task(core.api_client.sanitize_for_serialization(pod)).phase
        if matches(pod.metadata.labels, own) and not dying and phase is not PodPhase.FAILED:
            return pod
    return None


def events(core: k8s.CoreV1Api, name: str, namespace: str) -> Sequence[Mapping[str, Any]]:
    """The events about a pod that has failed or cannot start, in their JSON form.

    Returns:
        The events; none where they may not be read: the pod's status says most of it.
    """
    about = f"involvedObject.kind=Pod,involvedObject.name={name}"
    try:
        with refusal_named(name, namespace):
            return plain(core.list_namespaced_event(namespace, field_selector=about, limit=MOST_EVENTS).items)
    except PodFailedError as away:
        log.warning("the events of pod %s/%s cannot be read: %s", namespace, name, away)
        return ()


def delete(
    core: k8s.CoreV1Api, name: str, namespace: str, uid: str | None = None, grace_s: float | None = None
) -> None:
    """Delete a pod; one that is not there, or is another one by now, is as good as deleted.

    Args:
        uid: of exactly the pod that is meant, or None.
        grace_s: seconds between SIGTERM and SIGKILL; None for the pod's own.

    Raises:
        PodFailedError: the API server refuses, or does not answer.
    """
    grace = None if grace_s is None else int(grace_s)
    exactly = k8s.V1DeleteOptions(
        preconditions=k8s.V1Preconditions(uid=uid) if uid else None, grace_period_seconds=grace
    )
    with refusal_named(name, namespace):
        try:
            core.delete_namespaced_pod(name, namespace, body=exactly)
        except ApiException as refused:
            if refused.status not in (404, 409):
                raise


def end(core: k8s.CoreV1Api, name: str, namespace: str, own: Mapping[str, str], keep: str) -> tuple[bool, str]:
    """Take one step towards the end of a pod that no task waits for.

    Args:
        own: labels that it has if it is ours; another is left alone.
        keep: whether it stays once it has finished: ``never``, ``failed`` or ``always``.

    Returns:
        Whether nothing is left to do, and what was found or done, in a few words.

    Raises:
        PodFailedError: the API server refuses, or does not answer.
    """
    with refusal_named(name, namespace):
        try:
            pod = core.read_namespaced_pod(name, namespace)
        except ApiException as missing:
            if missing.status != 404:
                raise
            return True, "gone"
    left = left_as_it_is(pod.status.phase, pod.metadata.labels, pod.metadata.deletion_timestamp, own, keep)
    if left is not None:
        return left
    delete(core, name, namespace, pod.metadata.uid)
    return False, "told to end"


def managed_names(core: k8s.CoreV1Api, namespace: str) -> dict[str, str]:
    """Pods that carry this project's label.

    Returns:
        By the name of each what it was launched as: itself, or the job that it is a part of.

    Raises:
        PodFailedError: the API server refuses, or does not answer.
    """
    with refusal_named("with label " + MANAGED, namespace):
        items = core.list_namespaced_pod(namespace, label_selector=f"{MANAGED}=true", resource_version="0").items
    return {pod.metadata.name: pod.metadata.labels.get(GANG, pod.metadata.name) for pod in items}


def kept(phase: str, keep: str) -> bool:
    """Whether a pod stays although no task waits for it.

    Args:
        keep: ``never``, ``failed`` or ``always``.
    """
    if keep == "always":
        return phase in (PodPhase.SUCCEEDED, PodPhase.FAILED)
    return keep == "failed" and phase == PodPhase.FAILED


def check_ours(name: str, labels: Mapping[str, str] | None, dying: Any, own: Mapping[str, str]) -> None:
    """Refuse to adopt what is not ours, or is about to go.

    Args:
        dying: when it was told to end, or None.
        own: labels that it has if it is ours.

    Raises:
        PodFailedError: it is another's, or is being deleted.
    """
    if not matches(labels, own):
        raise error(name, _failure(FailureClass.CONFIG, "name", "the name is taken: what has it is not ours"))
    if dying:
        raise error(name, _failure(FailureClass.CLUSTER_UNREACHABLE, "terminating", "it is being deleted"))


def left_as_it_is(
    phase: str, labels: Mapping[str, str] | None, dying: Any, own: Mapping[str, str], keep: str
) -> tuple[bool, str] | None:
    """Why something that no task waits for is not deleted now.

    Args:
        phase: of it, in the words of a pod's.
        dying: when it was told to end, or None.
        own: labels that it has if it is ours.
        keep: see ``end``.

    Returns:
        Whether nothing is left to do, and why; None where it has to be deleted.
    """
    if not matches(labels, own):
        return True, "not ours: left alone"
    if kept(phase, keep):
        return True, f"kept ({phase})"
    return (False, "terminating") if dying else None


@contextmanager
def refusal_named(name: str, namespace: str) -> Iterator[None]:
    """An API server's refusal, or its silence, as the failure that it is.

    Args:
        name: of the pod that was asked for.

    Raises:
        PodFailedError: the type says why.
    """
    try:
        yield
    except ApiException as refused:
        raise error(name, classify_refusal(refused.status, str(refused.body), namespace)) from refused
    except urllib3.exceptions.HTTPError as away:
        raise error(name, classify_refusal(0, str(away), namespace)) from away


def _failure(named: FailureClass, kind: str, message: str) -> Failure:
    return Failure(failure_class=named, kind=kind, message=message)

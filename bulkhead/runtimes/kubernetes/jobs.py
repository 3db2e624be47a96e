"""Jobs and JobSets: created or adopted, found again, ended. As ``pods.py``, for what makes pods of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException

from bulkhead.errors import InvalidInputError
from bulkhead.pods.exceptions import error
from bulkhead.pods.identity import matches
from bulkhead.pods.outcome import Failure, FailureClass
from bulkhead.pods.status import PodPhase
from bulkhead.runtimes.kubernetes.pods import check_ours, left_as_it_is, refusal_named


@dataclass(frozen=True)
class JobKind:
    """Where the API server has a kind of object.

    Attributes:
        path: of its group and version.
        plural: of the kind.
        conditions: phase by the condition that says that it is over.
    """

    path: str
    plural: str
    conditions: Mapping[str, PodPhase]


KINDS: Mapping[str, JobKind] = {
    "Job": JobKind("/apis/batch/v1", "jobs", {"Complete": PodPhase.SUCCEEDED, "Failed": PodPhase.FAILED}),
    "JobSet": JobKind(
        "/apis/jobset.x-k8s.io/v1alpha2", "jobsets", {"Completed": PodPhase.SUCCEEDED, "Failed": PodPhase.FAILED}
    ),
}


def create_or_adopt(
    api: k8s.ApiClient, manifest: Mapping[str, Any], own: Mapping[str, str]
) -> tuple[dict[str, Any], bool]:
    """Create a job. Creating is the lock: one that is there already is adopted if it is ours and lives.

    Args:
        manifest: the object in its JSON form.
        own: labels that it has if it is ours.

    Returns:
        The object, and whether this call created it.

    Raises:
        PodFailedError: the cluster refused it, or does not know the kind, or the name is taken.
    """
    kind, name, namespace = manifest["kind"], manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    with refusal_named(name, namespace):
        try:
            return _call(api, "POST", _path(kind, namespace), manifest), True
        except ApiException as refused:
            if refused.status == 404 and "namespaces" not in str(refused.body):
                message = f"the cluster knows no {kind}; install its controller, or choose backend='job'"
                raise error(name, Failure(failure_class=FailureClass.CONFIG, kind="crd", message=message)) from refused
            if refused.status != 409:
                raise
        there = _call(api, "GET", _path(kind, namespace, name))
    check_ours(name, there["metadata"].get("labels"), there["metadata"].get("deletionTimestamp"), own)
    return there, False


def find_unfailed(api: k8s.ApiClient, kind: str, namespace: str, own: Mapping[str, str]) -> dict[str, Any] | None:
    """A job that may still succeed, or has.

    Args:
        kind: one of ``KINDS``.
        own: labels that it has.

    Raises:
        PodFailedError: the API server refuses, or does not answer.
    """
    selector = ",".join(f"{key}={value}" for key, value in own.items())
    with refusal_named(selector, namespace):
        listed = _call(api, "GET", _path(kind, namespace), query={"labelSelector": selector})
    for item in listed.get("items") or []:
        lives = not item["metadata"].get("deletionTimestamp") and phase(kind, item) is not PodPhase.FAILED
        if lives and matches(item["metadata"].get("labels"), own):
            return {"kind": kind, **item}
    return None


def create_service(api: k8s.ApiClient, service: k8s.V1Service) -> None:
    """Create a Service, unless it is there.

    Args:
        service: the Service; its owner takes it along.

    Raises:
        PodFailedError: the cluster refused it.
    """
    with refusal_named(service.metadata.name, service.metadata.namespace):
        try:
            k8s.CoreV1Api(api).create_namespaced_service(service.metadata.namespace, service)
        except ApiException as refused:
            if refused.status != 409:
                raise


def delete(api: k8s.ApiClient, kind: str, name: str, namespace: str, uid: str | None = None) -> None:
    """Delete a job, which stays until its pods are gone.

    Args:
        kind: one of ``KINDS``.
        uid: of exactly the job that is meant, or None.

    Raises:
        PodFailedError: the API server refuses, or does not answer.
    """
    options: dict[str, Any] = {"propagationPolicy": "Foreground"}
    if uid:
        options["preconditions"] = {"uid": uid}
    with refusal_named(name, namespace):
        try:
            _call(api, "DELETE", _path(kind, namespace, name), options)
        except ApiException as refused:
            if refused.status not in (404, 409):
                raise


def end(
    api: k8s.ApiClient, kind: str, name: str, namespace: str, own: Mapping[str, str], keep: str
) -> tuple[bool, str]:
    """Take one step towards the end of a job that no task waits for.

    Args:
        kind: one of ``KINDS``.
        own: labels that it has if it is ours; another is left alone.
        keep: see ``bulkhead.runtimes.kubernetes.pods.end``.

    Returns:
        Whether nothing is left to do, and what was found or done, in a few words.

    Raises:
        PodFailedError: the API server refuses, or does not answer.
    """
    with refusal_named(name, namespace):
        try:
            there = _call(api, "GET", _path(kind, namespace, name))
        except ApiException as missing:
            if missing.status != 404:
                raise
            return True, "gone"
    metadata = there["metadata"]
    left = left_as_it_is(phase(kind, there), metadata.get("labels"), metadata.get("deletionTimestamp"), own, keep)
    if left is not None:
        return left
    delete(api, kind, name, namespace, metadata["uid"])
    return False, "told to end"


def phase(kind: str, document: Mapping[str, Any]) -> PodPhase:
    """How a job stands, in the words of a pod's phase.

    Args:
        kind: one of ``KINDS``.
        document: the object in its JSON form.
    """
    for condition in (document.get("status") or {}).get("conditions") or []:
        over = KINDS[kind].conditions.get(condition["type"])
        if over is not None and condition["status"] == "True":
            return over
    return PodPhase.RUNNING


def _path(kind: str, namespace: str, name: str = "") -> str:
    launcher = KINDS.get(kind)
    if launcher is None:
        raise InvalidInputError("kind", kind, f"give one of {', '.join(KINDS)}")
    return f"{launcher.path}/namespaces/{namespace}/{launcher.plural}" + (f"/{name}" if name else "")


def _call(
    api: k8s.ApiClient,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    query: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    document: dict[str, Any] = api.call_api(
        path,
        method,
        query_params=list((query or {}).items()),
        header_params={"Accept": "application/json", "Content-Type": "application/json"},
        body=body,
        auth_settings=["BearerToken"],
        response_types_map=dict.fromkeys((200, 201, 202), "object"),
        _return_http_data_only=True,
    )
    return document

"""What a cluster lacks for this project, found by asking it: nothing is created (the pod is a server-side dry run)."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import urllib3
from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException

from bulkhead.pods.exceptions import PodFailedError
from bulkhead.pods.gpu import place
from bulkhead.pods.gpu_request import PRODUCT_LABEL, GpuRequest
from bulkhead.pods.hardening import harden
from bulkhead.pods.relaxations import Relaxations
from bulkhead.runtimes.kubernetes.pods import refusal_named


class CheckResult(enum.StrEnum):
    """What a check found."""

    OK = "ok"
    OPTIONAL = "absent"
    """Not there, and needed by some features alone."""
    UNKNOWN = "unknown"
    MISSING = "missing"


@dataclass(frozen=True)
class DoctorFinding:
    """One line of the diagnosis.

    Attributes:
        check: what was looked at.
        verdict: what was found.
        detail: in a few words, with the remedy where there is one.
    """

    check: str
    verdict: CheckResult
    detail: str


@dataclass(frozen=True)
class Need:
    """Something that must be allowed.

    Attributes:
        group: API group; empty for the core.
        resource: plural, with its subresource after a slash.
        verbs: that are needed.
        feature: that needs it; empty for every pod operator.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    feature: str = ""


NEEDS = (
    Need("", "pods", ("create", "get", "list", "watch", "delete")),
    Need("", "pods/log", ("get",)),
    Need("", "events", ("list",), "why a pod does not start"),
    Need("batch", "jobs", ("create", "get", "list", "delete"), "jobs of several nodes"),
    Need("", "services", ("create",), "jobs of several nodes"),
    Need("jobset.x-k8s.io", "jobsets", ("create", "get", "list", "delete"), "jobs of several nodes, backend=jobset"),
    Need("resource.k8s.io", "resourceclaimtemplates", ("create",), "GPUs by device class"),
)

GROUPS: Mapping[str, str] = {
    "resource.k8s.io/v1": "GPUs by device class (Dynamic Resource Allocation)",
    "kueue.x-k8s.io": "queues and gang admission (Kueue)",
    "jobset.x-k8s.io": "distributed training as a JobSet",
    "gateway.networking.k8s.io": "traffic by Gateway API",
    "serving.kserve.io": "traffic by KServe",
    "leaderworkerset.x-k8s.io": "serving over several nodes",
}
"""Feature by API group, with the version where it matters."""

_ROLE_HINT = "apply the Role of docs/kubernetes.md to the service account that Airflow uses"
_LEAST = (1, 32)


def diagnose(api: k8s.ApiClient, namespace: str, image: str = "busybox") -> Iterator[DoctorFinding]:
    """Look at a cluster.

    Args:
        namespace: where pods are to run.
        image: of the pod of the dry run; is not pulled.

    Yields:
        A finding for each check; after a cluster that does not answer, nothing more.
    """
    version, reached = _version(api)
    yield version
    if not reached:
        return
    checks: Sequence[tuple[str, Callable[[], list[DoctorFinding]]]] = (
        ("namespace", lambda: [_namespace(api, namespace)]),
        ("access", lambda: [_access(api, namespace, need) for need in NEEDS]),
        ("admission", lambda: [_admission(api, namespace, image)]),
        ("GPUs", lambda: [_gpus(api)]),
        ("API groups", lambda: _groups(api)),
    )
    for name, poll in checks:
        try:
            yield from poll()
        except ApiException as refused:
            yield DoctorFinding(name, CheckResult.UNKNOWN, f"the API server says {refused.status}: {_words(refused)}")
        except urllib3.exceptions.HTTPError as away:
            yield DoctorFinding(name, CheckResult.MISSING, f"the API server does not answer: {away}")


def _version(api: k8s.ApiClient) -> tuple[DoctorFinding, bool]:
    host = api.configuration.host
    try:
        version = k8s.VersionApi(api).get_code()
    except ApiException as refused:
        detail = f"{host} answers {refused.status}: {_words(refused)}; check the credentials of the kubeconfig"
        return DoctorFinding("connection", CheckResult.MISSING, detail), False
    except urllib3.exceptions.HTTPError as away:
        return DoctorFinding("connection", CheckResult.MISSING, f"{host} does not answer: {away}"), False
    number = (int(version.major), int("".join(filter(str.isdigit, version.minor))))
    if number < _LEAST:
        detail = f"{version.git_version}; from {_LEAST[0]}.{_LEAST[1]} on is what is tested"
        return DoctorFinding("version", CheckResult.UNKNOWN, detail), True
    return DoctorFinding("version", CheckResult.OK, f"{version.git_version} at {host}"), True


def _namespace(api: k8s.ApiClient, name: str) -> DoctorFinding:
    try:
        found_namespace = k8s.CoreV1Api(api).read_namespace(name)
    except ApiException as refused:
        if refused.status == 404:
            return DoctorFinding("namespace", CheckResult.MISSING, f"{name}: kubectl create namespace {name}")
        if refused.status == 403:
            return DoctorFinding("namespace", CheckResult.UNKNOWN, f"{name}: may not be read; that alone is no trouble")
        raise
    level = (found_namespace.metadata.labels or {}).get("pod-security.kubernetes.io/enforce")
    enforced = f"enforces the {level} Pod Security level" if level else "enforces no Pod Security level"
    return DoctorFinding("namespace", CheckResult.OK, f"{name}: {enforced}")


def _access(api: k8s.ApiClient, namespace: str, need: Need) -> DoctorFinding:
    named, _, subresource = need.resource.partition("/")
    lacking = []
    for verb in need.verbs:
        attributes = k8s.V1ResourceAttributes(
            namespace=namespace, group=need.group, resource=named, subresource=subresource or None, verb=verb
        )
        spec = k8s.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
        review = k8s.V1SelfSubjectAccessReview(spec=spec)
        if not k8s.AuthorizationV1Api(api).create_self_subject_access_review(review).status.allowed:
            lacking.append(verb)
    check = f"access to {need.resource}"
    if not lacking:
        return DoctorFinding(check, CheckResult.OK, ", ".join(need.verbs))
    verdict = CheckResult.OPTIONAL if need.feature else CheckResult.MISSING
    what = f"{need.feature} needs" if need.feature else "missing"
    return DoctorFinding(check, verdict, f"{what} the verbs {', '.join(lacking)}; {_ROLE_HINT}")


def _admission(api: k8s.ApiClient, namespace: str, image: str) -> DoctorFinding:
    """Whether a hardened GPU pod is let in, by every admission plugin and webhook there is."""
    container = k8s.V1Container(name="base", image=image, command=["true"])
    metadata = k8s.V1ObjectMeta(generate_name="bulkhead-doctor-", namespace=namespace)
    pod = k8s.V1Pod(metadata=metadata, spec=k8s.V1PodSpec(containers=[container], restart_policy="Never"))
    harden(place(pod, GpuRequest(1)), Relaxations())
    try:
        with refusal_named("of the dry run", namespace):
            k8s.CoreV1Api(api).create_namespaced_pod(namespace, pod, dry_run="All")
    except PodFailedError as refused:
        return DoctorFinding("admission", CheckResult.MISSING, refused.failure.message)
    return DoctorFinding("admission", CheckResult.OK, "a hardened GPU pod is let in (dry run)")


def _gpus(api: k8s.ApiClient) -> DoctorFinding:
    """What the nodes offer; how much of it is free only the scheduler knows."""
    offered: Counter[str] = Counter()
    for node in k8s.CoreV1Api(api).list_node(resource_version="0").items:
        product = (node.metadata.labels or {}).get(PRODUCT_LABEL, "")
        for name, amount in (node.status.allocatable or {}).items():
            if name.startswith("nvidia.com/") and int(amount):
                offered[f"{name} {product}".strip()] += int(amount)
    if not offered:
        detail = "no node offers nvidia.com/gpu; install NVIDIA's GPU operator or device plugin"
        return DoctorFinding("GPUs", CheckResult.MISSING, detail)
    return DoctorFinding(
        "GPUs", CheckResult.OK, ", ".join(f"{count} x {name}" for name, count in sorted(offered.items()))
    )


def _groups(api: k8s.ApiClient) -> list[DoctorFinding]:
    there: set[str] = set()
    for group in k8s.ApisApi(api).get_api_versions().groups:
        there |= {group.name, *(version.group_version for version in group.versions)}
    findings = []
    for name, feature in GROUPS.items():
        verdict = CheckResult.OK if name in there else CheckResult.OPTIONAL
        findings.append(DoctorFinding(name, verdict, feature if verdict is CheckResult.OK else f"needed for {feature}"))
    return findings


def _words(refused: ApiException) -> Any:
    return (refused.body or refused.reason or "").strip()[:300] if isinstance(refused.body, str) else refused.reason

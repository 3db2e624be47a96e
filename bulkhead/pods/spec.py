"""Building the one currency for "run this": a hardened ``V1Pod`` that asks for GPUs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kubernetes import client as k8s

from bulkhead import arguments
from bulkhead.errors import InvalidInputError
from bulkhead.pods.hardening import DAY_S, harden
from bulkhead.pods.identity import MANAGED
from bulkhead.pods.outcome import PATH_VARIABLE
from bulkhead.pods.quantities import check_quantity
from bulkhead.pods.relaxations import Relaxations
from bulkhead.pods.secret_ref import SecretRef

GPU_RESOURCE = "nvidia.com/gpu"
"""Extended resource name under which NVIDIA's device plugin offers GPUs."""

RESUME_VARIABLE = "BULKHEAD_RESUME_FROM"
"""Environment variable that names the checkpoint which a retry resumes from."""

_NOTHING = Relaxations()
TERMINATION_LOG = "/dev/termination-log"
_DNS_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")


@dataclass(frozen=True)
class PodRequest:
    """What an author asks for; ``build`` turns it into a ``V1Pod``.

    Attributes:
        name: DNS-1123 label of at most 63 characters.
        image: container image. The local runtime records it and runs the host's Python instead.
        command: argv of the container; never through a shell.
        gpus: whole GPUs asked for, at least 0.
        cpu: CPU limit as a Kubernetes quantity (``"2"``, ``"500m"``), or None for no limit.
        memory: memory limit as a Kubernetes quantity (``"2Gi"``), or None for no limit.
        env: plain environment variables; never secrets.
        secret_env: environment variables whose values come from Secrets.
        labels: further labels.
        annotations: further annotations.
        scratch: paths at which an emptyDir is mounted, besides ``/tmp``.
        claims: PersistentVolumeClaims by the path at which they are mounted.
        deadline_s: ``activeDeadlineSeconds``; None only for a pod that serves.
        grace_s: seconds between SIGTERM and SIGKILL.
        ready_path: HTTP path of the readiness probe, or None for a job.
        port: TCP port that the container serves on, or None for a job.
        namespace: Kubernetes namespace.
    """

    name: str
    image: str
    command: Sequence[str]
    gpus: int = 0
    cpu: str | None = None
    memory: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, SecretRef] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    scratch: Sequence[str] = ()
    claims: Mapping[str, str] = field(default_factory=dict)
    deadline_s: int | None = DAY_S
    grace_s: int = 30
    ready_path: str | None = None
    port: int | None = None
    namespace: str = "default"


def build(request: PodRequest, relaxed: Relaxations = _NOTHING) -> k8s.V1Pod:
    """Turn a request into a pod at the ``restricted`` Pod Security level.

    Args:
        relaxed: what the pod may do beyond the level.

    Returns:
        A pod with one container named ``main`` and restart policy ``Never``: who restarts a pod is the
        reconciler or Airflow, which know why it ended; the kubelet does not.

    Raises:
        InvalidInputError: names the field, its value, and what would be accepted.
    """
    _check(request)
    container = k8s.V1Container(
        name="main",
        image=request.image,
        command=list(request.command),
        env=_environment(request),
        resources=_resources(request),
        termination_message_path=TERMINATION_LOG,
        termination_message_policy="FallbackToLogsOnError",
        readiness_probe=_readiness(request),
        ports=[k8s.V1ContainerPort(container_port=request.port)] if request.port else None,
        volume_mounts=[k8s.V1VolumeMount(name=f"claim-{n}", mount_path=path) for n, path in enumerate(request.claims)],
    )
    pod = k8s.V1Pod(
        api_version="v1",
        kind="Pod",
        metadata=k8s.V1ObjectMeta(
            name=request.name,
            namespace=request.namespace,
            labels={MANAGED: "true", **request.labels},
            annotations=dict(request.annotations) or None,
        ),
        spec=k8s.V1PodSpec(
            containers=[container],
            restart_policy="Never",
            active_deadline_seconds=request.deadline_s,
            termination_grace_period_seconds=request.grace_s,
            volumes=[_claimed(number, claim) for number, claim in enumerate(request.claims.values())],
        ),
    )
    return harden(pod, replace(relaxed, no_deadline=request.deadline_s is None), ("/tmp", *request.scratch))


def _check(request: PodRequest) -> None:
    if not _DNS_LABEL.match(request.name):
        raise InvalidInputError(
            "pod.name", request.name, "use lower-case letters, digits and '-', at most 63 characters"
        )
    if not request.image:
        raise InvalidInputError("pod.image", request.image, "name a container image")
    if not request.command:
        raise InvalidInputError("pod.command", request.command, "give the argv to run, at least one word")
    if request.gpus < 0:
        raise InvalidInputError("pod.gpus", request.gpus, "ask for 0 or more whole GPUs")
    if request.deadline_s is not None and request.deadline_s < 1:
        raise InvalidInputError("pod.deadline_s", request.deadline_s, "give at least 1 second")
    if request.deadline_s is None and request.port is None:
        raise InvalidInputError("pod.deadline_s", None, "a job needs a deadline in seconds; only servers run on")
    if request.grace_s < 0:
        raise InvalidInputError("pod.grace_s", request.grace_s, "give 0 or more seconds")
    if (request.ready_path is None) != (request.port is None):
        raise InvalidInputError("pod.ready_path", request.ready_path, "give both port and ready_path, or neither")
    for index, path in enumerate(request.scratch):
        if not path.startswith("/"):
            raise InvalidInputError(f"pod.scratch[{index}]", path, "give an absolute path")
    check_claims("pod.claims", request.claims)
    for name in ("cpu", "memory"):
        check_quantity(f"pod.{name}", getattr(request, name))


def check_claims(field: str, value: Any) -> None:
    """Refuse what does not mount PersistentVolumeClaims at absolute paths.

    Args:
        field: see ``check_quantity``.

    Raises:
        InvalidInputError: it is no mapping of absolute paths to names of claims.
    """
    arguments.named_texts(field, value)
    for path, claim in value.items():
        if not path.startswith("/"):
            raise InvalidInputError(f"{field}[{path}]", path, "give an absolute path")
        if not _DNS_LABEL.match(claim):
            raise InvalidInputError(f"{field}[{path}]", claim, "use lower-case letters, digits and '-'")


def _environment(request: PodRequest) -> list[k8s.V1EnvVar]:
    both = set(request.env) & set(request.secret_env)
    if both:
        raise InvalidInputError("pod.env", sorted(both), "give each variable once: plain or from a Secret")
    plain = {PATH_VARIABLE: TERMINATION_LOG, **request.env}
    return [k8s.V1EnvVar(name=name, value=value) for name, value in plain.items()] + [
        k8s.V1EnvVar(
            name=name,
            value_from=k8s.V1EnvVarSource(
                secret_key_ref=k8s.V1SecretKeySelector(name=reference.name, key=reference.key)
            ),
        )
        for name, reference in request.secret_env.items()
    ]


def _resources(request: PodRequest) -> k8s.V1ResourceRequirements:
    limits: dict[str, str] = {}
    if request.cpu:
        limits["cpu"] = request.cpu
    if request.memory:
        limits["memory"] = request.memory
    if request.gpus:
        limits[GPU_RESOURCE] = str(request.gpus)
    return k8s.V1ResourceRequirements(limits=limits, requests=dict(limits))


def _claimed(number: int, claim: str) -> k8s.V1Volume:
    source = k8s.V1PersistentVolumeClaimVolumeSource(claim_name=claim)
    return k8s.V1Volume(name=f"claim-{number}", persistent_volume_claim=source)


def _readiness(request: PodRequest) -> k8s.V1Probe | None:
    if request.ready_path is None:
        return None
    return k8s.V1Probe(
        http_get=k8s.V1HTTPGetAction(path=request.ready_path, port=request.port),
        period_seconds=1,
        timeout_seconds=2,
    )

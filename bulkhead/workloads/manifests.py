"""The objects of a server in a cluster, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from kubernetes import client as k8s

from bulkhead.errors import InvalidInputError
from bulkhead.ledger.tables import Revision
from bulkhead.pods.gpu import place
from bulkhead.pods.hardening import harden
from bulkhead.pods.identity import LABEL_PREFIX, MANAGED
from bulkhead.pods.serving_names import comparer_name, server_name
from bulkhead.pods.spec import PodRequest, build
from bulkhead.runtimes.kubernetes.objects import (
    DISRUPTION_BUDGET,
    SERVICE,
    Document,
    Kind,
)
from bulkhead.workloads import workload_kinds
from bulkhead.workloads.base import STATISTICS
from bulkhead.workloads.serving import ServeSpec
from bulkhead.workloads.workload_kinds import SERVES, Pods, WorkloadKind

REVISION = LABEL_PREFIX + "revision"
"""Label of everything that is a revision's, for as long as it exists."""

PORT = LABEL_PREFIX + "port"
STATISTICS_PATH = LABEL_PREFIX + "statistics"
"""Annotations of a workload: where its server listens, and says what its model answered."""

_COMPARER_PORT = 8080
_GRACE_S = 30


def server(
    namespace: str,
    revision: Revision,
    serve: ServeSpec,
    env: Mapping[str, str],
    secret_env: Mapping[str, tuple[str, str]],
) -> list[tuple[Kind, Document]]:
    """What serves a revision.

    Args:
        env: plain variables of every server.
        secret_env: variables of every server from Secrets.

    Returns:
        Objects with their kinds, in the order in which they are to be written.

    Raises:
        InvalidInputError: names a field of ``serve`` that cannot be.
    """
    uri, port = revision.model_uri, serve.port
    default = ["python", "-m", "bulkhead.gpu_tasks.serve", "--model-uri", uri, "--host", "0.0.0.0", "--port", str(port)]
    relaxed = serve.relaxations
    pod = build(
        PodRequest(
            name=server_name(revision.id),
            image=revision.image,
            command=serve.argv(default, port, uri),
            gpus=serve.gpus,
            cpu=serve.cpu,
            memory=serve.memory,
            env={**env, **serve.env},
            secret_env=serve.secrets(secret_env),
            deadline_s=None,
            grace_s=serve.drain_s + _GRACE_S,
            port=port,
            ready_path=serve.ready_path,
            namespace=namespace,
        ),
        relaxed,
    )
    if serve.gpu:
        place(pod, serve.gpu_request)
    pod = harden(_overlaid(pod, serve), relaxed)
    _watch_over(pod.spec.containers[0], serve)
    ours = not serve.command and "model" not in (serve.kserve or {})
    statistics = serve.statistics_path or (STATISTICS if ours else "")
    owner = _Owner(server_name(revision.id), revision.id, revision.service, revision.id)
    pods = Pods(_labels(owner), owner.serves, _plain(pod.spec), serve.replicas)
    if serve.kserve is not None:
        workload = workload_kinds.inference_service(pods, serve.kserve, uri)
    elif serve.hosts > 1:
        workload = workload_kinds.leader_worker_set(pods, serve.hosts, serve.worker_argv(port, uri))
    else:
        workload = workload_kinds.deployment(pods, serve.startup_s)
    return _objects(owner, workload, port, {PORT: str(port), STATISTICS_PATH: statistics})


def check(serve: ServeSpec) -> None:
    """Refuse what cannot be made of how a revision is to be served.

    Raises:
        InvalidInputError: see ``server``.
    """
    sample = Revision(id="sample-00000000", service="sample", model_uri="models:/sample/1", image="sample")
    try:
        server("default", sample, serve, {}, {})
    except InvalidInputError as wrong:
        if wrong.field.startswith("serve."):
            raise
        raise InvalidInputError(f"serve.{wrong.field}", wrong.value, wrong.remedy) from wrong


def comparer(namespace: str, service: str, candidate: str, sides: list[str], image: str) -> list[tuple[Kind, Document]]:
    """The comparer of a candidate's answers with stable's.

    Args:
        sides: HOST:PORT of candidate and stable.
        image: with Bulkhead.

    Returns:
        As ``server``.
    """
    asked = [f"--candidate={sides[0]}", f"--stable={sides[1]}", "--host=0.0.0.0", f"--port={_COMPARER_PORT}"]
    pod = build(
        PodRequest(
            name=comparer_name(candidate),
            image=image,
            command=["python", "-m", "bulkhead.gpu_tasks.compare", *asked],
            deadline_s=None,
            grace_s=5,
            port=_COMPARER_PORT,
            ready_path="/ping",
            namespace=namespace,
        )
    )
    pod.spec.restart_policy = "Always"
    owner = _Owner(comparer_name(candidate), candidate, service, comparer_name(candidate))
    workload = workload_kinds.deployment(Pods(_labels(owner), owner.serves, _plain(pod.spec), 1), 60)
    return _objects(owner, workload, _COMPARER_PORT, {PORT: str(_COMPARER_PORT), STATISTICS_PATH: STATISTICS})


def no_network(revision_id: str) -> Document:
    """A NetworkPolicy that lets a revision's pods reach nothing, and nothing reach them."""
    spec = {"podSelector": {"matchLabels": {REVISION: revision_id}}, "policyTypes": ["Ingress", "Egress"]}
    return {"metadata": {"name": f"isolate-{revision_id}", "labels": {REVISION: revision_id}}, "spec": spec}


class _Owner(NamedTuple):
    """Whose objects: their name, the revision, the service, and the value by which a Service finds its pods."""

    name: str
    revision: str
    service: str
    serves: str


def _labels(owner: _Owner) -> dict[str, str]:
    return {MANAGED: "true", REVISION: owner.revision, LABEL_PREFIX + "service": owner.service}


def _objects(owner: _Owner, workload: WorkloadKind, port: int, notes: Mapping[str, str]) -> list[tuple[Kind, Document]]:
    found_by = {SERVES: owner.serves}
    metadata = {"name": owner.name, "labels": _labels(owner)}
    keeps: Document = {
        "name": workload_kinds.name_of(workload.kind, owner.name, owner.revision),
        "labels": {**_labels(owner), **workload.labels},
        "annotations": {**workload.annotations, **notes},
    }
    ports = [{"name": "http", "port": port, "targetPort": port, "protocol": "TCP"}]
    budget = {"maxUnavailable": 1, "selector": {"matchLabels": found_by}}
    return [
        (workload.kind, {"metadata": keeps, "spec": workload.spec}),
        (SERVICE, {"metadata": metadata, "spec": {"selector": found_by, "ports": ports}}),
        (DISRUPTION_BUDGET, {"metadata": metadata, "spec": budget}),
    ]


def _watch_over(container: k8s.V1Container, serve: ServeSpec) -> None:
    """A long time to load the model, but a short one to notice; time for routers to turn away before the end."""
    asked = k8s.V1HTTPGetAction(path=serve.ready_path, port=serve.port)
    container.startup_probe = container.startup_probe or k8s.V1Probe(
        http_get=asked, period_seconds=1, timeout_seconds=2, failure_threshold=serve.startup_s
    )
    if container.lifecycle is None and serve.drain_s:
        sleep = k8s.V1LifecycleHandler(sleep=k8s.V1SleepAction(seconds=serve.drain_s))
        container.lifecycle = k8s.V1Lifecycle(pre_stop=sleep)


class _Response(NamedTuple):
    """What the generated client reads JSON from."""

    data: str


def _overlaid(pod: k8s.V1Pod, serve: ServeSpec) -> k8s.V1Pod:
    """The pod with what its author lays over it."""
    spec = _laid_over(_plain(pod.spec), dict(serve.pod))
    spec["restartPolicy"] = "Always"
    try:
        made: k8s.V1Pod = k8s.ApiClient().deserialize(_Response(json.dumps({"spec": spec})), "V1Pod")
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInputError("serve.pod", dict(serve.pod), f"give part of a v1.PodSpec: {error}") from error
    unknown = sorted(_lost(spec, _plain(made.spec), "serve.pod"))
    if unknown:
        raise InvalidInputError(unknown[0], dict(serve.pod), "a v1.PodSpec has no such field")
    return made


def _laid_over(below: Any, above: Any) -> Any:
    """Mappings are merged; lists of named things by name, other lists replaced."""
    if isinstance(below, dict) and isinstance(above, Mapping):
        return {**below, **{key: _laid_over(below.get(key), value) for key, value in above.items()}}
    named = isinstance(above, list) and all(isinstance(entry, Mapping) and "name" in entry for entry in above)
    if isinstance(below, list) and named and all(isinstance(entry, dict) and "name" in entry for entry in below):
        merged = {entry["name"]: entry for entry in below}
        for entry in above:
            merged[entry["name"]] = _laid_over(merged.get(entry["name"]), entry)
        return list(merged.values())
    return above


def _lost(given: Any, kept: Any, where: str) -> list[str]:
    """Fields that the generated client did not know, and dropped."""
    if isinstance(given, Mapping) and isinstance(kept, Mapping):
        gone = [f"{where}.{key}" for key, value in given.items() if key not in kept and value not in (None, {}, [])]
        return gone + [lost for key in given if key in kept for lost in _lost(given[key], kept[key], f"{where}.{key}")]
    if isinstance(given, list) and isinstance(kept, list):
        pairs = enumerate(zip(given, kept, strict=False))
        return [lost for index, (old, other) in pairs for lost in _lost(old, other, f"{where}[{index}]")]
    return []


def _plain(model: Any) -> Any:
    return k8s.ApiClient().sanitize_for_serialization(model)

"""Who keeps a revision's pods in a cluster: a Deployment, KServe, or a LeaderWorkerSet if a replica has several hosts.

Sources: LeaderWorkerSet's API ``leaderworkerset.x-k8s.io/v1``; KServe's ``serving.kserve.io/v1beta1`` and how its
controller names and labels what it makes in "standard" mode (``reconcilers/raw``, ``components/predictor.go``).

KServe's own canary (``canaryTrafficPercent``) is not used: at 100 % the candidate becomes the revision that 0 % returns
to, so a rollback during the bake would not be one write. Each revision is an InferenceService of its own, written once,
and the route in front of them splits the traffic; KServe then has nothing to roll out, and nothing to roll back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bulkhead.pods.identity import LABEL_PREFIX
from bulkhead.pods.status import PodPhase, PodStatus
from bulkhead.runtimes.kubernetes.objects import DEPLOYMENT, Document, Kind

LEADER_WORKER_SET = Kind("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "leaderworkersets")
INFERENCE_SERVICE = Kind("serving.kserve.io/v1beta1", "InferenceService", "inferenceservices")

WORKLOAD_KINDS = (DEPLOYMENT, LEADER_WORKER_SET, INFERENCE_SERVICE)
"""Kinds of workload_kinds, the usual one first."""

SERVES = LABEL_PREFIX + "serves"
"""Label by which a Service knows its pods, and a Deployment its own: taking it away makes them let go."""

GROUP = "leaderworkerset.sigs.k8s.io/name"
"""Label of everything that a LeaderWorkerSet of that name has made."""

_CONTAINER = "kserve-container"
_MODE = {"serving.kserve.io/deploymentMode": "RawDeployment"}  # "Standard" since 0.16, which still takes the older word
_UNSEEN = {"networking.kserve.io/visibility": "cluster-local"}  # the route in front is ours: no second way in


class Pods(NamedTuple):
    """What is to be kept.

    Attributes:
        labels: of every pod.
        serves: value of the label ``SERVES`` of those that answer requests.
        spec: a ``v1.PodSpec`` in its JSON form; its first container is the server.
        replicas: how many; None leaves it to an autoscaler.
    """

    labels: Mapping[str, str]
    serves: str
    spec: Document
    replicas: int | None


class WorkloadKind(NamedTuple):
    """A workload to be written.

    Attributes:
        kind: of it.
        spec: its spec.
        labels: of its own, beside those of all objects.
        annotations: of its own.
    """

    kind: Kind
    spec: Document
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}


def name_of(kind: Kind, server: str, revision_id: str | None) -> str:
    """Name of a revision's workload.

    LeaderWorkerSet and KServe make a Service of their own name: theirs must not be the one that is ours.

    Args:
        server: name of the revision's Service.
        revision_id: that it serves; None for a comparer.
    """
    return server if kind == DEPLOYMENT or revision_id is None else revision_id


def deployment(pods: Pods, startup_s: int) -> WorkloadKind:
    """A Deployment.

    Args:
        startup_s: how long one may take to load its model, in seconds.
    """
    found_by = {SERVES: pods.serves}
    spec: Document = {
        "selector": {"matchLabels": found_by},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "progressDeadlineSeconds": startup_s,
        "revisionHistoryLimit": 1,
        "template": {"metadata": {"labels": {**pods.labels, **found_by}}, "spec": pods.spec},
        **_counted("replicas", pods.replicas),
    }
    return WorkloadKind(DEPLOYMENT, spec)


def leader_worker_set(pods: Pods, hosts: int, worker_command: list[str]) -> WorkloadKind:
    """A LeaderWorkerSet: each replica is a leader, which answers, and workers, which it reaches by their names.

    Args:
        hosts: pods of a replica, the leader among them.
        worker_command: argv of the workers.
    """
    server, *beside = pods.spec["containers"]
    silent = {key: value for key, value in server.items() if key not in ("ports", "readinessProbe", "startupProbe")}
    worker = {**pods.spec, "containers": [{**silent, "command": worker_command}, *beside]}
    spec: Document = {
        "leaderWorkerTemplate": {
            "size": hosts,
            "restartPolicy": "RecreateGroupOnPodRestart",  # half a group answers nothing
            "leaderTemplate": {"metadata": {"labels": {**pods.labels, SERVES: pods.serves}}, "spec": pods.spec},
            "workerTemplate": {"metadata": {"labels": dict(pods.labels)}, "spec": worker},
        },
        **_counted("replicas", pods.replicas),
    }
    return WorkloadKind(LEADER_WORKER_SET, spec)


def inference_service(pods: Pods, asked: Mapping[str, Any], model_uri: str) -> WorkloadKind:
    """KServe's InferenceService in standard mode: our own server, or a model format that a ServingRuntime knows.

    Args:
        asked: part of its ``predictor``, laid over what is made here. With ``model`` the runtime's container serves,
            with the resources and variables of ours.
        model_uri: fills ``{model_uri}`` in ``storageUri``.
    """
    server, *beside = pods.spec["containers"]
    predictor: Document = {**pods.spec, "labels": {**pods.labels, SERVES: pods.serves}}
    predictor.update(_counted("minReplicas", pods.replicas), **_counted("maxReplicas", pods.replicas))
    if "model" in asked:
        del predictor["containers"]
        model = {key: server[key] for key in ("env", "resources") if key in server} | dict(asked["model"])
        if "storageUri" in model:
            model["storageUri"] = model["storageUri"].format(model_uri=model_uri)
        predictor |= {**asked, "model": model, **({"containers": beside} if beside else {})}
    else:
        predictor |= {**asked, "containers": [{**server, "name": _CONTAINER}, *beside]}
    return WorkloadKind(INFERENCE_SERVICE, {"predictor": predictor}, _UNSEEN, _MODE)


def status(kind: Kind, workload: Mapping[str, Any]) -> PodStatus:
    """A workload's pods taken together.

    Args:
        workload: as the API server has it.

    Returns:
        Ready once all pods of the newest spec are.
    """
    state, metadata = workload.get("status") or {}, workload["metadata"]
    conditions = {stated["type"]: stated for stated in state.get("conditions", [])}
    if kind == INFERENCE_SERVICE:  # its observedGeneration is its Deployment's: no measure of its own
        predictor = conditions.get("PredictorReady", {})
        last = (state.get("modelStatus") or {}).get("lastFailureInfo") or {}
        message = last.get("message") or predictor.get("message", "")
        phase = PodPhase.RUNNING if conditions else PodPhase.PENDING
        return PodStatus(phase, ready=predictor.get("status") == "True", message=message)
    # LeaderWorkerSet says it in newer versions alone; where it says nothing, what it says of its groups has to do.
    said = metadata.get("generation", 0) if kind == LEADER_WORKER_SET else 0
    seen = state.get("observedGeneration", said) >= metadata.get("generation", 0)
    replicas = workload["spec"].get("replicas", 1)
    up = state.get("readyReplicas" if kind == LEADER_WORKER_SET else "availableReplicas", 0)
    ready = bool(seen and replicas and up >= replicas and state.get("updatedReplicas", 0) >= replicas)
    message = next(
        (condition.get("message", "") for condition in conditions.values() if condition["status"] == "False"), ""
    )
    return PodStatus(PodPhase.RUNNING if state.get("replicas") else PodPhase.PENDING, ready=ready, message=message)


def answers(kind: Kind, workload: Mapping[str, Any]) -> bool:
    """Whether anything of it answers requests, though not all of it may.

    Args:
        workload: as the API server has it.
    """
    reported = workload.get("status") or {}
    up = {DEPLOYMENT: "availableReplicas", LEADER_WORKER_SET: "readyReplicas"}.get(kind)
    return bool(reported.get(up)) if up else status(kind, workload).ready


def labels(kind: Kind, workload: Mapping[str, Any]) -> dict[str, str]:
    """Labels that find a workload's pods, and no others.

    Args:
        workload: as the API server has it.
    """
    if kind == LEADER_WORKER_SET:
        return {GROUP: workload["metadata"]["name"]}
    if kind == INFERENCE_SERVICE:
        return {SERVES: workload["spec"]["predictor"]["labels"][SERVES]}
    return dict(workload["spec"]["selector"]["matchLabels"])


def _counted(field: str, replicas: int | None) -> Document:
    return {} if replicas is None else {field: replicas}

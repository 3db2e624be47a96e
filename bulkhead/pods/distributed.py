"""A distributed training job: N nodes x M processes that find each other, start together and end together.

Sources: torchrun's documentation (``MASTER_ADDR``, ``MASTER_PORT``, ``--node-rank``); the Kubernetes documentation on
Jobs ("Pod-to-Pod communication", "Pod failure policy", "Backoff limit per index"), the JobSet API v1alpha2.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from kubernetes import client as k8s

from bulkhead import arguments
from bulkhead.pods.identity import LABEL_PREFIX

GANG = LABEL_PREFIX + "gang"
"""Label that the pods of one job share; its value is the job's name."""

INDEX = "batch.kubernetes.io/job-completion-index"
"""Label and annotation that the Job controller gives to each pod: its node rank."""

NODE_RANK = "NODE_RANK"
QUEUE = "kueue.x-k8s.io/queue-name"
_REPLICA = "node"


@dataclass(frozen=True)
class Gang:
    """The size of a job.

    Attributes:
        nodes: pods; at least 1.
        processes: of each pod, one a GPU as a rule; at least 1.
        port: at which rank 0 waits for the others.
    """

    nodes: int
    processes: int = 1
    port: int = 29500

    def __post_init__(self) -> None:
        arguments.whole("nodes", self.nodes, 1)
        arguments.whole("processes_per_node", self.processes, 1)
        arguments.whole("master_port", self.port, 1024, 65535)  # the pod is not root

    @property
    def world_size(self) -> int:
        """Processes in all."""
        return self.nodes * self.processes

    def environment(self, master: str) -> dict[str, str]:
        """What every process is told, but its node's rank.

        Args:
            master: address of the first node.
        """
        return {
            "MASTER_ADDR": master,
            "MASTER_PORT": str(self.port),
            "NNODES": str(self.nodes),
            "NPROC_PER_NODE": str(self.processes),
            "WORLD_SIZE": str(self.world_size),
        }


TORCHRUN = (
    "torchrun",
    "--nnodes=$(NNODES)",
    "--nproc-per-node=$(NPROC_PER_NODE)",
    "--node-rank=$(NODE_RANK)",
    "--master-addr=$(MASTER_ADDR)",
    "--master-port=$(MASTER_PORT)",
    "--max-restarts=0",
)
"""The command of a node, to be followed by the program. A restart is everybody's, so none happens inside a node."""


def job(pod: k8s.V1Pod, gang: Gang, queue: str | None) -> dict[str, Any]:
    """An Indexed Job of such pods. One that fails ends all: what is left could only wait for it.

    Args:
        pod: of one node; is not changed.
        queue: Kueue's local queue; the job is then suspended until Kueue admits all of its pods at once.

    Returns:
        The Job in its JSON form.
    """
    name = pod.metadata.name
    document = _shell("batch/v1", "Job", pod, queue)
    document["spec"] = {**_job_spec(pod, gang, f"{name}-0.{name}", name), **_suspended(queue)}
    return document


def jobset(pod: k8s.V1Pod, gang: Gang, queue: str | None) -> dict[str, Any]:
    """The same as a JobSet, whose controller keeps the network names.

    Args:
        pod: of one node; is not changed.
        queue: see ``job``.

    Returns:
        The JobSet in its JSON form.
    """
    name = pod.metadata.name
    spec = _job_spec(pod, gang, f"{name}-{_REPLICA}-0-0.{name}", None)
    document = _shell("jobset.x-k8s.io/v1alpha2", "JobSet", pod, queue)
    document["spec"] = {
        **_suspended(queue),
        "network": {"enableDNSHostnames": True},
        "failurePolicy": {"maxRestarts": 0},
        "replicatedJobs": [{"name": _REPLICA, "replicas": 1, "template": {"spec": spec}}],
    }
    return document


def service(document: dict[str, Any], gang: Gang) -> k8s.V1Service:
    """The headless Service that gives the nodes of a Job their names; it goes with the Job.

    Args:
        document: the Job as the API server returned it.
    """
    metadata = document["metadata"]
    owner = k8s.V1OwnerReference(
        api_version=document["apiVersion"], kind=document["kind"], name=metadata["name"], uid=metadata["uid"]
    )
    return k8s.V1Service(
        metadata=k8s.V1ObjectMeta(
            name=metadata["name"],
            namespace=metadata["namespace"],
            labels=metadata.get("labels"),
            owner_references=[owner],
        ),
        spec=k8s.V1ServiceSpec(
            cluster_ip="None",
            selector={GANG: metadata["name"]},
            ports=[k8s.V1ServicePort(name="rendezvous", port=gang.port)],
            publish_not_ready_addresses=True,
        ),
    )


def _shell(version: str, kind: str, pod: k8s.V1Pod, queue: str | None) -> dict[str, Any]:
    labels = {**pod.metadata.labels, **({QUEUE: queue} if queue else {})}
    metadata = {"name": pod.metadata.name, "namespace": pod.metadata.namespace, "labels": labels}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _suspended(queue: str | None) -> dict[str, Any]:
    return {"suspend": True} if queue else {}


def _job_spec(pod: k8s.V1Pod, gang: Gang, master: str, subdomain: str | None) -> dict[str, Any]:
    template = deepcopy(pod)
    container = template.spec.containers[0]
    job_env = [k8s.V1EnvVar(name=name, value=value) for name, value in gang.environment(master).items()]
    rank = k8s.V1EnvVarSource(field_ref=k8s.V1ObjectFieldSelector(field_path=f"metadata.labels['{INDEX}']"))
    container.env = [*job_env, k8s.V1EnvVar(name=NODE_RANK, value_from=rank), *(container.env or [])]
    template.spec.subdomain, template.spec.restart_policy = subdomain, "Never"
    labels = {key: value for key, value in template.metadata.labels.items() if key != QUEUE}  # it is the job's
    template.metadata = k8s.V1ObjectMeta(
        labels={**labels, GANG: pod.metadata.name}, annotations=pod.metadata.annotations
    )
    document: dict[str, Any] = k8s.ApiClient().sanitize_for_serialization(template)
    return {
        "completionMode": "Indexed",
        "completions": gang.nodes,
        "parallelism": gang.nodes,
        # No index is tried again by itself, and the first that fails ends the job: what to do next is decided by
        # why it failed, in the operator.
        "backoffLimitPerIndex": 0,
        "maxFailedIndexes": 0,
        "podFailurePolicy": {"rules": [_fail_on_disruption(), _fail_on_exit(container.name)]},
        "podReplacementPolicy": "Failed",
        "template": {"metadata": document["metadata"], "spec": document["spec"]},
    }


def _fail_on_disruption() -> dict[str, Any]:
    return {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def _fail_on_exit(container: str) -> dict[str, Any]:
    return {
        "action": "FailJob",
        "onExitCodes": {"containerName": container, "operator": "NotIn", "values": [0]},
    }

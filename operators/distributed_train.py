"""Distributed training: N nodes x M GPUs that start and end together, and fail with the rank that was the cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kubernetes import client as k8s

from bulkhead import arguments
from bulkhead.errors import InvalidInputError
from bulkhead.operators.clusters import access_of
from bulkhead.operators.gpu_pod import GpuPodOperator
from bulkhead.operators.identity import identity
from bulkhead.operators.launches import mark_gone
from bulkhead.operators.retry import fill_in
from bulkhead.operators.training import launcher
from bulkhead.operators.triggers.kubernetes_gang import KubernetesGangTrigger
from bulkhead.operators.triggers.pod_logs import started
from bulkhead.pods import distributed
from bulkhead.pods.distributed import TORCHRUN, Gang
from bulkhead.pods.exceptions import error
from bulkhead.pods.failure import classify
from bulkhead.pods.outcome import Failure, FailureClass
from bulkhead.pods.ranks import Cause, cause, rank
from bulkhead.pods.status import of_task
from bulkhead.runtimes.kubernetes import jobs
from bulkhead.runtimes.kubernetes.pods import events

if TYPE_CHECKING:
    from airflow.sdk import Context

_BACKENDS = {"job": "Job", "jobset": "JobSet"}


class DistributedTrainOperator(GpuPodOperator):
    """Trains on several nodes: an Indexed Job with a headless Service, or a JobSet.

    Every process is told ``MASTER_ADDR``, ``MASTER_PORT``, ``WORLD_SIZE``, ``NNODES``, ``NPROC_PER_NODE`` and
    ``NODE_RANK``. Without ``cmds`` the command is ``torchrun`` with these, followed by ``arguments``. The first rank
    that fails ends the job; its failure, with its rank and node, is the task's, and the next try is everybody's.

    Args:
        nodes: pods.
        processes_per_node: by default one a GPU, at least one.
        backend: ``job``, or ``jobset`` where the cluster has JobSet.
        master_port: at which rank 0 waits for the others.
        restarts: on one node: how often ranks that are killed or hang are restarted within a try, by
            ``bulkhead.gpu_tasks.launch`` in place of ``torchrun``; the image must have it.
        kwargs: of ``GpuPodOperator``; ``gpus`` are those of each node. With ``kueue_queue`` the job is suspended until
            Kueue admits all of its pods at once.

    Raises:
        InvalidInputError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        nodes: int,
        processes_per_node: int | None = None,
        backend: str = "job",
        master_port: int = 29500,
        restarts: int = 0,
        **kwargs: Any,
    ) -> None:
        arguments.choice("backend", backend, _BACKENDS)
        fill_in(kwargs, "cmds", list(TORCHRUN))
        super().__init__(**kwargs)
        self.kind = _BACKENDS[backend]
        processes = max(1, self.gpu_request.count) if processes_per_node is None else processes_per_node
        self.gang = Gang(nodes, processes, master_port)
        if restarts:
            if self.cmds != list(TORCHRUN):
                raise InvalidInputError("restarts", restarts, "leave cmds out: what restarts ranks has to start them")
            self.cmds = list(launcher(self.gang, restarts))

    def _earlier(self, wanted: k8s.V1Pod, context: Context) -> dict[str, Any] | None:
        if context["ti"].try_number <= 1:
            return None
        own = identity(context).labels()
        return jobs.find_unfailed(self.client.api_client, self.kind, wanted.metadata.namespace, own)

    def _create(self, wanted: k8s.V1Pod, context: Context) -> dict[str, Any]:
        self._ensure_claims(wanted)
        build = distributed.job if self.kind == "Job" else distributed.jobset
        document = build(wanted, self.gang, self.kueue_queue)
        api = self.client.api_client
        made, created = jobs.create_or_adopt(api, document, identity(context).labels())
        if self.kind == "Job":
            jobs.create_service(api, distributed.service(made, self.gang))
        verb = "created" if created else "adopted"
        self.log.info("%s %s %s of %d nodes", verb, self.kind, made["metadata"]["name"], self.gang.nodes)
        return {**made, "limit": self._limit(wanted)}

    def _wait(self, found: dict[str, Any], context: Context) -> Any:
        name, namespace = found["metadata"]["name"], found["metadata"]["namespace"]
        self._log_location(context, name, namespace)
        trigger = KubernetesGangTrigger(
            name,
            namespace,
            access_of(self),
            self.startup_timeout_seconds,
            self.gang.nodes,
            self.kind,
            bool(self.kueue_queue),
            self.stream_logs,
        )
        # A queue may hold it for as long as it likes: only the pods themselves have a deadline then.
        limit = None if self.kueue_queue else found.get("limit")
        self.defer(trigger=trigger, method_name="resume", timeout=limit)

    def resume(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Read how the job ended, from the states that the trigger brought along.

        Returns:
            The result of the outcome of node rank 0.

        Raises:
            PodFailedError: it failed; a type for each class of failure, of the rank that failed first.
        """
        name, namespace = event["name"], event["namespace"]
        if event["why"] == "refused":
            raise error(name, Failure(failure_class=FailureClass.CONFIG, kind="access", message=event["text"]))
        pods = {rank(pod): pod for pod in event["pods"]}
        found = cause(event["pods"])
        self._print_what_matters(pods, found, namespace, event.get("logs") or {})
        failed = found is not None or event["why"] != "ended"
        if what := self._clean_up(name, namespace, failed):
            mark_gone(self.bulkhead_conn_id, access_of(self), namespace, name, what)
        if found is not None:
            raise error(name, self._named(found), found.node)
        if event["why"] != "ended":
            raise error(name, self._not_started(event))
        return dict(of_task(pods[0]).outcome.result)

    def _print_what_matters(
        self, pods: Mapping[int, Any], found: Cause | None, namespace: str, read: Mapping[str, Any]
    ) -> None:
        """The log of node rank 0, and of the rank that was the cause."""
        if not self.get_logs:
            return
        for number in dict.fromkeys((0, *([found.node_rank] if found else []))):
            if number in pods:
                followed = read if number == 0 else {}
                self._print_logs(pods[number]["metadata"]["name"], namespace, started(pods[number]), followed)

    def _named(self, found: Cause) -> Failure:
        victims = f"; node ranks {', '.join(map(str, found.victims))} failed after it" if found.victims else ""
        where = f"node rank {found.node_rank} of {self.gang.nodes} (pod {found.pod}) failed first{victims}"
        return found.failure.model_copy(update={"message": f"{where}: {found.failure.message}"})

    def _not_started(self, event: Mapping[str, Any]) -> Failure:
        for pod in event["pods"]:
            failure = classify(pod, events(self.client, pod["metadata"]["name"], event["namespace"]))
            if failure is not None:
                return failure
        if event["why"] == "gone":
            return Failure(failure_class=FailureClass.NODE_LOST, kind="gone", message=event["text"])
        return Failure(failure_class=FailureClass.UNSCHEDULABLE, kind="late", message=event["text"])

    def _delete(self, name: str, namespace: str) -> None:
        jobs.delete(self.client.api_client, self.kind, name, namespace)

"""Distributed training on this machine: each node a pod of the local runtime, all of them found by the same names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bulkhead import arguments
from bulkhead.errors import BulkheadError, InvalidInputError, NotFoundError
from bulkhead.operators.ends import PlainError, refused
from bulkhead.operators.hooks import LocalRuntimeHook
from bulkhead.operators.identity import identity
from bulkhead.operators.launches import end, mark_gone, record
from bulkhead.operators.local_pod import LocalPodOperator, access
from bulkhead.operators.training import launcher
from bulkhead.operators.triggers.local_gang import LocalGangTrigger, documents, end_nodes, node_names
from bulkhead.pods.distributed import GANG, INDEX, NODE_RANK, TORCHRUN, Gang
from bulkhead.pods.exceptions import error
from bulkhead.pods.ranks import JobState, cause, job_state
from bulkhead.pods.spec import build
from bulkhead.pods.status import parse
from bulkhead.runtimes.local.ports import free_port
from bulkhead.runtimes.local.runtime import LocalRuntime

if TYPE_CHECKING:
    from airflow.sdk import Context

_KIND = "Gang"


class LocalDistributedTrainOperator(LocalPodOperator):
    """What ``DistributedTrainOperator`` does on Kubernetes, as processes of the worker's machine.

    Args:
        command: without ``torchrun=False``: the program and its arguments, started by ``torchrun`` on each node.
        nodes: pods.
        processes_per_node: by default one a GPU, at least one.
        torchrun: whether ``torchrun`` starts the program; else ``command`` is run as it is.
        restarts: on one node: how often ranks that are killed or hang are restarted within a try, by
            ``bulkhead.gpu_tasks.launch`` in place of ``torchrun``.
        kwargs: of ``LocalPodOperator``; ``gpus``, ``cpu`` and ``memory`` are those of each node.

    Raises:
        InvalidInputError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        command: Sequence[str],
        nodes: int,
        processes_per_node: int | None = None,
        torchrun: bool = True,
        restarts: int = 0,
        **kwargs: Any,
    ) -> None:
        arguments.switch("torchrun", torchrun)
        super().__init__(command=command, **kwargs)
        processes = max(1, self.gpus) if processes_per_node is None else processes_per_node
        self.nodes, self.gang = nodes, Gang(nodes, processes)
        if restarts and not torchrun:
            raise InvalidInputError("restarts", restarts, "leave torchrun=False out: what restarts ranks starts them")
        if restarts:
            self.command = [*launcher(self.gang, restarts), *command]
        elif torchrun:
            self.command = [*TORCHRUN, *command]

    def launch(self, context: Context, event: Mapping[str, Any] | None = None) -> Any:
        """Launch all nodes, or find them, and defer.

        Args:
            event: healthy devices that were waited for, or None.

        Returns:
            The result of node rank 0, where the job had succeeded already.
        """
        runtime = LocalRuntimeHook(self.local_conn_id).runtime()
        name = self._own_gang(runtime, context)
        if name is None:
            name = identity(context).pod_name(context["ti"].try_number)
            self._launch(runtime, name, context)
        self._launched = (runtime, name)
        if self._job_state(runtime, name) in (JobState.SUCCEEDED, JobState.FAILED):
            return self.resume(context, {"name": name, "namespace": "default"})
        trigger = LocalGangTrigger(str(runtime.layout.root), name, self.nodes)
        self.defer(trigger=trigger, method_name="resume", timeout=self.deadline + timedelta(minutes=5))
        return None

    def resume(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Read how the job ended; end what is left of it.

        Args:
            event: of the trigger: name of the job.

        Returns:
            The result of the outcome of node rank 0.

        Raises:
            PodFailedError: it failed; a type for each class of failure, of the rank that failed first.
            AirflowException: it is gone.
        """
        runtime, name = LocalRuntimeHook(self.local_conn_id).runtime(), event["name"]
        try:
            pods = documents(runtime, name, self.nodes)
        except NotFoundError as gone:
            raise PlainError(f"job {name} is gone: it was deleted ({gone})") from gone
        failed = cause(pods)
        end_nodes(runtime, name, self.nodes, "another rank of its job failed")
        mark_gone(self.bulkhead_conn_id, access(runtime), "default", name, "ended")
        for number in dict.fromkeys((0, *([failed.node_rank] if failed else []))):
            self.log.info("log of node rank %d:\n%s", number, runtime.read_log(node_names(name, self.nodes)[number]))
        if failed is not None:
            message = f"node rank {failed.node_rank} of {self.nodes} failed first: {failed.failure.message}"
            raise error(name, failed.failure.model_copy(update={"message": message}), failed.node)
        return dict(parse(pods[0]["status"]).outcome.result)

    def on_kill(self) -> None:
        """The task process was told to end: take all nodes down."""
        if self._launched is not None:
            runtime, name = self._launched
            end_nodes(runtime, name, self.nodes, "its task was killed")

    def _launch(self, runtime: LocalRuntime, name: str, context: Context) -> None:
        environment = replace(self.gang, port=free_port()).environment("127.0.0.1")
        try:
            request = self._request(name, context)
        except InvalidInputError as wrong:
            raise refused(wrong) from wrong
        for before in record(self.bulkhead_conn_id, context, access(runtime), "default", name, kind=_KIND):
            end(self.bulkhead_conn_id, before)
        try:
            for rank, node in enumerate(node_names(name, self.nodes)):
                variables = {**environment, NODE_RANK: str(rank), **request.env}
                labels = {**request.labels, GANG: name, INDEX: str(rank)}
                runtime.launch(build(replace(request, name=node, env=variables, labels=labels)))
        except BulkheadError as wrong:  # all or nothing
            end_nodes(runtime, name, self.nodes, f"another node could not be launched: {wrong}")
            if isinstance(wrong, InvalidInputError):
                raise refused(wrong) from wrong
            raise
        self.log.info("launched %d nodes of %s: %s", self.nodes, name, " ".join(self.command))

    def _own_gang(self, runtime: LocalRuntime, context: Context) -> str | None:
        """A job of the same clear number that is worth waiting for, or that has succeeded."""
        for metadata in runtime.list({**identity(context).labels(), INDEX: "0"}):
            name = str(metadata.labels[GANG])
            if self._job_state(runtime, name) in (JobState.WAITING, JobState.SUCCEEDED):
                self.log.info("found job %s of an earlier try", name)
                return name
        return None

    def _job_state(self, runtime: LocalRuntime, name: str) -> JobState:
        try:
            return job_state(documents(runtime, name, self.nodes), self.nodes)
        except NotFoundError:  # a launcher died half-way through
            return JobState.FAILED

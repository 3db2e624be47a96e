"""Base of operators that launch pods: launched once, found by a retry, waited for without a worker, read, cleaned up.

This is the only place that knows the order of these steps; where the pods run is a runtime's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException
from kubernetes import client as k8s

from bulkhead import arguments
from bulkhead.errors import BulkheadError, InvalidInputError
from bulkhead.operators import results, training
from bulkhead.operators.avoidance import elsewhere
from bulkhead.operators.ends import refused
from bulkhead.operators.gpu_arguments import check_own
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.identity import identity
from bulkhead.operators.launches import end, mark_gone, record
from bulkhead.operators.retry import default_policy, extend_retries
from bulkhead.operators.runtimes import AirflowRuntime, Waiting, gone_trigger
from bulkhead.operators.wait_for_devices import WaitForDevicesMixin
from bulkhead.pods.distributed import Gang
from bulkhead.pods.exceptions import PodFailedError, error
from bulkhead.pods.gpu_request import GpuRequest
from bulkhead.pods.outcome import Failure
from bulkhead.pods.policy import Changes
from bulkhead.pods.relaxations import Relaxations
from bulkhead.runtimes.base import POD, Launched, TaskWorkload

if TYPE_CHECKING:
    from airflow.sdk import Context

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_BACKENDS = {"job": "Job", "jobset": "JobSet"}
_OVERTIME = timedelta(minutes=5)
"""A pod ends itself at its deadline; after so much more its supervisor, or its node, is gone."""


class LaunchOperator(WaitForDevicesMixin):
    """Runs a pod, or such a pod on each node of a distributed job; defers until it ends; returns its result.

    A retry finds the pod of an earlier try: one that still runs is waited for, one that succeeded unwatched is used,
    one that failed is followed by a new one. A cleared task starts again.

    What a failure is followed by is decided by its class (``bulkhead.operators.retry.ContainmentRetryPolicy``, unless
    ``retry_policy`` says otherwise): the next try may have more memory, and is told in ``BULKHEAD_RESUME_FROM``
    which checkpoint to resume from.

    Args:
        gpus: whole GPUs, or slices where ``mig_profile`` is named; those of each node.
        device_class: ask for devices of this DeviceClass by a ResourceClaim, instead of ``nvidia.com/gpu``.
        device_selectors: CEL expressions that each such device has to satisfy.
        gpu_product: value of the node label ``nvidia.com/gpu.product``.
        gpu_memory_gib: least memory of each GPU, in GiB.
        mig_profile: for instance ``1g.10gb``.
        shared_memory: size of ``/dev/shm`` as a Kubernetes quantity.
        tolerate_spot: keys of the taints of spot nodes.
        kueue_queue: Kueue's local queue; a distributed job is suspended until all of its pods are admitted at once.
        require_digest: whether an image without a digest is an error; else it is a warning where images are pulled.
        relax: what the pod may do beyond the ``restricted`` Pod Security level.
        checkpoint: place for the checkpoints of all tasks: a folder on a volume that is mounted there, or a URL that
            fsspec knows in the pod (``s3://bucket/folder``); each task instance has its own below it, which the pod
            finds in ``BULKHEAD_CHECKPOINTS``; templated. None for none.
        resume: ``auto``: every try goes on from the newest checkpoint of its task instance, also after a clear;
            ``never``: each begins from zero.
        stream_logs: whether the logs of all containers go to the task's log while they run, where the runtime can;
            else, or beyond 256 pods at once, they are read at the end.
        nodes: pods. Of several, and wherever ``processes_per_node`` or ``restarts`` is given, each process is told
            ``MASTER_ADDR``, ``MASTER_PORT``, ``WORLD_SIZE``, ``NNODES``, ``NPROC_PER_NODE`` and ``NODE_RANK``; the
            first rank that fails ends the job, its failure is the task's, and the next try is everybody's.
        processes_per_node: by default one a GPU, at least one.
        restarts: on one node: how often ranks that are killed or hang are restarted within a try, by
            ``bulkhead.gpu_tasks.launch`` in place of ``torchrun``; the image must have it.
        backend: of a distributed job on Kubernetes: ``job``, or ``jobset`` where the cluster has JobSet.
        master_port: at which rank 0 waits for the others, on Kubernetes.
        bulkhead_conn_id: connection of type ``bulkhead``: the ledger, which knows every pod.
        kwargs: of ``WaitForDevicesMixin`` and ``BaseOperator``.

    Raises:
        InvalidInputError: an argument is wrong.
    """

    get_logs = True
    """Whether logs are shown at all."""

    keep = "never"
    """Whether a pod stays once it has finished: ``never``, ``failed`` or ``always``."""

    startup_timeout_seconds: int
    """A pod that is not running after so many seconds is given up."""

    termination_grace_period: int | None = None
    """Seconds between SIGTERM and SIGKILL when the task is killed; None for the pod's own."""

    skip_on_exit_code: Any = ()
    """Exit codes that mean to skip: what has ``in``."""

    def __init__(
        self,
        *,
        gpus: int = 1,
        device_class: str | None = None,
        device_selectors: Sequence[str] = (),
        gpu_product: str | None = None,
        gpu_memory_gib: int | None = None,
        mig_profile: str | None = None,
        shared_memory: str | None = None,
        tolerate_spot: Sequence[str] = (),
        kueue_queue: str | None = None,
        require_digest: bool = False,
        relax: Relaxations | None = None,
        checkpoint: str | None = None,
        resume: str = "auto",
        stream_logs: bool = True,
        nodes: int = 1,
        processes_per_node: int | None = None,
        restarts: int = 0,
        backend: str = "job",
        master_port: int = 29500,
        bulkhead_conn_id: str = BulkheadHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        lists = {"tolerate_spot": tolerate_spot, "device_selectors": device_selectors}
        check_own(relax, kueue_queue, {"stream_logs": stream_logs, "require_digest": require_digest}, lists)
        training.check(checkpoint, resume)
        arguments.choice("backend", backend, _BACKENDS)
        arguments.whole("restarts", restarts, 0)
        default_policy(kwargs)
        super().__init__(bulkhead_conn_id=bulkhead_conn_id, **kwargs)
        extend_retries(self)
        self.gpu_request = GpuRequest(
            gpus,
            gpu_product,
            gpu_memory_gib,
            mig_profile,
            shared_memory,
            tuple(tolerate_spot),
            device_class=device_class,
            device_selectors=tuple(device_selectors),
        )
        self.kueue_queue, self.require_digest, self.relax = kueue_queue, require_digest, relax or Relaxations()
        self.stream_logs = stream_logs and self.get_logs
        self.checkpoint, self.resume_mode = checkpoint, resume
        gang = Gang(nodes, max(1, gpus) if processes_per_node is None else processes_per_node, master_port)
        self.restarts = restarts
        self.gang = gang if nodes > 1 or processes_per_node is not None or restarts else None
        self.kind = POD if self.gang is None else _BACKENDS[backend]
        self._launched: tuple[AirflowRuntime, Launched] | None = None

    def runtime(self) -> AirflowRuntime:
        """Where the pods run.

        Raises:
            InvalidInputError: the connection is wrong.
        """
        raise NotImplementedError

    def pod_of(self, context: Context, runtime: AirflowRuntime) -> k8s.V1Pod:
        """The pod of each node, with its name and labels.

        Args:
            runtime: where it will run.

        Raises:
            InvalidInputError: it was asked for wrongly.
        """
        raise NotImplementedError

    def launch(self, context: Context, event: Mapping[str, Any] | None = None) -> Any:
        """Launch the pod, or find it, and defer.

        Args:
            event: healthy devices that were waited for, or None.

        Returns:
            The outcome's result, where the pod had ended already.

        Raises:
            AirflowFailException: the pod was asked for wrongly; nothing was created.
            PodFailedError: the runtime refused it.
        """
        return self._start(context, waits=True)

    def relaunch(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Launch, now that the pod of an earlier try is gone, or was given up."""
        if event["why"] == "late":
            self.log.warning("pod %s does not end: its node may be lost; going on without it", event["name"])
        return self._start(context, waits=event["why"] != "late")

    def resume(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Read how the pod or the job ended, from the states that the trigger brought along.

        Args:
            event: of the trigger.

        Returns:
            The result of its outcome; of a job that of node rank 0.

        Raises:
            PodFailedError: it failed; a type for each class of failure, of a job that of the rank that failed first.
        """
        runtime, name, namespace = self.runtime(), event["name"], event["namespace"]
        if self.gang is None:
            end = results.of_pod(event, runtime.events)
        else:
            end = results.of_job(event, runtime.events, self.gang.nodes)
        if self.get_logs:
            self._show(end.logs, namespace, runtime)
        if end.failure is None:
            # First, since what it needs may be away: then the pod stays, and the next try reads it again.
            result = self.completed(dict(end.result), context)
            self._clean_up(runtime, name, namespace, failed=False)
            return result
        self.failed(context, end.failure)
        if end.there:
            self._clean_up(runtime, name, namespace, failed=True)
        if end.exit_code in self.skip_on_exit_code:
            raise AirflowSkipException(f"pod {name} ended with exit code {end.exit_code}: skipped, as asked for")
        if self.do_xcom_push and end.result:  # as KubernetesPodOperator does with what a pod left
            context["ti"].xcom_push(key="return_value", value=dict(end.result))
        raise error(name, end.failure, end.node)

    def completed(self, result: dict[str, Any], context: Context) -> Any:
        """What the task returns of a pod that has succeeded; for operators that know more than its program.

        Args:
            result: that the program left.
        """
        return result

    def failed(self, context: Context, failure: Failure) -> None:
        """What an operator does about a pod that has failed, before its failure is raised.

        Args:
            failure: why it has.
        """

    def on_kill(self) -> None:
        """The task process was told to end: take the pod, or all of the job's, down."""
        if self._launched is None:
            return
        runtime, there = self._launched
        try:
            runtime.kill(self.kind, there.name, there.namespace, "its task was killed", self.termination_grace_period)
        except BulkheadError as away:
            self.log.error("%s %s could not be ended: %s; the collector will", self.kind, there.name, away)

    def gpus_for(self, changed: Changes) -> GpuRequest:
        """The GPUs of a try, away from nodes that failed or are suspected.

        Args:
            changed: by what has failed of this task.
        """
        return elsewhere(self.gpu_request, changed, self.bulkhead_conn_id)

    def check_image(self, image: str | None, runtime: AirflowRuntime) -> None:
        """Refuse an image without a digest where the author wants one, else say so.

        Args:
            image: of the pod; None where the pod's template says.
            runtime: where it will run.

        Raises:
            InvalidInputError: it has none.
        """
        if not image or _DIGEST.search(image):
            return
        remedy = "name the image by digest (repository@sha256:…): a tag can change between tries"
        if self.require_digest:
            raise InvalidInputError("image", image, remedy)
        if runtime.is_cluster:
            self.log.warning("image = %r: %s", image, remedy)

    def _start(self, context: Context, waits: bool) -> Any:
        try:
            runtime = self.runtime()
            pod = self.pod_of(context, runtime)
            own = identity(context).labels()
            workload = TaskWorkload(pod, own, self.gpu_request, self.kind, self.gang, self.kueue_queue)
            launched = runtime.find(workload) if context["ti"].try_number > 1 else None
            if launched is None:
                self._end_superseded(workload, runtime, context, waits)
                launched = runtime.create(workload)
        except InvalidInputError as wrong:
            raise refused(wrong) from wrong
        self.log.info("%s %s %s in namespace %s", launched.how, self.kind, launched.name, launched.namespace)
        return self._wait(launched, workload, runtime, context)

    def _end_superseded(self, workload: TaskWorkload, runtime: AirflowRuntime, context: Context, waits: bool) -> None:
        """End what an earlier try, or one before a clear, left running, and come back: no pod runs twice at once."""
        whose = (self.bulkhead_conn_id, context, runtime.access, workload.namespace, workload.name)
        for before in record(*whose, self.keep, self.kind):
            done, what = end(self.bulkhead_conn_id, before)
            if done or not waits:
                continue
            self.log.info("%s %s of an earlier try is %s; waiting for its end", before.kind, before.pod, what)
            self.defer(trigger=gone_trigger(before), method_name="relaunch")

    def _wait(self, launched: Launched, workload: TaskWorkload, runtime: AirflowRuntime, context: Context) -> Any:
        self._launched = (runtime, launched)
        if self.do_xcom_push:  # as KubernetesPodOperator does: other tasks may want to look at the pod
            context["ti"].xcom_push(key="pod_name", value=launched.name)
            context["ti"].xcom_push(key="pod_namespace", value=launched.namespace)
        if launched.ended is not None:
            return self.resume(context, launched.ended)
        waiting = Waiting(self.startup_timeout_seconds, self.termination_grace_period, self.stream_logs)
        trigger = runtime.trigger(launched, workload, waiting)
        self.defer(trigger=trigger, method_name="resume", timeout=self._limit(workload))
        return None

    def _limit(self, workload: TaskWorkload) -> timedelta | None:
        """When to give a pod up that should long have ended by itself. A queue may hold it for as long as it likes."""
        deadline = workload.pod.spec.active_deadline_seconds
        if not deadline or (workload.queue is not None and workload.gang is not None):
            return None
        return timedelta(seconds=deadline + self.startup_timeout_seconds) + _OVERTIME

    def _show(self, logs: Sequence[results.LogToRead], namespace: str, runtime: AirflowRuntime) -> None:
        for log in logs:
            try:
                text = runtime.read_log(log.pod, namespace, log.container, log.followed)
            except PodFailedError as away:
                self.log.warning("the log of %s cannot be read: %s", log.title, away)
            else:
                self.log.info("log of %s:\n%s", log.title, text)

    def _clean_up(self, runtime: AirflowRuntime, name: str, namespace: str, failed: bool) -> None:
        try:
            what = runtime.clean_up(self.kind, name, namespace, failed, self.keep)
        except PodFailedError as away:
            self.log.warning("%s; the collector will delete it", away)
        else:
            mark_gone(self.bulkhead_conn_id, runtime.access, namespace, name, what)

"""A GPU pod on Kubernetes: launched once, watched once, and failing with a name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.pod_manager import OnFinishAction
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSkipException
from kubernetes import client as k8s

from bulkhead.errors import InvalidInputError
from bulkhead.operators import training
from bulkhead.operators.avoidance import elsewhere
from bulkhead.operators.clusters import access_of
from bulkhead.operators.ends import PlainFailure
from bulkhead.operators.gpu_arguments import check_own, check_pod, typed
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.identity import identity
from bulkhead.operators.launches import end, mark_gone, record
from bulkhead.operators.retry import changes_for, default_policy, extend_retries, fill_in
from bulkhead.operators.triggers.kubernetes_gang import GangGoneTrigger
from bulkhead.operators.triggers.kubernetes_pod import KubernetesPodTrigger, PodGoneTrigger
from bulkhead.operators.triggers.pod_logs import started
from bulkhead.operators.wait_for_devices import WaitForDevicesMixin
from bulkhead.pods.distributed import QUEUE
from bulkhead.pods.exceptions import PodFailedError, error
from bulkhead.pods.failure import classify
from bulkhead.pods.gpu import GpuRequest, claim_template, place
from bulkhead.pods.hardening import Relaxations, harden
from bulkhead.pods.identity import MANAGED
from bulkhead.pods.outcome import PATH_VARIABLE, Failure, FailureClass
from bulkhead.pods.policy import Changes
from bulkhead.pods.spec import RESUME_VARIABLE, TERMINATION_LOG, scale
from bulkhead.pods.status import PodPhase, of_task
from bulkhead.runtimes.kubernetes import pods
from bulkhead.runtimes.kubernetes.access import with_retries
from bulkhead.runtimes.kubernetes.logs import Position, read_rest

if TYPE_CHECKING:
    from airflow.sdk import Context

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_LOG_BYTES = 256 * 1024
_PATIENCE_S = 120.0
"""How long the end of an earlier try's pod is waited for; a grace period is 30 s unless the author says otherwise."""

_KEEP = {
    OnFinishAction.DELETE_POD: "never",
    OnFinishAction.DELETE_SUCCEEDED_POD: "failed",
    OnFinishAction.DELETE_ACTIVE_POD: "always",
    OnFinishAction.KEEP_POD: "always",
}


class GpuPodOperator(WaitForDevicesMixin, KubernetesPodOperator):
    """KubernetesPodOperator for GPU pods: always deferring, hardened, with an outcome in place of an XCom sidecar.

    Its parameters, templating and connection are those of KubernetesPodOperator. What differs, and why, is in
    docs/kubernetes.md.

    Args:
        gpus: whole GPUs, or slices where ``mig_profile`` is named.
        device_class: ask for devices of this DeviceClass by a ResourceClaim, instead of ``nvidia.com/gpu``.
        device_selectors: CEL expressions that each such device has to satisfy.
        gpu_product: value of the node label ``nvidia.com/gpu.product``.
        gpu_memory_gib: least memory of each GPU, in GiB.
        mig_profile: for instance ``1g.10gb``.
        shared_memory: size of ``/dev/shm`` as a Kubernetes quantity.
        tolerate_spot: keys of the taints of spot nodes.
        kueue_queue: Kueue's local queue.
        require_digest: whether an image without a digest is an error; else it is a warning.
        relax: what the pod may do beyond the ``restricted`` Pod Security level.
        checkpoint: place for the checkpoints of all tasks: a folder on a volume that you mount there, or a URL that
            fsspec knows in the pod (``s3://bucket/folder``); each task instance has its own below it, which the pod
            finds in ``BULKHEAD_CHECKPOINTS``; templated. None for none.
        resume: ``auto``: every try goes on from the newest checkpoint, also after a clear; ``never``: from zero.
        stream_logs: whether the logs of all containers go to the task's log while they run; without it, or beyond
            256 pods at once, they are read at the end. ``get_logs=False`` turns off both.
        bulkhead_conn_id: connection of type ``bulkhead``: the ledger, which knows every pod.
        kwargs: of KubernetesPodOperator, and of ``WaitForDevicesMixin``.

    Raises:
        InvalidInputError: an argument is out of range.
    """

    kind = "Pod"
    """What is created."""

    template_fields: Sequence[str] = (*KubernetesPodOperator.template_fields, "checkpoint")

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
        bulkhead_conn_id: str = BulkheadHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        switches = {"require_digest": require_digest, "stream_logs": stream_logs}
        lists = {"tolerate_spot": tolerate_spot, "device_selectors": device_selectors}
        check_own(relax, kueue_queue, switches, lists)
        check_pod(kwargs, relax or Relaxations())
        training.check(checkpoint, resume)
        default_policy(kwargs)
        fill_in(kwargs, "do_xcom_push", True)
        push = bool(kwargs.pop("do_xcom_push"))
        fill_in(kwargs, "startup_timeout_seconds", 600)
        fill_in(kwargs, "termination_message_policy", "FallbackToLogsOnError")
        fixed = {"deferrable": True, "random_name_suffix": False, "do_xcom_push": False}
        super().__init__(**{**kwargs, **fixed, "bulkhead_conn_id": bulkhead_conn_id})
        self.do_xcom_push = push
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

    @cached_property
    def client(self) -> k8s.CoreV1Api:
        """The client of the connection, with_retries with an API server that is busy."""
        hook: Any = self.hook
        return k8s.CoreV1Api(with_retries(hook.api_client))

    def build_pod_request_obj(self, context: Context | None = None, *, dry_run: bool = False) -> k8s.V1Pod:
        """The pod: as KubernetesPodOperator builds it, then placed, hardened, and named after its task instance.

        Args:
            dry_run: whether to do without a cluster.

        Returns:
            The pod.

        Raises:
            InvalidInputError: it contradicts the ``restricted`` level, or the image has no digest.
        """
        pod = typed(self._built(context, dry_run))
        changed = changes_for(self, context) if context else Changes()
        container = pod.spec.containers[0]
        self._check_image(container.image)
        pod.metadata.labels[MANAGED] = "true"
        if self.kueue_queue:
            pod.metadata.labels[QUEUE] = self.kueue_queue
        variables = {PATH_VARIABLE: container.termination_message_path or TERMINATION_LOG}
        if context:
            task = identity(context)
            pod.metadata.name = task.pod_name(context["ti"].try_number, pod.metadata.name)
            pod.metadata.labels.update(task.labels())
            training.check_kept(self.checkpoint, training.mounts(pod))
            variables |= training.environment(self.checkpoint, self.resume_mode, task, pod.metadata.name)
        if changed.resume_from:
            variables[RESUME_VARIABLE] = changed.resume_from
        container.env = [
            *(container.env or []),
            *(k8s.V1EnvVar(name=name, value=value) for name, value in variables.items()),
        ]
        for kind in ("limits", "requests"):
            sizes = getattr(container.resources, kind, None) or {}
            if "memory" in sizes:
                sizes["memory"] = scale(sizes["memory"], changed.memory_factor)
        return harden(place(pod, self._request(changed) if context else self.gpu_request), self.relax)

    def _request(self, changed: Changes) -> GpuRequest:
        """The GPUs, away from nodes that failed."""
        return elsewhere(self.gpu_request, changed, self.bulkhead_conn_id)

    def _built(self, context: Context | None, dry_run: bool) -> k8s.V1Pod:
        """As KubernetesPodOperator builds it; without a sidecar, since the result is in the outcome."""
        path = self.pod_template_file
        if path and not Path(path).is_file():  # which it would only log, and then go on with an empty pod
            raise InvalidInputError("pod_template_file", path, "no such file where this worker runs; name another")
        push, self.do_xcom_push = self.do_xcom_push, False
        try:
            return super().build_pod_request_obj(context, dry_run=dry_run)
        except yaml.YAMLError as wrong:
            raise InvalidInputError("pod_template_file", path, f"not readable as YAML: {wrong}") from wrong
        finally:
            self.do_xcom_push = push

    def launch(self, context: Context, event: Mapping[str, Any] | None = None) -> Any:
        """Launch the pod, or find it, and defer.

        Args:
            event: healthy devices that were waited for, or None.

        Returns:
            The outcome's result, where the pod had succeeded already.

        Raises:
            AirflowFailException: the pod was asked for wrongly; nothing was created.
            PodFailedError: the cluster refused it.
        """
        return self._start(context, waits=True)

    def _start(self, context: Context, waits: bool) -> Any:
        try:
            desired = self.build_pod_request_obj(context)
        except (InvalidInputError, AirflowNotFoundException) as wrong:
            raise PlainFailure(self._said(wrong)) from wrong
        pod = self._earlier(desired, context)
        if pod is None:
            self._end_superseded(desired, context, waits)
            pod = self._create(desired, context)
        return self._wait(pod, context)

    def _said(self, wrong: Exception) -> str:
        if isinstance(wrong, InvalidInputError):
            return str(wrong)
        remedy = "no such connection; make it (Admin > Connections, type Kubernetes), or name another"
        return str(InvalidInputError("kubernetes_conn_id", self.kubernetes_conn_id, remedy))

    def _wait(self, found: k8s.V1Pod, context: Context) -> Any:
        self.pod, name, namespace = found, found.metadata.name, found.metadata.namespace
        self._log_location(context, name, namespace)
        document: dict[str, Any] = k8s.ApiClient().sanitize_for_serialization(found)
        if of_task(document).ended:
            return self.resume(context, {"name": name, "namespace": namespace, "why": "ended", "pod": document})
        trigger = KubernetesPodTrigger(
            name,
            namespace,
            access_of(self),
            self.startup_timeout_seconds,
            self.termination_grace_period,
            self.stream_logs,
        )
        self.defer(trigger=trigger, method_name="resume", timeout=self._limit(found))
        return None

    def _log_location(self, context: Context, name: str, namespace: str) -> None:
        """As KubernetesPodOperator does: other tasks may want to look at the pod."""
        if self.do_xcom_push:
            context["ti"].xcom_push(key="pod_name", value=name)
            context["ti"].xcom_push(key="pod_namespace", value=namespace)

    def _limit(self, pod: k8s.V1Pod) -> timedelta | None:
        """When to give a pod up that should long have ended by itself."""
        deadline = pod.spec.active_deadline_seconds
        return timedelta(seconds=deadline + self.startup_timeout_seconds + 600) if deadline else None

    def relaunch(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Launch, now that the pod of an earlier try is gone, or was given up."""
        if event["why"] == "late":
            self.log.warning("pod %s does not end: its node may be lost; going on without it", event["name"])
        return self._start(context, waits=event["why"] != "late")

    def resume(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Read how the pod ended, from the state that the trigger brought along.

        Returns:
            The result of its outcome.

        Raises:
            PodFailedError: it failed; a type for each class of failure.
        """
        name, namespace, pod = event["name"], event["namespace"], event["pod"]
        node = ((pod or {}).get("spec") or {}).get("nodeName") or ""
        if event["why"] == "refused":
            raise error(name, _failure(FailureClass.CONFIG, "access", event["text"]))
        if pod is None:
            raise error(name, _failure(FailureClass.NODE_LOST, "gone", event["text"]), node)
        status = of_task(pod)
        if self.get_logs:
            self._print_logs(name, namespace, started(pod), event.get("logs") or {})
        failure = (
            None if status.phase is PodPhase.SUCCEEDED else classify(pod, pods.events(self.client, name, namespace))
        )
        if status.phase is not PodPhase.SUCCEEDED and failure is None:
            text = event.get("text") or "it failed and left no reason"
            failure = _failure(FailureClass.UNSCHEDULABLE, "late", text)
        if what := self._clean_up(name, namespace, failed=failure is not None):
            mark_gone(self.bulkhead_conn_id, access_of(self), namespace, name, what)
        if failure is not None and status.exit_code in self.skip_on_exit_code:
            raise AirflowSkipException(f"pod {name} ended with exit code {status.exit_code}: skipped, as asked for")
        if failure is not None:
            if self.do_xcom_push and status.outcome.result:  # as KubernetesPodOperator does with what a pod left
                context["ti"].xcom_push(key="return_value", value=dict(status.outcome.result))
            raise error(name, failure, node)
        return dict(status.outcome.result)

    def _earlier(self, wanted: k8s.V1Pod, context: Context) -> k8s.V1Pod | None:
        """A pod of an earlier try that is worth waiting for, or that has succeeded. One request, on retries only."""
        if context["ti"].try_number <= 1:
            return None
        pod = pods.find_unfailed(self.client, wanted.metadata.namespace, identity(context).labels())
        if pod is not None:
            self.log.info("found pod %s of an earlier try: %s", pod.metadata.name, pod.status.phase)
        return pod

    def _create(self, wanted: k8s.V1Pod, context: Context) -> k8s.V1Pod:
        self._ensure_claims(wanted)
        made, created = pods.create_or_adopt(self.client, wanted, identity(context).labels())
        verb = "created" if created else "adopted"
        self.log.info("%s pod %s in namespace %s", verb, made.metadata.name, made.metadata.namespace)
        return made

    def _ensure_claims(self, wanted: k8s.V1Pod) -> None:
        if self.gpu_request.device_class:
            template = claim_template(self.gpu_request, wanted.metadata.namespace)
            pods.ensure_claim_template(self.client.api_client, template, wanted.metadata.name)

    def _end_superseded(self, wanted: k8s.V1Pod, context: Context, waits: bool) -> None:
        """End what an earlier try, or one before a clear, left running, and come back: no pod runs twice at once."""
        name, namespace = wanted.metadata.name, wanted.metadata.namespace
        access, keep = access_of(self), _KEEP[self.on_finish_action]
        for before in record(self.bulkhead_conn_id, context, access, namespace, name, keep, self.kind):
            done, what = end(self.bulkhead_conn_id, before)
            if done or not waits:
                continue
            self.log.info("%s %s of an earlier try is %s; waiting for its end", before.kind, before.pod, what)
            gone = PodGoneTrigger if before.kind == "Pod" else GangGoneTrigger
            trigger = gone(before.pod, before.namespace, before.access, _PATIENCE_S)
            self.defer(trigger=trigger, method_name="relaunch")

    def _print_logs(self, name: str, namespace: str, containers: Sequence[str], read: Mapping[str, Any]) -> None:
        """Print what was not followed to its end already."""
        for container in containers:
            followed = read.get(container) or {"complete": False, "position": {}}
            if followed["complete"]:
                continue
            api, position = self.client.api_client, Position(**followed["position"])
            try:
                text = read_rest(api, name, namespace, container, position, _LOG_BYTES)
            except PodFailedError as away:
                self.log.warning("the log of container %s cannot be read: %s", container, away)
            else:
                self.log.info("log of container %s:\n%s", container, text)

    def _clean_up(self, name: str, namespace: str, failed: bool) -> str:
        """Delete the pod where the author wants that; says what became of it, nothing where that is not known."""
        if pods.kept(PodPhase.FAILED if failed else PodPhase.SUCCEEDED, _KEEP[self.on_finish_action]):
            return "kept"
        try:
            self._delete(name, namespace)
        except PodFailedError as away:
            self.log.warning("%s; the collector will delete it", away)
            return ""
        return "deleted"

    def _delete(self, name: str, namespace: str) -> None:
        pods.delete(self.client, name, namespace)

    def _check_image(self, image: str | None) -> None:
        if image and not _DIGEST.search(image):
            remedy = "name the image by digest (repository@sha256:…): a tag can change between tries"
            if self.require_digest:
                raise InvalidInputError("image", image, remedy)
            self.log.warning("image = %r: %s", image, remedy)


def _failure(named: FailureClass, kind: str, message: str) -> Failure:
    return Failure(failure_class=named, kind=kind, message=message)

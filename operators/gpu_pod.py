"""A GPU pod on Kubernetes, for those who come from KubernetesPodOperator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.pod_manager import OnFinishAction, OnKillAction
from airflow.sdk.exceptions import AirflowNotFoundException
from kubernetes import client as k8s

from bulkhead.errors import InvalidInputError
from bulkhead.operators import training
from bulkhead.operators.clusters import access_of
from bulkhead.operators.gpu_arguments import check_pod, typed
from bulkhead.operators.identity import identity
from bulkhead.operators.launching import LaunchOperator
from bulkhead.operators.retry import changes_for, fill_in
from bulkhead.operators.runtimes import AirflowRuntime, OnKubernetes
from bulkhead.pods.distributed import QUEUE, TORCHRUN
from bulkhead.pods.gpu import place
from bulkhead.pods.hardening import harden
from bulkhead.pods.identity import MANAGED
from bulkhead.pods.outcome import PATH_VARIABLE
from bulkhead.pods.policy import Changes
from bulkhead.pods.quantities import scale
from bulkhead.pods.relaxations import Relaxations
from bulkhead.pods.spec import RESUME_VARIABLE, TERMINATION_LOG
from bulkhead.runtimes.kubernetes.access import Access, with_retries

if TYPE_CHECKING:
    from airflow.sdk import Context

_KEEP = {
    OnFinishAction.DELETE_POD: "never",
    OnFinishAction.DELETE_SUCCEEDED_POD: "failed",
    OnFinishAction.DELETE_ACTIVE_POD: "always",
    OnFinishAction.KEEP_POD: "always",
}


class GpuPodOperator(LaunchOperator, KubernetesPodOperator):
    """KubernetesPodOperator for GPU pods: always deferring, hardened, with an outcome in place of an XCom sidecar.

    Its parameters, templating and connection are those of KubernetesPodOperator. What differs, and why, is in
    docs/kubernetes.md. Of a distributed job (``nodes``) the command is ``torchrun`` without ``cmds``, followed by
    ``arguments``.

    Args:
        kwargs: of KubernetesPodOperator, and of ``LaunchOperator``. ``get_logs=False`` turns off ``stream_logs`` too.

    Raises:
        InvalidInputError: an argument is out of range.
    """

    template_fields: Sequence[str] = (*KubernetesPodOperator.template_fields, "checkpoint")

    def __init__(self, **kwargs: Any) -> None:
        check_pod(kwargs, _relaxed(kwargs))
        fill_in(kwargs, "do_xcom_push", True)
        push = bool(kwargs.pop("do_xcom_push"))
        fill_in(kwargs, "startup_timeout_seconds", 600)
        fill_in(kwargs, "termination_message_policy", "FallbackToLogsOnError")
        fixed = {"deferrable": True, "random_name_suffix": False, "do_xcom_push": False}
        super().__init__(**{**kwargs, **fixed})
        self.do_xcom_push = push
        self.keep = _KEEP[self.on_finish_action]
        if self.gang is not None:
            if self.restarts and self.cmds:
                remedy = "leave cmds out: what restarts ranks has to start them"
                raise InvalidInputError("restarts", self.restarts, remedy)
            launcher = training.launcher(self.gang, self.restarts) if self.restarts else TORCHRUN
            self.cmds = self.cmds or list(launcher)

    @cached_property
    def client(self) -> k8s.CoreV1Api:
        """The client of the connection, patient with an API server that is busy."""
        hook: Any = self.hook
        return k8s.CoreV1Api(with_retries(hook.api_client))

    def runtime(self) -> AirflowRuntime:
        """See ``LaunchOperator``: the cluster of the connection."""
        try:
            return OnKubernetes(self.client.api_client, Access(**access_of(self)))
        except AirflowNotFoundException as missing:
            remedy = "no such connection; make it (Admin > Connections, type Kubernetes), or name another"
            raise InvalidInputError("kubernetes_conn_id", self.kubernetes_conn_id, remedy) from missing

    def pod_of(self, context: Context, runtime: AirflowRuntime) -> k8s.V1Pod:
        """See ``LaunchOperator``."""
        pod = self.build_pod_request_obj(context)
        self.check_image(pod.spec.containers[0].image, runtime)
        return pod

    def build_pod_request_obj(self, context: Context | None = None, *, dry_run: bool = False) -> k8s.V1Pod:
        """The pod: as KubernetesPodOperator builds it, then placed, hardened, and named after its task instance.

        Args:
            dry_run: whether to do without a cluster.

        Returns:
            The pod.

        Raises:
            InvalidInputError: it contradicts the ``restricted`` level.
        """
        pod = typed(self._built(context, dry_run))
        changed = changes_for(self, context) if context else Changes()
        container = pod.spec.containers[0]
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
        return harden(place(pod, self.gpus_for(changed) if context else self.gpu_request), self.relax)

    def on_kill(self) -> None:
        """See ``LaunchOperator``; as KubernetesPodOperator, it leaves the pod where ``on_kill_action`` says so."""
        if self.on_kill_action == OnKillAction.KEEP_POD:
            self.log.info("the pod stays, as on_kill_action=%r says", self.on_kill_action.value)
            return
        super().on_kill()

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


def _relaxed(given: Mapping[str, Any]) -> Relaxations:
    """What the author relaxes; what is no such thing is refused by name afterwards."""
    relax = given.get("relax")
    return relax if isinstance(relax, Relaxations) else Relaxations()

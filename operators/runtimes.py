"""Where an operator's pods run, by an Airflow connection: each runtime with the triggers that wait for its pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook

from bulkhead.backends import MLFLOW_CREDENTIALS
from bulkhead.errors import InvalidInputError
from bulkhead.operators.clusters import connect
from bulkhead.operators.hooks import LocalRuntimeHook, configured, find_connection
from bulkhead.operators.triggers.kubernetes_gang import GangGoneTrigger, KubernetesGangTrigger
from bulkhead.operators.triggers.kubernetes_pod import KubernetesPodTrigger, PodGoneTrigger
from bulkhead.operators.triggers.local_gang import LocalGangTrigger
from bulkhead.operators.triggers.local_pod import LocalPodTrigger
from bulkhead.runtimes.base import POD, Launched, TaskRuntime, TaskWorkload
from bulkhead.runtimes.kubernetes.access import Access
from bulkhead.runtimes.kubernetes.tasks import KubernetesTaskRuntime
from bulkhead.runtimes.local.tasks import LocalTaskRuntime

if TYPE_CHECKING:
    from airflow.triggers.base import BaseEventTrigger

    from bulkhead.control import Control
    from bulkhead.ledger.tables import Launch

_PATIENCE_S = 120.0
"""How long the end of an earlier try's pod is waited for; a grace period is 30 s unless the author says otherwise."""


@dataclass(frozen=True)
class Waiting:
    """How a pod is waited for.

    Attributes:
        startup_s: a pod that is not running after so many seconds is given up.
        grace_s: seconds between SIGTERM and SIGKILL when the task is killed; None for the pod's own.
        stream_logs: whether its log goes to the task's log while it runs.
    """

    startup_s: float
    grace_s: int | None = None
    stream_logs: bool = True


class AirflowRuntime(TaskRuntime, Protocol):
    """A runtime, and what Airflow's triggerer waits with."""

    @property
    def is_cluster(self) -> bool:
        """Whether a pod runs what its image holds, on one of many nodes, with claims that people have made."""

    def namespace(self, named: str | None) -> str:
        """The namespace of a pod.

        Args:
            named: the author's, or None.
        """

    def trigger(self, launched: Launched, workload: TaskWorkload, waiting: Waiting) -> BaseEventTrigger:
        """Fires when a workload has ended, is gone or cannot start."""

    def credentials(self, control: Control) -> Mapping[str, tuple[str, str]]:
        """MLflow's credentials: by variable the secret and the key that hold them; empty where it needs none."""


class OnKubernetes(KubernetesTaskRuntime):
    """A cluster, as ``AirflowRuntime``; see ``KubernetesTaskRuntime``."""

    is_cluster = True

    def namespace(self, named: str | None) -> str:
        """See ``AirflowRuntime``: by default the connection's."""
        return named or KubernetesHook(conn_id=self._access.kubernetes_conn_id).get_namespace() or "default"

    def trigger(self, launched: Launched, workload: TaskWorkload, waiting: Waiting) -> BaseEventTrigger:
        """See ``AirflowRuntime``."""
        where = (launched.name, launched.namespace, self.access, waiting.startup_s)
        if workload.gang is None:
            return KubernetesPodTrigger(*where, waiting.grace_s, waiting.stream_logs)
        queued = workload.queue is not None
        return KubernetesGangTrigger(*where, workload.gang.nodes, workload.kind, queued, waiting.stream_logs)

    def credentials(self, control: Control) -> Mapping[str, tuple[str, str]]:
        """See ``AirflowRuntime``: of the Secret that ``mlflow_secret`` of the configuration names."""
        secret = control.settings.mlflow_secret
        return {variable: (secret, key) for variable, key in MLFLOW_CREDENTIALS.items()} if secret else {}


class OnThisMachine(LocalTaskRuntime):
    """The local runtime, as ``AirflowRuntime``; see ``LocalTaskRuntime``."""

    is_cluster = False

    def namespace(self, named: str | None) -> str:
        """See ``AirflowRuntime``: there is one."""
        return "default"

    def trigger(self, launched: Launched, workload: TaskWorkload, waiting: Waiting) -> BaseEventTrigger:
        """See ``AirflowRuntime``."""
        root = str(self.runtime.layout.root)
        if workload.gang is None:
            return LocalPodTrigger(root, launched.name, launched.namespace)
        return LocalGangTrigger(root, launched.name, workload.gang.nodes)

    def credentials(self, control: Control) -> Mapping[str, tuple[str, str]]:
        """See ``AirflowRuntime``."""
        return control.backends.local_credentials()


def runtime_at(conn_id: str | None) -> AirflowRuntime:
    """The runtime that a connection leads to.

    Args:
        conn_id: a connection of type *Kubernetes* or *Bulkhead local runtime*; None for the one that
            ``[bulkhead] runtime_conn_id`` names, by default the local runtime's.

    Raises:
        InvalidInputError: there is no such connection, or it is of another type.
    """
    named = conn_id or configured().runtime_conn_id
    connection = find_connection(named)
    remedy = f"make it (Admin > Connections, type Kubernetes or {LocalRuntimeHook.hook_name}), or name another"
    if connection is None and named != LocalRuntimeHook.default_conn_name:
        raise InvalidInputError("runtime_conn_id", named, f"no such connection; {remedy}")
    if connection is None or connection.conn_type == LocalRuntimeHook.conn_type:
        return OnThisMachine(LocalRuntimeHook(named).runtime())
    if connection.conn_type != KubernetesHook.conn_type:
        raise InvalidInputError("runtime_conn_id", named, f"it is of type {connection.conn_type!r}; {remedy}")
    access = Access(kubernetes_conn_id=named)
    return OnKubernetes(connect(access), access)


def gone_trigger(launch: Launch) -> BaseEventTrigger:
    """Fires when what was told to end, and had not by then, runs no more, or does not end.

    Args:
        launch: on a cluster: the local runtime ends its pods at once.
    """
    gone = PodGoneTrigger if launch.kind == POD else GangGoneTrigger
    return gone(launch.pod, launch.namespace, launch.access, _PATIENCE_S)

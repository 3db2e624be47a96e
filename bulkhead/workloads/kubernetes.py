"""Servers in a cluster: a Service, a PodDisruptionBudget and the workload of the pods, for each revision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from kubernetes import client as k8s

from bulkhead.ledger.tables import Revision
from bulkhead.pods.serving_names import comparer_name, server_name
from bulkhead.pods.status import PodStatus
from bulkhead.runtimes.kubernetes.objects import (
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    SERVICE,
    Document,
    Kind,
    Objects,
)
from bulkhead.runtimes.kubernetes.pods import events
from bulkhead.workloads import manifests, serving_pods, workload_kinds
from bulkhead.workloads.base import Placement, Workload, address
from bulkhead.workloads.serving import parse_serve


class KubernetesWorkloads:
    """Servers of one service's revisions in a namespace.

    Args:
        env: plain variables of every server (the tracking URI).
        secret_env: variables of every server from Secrets, as (Secret, key) by name.
        tasks_image: of what compares answers: see ``Settings``.
        keep_s: how long pods are kept for inspection, in seconds.
        clock: gives the time in UTC.
    """

    def __init__(
        self,
        api: k8s.ApiClient,
        namespace: str,
        env: Mapping[str, str],
        secret_env: Mapping[str, tuple[str, str]],
        tasks_image: str,
        keep_s: float = 86400.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._objects, self._core = Objects(api, namespace), k8s.CoreV1Api(api)
        self._env, self._secret_env, self._tasks_image = env, secret_env, tasks_image
        self._keep_s, self._clock = keep_s, clock

    def launch(self, revision: Revision, generation: int) -> None:
        """See ``Workloads.launch``.

        Raises:
            RefusedError: the cluster does not take it.
        """
        for kind, manifest in self._wanted(revision):
            self._objects.apply(kind, manifest, generation)

    def find(self, revision_id: str) -> Workload | None:
        """See ``Workloads.find``."""
        return self._find(server_name(revision_id), revision_id)

    def statistics_endpoints(self, revision_id: str) -> Mapping[str, str]:
        """See ``Workloads.statistics_endpoints``: each pod is asked by its address."""
        kept = serving_pods.kept_by(self._objects, server_name(revision_id), revision_id)
        path = _notes(kept[1]).get(manifests.STATISTICS_PATH) if kept is not None else None
        if kept is None or not path:
            return {}
        pods = serving_pods.pods(self._objects, {workload_kinds.SERVES: revision_id})
        port = self._listens(kept[1], server_name(revision_id))
        return {life: f"http://{address}:{port}{path}" for life, address in serving_pods.ready_pods(pods)}

    def placement(self, revision_id: str) -> Placement:
        """See ``Workloads.placement``."""
        pods = serving_pods.pods(self._objects, {manifests.REVISION: revision_id})
        bound = [pod for pod in pods if pod["spec"].get("nodeName")]
        return Placement(
            frozenset(pod["spec"]["nodeName"] for pod in bound),
            frozenset(f"{self._objects.namespace}/{pod['metadata']['name']}" for pod in bound),
        )

    def stop(self, revision_id: str, generation: int) -> None:
        """See ``Workloads.stop``. Who keeps the pods goes last: as long as it is there, the rest is known to be."""
        self._stop(server_name(revision_id), revision_id, generation)

    def drift(self, revision: Revision, generation: int) -> str | None:
        """See ``Workloads.drift``.

        Args:
            generation: under which it would be written now.
        """
        drifts = [self._objects.drift(kind, manifest, generation) for kind, manifest in self._wanted(revision)]
        return "; ".join(drift for drift in drifts if drift) or None

    def evidence(self, revision_id: str) -> dict[str, str]:
        """See ``Workloads.evidence``."""
        return serving_pods.evidence(self._core, self._objects, revision_id)

    def launch_comparer(self, service: str, candidate: str, stable: str, generation: int) -> None:
        """See ``Workloads.launch_comparer``.

        Raises:
            UnavailableError: one of the two has no server.
        """
        sides = [address(self, candidate), address(self, stable)]
        objects = manifests.comparer(self._objects.namespace, service, candidate, sides, self._tasks_image)
        for kind, manifest in objects:
            self._objects.apply(kind, manifest, generation)

    def find_comparer(self, candidate: str) -> Workload | None:
        """See ``Workloads.find_comparer``."""
        return self._find(comparer_name(candidate), None)

    def stop_comparer(self, candidate: str, generation: int) -> None:
        """See ``Workloads.stop_comparer``.

        Args:
            candidate: revision that was on trial.
        """
        self._stop(comparer_name(candidate), None, generation)

    def deny_network(self, revision_id: str) -> None:
        """See ``Workloads.deny_network``: a NetworkPolicy that allows its pods nothing, if the cluster's network heeds
        it."""
        self._objects.apply(NETWORK_POLICY, manifests.no_network(revision_id), generation=0)

    def allow_network(self, revision_id: str) -> None:
        """See ``Workloads.allow_network``."""
        self._objects.delete(NETWORK_POLICY, manifests.no_network(revision_id)["metadata"]["name"], None)

    def orphan(self, revision_id: str) -> None:
        """See ``Workloads.orphan``. What would replace the pods goes first, and leaves them."""
        serving_pods.orphan(self._objects, revision_id, self._clock().timestamp() + self._keep_s)

    def expire(self) -> None:
        """See ``Workloads.expire``."""
        serving_pods.expire(self._objects, self._clock().timestamp())

    def _wanted(self, revision: Revision) -> list[tuple[Kind, Document]]:
        serve = parse_serve(revision.serve)
        return manifests.server(self._objects.namespace, revision, serve, self._env, self._secret_env)

    def _find(self, server: str, revision_id: str | None) -> Workload | None:
        kept = serving_pods.kept_by(self._objects, server, revision_id)
        if kept is None or kept[1]["metadata"].get("deletionTimestamp"):
            return None
        host = f"{server}.{self._objects.namespace}.svc"
        return Workload(self._listens(kept[1], server), self._status(*kept), host, restarts=True)

    def _listens(self, workload: Document, server: str) -> int:
        """A server's port; by its Service, where our note was removed."""
        noted = _notes(workload).get(manifests.PORT, "")
        if noted.isdigit():
            return int(noted)
        ports = (self._objects.read(SERVICE, server) or {"spec": {}})["spec"].get("ports", [])
        return int(ports[0]["port"]) if ports else 0

    def _status(self, kind: Kind, workload: Document) -> PodStatus:
        status = workload_kinds.status(kind, workload)
        if status.ready or workload_kinds.answers(kind, workload):
            return status
        pods = serving_pods.pods(self._objects, workload_kinds.labels(kind, workload))
        return serving_pods.failing(pods, lambda pod: events(self._core, pod, self._objects.namespace)) or status

    def _stop(self, server: str, revision_id: str | None, generation: int) -> None:
        for kind in (DISRUPTION_BUDGET, SERVICE):
            self._objects.delete(kind, server, generation)
        kept = serving_pods.kept_by(self._objects, server, revision_id)
        if kept is not None:
            self._objects.delete(kept[0], kept[1]["metadata"]["name"], generation)


def _notes(workload: Document) -> Mapping[str, str]:
    return workload["metadata"].get("annotations") or {}

"""Where each service of the configuration runs: on this machine, or in a cluster; behind Envoy, or behind a Gateway."""

from __future__ import annotations

from collections.abc import Mapping

from bulkhead.metrics.http_json import HttpMetrics
from bulkhead.metrics.prometheus import PrometheusMetrics
from bulkhead.pods.serving_names import server_name
from bulkhead.rollout.backend import Metrics, ServingBackend
from bulkhead.routers.envoy.pods import RouterPodsRouter
from bulkhead.routers.envoy.router import EnvoyRouter
from bulkhead.routers.gateway_api import GatewayRouter
from bulkhead.runtimes.kubernetes.access import Access, client
from bulkhead.runtimes.kubernetes.objects import Objects
from bulkhead.runtimes.local.runtime import LocalRuntime
from bulkhead.settings import ClusterService, Settings
from bulkhead.workloads.kubernetes import KubernetesWorkloads
from bulkhead.workloads.local import LocalWorkloads

MLFLOW_SECRET = "mlflow"
"""Secret of the local runtime that holds MLflow's ``username`` and ``password``."""

MLFLOW_CREDENTIALS = {"MLFLOW_TRACKING_USERNAME": "username", "MLFLOW_TRACKING_PASSWORD": "password"}
"""Keys of a secret by the variables that mlflow reads its credentials from."""


class ServingBackends:
    """The serving backends of a configuration; each is made on first use."""

    def __init__(self, settings: Settings, runtime: LocalRuntime) -> None:
        self._settings, self._runtime = settings, runtime
        self._made: dict[str, ServingBackend] = {}

    def __call__(self, service: str) -> ServingBackend:
        """A service's backend.

        Raises:
            NotFoundError: the configuration does not know the service.
            InvalidInputError: its cluster cannot be reached as configured.
        """
        if service not in self._made:
            configured = self._settings.service(service)
            self._made[service] = self._cluster(configured) if isinstance(configured, ClusterService) else self._here()
        return self._made[service]

    def local_credentials(self) -> dict[str, tuple[str, str]]:
        """MLflow's credentials for pods of this machine, by reference; empty where the server needs none."""
        return _credentials(MLFLOW_SECRET if (self._runtime.layout.secrets / MLFLOW_SECRET).is_dir() else None)

    def _here(self) -> ServingBackend:
        router = EnvoyRouter(self._settings.routers, self._settings.ports)
        image = self._settings.tasks_image
        return ServingBackend(
            router, LocalWorkloads(self._runtime, self._env(), self.local_credentials(), image), router
        )

    def _cluster(self, service: ClusterService) -> ServingBackend:
        api = client(Access(kubernetes_conn_id=service.cluster), self._settings.kubeconfigs)
        objects, secrets = Objects(api, service.namespace), _credentials(service.mlflow_secret)
        workloads = KubernetesWorkloads(
            api, service.namespace, self._env(), secrets, self._settings.tasks_image, service.keep_s
        )
        if service.envoy is None:
            return ServingBackend(GatewayRouter(objects, service), workloads, _metrics(service), service.resync_s)
        envoys = RouterPodsRouter(objects, service.envoy, service.confirm_s)
        counts = _metrics(service) if service.prometheus or service.http else envoys
        return ServingBackend(envoys, workloads, counts, service.resync_s)

    def _env(self) -> Mapping[str, str]:
        return {"MLFLOW_TRACKING_URI": self._settings.mlflow_tracking_uri}


def _metrics(settings: ClusterService) -> Metrics:
    def naming(service: str, revision: str) -> dict[str, str]:
        names = {"namespace": settings.namespace, "service": service, "revision": revision}
        return {**names, "backend": server_name(revision)}

    if settings.http is not None:
        return HttpMetrics(settings.http, naming)
    assert settings.prometheus is not None  # the settings have one of the two
    return PrometheusMetrics(settings.prometheus, naming)


def _credentials(secret: str | None) -> dict[str, tuple[str, str]]:
    return {variable: (secret, key) for variable, key in MLFLOW_CREDENTIALS.items()} if secret else {}

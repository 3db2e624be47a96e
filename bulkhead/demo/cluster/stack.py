"""Everything the demo starts in a cluster, the chart and around it PostgreSQL, MLflow and Airflow; and its end."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from kubernetes import client as k8s
from kubernetes import utils
from kubernetes.client.exceptions import ApiException
from psycopg import sql
from urllib3.exceptions import HTTPError

from bulkhead.control import Control
from bulkhead.demo.airflow_client import AirflowClient
from bulkhead.demo.cluster import manifests, nodes
from bulkhead.demo.cluster.forward import Forward
from bulkhead.demo.cluster.manifests import NAMESPACE, SERVING, DemoImages, DemoKeys
from bulkhead.demo.cluster.traffic import PodTraffic
from bulkhead.demo.progress import Progress
from bulkhead.demo.story import SERVICE
from bulkhead.errors import InvalidInputError, UnavailableError
from bulkhead.runtimes.kubernetes.access import Access, client
from bulkhead.settings import Settings

SPARED = ("postgres", "mlflow", "airflow", "clients")
"""Not drained: each is a single pod whose data goes with it, which is the demo's doing and not its subject."""

_RELEASE = "bulkhead"
_DATABASES = ("bulkhead", "airflow")
_MAKE_DATABASE = "CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0"
_CHART = Path(__file__).parents[3] / "docker" / "chart"
_GPUS = 8
_INSTALL_S = 600
_POLL_S = 0.5
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_UNPULLED = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_LEVEL = {"pod-security.kubernetes.io/enforce": "restricted"}


class ClusterStack:
    """The demo's components in the cluster that KUBECONFIG names. Attributes: as of ``Stack``, and traffic: of clients.

    Args:
        folder: for what is left to look at; emptied first.
        dag: file of the DAG.
        images: that the cluster can pull.
        rate: of the clients' requests, a second.

    Raises:
        InvalidInputError: there is no such kubeconfig.
    """

    def __init__(self, folder: Path, dag: Path, images: DemoImages, rate: float) -> None:
        self.folder = folder
        self._dag, self._images, self._keys = dag, images, DemoKeys.make()
        self._api = client(Access(config_file=_kubeconfig()), {})
        self.core = k8s.CoreV1Api(self._api)
        self._documents = manifests.documents(images, self._keys, rate)
        clients = self._documents.pop(f"Pod {NAMESPACE}/clients")
        self._airflow_deployment = self._documents.pop(f"Deployment {NAMESPACE}/airflow")
        self._forwards = {
            app: Forward(self._api, NAMESPACE, app, port)
            for app, port in {"postgres": 5432, "mlflow": 5000, "airflow": 8080}.items()
        }
        addresses = {app: f"127.0.0.1:{forward.port}" for app, forward in self._forwards.items()}
        self._database = f"postgresql://postgres:{self._keys.database_password}@{addresses['postgres']}"
        self.settings = Settings.model_validate(
            {
                "home": folder / "home",
                "ledger_url": f"{self._database}/bulkhead",
                "mlflow_tracking_uri": f"http://{addresses['mlflow']}",
                "services": {SERVICE: {"namespace": SERVING, "envoy": {}}},
            }
        )
        self.control = Control(self.settings)
        self.airflow = AirflowClient(f"http://{addresses['airflow']}", "admin", self._keys.password)
        self.traffic = PodTraffic(self._api, clients)

    def prepare(self) -> None:
        """Empty the folder, and see whether the cluster is fit.

        Raises:
            InvalidInputError: it is not; nothing was made.
            UnavailableError: it does not answer.
        """
        _helm()
        with _reported():
            there = _namespaces(self.core)
            classes = k8s.StorageV1Api(self._api).list_storage_class().items
        if there:
            remedy = "a demo is there already: take it away by `bulkhead cluster-demo --stop`"
            raise InvalidInputError("namespaces", there, remedy)
        if not any((kind.metadata.annotations or {}).get(_DEFAULT_CLASS) == "true" for kind in classes):
            shown = [kind.metadata.name for kind in classes]
            remedy = f"checkpoints want a volume: mark a StorageClass as the default ({_DEFAULT_CLASS}: 'true')"
            raise InvalidInputError("storage class", shown, remedy)
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(mode=0o700, parents=True)
        os.environ.update(MLFLOW_TRACKING_USERNAME="admin", MLFLOW_TRACKING_PASSWORD=self._keys.password)

    def bring_up(self, progress: Progress) -> None:
        """Start everything.

        Args:
            progress: says what is waited for.

        Raises:
            UnavailableError: something does not start.
        """
        with _reported():
            played = nodes.play_gpus(self.core, _GPUS)
            if played:
                progress.say(f"no GPU is here: {', '.join(played)} say that they have {_GPUS} each, which is played")
            for namespace in (NAMESPACE, SERVING):
                metadata = k8s.V1ObjectMeta(name=namespace, labels=_LEVEL)
                self.core.create_namespace(k8s.V1Namespace(metadata=metadata))
            for document in self._documents.values():
                utils.create_from_dict(self._api, document)
        progress.wait("PostgreSQL", lambda: self._runs("postgres"))
        self._make_databases()
        with progress.heard("helm install"):
            self._install()
        progress.wait("MLflow", lambda: self._runs("mlflow"))
        with _reported():
            dags = {"metadata": {"name": "dags"}, "data": {self._dag.name: self._dag.read_text(encoding="utf-8")}}
            self.core.create_namespaced_config_map(NAMESPACE, dags)
            utils.create_from_dict(self._api, self._airflow_deployment)
        progress.wait("Airflow's pod", lambda: self._runs("airflow"))

    def check(self) -> None:
        """See ``Stack``: what a cluster loses it starts again."""

    def leader(self) -> str | None:
        """Name of the pod of the reconciler that acts on the service; None where none does."""
        holder = self.control.ledger.services.get(SERVICE).held_by
        return holder and holder.partition("/")[0]

    def stop(self, report: Callable[[str], None]) -> None:
        """See ``Stack``."""
        for forward in self._forwards.values():
            forward.close()
        take_away(report)

    def left_running(self) -> str:
        """See ``Stack``."""
        return f"""
Everything is left running (take it away with [b]bulkhead cluster-demo --stop[/b]):
  Airflow UI      kubectl -n {NAMESPACE} port-forward deploy/airflow 8080      http://127.0.0.1:8080
  MLflow UI       kubectl -n {NAMESPACE} port-forward deploy/mlflow 5000       http://127.0.0.1:5000
  login of both   admin / {self._keys.password}
  model endpoint  http://router-{SERVICE}.{SERVING}/invocations, inside the cluster
  command line    kubectl -n {NAMESPACE} exec deploy/{_RELEASE}-reconciler -- bulkhead status
"""

    def _make_databases(self) -> None:
        try:
            with psycopg.connect(f"{self._database}/postgres", autocommit=True, client_encoding="utf8") as connection:
                for name in _DATABASES:
                    connection.execute(sql.SQL(_MAKE_DATABASE).format(sql.Identifier(name)))
        except psycopg.Error as error:
            raise UnavailableError(f"PostgreSQL in the cluster: {error}") from error

    def _install(self) -> None:
        helm = _helm()
        with _configured(helm) as configured:
            values = manifests.values(self._images)
            try:
                configured.install(_CHART, _RELEASE, values, wait="watcher", timeout=_INSTALL_S)
            except helm.HelmError as refused:
                raise UnavailableError(
                    f"the chart does not come up: {refused} {self._unpulled(NAMESPACE)}"
                ) from refused

    def _runs(self, app: str) -> bool | None:
        with _reported():
            status = k8s.AppsV1Api(self._api).read_namespaced_deployment_status(app, NAMESPACE).status
        if status.ready_replicas:
            return True
        unpulled = self._unpulled(NAMESPACE)
        if unpulled:
            raise UnavailableError(unpulled)
        return None

    def _unpulled(self, namespace: str) -> str:
        """What of the images is not to be had, and what to do; empty where nothing is known."""
        with _reported():
            pods = self.core.list_namespaced_pod(namespace).items
        statuses = [status for pod in pods for status in pod.status.container_statuses or []]
        for status in statuses:
            waiting = status.state.waiting
            if waiting is not None and waiting.reason in _UNPULLED:
                return (
                    f"image {status.image} cannot be pulled ({waiting.reason}: {waiting.message}); push it to where "
                    "the cluster finds it, and say so by --image-prefix, --image-tag or --postgres-image"
                )
        return ""


def take_away(report: Callable[[str], None]) -> None:
    """Take away all that a demo has made in the cluster, also one that was killed.

    Args:
        report: called at every poll with what still has to end.

    Raises:
        UnavailableError: the cluster does not answer.
    """
    core = k8s.CoreV1Api(client(Access(config_file=_kubeconfig()), {}))
    with _reported():
        nodes.undo(core)
        if NAMESPACE in _namespaces(core):
            with _configured(_helm()) as configured:
                configured.uninstall(_RELEASE, ignore_not_found=True)
        for namespace in _namespaces(core):
            core.delete_namespace(namespace)
        while left := _namespaces(core):
            report(f"namespaces {', '.join(left)}")
            time.sleep(_POLL_S)  # between two polls at the cluster


def _namespaces(core: k8s.CoreV1Api) -> list[str]:
    return [item.metadata.name for item in core.list_namespace().items if item.metadata.name in (NAMESPACE, SERVING)]


def _kubeconfig() -> str:
    return os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())


def _helm() -> Any:
    try:
        import helm_python
    except ImportError as missing:
        raise InvalidInputError(
            "helm_python", None, "install the extra 'bulkhead[cluster-demo]' into this environment"
        ) from missing
    return helm_python


@contextmanager
def _configured(helm: Any) -> Iterator[Any]:
    config = helm.Config(kubeconfig_path=_kubeconfig(), namespace=NAMESPACE)
    try:
        yield config
    finally:
        config.close()


@contextmanager
def _reported() -> Iterator[None]:
    """What the cluster refuses, and that it does not answer, in its own words."""
    try:
        yield
    except (ApiException, utils.FailToCreateError, HTTPError) as error:
        raise UnavailableError(f"the cluster: {getattr(error, 'reason', None) or error}") from error

"""How to reach a cluster: names alone, so that it may be kept and passed on; credentials stay where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kubernetes import client as k8s
from kubernetes import config
from kubernetes.config.config_exception import ConfigException

from bulkhead.errors import InvalidInputError


@dataclass(frozen=True)
class Access:
    """How to reach a cluster.

    Attributes:
        kubernetes_conn_id: Airflow connection, or None.
        in_cluster: use the service account of the pod that this runs in.
        cluster_context: of the kubeconfig.
        config_file: path of a kubeconfig, readable by whoever connects.
    """

    kubernetes_conn_id: str | None = None
    in_cluster: bool | None = None
    cluster_context: str | None = None
    config_file: str | None = None


def client(access: Access, kubeconfigs: Mapping[str, str]) -> k8s.ApiClient:
    """A client without Airflow, for the command line.

    Args:
        access: how to reach the cluster.
        kubeconfigs: path of a kubeconfig by Airflow connection. A connection that is not named here is taken for
            what Airflow takes an empty one for: the pod's own service account, else the default kubeconfig.

    Raises:
        InvalidInputError: there is no such kubeconfig or context.
    """
    path = access.config_file or kubeconfigs.get(access.kubernetes_conn_id or "")
    try:
        if access.in_cluster or (path is None and access.in_cluster is None and _inside()):
            configuration = k8s.Configuration()
            config.load_incluster_config(client_configuration=configuration)
            return k8s.ApiClient(configuration)
        return config.new_client_from_config(path, context=access.cluster_context)
    except ConfigException as wrong:
        named = path or "the default kubeconfig"
        field = f"kubeconfigs.{access.kubernetes_conn_id}" if access.kubernetes_conn_id else "kubeconfig"
        raise InvalidInputError(field, named, f"no usable access: {wrong}; name a kubeconfig") from wrong


def _inside() -> bool:
    """Whether this process runs in a pod that has a service-account token."""
    try:
        config.load_incluster_config(client_configuration=k8s.Configuration())
    except ConfigException:
        return False
    return True

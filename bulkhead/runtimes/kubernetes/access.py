"""How to reach a cluster: names alone, so that it may be kept and passed on; credentials stay where they are."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass

import urllib3
from kubernetes import client as k8s
from kubernetes import config
from kubernetes.config.config_exception import ConfigException

from bulkhead.errors import InvalidInputError

_TRIES = 4
_BACKOFF_S = 0.5
_BUSY = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Access:
    """How to reach a cluster.

    Attributes:
        kubernetes_conn_id: Airflow connection, or None.
        in_cluster: use the service account of the pod that this runs in.
        cluster_context: of the kubeconfig.
        config_file: path of a kubeconfig, readable by the process that connects.
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
            return with_retries(k8s.ApiClient(configuration))
        return with_retries(config.new_client_from_config(path, context=access.cluster_context))
    except ConfigException as wrong:
        named = path or "the default kubeconfig"
        field = f"kubeconfigs.{access.kubernetes_conn_id}" if access.kubernetes_conn_id else "kubeconfig"
        raise InvalidInputError(field, named, f"no usable access: {wrong}; name a kubeconfig") from wrong


def with_retries(api: k8s.ApiClient) -> k8s.ApiClient:
    """The same client, which asks again where the API server is busy or broke off, as it is told to.

    Everything that is asked here may be asked twice: names are given, so creating again is a conflict with oneself.
    """
    configuration = copy(api.configuration)
    configuration.retries = urllib3.Retry(
        total=_TRIES,
        backoff_factor=_BACKOFF_S,
        backoff_jitter=_BACKOFF_S,
        status_forcelist=_BUSY,
        allowed_methods=None,
        respect_retry_after_header=True,
        raise_on_status=False,
    )
    return k8s.ApiClient(configuration)


def _inside() -> bool:
    """Whether this process runs in a pod that has a service-account token."""
    try:
        config.load_incluster_config(client_configuration=k8s.Configuration())
    except ConfigException:
        return False
    return True

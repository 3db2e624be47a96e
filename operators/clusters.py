"""Reaching clusters by Airflow's connections."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import fields
from pathlib import Path
from typing import Any

import kubernetes
import kubernetes_asyncio
import yaml
from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook, KubernetesHook

from bulkhead.runtimes.kubernetes.access import Access, with_retries


def connect(access: Access) -> kubernetes.client.ApiClient:
    """An authenticated client, in a worker.

    Args:
        access: how to reach the cluster.
    """
    hook = KubernetesHook(
        conn_id=access.kubernetes_conn_id,
        in_cluster=access.in_cluster,
        cluster_context=access.cluster_context,
        config_file=access.config_file,
    )
    return with_retries(hook.get_conn())


def aconnect(access: Access) -> AbstractAsyncContextManager[kubernetes_asyncio.client.ApiClient]:
    """An authenticated client, in the triggerer.

    Args:
        access: how to reach the cluster.
    """
    config = yaml.safe_load(Path(access.config_file).read_text(encoding="utf-8")) if access.config_file else None
    hook = AsyncKubernetesHook(
        conn_id=access.kubernetes_conn_id,
        in_cluster=access.in_cluster,
        cluster_context=access.cluster_context,
        config_dict=config,
    )
    return hook.get_conn()


def access_of(operator: Any) -> dict[str, Any]:
    """How an operator reaches its cluster, in JSON form.

    Args:
        operator: with the arguments of KubernetesPodOperator.
    """
    return {field.name: getattr(operator, field.name) for field in fields(Access)}

"""What GpuPodOperator refuses when the DAG is read, of its own arguments and of those of KubernetesPodOperator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
from kubernetes import client as k8s

from bulkhead import arguments
from bulkhead.errors import InvalidInputError
from bulkhead.operators.templates import check_known
from bulkhead.pods.hardening import harden
from bulkhead.pods.quantities import check_quantity
from bulkhead.pods.relaxations import Relaxations

_NOT_SERVED = ("callbacks", "progress_callback", "logging_interval", "trigger_kwargs")
_LEAST = {"startup_timeout_seconds": 1, "active_deadline_seconds": 1, "termination_grace_period": 0}


def check_pod(given: Mapping[str, Any], relax: Relaxations) -> None:
    """Refuse what is wrong of the arguments of KubernetesPodOperator whatever their templates turn out to be.

    Args:
        relax: what the pod may do beyond the ``restricted`` level.

    Raises:
        InvalidInputError: names the first offending argument, or the field that contradicts the level.
    """
    for name in _NOT_SERVED:
        if given.get(name):
            raise InvalidInputError(
                name, given[name], "GpuPodOperator does not serve it (docs/kubernetes.md); leave it out"
            )
    for name, least in _LEAST.items():
        if given.get(name) is not None:
            arguments.whole(name, given[name], least)
    for name in ("image", "namespace", "kubernetes_conn_id"):
        if given.get(name) is not None:
            check_known(arguments.text, name, given[name])
    _check_resources(given.get("container_resources"))
    container = k8s.V1Container(name="base", security_context=given.get("container_security_context"))
    spec = k8s.V1PodSpec(
        containers=[container],
        init_containers=given.get("init_containers"),
        security_context=given.get("security_context"),
        host_network=given.get("hostnetwork"),
        automount_service_account_token=given.get("automount_service_account_token"),
    )
    for pod in (k8s.V1Pod(spec=spec), given.get("full_pod_spec")):
        if pod is not None:
            harden(typed(pod), relax)


def check_own(
    relax: Relaxations | None, kueue_queue: str | None, switches: Mapping[str, Any], lists: Mapping[str, Any]
) -> None:
    """Refuse what is wrong of GpuPodOperator's own arguments, but for those that its GPU request checks.

    Args:
        relax: see there.
        kueue_queue: see there.
        switches: arguments that are True or False, by name.
        lists: arguments that are lists of texts, by name.

    Raises:
        InvalidInputError: names the first offending argument.
    """
    if relax is not None and not isinstance(relax, Relaxations):
        raise InvalidInputError("relax", relax, "give bulkhead.Relaxations(…) with what the pod may do by name")
    if kueue_queue is not None:
        arguments.text("kueue_queue", kueue_queue)
    for name, value in switches.items():
        arguments.switch(name, value)
    for name, value in lists.items():
        arguments.texts(name, value)


def typed(pod: k8s.V1Pod) -> k8s.V1Pod:
    """The pod with every part of it as a model: KubernetesPodOperator takes dictionaries as they are.

    Args:
        pod: as KubernetesPodOperator builds it.
    """
    return PodGenerator.deserialize_model_dict(k8s.ApiClient().sanitize_for_serialization(pod))


def _check_resources(resources: Any) -> None:
    asked = resources if isinstance(resources, Mapping) else k8s.ApiClient().sanitize_for_serialization(resources) or {}
    for kind in ("limits", "requests"):
        for name, quantity in (asked.get(kind) or {}).items():
            check_known(check_quantity, f"container_resources.{kind}[{name}]", _as_text(quantity))


def _as_text(quantity: Any) -> Any:
    """Kubernetes takes a number as well, and a request of 0."""
    return str(quantity) if isinstance(quantity, int | float) and not isinstance(quantity, bool) else quantity

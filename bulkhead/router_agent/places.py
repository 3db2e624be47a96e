"""Where the servers of a split are, by the EndpointSlices of their Services.

Source: the Kubernetes EndpointSlice API (``discovery.k8s.io/v1``): conditions ``ready``, ``serving``, ``terminating``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bulkhead.pods.serving_names import comparer_name, server_name
from bulkhead.routers.base import Split
from bulkhead.routers.envoy.config import MIRROR, Address, upstreams

_SERVICE = "kubernetes.io/service-name"


def places(split: Split, slices: Iterable[Mapping[str, Any]]) -> dict[str, list[Address]]:
    """Pods that answer, by cluster of Envoy's.

    Args:
        slices: EndpointSlices of the service's servers, in their JSON form.

    Returns:
        For each cluster those that are ready; where none is, all that may answer: those that end and still serve, as
        Kubernetes' own Services have it, and those that are not ready. A server on a busy node misses its probe and
        answers; after an API server was away for longer than nodes may be silent, all pods count as not ready.
    """
    by_service: dict[str, list[Mapping[str, Any]]] = {}
    for endpoint_slice in slices:
        service = (endpoint_slice["metadata"].get("labels") or {}).get(_SERVICE, "")
        by_service.setdefault(service, []).append(endpoint_slice)
    return {
        cluster: _answering(by_service.get(_service_of(cluster), []), port)
        for cluster, port in upstreams(split).items()
    }


def _service_of(cluster: str) -> str:
    if cluster.startswith(MIRROR):
        return comparer_name(cluster.removeprefix(MIRROR))
    return server_name(cluster)


def _answering(slices: Iterable[Mapping[str, Any]], port: int) -> list[Address]:
    ready: set[Address] = set()
    there: set[Address] = set()
    for endpoint_slice in slices:
        listens = int(next((given["port"] for given in endpoint_slice.get("ports") or [] if given.get("port")), port))
        for endpoint in endpoint_slice.get("endpoints") or []:
            conditions = endpoint.get("conditions") or {}
            at = {(str(address), listens) for address in endpoint["addresses"][:1]}  # the others are the same pod's
            ready |= at if conditions.get("ready") is not False else set()
            ended = conditions.get("terminating") is True and conditions.get("serving") is not True
            there |= set() if ended else at
    return sorted(ready or there)

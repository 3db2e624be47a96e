"""The Gateway API router: one HTTPRoute a service, whatever implements the Gateway.

Sources: the Gateway API's HTTPRoute v1: ``weight``, ``RequestMirror``, header matches, and the conditions ``Accepted``,
``ResolvedRefs`` and ``PartiallyInvalid`` of each parent, with the generation that they were observed at.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from bulkhead.errors import UnavailableError
from bulkhead.pods.identity import LABEL_PREFIX, MANAGED
from bulkhead.pods.serving_names import COMPARER, SERVER, comparer_name, server_name
from bulkhead.routers.base import FOREIGN, Fence, Mirror, Pin, Split
from bulkhead.runtimes.kubernetes.objects import HTTP_ROUTE, Document, Objects, fence_of, other_writers
from bulkhead.settings import ClusterService, GatewayRef

_ENDPOINTS = LABEL_PREFIX + "endpoints"
_POLL_S = 0.1


class GatewayRouter:
    """Splits one service's traffic by its HTTPRoute.

    Args:
        objects: of the service's namespace.
    """

    def __init__(self, objects: Objects, settings: ClusterService) -> None:
        self._objects, self._settings = objects, settings

    def read(self, service: str) -> tuple[Fence, Split]:
        """See ``Router.read``; a service without a route has no traffic yet."""
        existing = self._objects.read(HTTP_ROUTE, service)
        if existing is None:
            return Fence(0, 0), Split()
        return Fence(*fence_of(existing)), parse(existing, self._settings.path)

    def apply(self, service: str, split: Split, fence: Fence) -> None:
        """See ``Router.apply``.

        Raises:
            InvalidInputError: the weights are no split.
            FencedError: a later fence was written already.
            RefusedError: the cluster does not take the route.
            UnavailableError: the Gateway's controller has not confirmed it in time.
        """
        desired = route(service, split, self._settings)
        written = self._objects.apply(HTTP_ROUTE, desired, fence.generation, sequence=fence.sequence)
        limit = time.monotonic() + self._settings.confirm_s
        while (missing := unconfirmed(written, self._settings)) is not None:
            if time.monotonic() > limit:
                raise UnavailableError(f"HTTPRoute {service} was written, and is not in force: {missing}")
            time.sleep(_POLL_S)  # the controller is another process: its status is polled
            written = self._objects.read(HTTP_ROUTE, service) or written

    def editor(self, service: str) -> str:
        """See ``Router.editor``: the field managers that have written the route's spec beside us."""
        return other_writers(self._objects.read(HTTP_ROUTE, service), "spec")


def route(service: str, split: Split, settings: ClusterService) -> Document:
    """A service's HTTPRoute.

    Returns:
        The fields that are ours.

    Raises:
        InvalidInputError: the weights do not sum to 100, or name a revision without an endpoint.
    """
    split.check()
    gateway = _gateway(settings)
    parent = {"name": gateway.name, "namespace": gateway.namespace, "sectionName": gateway.section}
    spec: Document = {
        "parentRefs": [{field: value for field, value in parent.items() if value}],
        "rules": rules(split, settings.path),
    }
    if settings.hostnames:
        spec["hostnames"] = list(settings.hostnames)
    notes = {_ENDPOINTS: json.dumps(dict(split.endpoints), sort_keys=True)}
    labels = {MANAGED: "true", LABEL_PREFIX + "service": service}
    return {"metadata": {"name": service, "labels": labels, "annotations": notes}, "spec": spec}


def rules(split: Split, path: str) -> list[Document]:
    """The rules of a split, with every default said, so that they are read back as they were written.

    Args:
        path: prefix of the requests that are meant.
    """
    prefix = {"path": {"type": "PathPrefix", "value": path}}
    backends = [
        _backend(server_name(name), port, split.weights.get(name, 0)) for name, port in sorted(split.endpoints.items())
    ]
    main: Document = {"matches": [prefix]}
    if split.weights:
        main["backendRefs"] = backends
    if split.mirror is not None:
        copies = _backend(comparer_name(split.mirror.revision), split.mirror.port, None)
        mirror = {"backendRef": copies, "percent": split.mirror.percent}
        main["filters"] = [{"type": "RequestMirror", "requestMirror": mirror}]
    if split.pin is None:
        return [main]
    headers = [{"type": "Exact", "name": name, "value": value} for name, value in sorted(split.pin.headers.items())]
    backend = _backend(server_name(split.pin.revision), split.endpoints[split.pin.revision], 1)
    return [{"matches": [{**prefix, "headers": headers}], "backendRefs": [backend]}, main]


def parse(route: Mapping[str, Any], path: str) -> Split:
    """Read a route back.

    Args:
        route: the HTTPRoute as the API server has it.
        path: as in the settings.

    Returns:
        The split; all to ``FOREIGN`` where the rules are not of the kind that is written here.
    """
    notes = route["metadata"].get("annotations") or {}
    try:
        endpoints = {str(name): int(port) for name, port in json.loads(notes.get(_ENDPOINTS, "{}")).items()}
        written = route["spec"].get("rules", [])
        split = Split(endpoints, _weights(written[-1]), _pin(written), _mirror(written[-1]))
        if rules(split, path) == written:
            return split
    except (ValueError, KeyError, IndexError, AttributeError, TypeError):
        endpoints = {}
    return Split(endpoints, {FOREIGN: 100})


def unconfirmed(route: Mapping[str, Any], settings: ClusterService) -> str | None:
    """What is missing until a route is in force, in words; None if nothing is.

    Args:
        route: the HTTPRoute as the API server has it.
    """
    metadata, gateway = route["metadata"], _gateway(settings)
    own = (gateway.name, gateway.namespace or metadata["namespace"], gateway.section)
    reason = f"no controller has said anything of Gateway {gateway.name}"
    for parent in (route.get("status") or {}).get("parents", []):
        ref = parent["parentRef"]
        if (ref["name"], ref.get("namespace") or metadata["namespace"], ref.get("sectionName")) != own:
            continue
        conditions = {condition["type"]: condition for condition in parent.get("conditions", [])}
        reason = _lacking(conditions, metadata.get("generation", 0))
        if not reason:
            return None
    return reason


def _lacking(conditions: Mapping[str, Any], generation: int) -> str:
    for kind in ("Accepted", "ResolvedRefs"):
        condition = conditions.get(kind)
        if condition is not None and "observedGeneration" not in condition:
            return f"{kind} says no observedGeneration, so that it is unknown which generation it is about"
        if condition is None or condition["observedGeneration"] < generation:
            return f"{kind} is not said yet of generation {generation}"
        if condition["status"] != "True":
            return _said(condition)
    # Gateway API, "RouteConditionPartiallyInvalid": some rules were dropped, or the state from before was kept.
    partly = conditions.get("PartiallyInvalid")
    return _said(partly) if partly is not None and partly["status"] == "True" else ""


def _said(condition: Mapping[str, Any]) -> str:
    reason = f"{condition.get('reason', '')}: {condition.get('message', '')}"
    return f"{condition['type']} is {condition['status']}: {reason}"


def _gateway(settings: ClusterService) -> GatewayRef:
    assert settings.gateway is not None  # ``bulkhead.backends`` chooses the router by it
    return settings.gateway


def _backend(name: str, port: int, weight: int | None) -> Document:
    backend: Document = {"group": "", "kind": "Service", "name": name, "port": port}
    return backend if weight is None else {**backend, "weight": weight}


def _weights(rule: Mapping[str, Any]) -> dict[str, int]:
    backends = rule.get("backendRefs", [])
    return {backend["name"].removeprefix(SERVER): backend["weight"] for backend in backends if backend["weight"]}


def _pin(written: list[Document]) -> Pin | None:
    if len(written) == 1:
        return None
    headers = written[0]["matches"][0]["headers"]
    revision = written[0]["backendRefs"][0]["name"].removeprefix(SERVER)
    return Pin(revision, {header["name"]: header["value"] for header in headers})


def _mirror(rule: Mapping[str, Any]) -> Mirror | None:
    for rule_filter in rule.get("filters", []):
        copies = rule_filter["requestMirror"]["backendRef"]
        return Mirror(copies["name"].removeprefix(COMPARER), copies["port"], rule_filter["requestMirror"]["percent"])
    return None

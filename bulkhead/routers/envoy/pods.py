"""Envoys in pods of a cluster: the split is an object of the cluster, each pod follows it and says what its Envoy has.

The object, a ConfigMap, is written under the fence, as an HTTPRoute would be. Beside each Envoy runs
``bulkhead router`` (``bulkhead.router_agent``), which watches it. An Envoy that has restarted, or a control plane that
is away, changes nothing of what is served.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bulkhead.errors import FencedError, UnavailableError
from bulkhead.metrics.counters import Counters, CountersDocument, load, total
from bulkhead.metrics.http_json import get_json, token_of
from bulkhead.pods.answering import address_of
from bulkhead.pods.identity import LABEL_PREFIX, MANAGED
from bulkhead.routers.base import FOREIGN, Fence, Split
from bulkhead.routers.envoy import config
from bulkhead.runtimes.kubernetes.objects import CONFIG_MAP, POD, Document, Objects, fence_of, other_writers
from bulkhead.settings import RouterPods

ROUTER = LABEL_PREFIX + "router"
"""Label of the pods that route a service's requests; its value is the service."""

STATE_PATH = "/state"
ENVOY = "envoy"
"""Name of the container, the first of its pod."""

_SPLIT = "split.json"
_PATIENCE_S = 1.0
_POLL_S = 0.05
_MOST_AT_ONCE = 16


def object_name(service: str) -> str:
    """Name of the ConfigMap with a service's split, and of the Service that its clients ask."""
    return f"router-{service}"


class StateDocument(BaseModel):
    """What a pod says.

    Attributes:
        version: of the split that its Envoy has in force, see ``config.version``; empty where it has none.
        trouble: why that is not the latest; empty where nothing is known to be in its way.
        counters: by cluster.
    """

    model_config = ConfigDict(extra="ignore")

    version: str = Field("", pattern=r"^([0-9]+\.[0-9]+\.[0-9a-f]+)?$")
    trouble: str = ""
    counters: dict[str, CountersDocument] = {}


@dataclass(frozen=True)
class RouterPod:
    """A pod whose Envoy runs.

    Attributes:
        name: of it.
        life: another one after each start of its Envoy.
        url: where it says how it stands.
        ready: whether clients are sent to it.
    """

    name: str
    life: str
    url: str
    ready: bool


class RouterPodsRouter:
    """Splits one service's traffic by Envoys in the service's namespace, and counts what its revisions answer there.

    Args:
        objects: of the namespace.
        confirm_s: how long to wait for the Envoys to confirm a change, in seconds.
    """

    def __init__(self, objects: Objects, settings: RouterPods, confirm_s: float) -> None:
        self._objects, self._settings, self._confirm_s = objects, settings, confirm_s

    def read(self, service: str) -> tuple[Fence, Split]:
        """See ``Router.read``; a service without an object has no traffic yet."""
        existing = self._objects.read(CONFIG_MAP, object_name(service))
        return parse(existing) if existing is not None else (Fence(0, 0), Split())

    def apply(self, service: str, split: Split, fence: Fence) -> None:
        """See ``Router.apply``.

        Raises:
            InvalidInputError: the weights are no split.
            FencedError: a later fence was written already.
            RefusedError: the cluster does not take the object.
            UnavailableError: not every Envoy has confirmed it in time.
        """
        split.check()
        self._objects.apply(CONFIG_MAP, document(service, split), fence.generation, sequence=fence.sequence)
        limit = time.monotonic() + self._confirm_s
        while missing := self._unconfirmed(service, split, fence):
            if time.monotonic() > limit:
                raise UnavailableError(f"service {service}: the split was written, and is not in force: {missing}")
            time.sleep(_POLL_S)  # the pods are other processes: they are asked

    def editor(self, service: str) -> str:
        """See ``Router.editor``: the field managers that have written the object's data beside us."""
        return other_writers(self._objects.read(CONFIG_MAP, object_name(service)), "data")

    def counters(self, service: str, revisions: Collection[str]) -> Mapping[str, Counters]:
        """See ``Metrics.counters``: the sum of what the Envoys have counted, each of them a part.

        Raises:
            UnavailableError: an Envoy that clients are sent to does not answer, or there is none.
            InvalidInputError: the token's variable is not set.
        """
        states = self._states(service)
        for pod, state in states.items():
            if isinstance(state, UnavailableError) and pod.ready:
                raise state
        seen = {pod.life: state.counters for pod, state in states.items() if isinstance(state, StateDocument)}
        if not seen:  # unknown, which is not none
            raise UnavailableError(_nobody(service, self._objects.namespace))
        return {
            revision: _added({life: load(counted[revision]) for life, counted in seen.items() if revision in counted})
            for revision in revisions
        }

    def _unconfirmed(self, service: str, split: Split, fence: Fence) -> str:
        """Which Envoys do not have a split, in words; empty where all do.

        A pod that neither answers nor is ready does not count: clients are sent past it, and it begins with the split.
        """
        states = self._states(service)
        if not any(pod.ready for pod in states):
            return _nobody(service, self._objects.namespace)
        missing = []
        for pod, state in states.items():
            if isinstance(state, UnavailableError):
                missing += [str(state)] if pod.ready else []
                continue
            held = config.fence_of(state.version) if state.version else Fence(0, 0)
            if held > fence:
                raise FencedError(
                    f"service {service}: router pod {pod.name} has generation {held.generation} step {held.sequence}, "
                    f"later than {fence.generation} step {fence.sequence}; if the ledger was rebuilt, delete the pod"
                )
            if state.version != config.version(fence, split):
                missing.append(f"router pod {pod.name}: {state.trouble or 'has not taken it up yet'}")
        return "; ".join(missing)

    def _states(self, service: str) -> dict[RouterPod, StateDocument | UnavailableError]:
        token = token_of(self._settings.token_variable)
        pods = running(self._objects.list(POD, {ROUTER: service}), self._settings.port)
        if not pods:
            return {}
        with ThreadPoolExecutor(min(_MOST_AT_ONCE, len(pods))) as pool:
            return dict(zip(pods, pool.map(lambda pod: _asked(pod, token), pods), strict=True))


def document(service: str, split: Split) -> Document:
    """The object that holds a split: the fields that are ours."""
    labels = {MANAGED: "true", LABEL_PREFIX + "service": service}
    data = {_SPLIT: json.dumps(split.document(), sort_keys=True)}
    return {"metadata": {"name": object_name(service), "labels": labels}, "data": data}


def parse(existing: Mapping[str, Any]) -> tuple[Fence, Split]:
    """Read an object back.

    Returns:
        Its fence and split; all to ``FOREIGN`` where the split is not of the kind that is written here.
    """
    fence = Fence(*fence_of(existing))
    try:
        split = Split.parse(json.loads(existing["data"][_SPLIT]))
        split.check()
    except (ValueError, KeyError, TypeError, AttributeError):
        return fence, Split({}, {FOREIGN: 100})
    return fence, split


def running(pods: Collection[Mapping[str, Any]], port: int) -> list[RouterPod]:
    """The pods whose Envoy runs, and is not about to end.

    Args:
        pods: of a service's router.
        port: at which each says how it stands.
    """
    started = []
    for pod in pods:
        containers = (pod.get("status") or {}).get("containerStatuses") or []
        states = {container["name"]: container.get("state") or {} for container in containers}
        address = address_of(pod, ENVOY)
        if address is not None and "running" in states.get(ENVOY, {}):
            url = f"http://{address.host}:{port}{STATE_PATH}"
            started.append(RouterPod(pod["metadata"]["name"], address.life, url, address.ready))
    return started


def _asked(pod: RouterPod, token: str | None) -> StateDocument | UnavailableError:
    try:
        return StateDocument.model_validate(get_json(pod.url, _PATIENCE_S, token))
    except UnavailableError as silent:
        return UnavailableError(f"router pod {pod.name}: {silent}")
    except ValidationError as wrong:
        return UnavailableError(f"router pod {pod.name} answers in another form: {wrong.errors()[0]['msg']}")


def _added(parts: Mapping[str, Counters]) -> Counters:
    active = sum(part.active for part in parts.values())
    plain = {life: replace(part, active=0, parts={}) for life, part in parts.items()}
    return replace(total(plain.values()), active=active, parts=plain)


def _nobody(service: str, namespace: str) -> str:
    return (
        f"no router pod of service {service} is ready in namespace {namespace}: "
        f"kubectl -n {namespace} get pods -l {ROUTER}={service}"
    )

"""Makes the Envoy beside it follow a service's split."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from kubernetes import client as k8s
from prometheus_client import Gauge

from bulkhead.errors import BulkheadError, InvalidInputError, RefusedError, UnavailableError
from bulkhead.http_handler import SHORTEST_TOKEN
from bulkhead.metrics.counters import dump
from bulkhead.metrics.http_json import token_of
from bulkhead.monitoring.loop import Loop
from bulkhead.monitoring.server import listening
from bulkhead.pods.identity import LABEL_PREFIX
from bulkhead.router_agent.places import places
from bulkhead.routers.base import FOREIGN, Fence
from bulkhead.routers.envoy import admin, config
from bulkhead.routers.envoy.pods import STATE_PATH, object_name, parse
from bulkhead.routers.envoy.router import EnvoyRouter
from bulkhead.runtimes.kubernetes.follow import Followed
from bulkhead.runtimes.kubernetes.objects import CONFIG_MAP, ENDPOINT_SLICE
from bulkhead.settings import RouterPods, ServicePorts

log = logging.getLogger(__name__)

PORTS = ServicePorts(port=8080, admin_port=9901)
"""Where Envoy listens in its pod: for clients, and on loopback."""

EVERYWHERE = "0.0.0.0"

_EVERY_S = 1.0
HUNG_AFTER_S = 60.0
"""A pass that lasts longer does not end."""


class RouterAgent:
    """One Envoy, and what the cluster says of its service.

    Args:
        service: whose requests it splits.
        root: folder that it shares with Envoy.
        api: gives a client of the cluster; each that follows has its own.
        namespace: of the service.
        ports: of Envoy.
        host: address that Envoy listens on for clients.

    Attributes:
        wake: set whenever there is something to do.
        router: what Envoy is told.
        up_to_date: a metric.
    """

    def __init__(
        self,
        service: str,
        root: Path,
        api: Callable[[], k8s.ApiClient],
        namespace: str,
        ports: ServicePorts = PORTS,
        host: str = EVERYWHERE,
    ) -> None:
        self._service, self.router = service, EnvoyRouter(root, {service: ports}, pod_host=host)
        self._admin_port, self.wake = ports.admin_port, threading.Event()
        own = {"fieldSelector": f"metadata.name={object_name(service)}"}
        servers = {"labelSelector": f"{LABEL_PREFIX}service={service}"}
        self._split = Followed(api(), CONFIG_MAP, namespace, own, self.wake.set)
        self._slices = Followed(api(), ENDPOINT_SLICE, namespace, servers, self.wake.set)
        self.router.prepare(service)
        self._trouble = "the split has not been read yet"
        self.up_to_date = Gauge(
            "bulkhead_router_up_to_date", "Whether Envoy has the latest split.", ["service"], registry=None
        )
        self.up_to_date.labels(service).set_function(lambda: not self.trouble())
        # What was served before this process restarted is served on, whether or not the cluster answers.
        self._settled = self.router.read(service)[0] > Fence(0, 0)

    def start(self) -> None:
        """Begin to follow."""
        self._split.start()
        self._slices.start()

    def stop(self) -> None:
        """End following."""
        self._split.stop()
        self._slices.stop()

    def follow(self) -> None:
        """Have Envoy split as the cluster says; what is wrong is kept for ``state``.

        Raises:
            UnavailableError: the cluster, or Envoy, does not answer.
            RefusedError: the split is not of the project's kind. Envoy keeps the one that it has.
            FencedError: Envoy has a later one.
        """
        try:
            self._follow()
        except BulkheadError as error:
            self._trouble = str(error)
            raise
        self._trouble, self._settled = "", True

    def _follow(self) -> None:
        objects, slices = self._split.objects, self._slices.objects
        if objects is None or slices is None:
            raise UnavailableError(self._split.trouble or self._slices.trouble or "not read yet")
        existing = objects.get(object_name(self._service))
        fence, split = parse(existing) if existing is not None else self.router.read(self._service)
        if FOREIGN in split.weights:
            raise RefusedError(
                f"ConfigMap {object_name(self._service)} holds no split of Bulkhead's: what was served before is "
                "served on; the reconciler writes it again"
            )
        self.router.place(self._service, places(split, slices.values()))
        if self.router.read(self._service) != (fence, split):
            self.router.apply(self._service, split, fence)
            log.info("service %s: %s", self._service, split)
        elif self.router.version(self._service) != config.version(fence, split):
            why = admin.rejected(self._admin_port, self._service) or "no reason given"
            raise UnavailableError(f"Envoy has not taken up the split yet: {why}")

    def not_ready(self) -> str | None:
        """Why no client is to be sent here; None where Envoy serves, be it what was the latest before the cluster fell
        silent."""
        if not self._settled:
            return self._trouble
        try:
            return None if self.router.version(self._service) else "Envoy has no split yet"
        except UnavailableError as error:
            return str(error)

    def state(self) -> bytes:
        """``StateDocument`` as JSON.

        Raises:
            UnavailableError: Envoy does not answer.
        """
        counted = {name: dump(counters) for name, counters in admin.counters(self._admin_port).items()}
        counters = {name: document for name, document in counted.items() if not name.startswith(config.MIRROR)}
        version = self.router.version(self._service)
        return json.dumps({"version": version, "trouble": self.trouble(), "counters": counters}).encode()

    def trouble(self) -> str:
        """Why Envoy may not have the latest split; empty where it has it."""
        return self._trouble or self._split.trouble or self._slices.trouble or ""


def run(
    agent: RouterAgent,
    settings: RouterPods,
    stop: threading.Event,
    host: str = EVERYWHERE,
    sign_of_life: Callable[[], None] = lambda: None,
) -> None:
    """Follow until told to stop, and answer the control plane, Prometheus and the kubelet.

    Args:
        settings: port and token.
        stop: ends it; to be set together with ``agent.wake``.
        host: address to listen on.
        sign_of_life: called before each pass, about once a second.

    Raises:
        InvalidInputError: the token's variable is not set, or its value is too short to be a secret.
        UnavailableError: the port is taken.
    """
    token = token_of(settings.token_variable) or ""
    if len(token) < SHORTEST_TOKEN:
        remedy = f"give the token in it at least {SHORTEST_TOKEN} characters"
        raise InvalidInputError("token_variable", settings.token_variable, remedy)
    loop = Loop("router", HUNG_AFTER_S)
    loop.registry.register(agent.up_to_date)
    pages = {STATE_PATH: (agent.state, "application/json")}

    def follow() -> None:
        sign_of_life()
        agent.follow()

    served = (loop.hung, agent.not_ready, loop.registry, token, pages)
    with listening("envoy.port", (host, settings.port), *served):
        agent.start()
        try:
            loop.repeat(follow, _EVERY_S, stop, agent.wake)
        finally:
            agent.stop()

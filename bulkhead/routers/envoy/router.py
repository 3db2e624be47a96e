"""The Envoy router: fenced, ordered, verified writes of the discovery files."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bulkhead.errors import FencedError, InvalidInputError, NotFoundError, UnavailableError
from bulkhead.files import make_private, read_json, write_json
from bulkhead.metrics.counters import Counters
from bulkhead.routers.base import Fence, Split
from bulkhead.routers.envoy import admin, config
from bulkhead.settings import ServicePorts


class EnvoyRouter:
    """One Envoy a service, each in a folder of its own below ``root``.

    Args:
        root: the folder.
        confirm_s: how long to wait for Envoy to confirm a change, in seconds.
        pod_host: address that an Envoy in a pod listens on: there, its revisions' servers are where ``place`` has said,
            and it may be told to have its clients go elsewhere before it ends. None: all is on this machine's loopback.
    """

    def __init__(
        self,
        root: str | Path,
        ports: Mapping[str, ServicePorts],
        confirm_s: float = 5.0,
        *,
        pod_host: str | None = None,
    ) -> None:
        self._root, self._ports, self._confirm_s, self._pod_host = Path(root), ports, confirm_s, pod_host

    def ports(self, service: str) -> ServicePorts:
        """Where a service's Envoy listens.

        Raises:
            NotFoundError: the configuration does not know the service.
        """
        try:
            return self._ports[service]
        except KeyError:
            services = ", ".join(sorted(self._ports)) or "none"
            raise NotFoundError(f"unknown service {service!r}; services in the configuration: {services}") from None

    def prepare(self, service: str) -> Path:
        """Write what Envoy needs to start; keeps an existing split.

        Returns:
            Path of the bootstrap file: ``envoy -c`` takes it.
        """
        ports, folder = self.ports(service), self._folder(service)
        make_private(folder)
        with self._locked(service):
            if read_json(folder / "rds.json") is None:
                fence = Fence(0, 0)
                write_json(folder / "cds.json", config.clusters(Split(), fence))
                write_json(folder / "rds.json", config.routes(service, Split(), fence))
            at, drained = (self._pod_host or config.LOOPBACK, ports.port), self._pod_host is not None
            write_json(folder / "lds.json", config.listener(folder, service, at))
            write_json(folder / "bootstrap.json", config.bootstrap(folder, ports.admin_port, drained=drained))
        return folder / "bootstrap.json"

    def read(self, service: str) -> tuple[Fence, Split]:
        """See ``Router.read``.

        Raises:
            NotFoundError: no Envoy was prepared for the service.
        """
        self.ports(service)
        document = read_json(self._folder(service) / "rds.json")
        if document is None:
            raise NotFoundError(f"service {service!r} has no router yet: its folder {self._folder(service)} is empty")
        return config.parse_routes(document)

    def apply(self, service: str, split: Split, fence: Fence) -> None:
        """See ``Router.apply``.

        The order keeps every request served: first clusters are added, then the routes point at them, then
        clusters that no route names are removed; each step is confirmed before the next.

        Raises:
            InvalidInputError: the weights are no split.
            FencedError: a later fence was written already.
            UnavailableError: Envoy has not confirmed in time.
        """
        routes, version = config.routes(service, split, fence), config.version(fence, split)
        folder = self._folder(service)
        with self._locked(service):
            current, before = self.read(service)
            if current > fence:
                raise FencedError(
                    f"service {service}: traffic was written by generation {current.generation} step "
                    f"{current.sequence}; this writer holds {fence.generation} step {fence.sequence}; "
                    f"if the ledger was rebuilt, remove {folder}"
                )
            union = replace(split, endpoints={**before.endpoints, **split.endpoints})
            write_json(folder / "cds.json", self._clusters(folder, union, fence))
            try:
                self._confirm(service, version, clusters=set(config.upstreams(split)), routes=False)
            finally:  # a router that is down comes back with what was asked for
                write_json(folder / "rds.json", routes)
            self._confirm(service, version, clusters=set(), routes=True)
            if set(union.endpoints) != set(split.endpoints):
                write_json(folder / "cds.json", self._clusters(folder, split, fence))
            self._sweep(folder, split)

    def place(self, service: str, addresses: Mapping[str, Collection[config.Address]]) -> None:
        """Say where the servers are, for an Envoy in a pod; no sooner than ``apply`` needs them.

        Args:
            addresses: of those that answer, by cluster (``config.upstreams``).
        """
        folder = self._folder(service)
        for cluster, places in addresses.items():
            path, desired = folder / config.place_file(cluster), config.endpoints(cluster, sorted(places))
            if read_json(path) != desired:
                write_json(path, desired)

    def version(self, service: str) -> str:
        """The version of the split that Envoy has in force; empty where it has none.

        Raises:
            UnavailableError: Envoy does not answer.
        """
        return admin.versions(self.ports(service).admin_port)[0].get(service, "")

    def editor(self, service: str) -> str:
        """See ``Router.editor``."""
        return f"a writer of {self._folder(service)}"

    def counters(self, service: str, revisions: Collection[str]) -> Mapping[str, Counters]:
        """See ``Metrics.counters``."""
        seen = admin.counters(self.ports(service).admin_port)
        return {name: seen.get(name, Counters()) for name in revisions}

    def _confirm(self, service: str, desired: str, *, clusters: set[str], routes: bool) -> None:
        port = self.ports(service).admin_port
        limit = time.monotonic() + self._confirm_s
        while True:
            route_versions, cluster_versions = admin.versions(port)
            if (not routes or route_versions.get(service) == desired) and clusters <= set(cluster_versions):
                return
            if time.monotonic() > limit:
                why = admin.rejected(port, service) or "no reason given"
                raise UnavailableError(f"Envoy of service {service} did not take up version {desired}: {why}")
            time.sleep(0.02)  # Envoy offers no notification of a configuration taken up: its version is polled

    def _sweep(self, folder: Path, split: Split) -> None:
        """Forget where servers were that get no request any more; Envoy refuses a cluster whose file is not there."""
        kept = {config.place_file(cluster) for cluster in config.upstreams(split)}
        for path in folder.glob(config.place_file("*")):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def _clusters(self, folder: Path, split: Split, fence: Fence) -> dict[str, Any]:
        return config.clusters(split, fence, folder if self._pod_host else None)

    def _folder(self, service: str) -> Path:
        if "/" in service or service.startswith("."):
            raise InvalidInputError("service", service, "use a plain name")
        return self._root / service

    @contextmanager
    def _locked(self, service: str) -> Iterator[None]:
        descriptor = os.open(self._folder(service) / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

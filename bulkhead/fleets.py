"""The fleet of a configuration: its sources, its watch, and who keeps its sick devices away from work."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator, Sequence

from bulkhead.errors import InvalidInputError
from bulkhead.health.policy import load_policy
from bulkhead.health.quarantine import QuarantineController
from bulkhead.health.sources.base import Source
from bulkhead.health.sources.dcgm import DcgmSource
from bulkhead.health.sources.kernel import KernelLogSource
from bulkhead.health.sources.nodes import NodeSource
from bulkhead.health.sources.nvml import NvmlSource
from bulkhead.health.sources.prometheus import PrometheusSource
from bulkhead.health.sources.tasks import Suspicions, TaskSource
from bulkhead.health.watch import FleetWatch
from bulkhead.ledger.quarantines import Quarantines
from bulkhead.metrics.http_json import token_of
from bulkhead.runtimes.kubernetes.access import Access, client
from bulkhead.runtimes.kubernetes.nodes import NodeKeeper
from bulkhead.settings import FleetSettings, Settings


def watch(
    settings: Settings, memory: Quarantines | None, urls: Sequence[str] = (), suspicions: Suspicions | None = None
) -> FleetWatch:
    """The watch of a configuration's fleet.

    Args:
        settings: the configuration.
        memory: where to take up from; None for a fresh look.
        urls: exporters to ask instead of the configuration's sources.
        suspicions: of tasks, since a time; None where no ledger is asked.

    Raises:
        InvalidInputError: nobody is named who could be asked, or a source's settings are wrong.
    """
    sources: list[Source] = [DcgmSource(url) for url in urls] or list(_sources(settings))
    if not sources:
        raise InvalidInputError(
            "fleet", "no source", "name exporters, prometheus, nvml, kernel_logs or nodes in the configuration"
        )
    if suspicions is not None:
        sources.append(TaskSource(suspicions))
    return FleetWatch(sources, load_policy(settings.fleet.policy), memory)


def controller(settings: Settings, quarantines: Quarantines) -> QuarantineController:
    """Who keeps the sick devices of a configuration's fleet away from work.

    Args:
        settings: the configuration.
        quarantines: of the ledger.

    Raises:
        InvalidInputError: the cluster cannot be reached as configured.
    """
    fleet = settings.fleet
    nodes = NodeKeeper(client(_access(fleet), settings.kubeconfigs)) if fleet.nodes else None
    return QuarantineController(quarantines, fleet, nodes, f"{getpass.getuser()}@{socket.gethostname()}/{os.getpid()}")


def _sources(settings: Settings) -> Iterator[Source]:
    fleet = settings.fleet
    for exporter in fleet.exporters:
        yield DcgmSource(exporter.url, token_of(exporter.token_variable))
    if fleet.prometheus is not None:
        asked = fleet.prometheus
        yield PrometheusSource(asked.url, token_of(asked.token_variable), asked.selector)
    if fleet.nvml:
        yield NvmlSource()
    for log in fleet.kernel_logs:
        yield KernelLogSource(log.path, log.node or socket.gethostname())
    if fleet.nodes:
        yield NodeSource(client(_access(fleet), settings.kubeconfigs))


def _access(fleet: FleetSettings) -> Access:
    return Access(kubernetes_conn_id=fleet.cluster)

"""The fleet of a configuration: its sources, its watch, and who keeps its unhealthy devices away from work."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from bulkhead.errors import InvalidInputError
from bulkhead.health.policy import load_policy
from bulkhead.health.quarantine import QuarantineController
from bulkhead.health.record import places
from bulkhead.health.sources.base import Source
from bulkhead.health.sources.dcgm import DcgmSource
from bulkhead.health.sources.kernel import KernelLogSource
from bulkhead.health.sources.nodes import NodeSource
from bulkhead.health.sources.nvml import NvmlSource
from bulkhead.health.sources.prometheus import DevicePrometheusSource
from bulkhead.health.sources.tasks import Suspected, TaskSource
from bulkhead.health.watch import FleetWatch
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.quarantines import Quarantines
from bulkhead.metrics.http_json import token_of
from bulkhead.pods.suspicion import Avoidance, avoid
from bulkhead.runtimes.kubernetes.access import Access, client
from bulkhead.runtimes.kubernetes.nodes import NodeCordons
from bulkhead.settings import FleetSettings, Settings
from bulkhead.users import user_name

_SUSPECTED_FOR = timedelta(hours=1)


def watch(
    settings: Settings, memory: Ledger | None, urls: Sequence[str] = (), suspected: Suspected | None = None
) -> FleetWatch:
    """The watch of a configuration's fleet.

    Args:
        memory: the ledger from which to take up; None for a fresh look.
        urls: exporters to ask instead of the configuration's sources.
        suspected: gives what tasks suspect; None where no ledger is asked.

    Raises:
        InvalidInputError: no source is named, or a source's settings are wrong.
    """
    sources: list[Source] = [DcgmSource(url) for url in urls] or list(_sources(settings))
    if not sources:
        raise InvalidInputError(
            "fleet", "no source", "name exporters, prometheus, nvml, kernel_logs or nodes in the configuration"
        )
    if suspected is not None:
        sources.append(TaskSource(suspected))
    return FleetWatch(sources, load_policy(settings.fleet.policy), memory)


def avoidance(settings: Settings, ledger: Ledger) -> Avoidance:
    """Where launches should not go now, by what tasks have said within the last hour.

    Args:
        ledger: where the fleet's watch leaves what it knows.

    Raises:
        UnavailableError: the ledger does not answer.
    """
    now = datetime.now(UTC)
    said = ledger.suspicions.since(now - _SUSPECTED_FOR)
    if not said:
        return Avoidance()
    held = {row.node for row in ledger.quarantines.held() if row.kind == "node"}
    seen = places(ledger.fleet.nodes_since(now - settings.fleet.believed_for), held)
    return avoid(said, seen, settings.fleet.budget_share)


def controller(settings: Settings, quarantines: Quarantines) -> QuarantineController:
    """Who keeps the unhealthy devices of a configuration's fleet away from work.

    Raises:
        InvalidInputError: the cluster cannot be reached as configured.
    """
    fleet = settings.fleet
    nodes = NodeCordons(client(_access(fleet), settings.kubeconfigs)) if fleet.nodes else None
    return QuarantineController(quarantines, fleet, nodes, f"{user_name()}@{socket.gethostname()}/{os.getpid()}")


def _sources(settings: Settings) -> Iterator[Source]:
    fleet = settings.fleet
    for exporter in fleet.exporters:
        yield DcgmSource(exporter.url, token_of(exporter.token_variable))
    if fleet.prometheus is not None:
        asked = fleet.prometheus
        yield DevicePrometheusSource(asked.url, token_of(asked.token_variable), asked.selector)
    if fleet.nvml:
        yield NvmlSource()
    for log in fleet.kernel_logs:
        yield KernelLogSource(log.path, log.node or socket.gethostname())
    if fleet.nodes:
        yield NodeSource(client(_access(fleet), settings.kubeconfigs))


def _access(fleet: FleetSettings) -> Access:
    return Access(kubernetes_conn_id=fleet.cluster)

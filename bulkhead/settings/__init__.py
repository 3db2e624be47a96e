"""The one configuration that Airflow's processes, the reconciler and the command line share."""

from __future__ import annotations

from bulkhead.settings.fleet import Exporter, FleetPrometheus, FleetSettings, KernelLog
from bulkhead.settings.monitoring import MonitoringSettings
from bulkhead.settings.root import CONFIG_VARIABLE, Settings, load
from bulkhead.settings.services import (
    AnyService,
    ClusterService,
    GatewayRef,
    HttpSource,
    PrometheusQueries,
    PrometheusSource,
    RouterPods,
    ServicePolicy,
    ServicePorts,
)

__all__ = [
    "CONFIG_VARIABLE",
    "AnyService",
    "ClusterService",
    "Exporter",
    "FleetPrometheus",
    "FleetSettings",
    "GatewayRef",
    "HttpSource",
    "KernelLog",
    "MonitoringSettings",
    "PrometheusQueries",
    "PrometheusSource",
    "RouterPods",
    "ServicePolicy",
    "ServicePorts",
    "Settings",
    "load",
]

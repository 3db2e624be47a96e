"""Envoy's admin interface: what it has taken up, and what it has counted."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping

from bulkhead.errors import UnavailableError
from bulkhead.metrics.counters import Counters, with_failures
from bulkhead.metrics.http_json import get_text

_TIMEOUT_S = 2.0
_SAMPLE = re.compile(r"^(?P<name>\w+)\{(?P<labels>[^}]*)\} (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def get(port: int, path: str) -> str:
    """GET a path of the admin interface.

    Args:
        path: with its query.

    Raises:
        UnavailableError: Envoy does not answer with 200.
    """
    try:
        return get_text(f"http://127.0.0.1:{port}{path}", _TIMEOUT_S)
    except UnavailableError as error:
        raise UnavailableError(f"Envoy's admin port {port}: {error}; is Envoy running?") from error


def versions(port: int) -> tuple[dict[str, str], dict[str, str]]:
    """The versions of the configuration in force.

    Args:
        port: of the admin interface.

    Returns:
        Version by route configuration, and by cluster.
    """
    routes, clusters = {}, {}
    for dump in json.loads(get(port, "/config_dump"))["configs"]:
        for entry in dump.get("dynamic_route_configs", []):
            routes[entry["route_config"]["name"]] = entry.get("version_info", "")
        for entry in dump.get("dynamic_active_clusters", []):
            clusters[entry["cluster"]["name"]] = entry.get("version_info", "")
    return routes, clusters


def rejected(port: int, service: str) -> str:
    """Why Envoy refused its last route update, or an empty string.

    Args:
        port: of the admin interface.
    """
    for dump in json.loads(get(port, "/config_dump"))["configs"]:
        for entry in dump.get("dynamic_route_configs", []):
            if entry.get("route_config", {}).get("name") == service and "error_state" in entry:
                return str(entry["error_state"].get("details", ""))
    return ""


def counters(port: int) -> Mapping[str, Counters]:
    """Cumulative numbers by cluster, from the Prometheus exposition.

    ``envoy_cluster_upstream_rq`` counts the answers by status. What has no answer of the upstream (timeout, reset, no
    connection) Envoy answers itself, with a 5xx that counts there too.

    Args:
        port: of the admin interface.
    """
    return parse_counters(get(port, "/stats/prometheus?filter=cluster%5C..*upstream_rq_(%5Cd%5Cd%5Cd|time|active)"))


def parse_counters(text: str) -> Mapping[str, Counters]:
    """Read the exposition.

    Args:
        text: of ``/stats/prometheus``.
    """
    answers: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    buckets: dict[str, dict[float, int]] = defaultdict(dict)
    active: dict[str, int] = defaultdict(int)
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        if match is None:
            continue
        labels = dict(_LABEL.findall(match["labels"]))
        cluster, value = labels.get("envoy_cluster_name", ""), int(float(match["value"]))
        if match["name"] == "envoy_cluster_upstream_rq":
            answers[cluster][labels["envoy_response_code"]] += value
        elif match["name"] == "envoy_cluster_upstream_rq_time_bucket":
            buckets[cluster][float(labels["le"].replace("+Inf", "inf"))] = value
        elif match["name"] == "envoy_cluster_upstream_rq_active":
            active[cluster] = value
    return {
        cluster: with_failures(
            Counters(
                requests=sum(answers[cluster].values()),
                slow=dict(sorted(buckets[cluster].items())),
                active=active[cluster],
                statuses=dict(sorted(answers[cluster].items())),
            )
        )
        for cluster in set(answers) | set(active)
    }

"""PromQL of what commonly counts requests: each named by who exports the metrics, and summed for each pod by itself.

Whose counter was reset can be told only so (see ``bulkhead.rollout.analysis.tally``).

There is none for Envoy Gateway: unless a backend has filters, it makes one Envoy cluster of all backends of a rule
(``NeedsClusterPerSetting`` in its ``internal/ir/xds.go``), so its metrics do not tell a candidate from stable. Behind
it, take the servers' own metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bulkhead.errors import InvalidInputError
from bulkhead.settings import PrometheusQueries

# A Deployment's pods are named after the server, those of KServe and of a LeaderWorkerSet after the revision.
_PODS = 'namespace="{namespace}",pod=~"(serve-)?{revision}-.*"'
_ISTIO = 'reporter="source",destination_service_namespace="{namespace}",destination_service_name="{backend}"'
_INFER = _PODS + ',path=~"(/v2/models/.*/infer|/invocations)"'

DEFAULTS: Mapping[str, PrometheusQueries] = {
    # bulkhead.gpu_tasks.serve, scraped at /metrics with the labels ``namespace`` and ``pod``.
    "bulkhead": PrometheusQueries(
        requests=f"sum by (pod, instance, code) (bulkhead_requests_total{{{_PODS}}})",
        status_label="code",
        buckets=f"sum by (le, pod, instance) (bulkhead_request_duration_seconds_bucket{{{_PODS}}})",
    ),
    # Istio, "Standard Metrics"; as the gateway saw it, so that a server that answers nothing counts as failing.
    "istio": PrometheusQueries(
        requests=f"sum by (pod, instance, response_code) (istio_requests_total{{{_ISTIO}}})",
        status_label="response_code",
        buckets=f"sum by (le, pod, instance) (istio_request_duration_milliseconds_bucket{{{_ISTIO}}})",
        bucket_unit_ms=1,
    ),
    # MLServer, "Metrics": what KServe serves models of MLflow with.
    "mlserver": PrometheusQueries(
        requests=f"sum by (pod, instance, status_code) (rest_server_requests_total{{{_INFER}}})",
        status_label="status_code",
        buckets=f"sum by (le, pod, instance) (rest_server_request_duration_seconds_bucket{{{_INFER}}})",
        active=f'sum(rest_server_requests_in_progress{{{_PODS},method="POST"}})',
    ),
    # vLLM, "Production Metrics", and its API server's own http_requests_total, which knows classes of statuses alone: a
    # 408 or 429 is a client error there.
    "vllm": PrometheusQueries(
        requests=f'sum by (pod, instance, status) (http_requests_total{{{_PODS},handler=~"/v1/.*"}})',
        status_label="status",
        buckets=f"sum by (le, pod, instance) (vllm:e2e_request_latency_seconds_bucket{{{_PODS}}})",
        active=f'sum({{__name__=~"vllm:num_requests_running|vllm:num_requests_waiting",{_PODS}}})',
    ),
    # Triton, "Metrics": it has no latency histogram of unary requests, so latencies are not judged.
    "triton": PrometheusQueries(
        requests=f'sum by (pod, instance) ({{__name__=~"nv_inference_request_(success|failure)",{_PODS}}})',
        failures=f"sum by (pod, instance) (nv_inference_request_failure{{{_PODS}}})",
        active=f"sum(nv_inference_pending_request_count{{{_PODS}}})",
    ),
}
"""By name."""


def chosen(queries: PrometheusQueries | str) -> PrometheusQueries:
    """The queries that a service's settings name or give.

    Args:
        queries: a name of ``DEFAULTS``, or own ones.

    Raises:
        InvalidInputError: there are none of this name.
    """
    if not isinstance(queries, str):
        return queries
    if queries not in DEFAULTS:
        raise InvalidInputError("prometheus.queries", queries, f"give PromQL, or one of {', '.join(sorted(DEFAULTS))}")
    return DEFAULTS[queries]


Naming = Callable[[str, str], Mapping[str, str]]
"""What to fill in, by service and revision: ``namespace``, ``service``, ``revision`` and ``backend``."""


def filled(query: str, names: Mapping[str, Any]) -> str:
    """A query or URL with its names filled in; all other braces stay, being PromQL's own.

    Args:
        query: with ``{namespace}`` and so on.
    """
    for name, value in names.items():
        query = query.replace("{" + name + "}", str(value))
    return query

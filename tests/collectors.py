"""A collector of OpenTelemetry's traces on loopback: OTLP over HTTP, as Jaeger, Tempo and the rest take it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.servers import Backend


@dataclass(frozen=True)
class CollectedSpan:
    """A span that has come. Attributes: as OTLP has them, ids in hexadecimal; service (its resource's name)."""

    name: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]


class TraceCollector:
    """Takes spans. Attributes: url (for OTEL_EXPORTER_OTLP_ENDPOINT)."""

    def __init__(self) -> None:
        self._server = Backend("")
        self.url = f"http://127.0.0.1:{self._server.port}"

    def close(self) -> None:
        """Take no more."""
        self._server.stop()

    def spans(self) -> list[CollectedSpan]:
        """All that have come so far."""
        bodies = [body for method, path, body in self._server.asked if (method, path) == ("POST", "/v1/traces")]
        return [span for body in bodies for span in _spans(body)]


def _spans(body: bytes) -> list[CollectedSpan]:
    return [
        CollectedSpan(
            span.name,
            _attributes(resource.resource.attributes).get("service.name", ""),
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            _attributes(span.attributes),
        )
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}

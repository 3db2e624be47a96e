"""OpenTelemetry: one trace from a DAG run, through the request of its release, to what became of it.

Spans are made by OpenTelemetry's API, wherever the code runs. Who exports them is the process' own affair: Airflow's
tasks do where Airflow is told to (``[traces] otel_on``), our long-running parts where OpenTelemetry's standard
variables name a collector (``exporting``); elsewhere a span costs nothing. From one process to the other the trace goes
through the ledger, in W3C's ``traceparent`` (https://www.w3.org/TR/trace-context/).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.metadata import entry_points
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from bulkhead.errors import InvalidInputError

log = logging.getLogger(__name__)

_EXPORTER = "OTEL_TRACES_EXPORTER"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_TRACEPARENT = "traceparent"
_LAST_WORDS_MS = 5000
"""How long a part that ends may take to send the spans that it still has."""


def tracer() -> Tracer:
    """What makes the spans of this package."""
    return trace.get_tracer("bulkhead")


def configured() -> bool:
    """Whether OpenTelemetry's variables ask for spans to be exported.

    Raises:
        InvalidInputError: one of them holds what it cannot.
    """
    return _chosen() is not None


def current() -> str | None:
    """The ``traceparent`` of the span in which this is called; None outside of any."""
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(_TRACEPARENT)


def remote(traceparent: str | None, key: str) -> Context:
    """The context of a span that another process made.

    Args:
        traceparent: as ``current`` gave it there; None where that one had no trace.
        key: of what the trace is about: without a ``traceparent``, all that is made with one key is in one trace still.
    """
    if traceparent is not None:
        return TraceContextTextMapPropagator().extract({_TRACEPARENT: traceparent})
    digest = sha256(key.encode()).digest()
    made_up = SpanContext(
        trace_id=int.from_bytes(digest[:16]),
        span_id=int.from_bytes(digest[16:24]),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    return trace.set_span_in_context(NonRecordingSpan(made_up), Context())


@contextmanager
def exporting(part: str) -> Iterator[None]:
    """Send the spans of a long-running part to the collector that OpenTelemetry's standard variables name, if any.

    A collector that does not answer holds nothing up: spans wait in a queue of bounded length, and then are dropped.

    Args:
        part: of Bulkhead; the service's name in the traces, unless ``OTEL_SERVICE_NAME`` gives another.

    Raises:
        InvalidInputError: a variable asks for an exporter that is unknown or not installed.
    """
    chosen = _chosen()
    if chosen is None:
        yield
        return
    variable, name = chosen
    installed = {entry.name: entry for entry in entry_points(group="opentelemetry_traces_exporter")}
    if name not in installed:
        remedy = f"install 'bulkhead[tracing]', or choose one that is here: {', '.join(sorted(installed)) or 'none is'}"
        raise InvalidInputError(variable, name, remedy)
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: f"bulkhead-{part}"}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    exporter: Any = installed[name].load()()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    log.info("spans of the %s go out by %s", part, name)
    try:
        yield
    finally:
        if not provider.force_flush(_LAST_WORDS_MS):
            log.warning("the last spans of the %s were not sent within %d ms", part, _LAST_WORDS_MS)
        provider.shutdown()


def _chosen() -> tuple[str, str] | None:
    """The variable that asks for an exporter, and the exporter's name among the entry points; None where none does."""
    asked = os.environ.get(_EXPORTER, "")
    if asked == "none" or not (asked or any(os.environ.get(variable) for variable in _ENDPOINTS)):
        return None
    if asked not in ("", "otlp"):
        return _EXPORTER, asked
    variable = next((name for name in _PROTOCOLS if os.environ.get(name)), _PROTOCOLS[-1])
    protocol = os.environ.get(variable) or "http/protobuf"
    if protocol not in _OTLP:
        raise InvalidInputError(variable, protocol, f"give one of {', '.join(_OTLP)}")
    return variable, _OTLP[protocol]

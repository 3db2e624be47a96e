"""Where spans go: by OpenTelemetry's own variables, and nowhere without."""

import logging
import threading
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.util._once import Once

from bulkhead import tracing
from bulkhead.errors import InvalidInputError
from tests.collectors import TraceCollector
from tests.ports import free_port

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable, and no provider: a process has one for good."""
    for name in ("OTEL_TRACES_EXPORTER", ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())


@pytest.fixture
def collector() -> Iterator[TraceCollector]:
    made = TraceCollector()
    yield made
    made.close()


def test_without_a_collector_a_span_is_nothing() -> None:
    with tracing.exporting("reconciler"), tracing.tracer().start_as_current_span("work") as span:
        assert not span.is_recording()
        assert tracing.current() is None


def test_spans_go_to_the_collector_that_is_named(collector: TraceCollector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, collector.url)
    with tracing.exporting("reconciler"), tracing.tracer().start_as_current_span("work"):
        traceparent = tracing.current()
    [span] = collector.spans()
    assert span.name == "work" and span.service == "bulkhead-reconciler"
    assert traceparent is not None and span.trace_id in traceparent


def test_a_service_keeps_the_name_that_it_is_given(collector: TraceCollector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, collector.url)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "ours")
    with tracing.exporting("reconciler"), tracing.tracer().start_as_current_span("work"):
        pass
    assert [span.service for span in collector.spans()] == ["ours"]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, r"OTEL_TRACES_EXPORTER.*zipkin.*bulkhead\[tracing\].*otlp_proto_http"),
        ({ENDPOINT: "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "smoke"}, "PROTOCOL.*smoke.*http/protobuf"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_variable(
    variables: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInputError, match=words), tracing.exporting("reconciler"):
        pass


def test_a_collector_that_is_away_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    done = threading.Event()
    with caplog.at_level(logging.WARNING), tracing.exporting("reconciler"):
        with tracing.tracer().start_as_current_span("work"):
            done.set()
        assert done.is_set()
    assert "export" in caplog.text.lower()


def test_a_trace_goes_on_in_another_process() -> None:
    context = tracing.remote("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "k")
    span = trace.get_current_span(context).get_span_context()
    assert f"{span.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c" and span.trace_flags.sampled


def test_what_has_no_trace_has_one_by_its_key() -> None:
    ids = [trace.get_current_span(tracing.remote(None, key)).get_span_context().trace_id for key in "aab"]
    assert ids[0] == ids[1] != ids[2]

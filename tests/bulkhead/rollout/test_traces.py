"""What a release leaves in a trace: the request, each step, each phase, what was decided, how it ended."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer

from bulkhead import tracing
from bulkhead.errors import UnavailableError
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.rollout.plan import Plan
from tests.worlds import Stage

PLAN = Plan(steps=(50, 100), step_s=5, min_requests=20, ready_s=60, inconclusive_timeout_s=300, drain_s=0)


@pytest.fixture
def stage(sqlite_url: str) -> Stage:
    return Stage(sqlite_url)


@pytest.fixture
def tracer() -> Tracer:
    return TracerProvider().get_tracer("a test")


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "tracer", lambda: provider.get_tracer("bulkhead"))
    yield exporter
    provider.shutdown()


def _promoted(stage: Stage, rollout: Rollout) -> None:
    for _ in range(4):
        stage.reconciler.run_once()
        stage.clock.pass_by(6)
        stage.router.answer(rollout.revision_id, 100)
        stage.router.answer(rollout.stable_id or "", 100)
    stage.reconciler.run_once()
    assert stage.now(rollout).phase is Phase.PROMOTED


def _named(spans: InMemorySpanExporter, begin: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name.startswith(begin)]


def _end(span: ReadableSpan) -> int:
    assert span.end_time is not None
    return span.end_time


def test_all_of_a_release_is_in_the_trace_of_its_request(
    stage: Stage, spans: InMemorySpanExporter, tracer: Tracer
) -> None:
    stage.stable()
    spans.clear()
    with tracer.start_as_current_span("the task") as task:
        rollout = stage.ask("new", PLAN)
    _promoted(stage, rollout)
    made = spans.get_finished_spans()
    assert {span.context.trace_id for span in made} == {task.get_span_context().trace_id}
    [release] = _named(spans, "release digits")
    assert release.parent is not None and release.parent.span_id == task.get_span_context().span_id
    attributes = release.attributes or {}
    assert attributes["bulkhead.result"] == "promoted" and attributes["bulkhead.revision"] == rollout.revision_id
    assert release.status.status_code is StatusCode.UNSET
    phases = _named(spans, "phase ")
    assert {span.parent.span_id for span in phases if span.parent} == {release.context.span_id}
    assert [span.name.removeprefix("phase ") for span in phases][:3] == ["requested", "registered", "launched"]
    assert phases[0].start_time == release.start_time and _end(phases[-1]) == release.end_time
    assert all(_end(before) == after.start_time for before, after in pairwise(phases))
    passed = [event for event in release.events if event.name == "passed"]
    assert len(passed) == 2
    steps = _named(spans, "step ")
    assert "step shifting" in {span.name for span in steps} and not _named(spans, "step promoted")
    assert all(span.status.status_code is StatusCode.UNSET for span in steps)


def test_a_rollback_says_why(stage: Stage, spans: InMemorySpanExporter) -> None:
    stage.stable()
    spans.clear()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    stage.clock.pass_by(2)
    stage.router.answer(rollout.revision_id, 50, failures=30)
    stage.router.answer(rollout.stable_id or "", 50)
    stage.reconciler.run_once()
    stage.clock.pass_by(1)
    stage.reconciler.run_once()
    now = stage.now(rollout)
    assert now.phase is Phase.ROLLED_BACK
    [release] = _named(spans, "release digits")
    assert release.status.status_code is StatusCode.ERROR and release.status.description == now.reason
    [verdict] = [event for event in release.events if event.name == "rollback"]
    assert (verdict.attributes or {})["bulkhead.reason"] == now.reason
    assert "phase restoring" in {span.name for span in _named(spans, "phase ")}


def test_a_step_that_fails_is_there_with_its_error_and_one_that_waits_is_not(
    stage: Stage, spans: InMemorySpanExporter
) -> None:
    stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.router.up = False
    spans.clear()
    stage.reconciler.run_once()
    failed = [span for span in _named(spans, "step ") if span.status.status_code is StatusCode.ERROR]
    assert [span.status.description for span in failed] == ["the router is down"]
    assert failed[0].events[0].name == "exception"
    stage.router.up = True
    stage.clock.pass_by(10)
    stage.reconciler.run_once()
    assert stage.now(rollout).phase is Phase.ANALYSING
    spans.clear()
    stage.reconciler.run_once()  # which has nothing to judge by
    assert not spans.get_finished_spans()


def test_without_a_trace_of_the_request_all_of_a_release_is_in_one_still(
    stage: Stage, spans: InMemorySpanExporter
) -> None:
    stage.stable()
    spans.clear()
    rollout = stage.ask("new", PLAN)
    assert rollout.trace is None
    _promoted(stage, rollout)
    assert len({span.context.trace_id for span in spans.get_finished_spans()}) == 1
    assert len(spans.get_finished_spans()) > 10


def test_a_ledger_that_does_not_answer_any_more_leaves_the_phases_out_and_fails_nothing(
    stage: Stage, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise UnavailableError("the ledger is away")

    stage.stable()
    spans.clear()
    rollout = stage.ask("new", PLAN)
    monkeypatch.setattr(stage.ledger.events, "select", away)
    _promoted(stage, rollout)
    assert len(_named(spans, "release digits")) == 1 and not _named(spans, "phase ")
    assert stage.ledger.events.failing("digits") == {}


def test_where_nobody_wants_spans_the_log_is_not_read_for_them(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.stable()
    rollout = stage.ask("new", PLAN)
    monkeypatch.setattr(stage.ledger.events, "select", lambda *_: pytest.fail("it was read"))
    _promoted(stage, rollout)

"""The spans of a rollout: each step as it is taken, and at the end the release with its phases."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from bulkhead import tracing
from bulkhead.errors import UnavailableError
from bulkhead.events import EventKind
from bulkhead.ledger.tables import Event, Phase, Rollout

log = logging.getLogger(__name__)

_NAMESPACE = "bulkhead."
_PHASES = frozenset(Phase)


def step(rollout: Rollout, began_ns: int, error: Exception | None = None) -> None:
    """One step, which had its effect on the world or failed.

    Args:
        rollout: as it was before.
        began_ns: Unix time, in nanoseconds.
        error: why it failed.
    """
    span = tracing.tracer().start_span(
        f"step {rollout.phase}", _origin(rollout), SpanKind.INTERNAL, _about(rollout), start_time=began_ns
    )
    if error is not None:
        span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR, str(error)))
    span.end(time.time_ns())


def release(rollout: Rollout, events: Callable[[], Sequence[Event]]) -> None:
    """A release that has ended: from its request to its end, a span in it for each phase, and what was decided when.

    Args:
        rollout: as it is now.
        events: gives its events, oldest first; not asked where nobody wants the spans.
    """
    tracer = tracing.tracer()
    attributes = {**_about(rollout), **_scalars({"owner": rollout.owner, "result": rollout.phase, "key": rollout.key})}
    span = tracer.start_span(
        f"release {rollout.service}",
        _origin(rollout),
        SpanKind.CONSUMER,
        attributes,
        start_time=_ns(rollout.created_at),
    )
    if not span.is_recording():
        return
    try:
        history = events()
    except UnavailableError as error:
        log.warning("the trace of rollout %s is without its phases: %s", rollout.id, error)
        history = []
    for event in history:
        span.add_event(event.kind, _scalars(event.data), _ns(event.at))
    inside = trace.set_span_in_context(span)
    for phase, data, since, until in _phases(history):
        part = tracer.start_span(f"phase {phase}", inside, attributes=_scalars(data), start_time=_ns(since))
        part.end(_ns(until))
    if rollout.phase is Phase.ROLLED_BACK:
        span.set_status(Status(StatusCode.ERROR, rollout.reason or "rolled back"))
    span.end(_ns(rollout.ended_at or rollout.phase_at))


def _phases(history: Sequence[Event]) -> Iterator[tuple[Phase, Mapping[str, Any], datetime, datetime]]:
    """Each phase, with what its event says, from when and until when it lasted; the last has no length."""
    begins = [event for event in history if event.kind == EventKind.ROLLBACK or event.kind in _PHASES]
    for event, following in pairwise(begins):
        phase = Phase.RESTORING if event.kind == EventKind.ROLLBACK else Phase(event.kind)
        yield phase, event.data, event.at, following.at


def _origin(rollout: Rollout) -> Any:
    return tracing.remote(rollout.trace, rollout.key)


def _about(rollout: Rollout) -> dict[str, Any]:
    return _scalars(
        {
            "service": rollout.service,
            "rollout": rollout.id,
            "revision": rollout.revision_id,
            "stable_revision": rollout.stable_id,
            "step": rollout.step,
        }
    )


def _scalars(data: Mapping[str, Any]) -> dict[str, Any]:
    """What an attribute can hold, under our own names."""
    return {f"{_NAMESPACE}{name}": value for name, value in data.items() if isinstance(value, str | bool | int | float)}


def _ns(at: datetime) -> int:
    return int(at.timestamp() * 1e9)

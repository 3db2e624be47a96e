"""The course of a release: its share of the traffic, what was measured of it, and when something was decided."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from bulkhead.events import EventKind
from bulkhead.ledger.tables import Event, Measurement, Phase, Rollout
from bulkhead.web.documents import ArmDocument, CourseDocument, MeasurementDocument, MomentDocument, PointDocument

_DECISIONS: Mapping[str, str] = {
    EventKind.PASSED: "step {step} passed",
    EventKind.APPROVED: "step {step} approved",
    EventKind.SKIPPING: "to the last step",
    EventKind.ROLLBACK: "rollback",
    Phase.RETIRING: "stable",
}


def course(rollout: Rollout, events: Sequence[Event], measurements: Sequence[Measurement]) -> CourseDocument:
    """What a picture of a release shows.

    Args:
        rollout: the release.
        events: of it, oldest first.
        measurements: of it, oldest first.
    """
    kept = [_measurement(measurement.at, measurement.step, measurement.numbers) for measurement in measurements]
    # What a decision rests on is in its event, and was measured a moment after the last measurement that was kept.
    decided = [
        _measurement(event.at, _step(event), event.data["numbers"])
        for event in events
        if event.kind in (EventKind.PASSED, EventKind.ROLLBACK) and event.data.get("numbers")
    ]
    return CourseDocument(
        service=rollout.service,
        split=list(_split(rollout, events)),
        moments=[
            MomentDocument(at=event.at, words=_DECISIONS[event.kind].format(step=_step(event) + 1))
            for event in events
            if event.kind in _DECISIONS
        ],
        measurements=sorted([*kept, *decided], key=lambda measurement: measurement.at),
    )


def _split(rollout: Rollout, events: Sequence[Event]) -> Iterator[PointDocument]:
    yield PointDocument(at=rollout.created_at, percent=0)
    for event in events:
        if event.kind == Phase.ANALYSING and isinstance(event.data.get("weight"), int):
            yield PointDocument(at=event.at, percent=event.data["weight"])
        elif event.kind == Phase.PROMOTING:
            yield PointDocument(at=event.at, percent=100)
    if rollout.contained_at is not None:
        yield PointDocument(at=rollout.contained_at, percent=0)


def _step(event: Event) -> int:
    index = event.data.get("index", event.data.get("step"))
    return index if isinstance(index, int) else 0


def _measurement(at: datetime, step: int, numbers: Mapping[str, Any]) -> MeasurementDocument:
    return MeasurementDocument(
        at=at,
        step=step + 1,
        window_s=numbers.get("window_s", 0.0),
        candidate=_arm(numbers.get("candidate")),
        stable=_arm(numbers.get("stable")),
        evidence=numbers.get("evidence", {}),
    )


def _arm(counted: Mapping[str, Any] | None) -> ArmDocument | None:
    if counted is None:
        return None
    _, upper = counted.get("p99_ms") or (0.0, math.inf)
    return ArmDocument(
        requests=counted["requests"],
        failures=counted["failures"],
        slow=counted["slow"],
        p99_ms=upper if isinstance(upper, int | float) and math.isfinite(upper) else None,
    )

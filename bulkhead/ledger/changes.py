"""How far a ledger has come: what is read of it again has changed only where a topic of it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from operator import add

from sqlalchemy import CompoundSelect, Row, ScalarSelect, String, case, cast, func, literal, select, union_all

from bulkhead.ledger.tables import Event, FleetDevice, FleetNode, Measurement

EVENTS = "events"
"""Topic of what an event tells of: services, revisions, rollouts, isolations, quarantines."""

FLEET = "fleet"
"""Topic of how devices and nodes stand; that a watch has looked again and found them so is no change."""

Changes = Mapping[str, str]
"""By topic, something that is another after a change."""

NOTHING_KNOWN: Changes = {}

_MEASUREMENTS = "measurements"
_ROLLOUTS_KEPT = 500
"""The latest measured ones, whose marks are kept."""

_LATE = 100
"""An event may be committed after one with a greater id: so many are read again."""

_NONE_LATER = 2**31 - 1
_NO_SERVICE = "-"


def events_of(service: str) -> str:
    """Topic of what an event of this service tells of."""
    return f"{EVENTS} of {service}"


def measurements_of(rollout_id: int | str) -> str:
    """Topic of what is measured of a rollout."""
    return f"{_MEASUREMENTS} of {rollout_id}"


def changes_query(before: Changes) -> CompoundSelect[str, str, str | None]:
    """Asks for what ``merged`` takes: one short query.

    Args:
        before: what was known; empty at first.
    """
    event, measurement = cast(func.max(Event.id), String), cast(func.max(Measurement.id), String)
    # Expressions, since an index on the column itself would have all of the table read by it.
    service, rollout = func.coalesce(Event.service, _NO_SERVICE), cast(Measurement.rollout_id, String)
    return union_all(
        select(literal(EVENTS), literal(""), event),
        select(literal(_MEASUREMENTS), literal(""), measurement),
        select(literal(FLEET), literal(""), _fleet()),
        select(literal(EVENTS), service, event)
        .where(Event.id > int(before.get(EVENTS, _NONE_LATER)) - _LATE)
        .group_by(service),
        select(literal(_MEASUREMENTS), rollout, measurement)
        .where(Measurement.id > int(before.get(_MEASUREMENTS, _NONE_LATER)))
        .group_by(rollout),
    )


def merged(before: Changes, rows: Iterable[Row[str, str, str | None]]) -> Changes:
    """How far the ledger has come now.

    Args:
        before: what was known; empty at first.
        rows: of ``changes_query``.
    """
    marks = dict(before)
    for kind, name, mark in rows:
        marks[f"{kind} of {name}" if name else kind] = mark or "0"
    measured = sorted((int(mark), topic) for topic, mark in marks.items() if topic.startswith(measurements_of("")))
    for _, topic in measured[:-_ROLLOUTS_KEPT]:
        del marks[topic]
    return marks


def _fleet() -> ScalarSelect[str]:
    """What is another where a device or a node stands otherwise, comes or goes."""
    devices = (func.count(), func.max(FleetDevice.since))
    flags = (case((column, 1), else_=0) for column in (FleetNode.usable, FleetNode.cordoned))
    nodes = (func.count(), func.sum(FleetNode.healthy), *(func.sum(flag) for flag in flags))
    of_devices, of_nodes = (
        select(reduce(add, (func.coalesce(cast(number, String), "") + "/" for number in numbers))).select_from(table)
        for table, numbers in ((FleetDevice, devices), (FleetNode, nodes))
    )
    return select(of_devices.scalar_subquery() + of_nodes.scalar_subquery()).scalar_subquery()

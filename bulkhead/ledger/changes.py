"""How far a ledger has come: what is read of it again has changed only where this has."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Select, func, select

from bulkhead.ledger.tables import Event, FleetNode, Measurement


class Part(enum.Flag):
    """What may change without the rest."""

    EVENTS = enum.auto()
    """Services, revisions, rollouts, isolations and quarantines: an event tells of each of their changes."""
    MEASUREMENTS = enum.auto()
    FLEET = enum.auto()
    """How devices and nodes stand."""


Changes = Mapping[Part, int | datetime | None]
"""Something of each part that is another after a change."""


def latest() -> Select[int | None, int | None, datetime | None]:
    """The query for ``Changes``, in the order of the parts; each of its columns has an index that ends there."""
    events, measurements, fleet = (
        select(func.max(column)).scalar_subquery() for column in (Event.id, Measurement.id, FleetNode.at)
    )
    return select(events, measurements, fleet)

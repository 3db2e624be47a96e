"""Measurements: what was measured of a release while it was judged, for pictures of its course."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, select

from bulkhead.ledger.tables import Measurement, Rollout
from bulkhead.ledger.transactions import Transactions

RELEASES_KEPT = 20
"""Of a service: measurements of those before are dropped. What its verdicts rested on stays in its events."""


class Measurements(Transactions):
    """The measurements of one ledger."""

    def append(self, rollout: Rollout, numbers: Mapping[str, Any]) -> None:
        """Keep a measurement.

        Args:
            rollout: as it was read.
            numbers: of a judgement; see ``bulkhead.rollout.analysis.judge``.
        """
        measurement = Measurement(rollout_id=rollout.id, at=self._clock(), step=rollout.step, numbers=dict(numbers))
        with self._writing() as session:
            session.add(measurement)

    def of(self, rollout_id: int) -> Sequence[Measurement]:
        """Those of a rollout, oldest first."""
        query = select(Measurement).where(Measurement.rollout_id == rollout_id).order_by(Measurement.id)
        with self._reading() as session:
            return session.scalars(query).all()

    def drop_old(self, service: str) -> None:
        """Drop those of all but a service's latest rollouts."""
        ids = select(Rollout.id).where(Rollout.service == service)
        with self._writing() as session:
            latest = session.scalars(ids.order_by(Rollout.id.desc()).limit(RELEASES_KEPT)).all()
            if len(latest) == RELEASES_KEPT:
                old = ids.where(Rollout.id < latest[-1])
                session.execute(delete(Measurement).where(Measurement.rollout_id.in_(old)))

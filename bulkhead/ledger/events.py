"""The log of what happened. The database itself refuses to change or delete an event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from bulkhead.events import EventKind
from bulkhead.gate_overrides import GateOverride
from bulkhead.ledger.queries import failing
from bulkhead.ledger.tables import Event, Rollout
from bulkhead.ledger.transactions import Transactions

_LATEST = 20
"""Events that are read to say what fails now."""


class Events(Transactions):
    """The events of one ledger."""

    def select(
        self,
        rollout_id: int | None = None,
        kind: str | None = None,
        service: str | None = None,
        since: datetime | None = None,
        after: int = 0,
    ) -> Sequence[Event]:
        """Events in the order in which they were written.

        Args:
            since: only those at or after this time.
            after: only those whose id is above this one.
        """
        query = select(Event).where(Event.id > after).order_by(Event.id)
        for column, value in ((Event.rollout_id, rollout_id), (Event.kind, kind), (Event.service, service)):
            if value is not None:
                query = query.where(column == value)
        if since is not None:
            query = query.where(Event.at >= since)
        with self._reading() as session:
            return session.scalars(query).all()

    def latest_ids(self, rollout_ids: Iterable[int]) -> dict[int, int]:
        """Id of the latest event of each rollout, which is greater than those of all before it.

        Args:
            rollout_ids: of which; those without an event are left out of what is returned.
        """
        query = select(Event.rollout_id, func.max(Event.id)).where(Event.rollout_id.in_(list(rollout_ids)))
        with self._reading() as session:
            return {rollout: latest for rollout, latest in session.execute(query.group_by(Event.rollout_id)) if rollout}

    def failing(self, service: str) -> dict[str, str]:
        """What fails at a service now, outside its rollouts' own steps: the error by the work that it ends."""
        kinds = Event.kind.in_((EventKind.FAILING, EventKind.RECOVERED))
        query = select(Event).where(Event.service == service, kinds).order_by(Event.id.desc()).limit(_LATEST)
        with self._reading() as session:
            return failing(reversed(session.scalars(query).all()))

    def append(self, rollout: Rollout, kind: str, data: Mapping[str, Any]) -> None:
        """Append an event of a rollout.

        Args:
            rollout: as it was read.
            data: what JSON can hold.
        """
        with self._writing() as session:
            # A reader that has seen an event asks for those after it: of one rollout, they are committed in order.
            session.execute(select(Rollout.id).where(Rollout.id == rollout.id).with_for_update())
            event = Event(at=self._clock(), service=rollout.service, rollout_id=rollout.id, kind=kind, data=dict(data))
            session.add(event)

    def gate_override(self, model_uri: str) -> GateOverride | None:
        """The latest word of a person that a model may pass the gate, whether it holds still or has expired.

        Args:
            model_uri: as the evaluate task has it.
        """
        query = select(Event).where(Event.kind == EventKind.GATE_OVERRIDE).order_by(Event.id.desc())
        with self._reading() as session:
            for event in session.scalars(query):
                if model_uri in event.data["models"]:
                    return GateOverride(**{name: event.data[name] for name in GateOverride.model_fields})
        return None

    def record(self, service: str | None, kind: str, data: Mapping[str, Any]) -> None:
        """Append an event of a service outside its rollouts, or of none.

        Args:
            service: whose; None for what concerns no service.
            data: what JSON can hold.
        """
        with self._writing() as session:
            session.add(Event(at=self._clock(), service=service, kind=kind, data=dict(data)))

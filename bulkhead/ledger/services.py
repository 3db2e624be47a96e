"""Services: their stable revisions, and the generation that fences every write to the world."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from bulkhead.errors import FencedError
from bulkhead.events import EventKind
from bulkhead.ledger.queries import active_rollout, existing_service, locked_service
from bulkhead.ledger.tables import Event, Service
from bulkhead.ledger.transactions import Transactions


class Services(Transactions):
    """The services of one ledger."""

    def get(self, name: str) -> Service:
        """One service.

        Raises:
            NotFoundError: nothing was ever released to it.
        """
        with self._reading() as session:
            return existing_service(session, name)

    def all(self) -> Sequence[Service]:
        """Every service that something was ever released to, by name."""
        with self._reading() as session:
            return session.scalars(select(Service).order_by(Service.name)).all()

    def new_generation(self, service: Service, why: str, kind: EventKind = EventKind.REPAIR) -> int:
        """Raise a service's generation, for a repair outside any rollout's own steps.

        Args:
            service: as it was read.

        Returns:
            The new generation.

        Raises:
            FencedError: another revision is stable by now; the caller's view is out of date.
        """
        with self._writing() as session:
            row = locked_service(session, service.name)
            if row.stable_revision != service.stable_revision:
                raise FencedError(f"service {row.name}: {row.stable_revision} is stable, no more what was read")
            row.generation += 1
            rollout = session.scalar(active_rollout(row.name))
            if rollout is not None:
                rollout.generation, rollout.sequence = row.generation, rollout.sequence + 1
                session.flush()
            event = Event(
                at=self._clock(),
                service=row.name,
                rollout_id=rollout.id if rollout else None,
                kind=kind,
                data={"why": why, "generation": row.generation},
            )
            session.add(event)
            return row.generation

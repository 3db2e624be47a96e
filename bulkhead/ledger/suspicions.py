"""What tasks suspect of nodes; ``bulkhead.pods.suspicion`` decides what follows."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from bulkhead.ledger import tables
from bulkhead.ledger.transactions import Transactions
from bulkhead.pods.suspicion import NodeSuspicion


class Suspicions(Transactions):
    """The suspicions of one ledger."""

    def add(self, *, node: str, owner: str, cause: str, reason: str, key: str) -> None:
        """Record that a node is suspected, once a key.

        Args:
            owner: DAG of the task that says so.
            cause: class and kind of its failure.
            reason: the evidence, for people.
        """
        with self._writing() as session:
            if session.scalar(select(tables.Suspicion.id).where(tables.Suspicion.key == key)) is None:
                row = tables.Suspicion(key=key, node=node, owner=owner, cause=cause, reason=reason, at=self._clock())
                session.add(row)

    def since(self, when: datetime) -> list[NodeSuspicion]:
        """What was said at or after a time, oldest first."""
        query = select(tables.Suspicion).where(tables.Suspicion.at >= when).order_by(tables.Suspicion.id)
        with self._reading() as session:
            return [NodeSuspicion(row.node, row.owner, row.cause, row.at, row.reason) for row in session.scalars(query)]

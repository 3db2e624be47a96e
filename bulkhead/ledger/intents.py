"""Intents: what was asked for, written before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from bulkhead.ledger.tables import Intent
from bulkhead.ledger.transactions import Transactions


class Intents(Transactions):
    """The intents of one ledger. Each is written in the transaction of what it leads to, by that part of the ledger."""

    def of_kind(self, kind: str) -> Sequence[Intent]:
        """Intents of a kind, oldest first.

        Args:
            kind: see ``IntentKind``.
        """
        with self._reading() as session:
            return session.scalars(select(Intent).where(Intent.kind == kind).order_by(Intent.id)).all()

    def find(self, *keys: str) -> Intent | None:
        """A request that was recorded already; None where none was.

        Args:
            keys: idempotency keys, of which any counts.
        """
        with self._reading() as session:
            return session.scalar(select(Intent).where(Intent.key.in_(keys)).limit(1))

"""Leases: of all the reconcilers that run, one acts on a service.

Safety does not rest on them: a holder that was only slow meets the fences of its successor. They keep
two from doing the same work, and from repairing each other's.

A lease is judged as client-go's leader election judges one: by how long its renewals have stood still on the
clock of the observer, so that no two machines need to agree on the time.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable
from math import inf
from typing import NamedTuple

from sqlalchemy import Engine, update

from bulkhead.ledger.tables import Service
from bulkhead.ledger.transactions import Transactions

RENEWALS = 3
"""How many times a holder renews its leases in the time after which they are lost."""


class _Seen(NamedTuple):
    """A foreign lease: its holder, its renewals, and when they were seen to grow last."""

    holder: str
    renewals: int
    at: float
    alive: bool


class Leases(Transactions):
    """The leases of one reconciler.

    Args:
        engine: of an opened and migrated database.
        ttl_s: a holder that has not renewed for so long, in seconds, has lost its leases.
        clock: seconds that only grow.
    """

    def __init__(self, engine: Engine, ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(engine)
        self._ttl_s, self._seconds = ttl_s, clock
        self._holder = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._seen: dict[str, _Seen] = {}
        self._renewed_at = -inf
        self._held: frozenset[str] = frozenset()

    @property
    def unsure(self) -> bool:
        """Whether some lease has a holder that has neither renewed it nor lost it since it was first seen here."""
        return not all(seen.alive for seen in self._seen.values())

    def hold(self, services: Iterable[Service]) -> frozenset[str]:
        """Renew what is held, and take what is not held any more.

        Args:
            services: as just read from the ledger.

        Returns:
            Names of the services that this reconciler may act on.

        Raises:
            UnavailableError: the ledger does not answer.
        """
        rows = list(services)
        self._held = frozenset(row.name for row in rows if row.held_by == self._holder)
        self.renew()
        foreign = [row for row in rows if row.name not in self._held]
        self._seen = {row.name: self._poll(row) for row in foreign if row.held_by not in (None, self._holder)}
        free = [row for row in foreign if self._is_free(row)]
        if free:
            self._held |= self._take(free)
        return self._held

    def renew(self) -> frozenset[str]:
        """Renew what is held, unless that was done just now: for a long pass.

        Returns:
            Names of the services that are still held.

        Raises:
            UnavailableError: the ledger does not answer.
        """
        now = self._seconds()
        if not self._held or now - self._renewed_at < self._ttl_s / RENEWALS:
            return self._held
        wish = update(Service).where(Service.held_by == self._holder).values(renewals=Service.renewals + 1)
        with self._writing() as session:
            self._held = frozenset(session.scalars(wish.returning(Service.name)))
        self._renewed_at = now
        return self._held

    def release(self) -> None:
        """Let everything go, so that no other has to wait until it is lost."""
        if not self._held:
            return
        with self._writing() as session:
            session.execute(update(Service).where(Service.held_by == self._holder).values(held_by=None))
        self._held = frozenset()

    def _poll(self, row: Service) -> _Seen:
        assert row.held_by is not None
        seen = self._seen.get(row.name)
        if seen is None or seen.holder != row.held_by:
            return _Seen(row.held_by, row.renewals, self._seconds(), alive=False)
        if seen.renewals != row.renewals:
            return _Seen(row.held_by, row.renewals, self._seconds(), alive=True)
        return seen

    def _is_free(self, row: Service) -> bool:
        seen = self._seen.get(row.name)
        return seen is None or self._seconds() - seen.at >= self._ttl_s

    def _take(self, rows: Iterable[Service]) -> frozenset[str]:
        """Take leases as they were read; one that was renewed or taken meanwhile is theirs."""
        taken: set[str] = set()
        with self._writing() as session:
            for row in rows:
                as_read = (Service.name == row.name) & Service.held_by.is_not_distinct_from(row.held_by)
                wish = update(Service).where(as_read & (Service.renewals == row.renewals))
                values = {"held_by": self._holder, "renewals": row.renewals + 1}
                taken.update(session.scalars(wish.values(values).returning(Service.name)))
        for name in taken:
            self._seen.pop(name, None)
        return frozenset(taken)

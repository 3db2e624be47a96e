"""The ledger: one database, and its parts, each of which is a sibling on the same engine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import select

from bulkhead.ledger.approvals import Approvals
from bulkhead.ledger.engine import open_engine
from bulkhead.ledger.events import Events
from bulkhead.ledger.fleet import FleetRecords
from bulkhead.ledger.intents import Intents
from bulkhead.ledger.isolations import Isolations
from bulkhead.ledger.launches import Launches
from bulkhead.ledger.measurements import Measurements
from bulkhead.ledger.overview import Overview
from bulkhead.ledger.quarantines import Quarantines
from bulkhead.ledger.revisions import Revisions
from bulkhead.ledger.rollouts import Rollouts
from bulkhead.ledger.services import Services
from bulkhead.ledger.suspicions import Suspicions
from bulkhead.ledger.transactions import Transactions, utc_now


class Ledger(Transactions):
    """The database of intents, rollouts, isolations, launches, quarantines and events.

    Every method of a part is one transaction, and every write to a rollout is fenced.

    Args:
        url: see ``open_engine``.
        clock: gives the time in UTC.

    Attributes:
        approvals: people's consent.
        events: what happened.
        fleet: how devices and nodes stand.
        intents: what was asked for.
        isolations: of revisions.
        launches: which task runs which pod.
        measurements: of rollouts, while they were judged.
        overview: many services and rollouts at once.
        quarantines: of devices and nodes.
        revisions: what can be served.
        rollouts: the ways of revisions to the traffic.
        services: their stable revisions and generations.
        suspicions: of nodes.

    Raises:
        InvalidInputError, UnavailableError: see ``open_engine``.
    """

    def __init__(self, url: str, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(open_engine(url), clock)
        shared = (self.engine, clock)
        self.approvals = Approvals(*shared)
        self.events = Events(*shared)
        self.fleet = FleetRecords(*shared)
        self.intents = Intents(*shared)
        self.isolations = Isolations(*shared)
        self.launches = Launches(*shared)
        self.measurements = Measurements(*shared)
        self.overview = Overview(*shared)
        self.quarantines = Quarantines(*shared)
        self.revisions = Revisions(*shared)
        self.rollouts = Rollouts(*shared)
        self.services = Services(*shared)
        self.suspicions = Suspicions(*shared)

    def ping(self) -> None:
        """Make sure that the ledger answers.

        Raises:
            UnavailableError: it does not.
        """
        with self._reading() as session:
            session.execute(select(1))

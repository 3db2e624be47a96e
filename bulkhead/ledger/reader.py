"""Reading the ledger, and what its transactions share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Engine, select
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from bulkhead.errors import NotFoundError, UnavailableError
from bulkhead.ledger.engine import READ_ONLY
from bulkhead.ledger.tables import Event, Intent, Phase, Revision, Rollout, Service


class LedgerReader:
    """The reading half of the ledger.

    Args:
        engine: of an opened and migrated database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sessions = sessionmaker(engine, expire_on_commit=False)
        self._readers = sessionmaker(engine.execution_options(**{READ_ONLY: True}), expire_on_commit=False)

    def service(self, name: str) -> Service:
        """One service.

        Args:
            name: of the service.

        Raises:
            NotFoundError: nothing was ever released to it.
        """
        with self._reading() as session:
            return _service(session, name)

    def services(self) -> Sequence[Service]:
        """Every service that something was ever released to, by name."""
        with self._reading() as session:
            return session.scalars(select(Service).order_by(Service.name)).all()

    def revision(self, revision_id: str) -> Revision:
        """One revision.

        Args:
            revision_id: its id.

        Raises:
            NotFoundError: there is none.
        """
        with self._reading() as session:
            found = session.get(Revision, revision_id)
        if found is None:
            raise NotFoundError(f"no revision {revision_id!r} in the ledger")
        return found

    def rollout(self, rollout_id: int) -> Rollout:
        """One rollout.

        Args:
            rollout_id: its id.

        Raises:
            NotFoundError: there is none.
        """
        with self._reading() as session:
            found = session.get(Rollout, rollout_id)
        if found is None:
            raise NotFoundError(f"no rollout {rollout_id} in the ledger")
        return found

    def active_rollouts(self) -> Sequence[Rollout]:
        """Every rollout in progress, oldest first."""
        with self._reading() as session:
            return session.scalars(select(Rollout).where(Rollout.ended_at.is_(None)).order_by(Rollout.id)).all()

    def rollouts(self, service: str | None = None, limit: int = 20) -> Sequence[Rollout]:
        """The latest rollouts, newest first.

        Args:
            service: only this one's.
            limit: at most so many.
        """
        query = select(Rollout).order_by(Rollout.id.desc()).limit(limit)
        with self._reading() as session:
            return session.scalars(query.where(Rollout.service == service) if service else query).all()

    def events(
        self,
        rollout_id: int | None = None,
        kind: str | None = None,
        service: str | None = None,
        since: datetime | None = None,
    ) -> Sequence[Event]:
        """Events in the order in which they were written.

        Args:
            rollout_id: only this rollout's.
            kind: only this kind.
            service: only this service's.
            since: only those at or after this time.
        """
        query = select(Event).order_by(Event.id)
        wanted = ((Event.rollout_id, rollout_id), (Event.kind, kind), (Event.service, service))
        for column, value in wanted:
            if value is not None:
                query = query.where(column == value)
        if since is not None:
            query = query.where(Event.at >= since)
        with self._reading() as session:
            return session.scalars(query).all()

    def intents(self, kind: str) -> Sequence[Intent]:
        """Intents of a kind, oldest first.

        Args:
            kind: ``rollout``, ``rollback``, ``withdraw`` or ``quarantine``.
        """
        with self._reading() as session:
            return session.scalars(select(Intent).where(Intent.kind == kind).order_by(Intent.id)).all()

    def previous_revision(self, service: str) -> str:
        """The revision that a service's stable one replaced.

        Args:
            service: by name.

        Raises:
            NotFoundError: there is none to go back to.
        """
        with self._reading() as session:
            stable = _service(session, service).stable_revision
            query = (
                select(Rollout.stable_id)
                .where(Rollout.service == service, Rollout.revision_id == stable, Rollout.phase == Phase.PROMOTED)
                .order_by(Rollout.id)
                .limit(1)
            )
            before = session.scalar(query)
        if before is None:
            raise NotFoundError(f"service {service!r} has no earlier revision than {stable!r} to roll back to")
        return before

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with _translated(), self._sessions.begin() as session:
            yield session

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with _translated(), self._readers() as session:
            yield session


@contextmanager
def _translated() -> Iterator[None]:
    """Database trouble as the project's errors; a constraint's refusal is left to the caller."""
    try:
        yield
    except IntegrityError:
        raise
    except OperationalError as error:
        raise UnavailableError(f"the ledger does not answer: {error.orig}; it is tried again") from error
    except DatabaseError as error:
        raise UnavailableError(f"the ledger failed: {error.orig}; run 'bulkhead status' to check it") from error


def _service(session: Session, name: str) -> Service:
    found = session.get(Service, name)
    if found is None:
        known = ", ".join(session.scalars(select(Service.name).order_by(Service.name))) or "none"
        raise NotFoundError(f"unknown service {name!r}; services in the ledger: {known}")
    return found

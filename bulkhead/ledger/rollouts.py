"""Rollouts: asked for, moved on by compare-and-swap, rolled back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bulkhead import tracing
from bulkhead.errors import ConflictError, FencedError
from bulkhead.events import EventKind, IntentKind
from bulkhead.ledger.queries import (
    active_rollout,
    busy,
    existing,
    intent,
    locked_service,
    recorded,
    refuse_isolated,
    refuse_withdrawn,
)
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Event, Phase, Revision, Rollout, Service
from bulkhead.ledger.transactions import Transactions, once_a_key


@dataclass(frozen=True)
class Rollback:
    """What became of a request to roll back.

    Attributes:
        intent_id: the intent; the same for the same key.
        rollout: the rollout that now returns, or None where none was in progress.
    """

    intent_id: int
    rollout: Rollout | None


class Rollouts(Transactions):
    """The rollouts of one ledger."""

    def get(self, rollout_id: int) -> Rollout:
        """One rollout.

        Raises:
            NotFoundError: there is none.
        """
        with self._reading() as session:
            return existing(session, Rollout, rollout_id)

    def active(self) -> Sequence[Rollout]:
        """Every rollout in progress, oldest first."""
        with self._reading() as session:
            return session.scalars(select(Rollout).where(Rollout.ended_at.is_(None)).order_by(Rollout.id)).all()

    def active_of(self, service: str) -> Rollout | None:
        """A service's rollout in progress, or None."""
        with self._reading() as session:
            return session.scalar(active_rollout(service))

    def latest(self, service: str | None = None, owner: str | None = None, limit: int = 20) -> Sequence[Rollout]:
        """The latest rollouts, newest first.

        Args:
            owner: only those that it asked for.
            limit: at most so many.
        """
        query = select(Rollout).order_by(Rollout.id.desc()).limit(limit)
        query = query.where(Rollout.service == service) if service else query
        query = query.where(Rollout.owner == owner) if owner else query
        with self._reading() as session:
            return session.scalars(query).all()

    def request(
        self,
        revision: Mapping[str, Any],
        plan: Mapping[str, Any],
        request: Request,
        *,
        owner: str,
        cleared: bool = False,
    ) -> Rollout:
        """Ask for a revision to be rolled out. The same key gives the same rollout, however often.

        Args:
            revision: the columns of ``Revision`` but ``created_at``; kept unless the id is known already.
            plan: a valid plan in its JSON form.
            owner: on whose behalf, for instance one DAG run; ``withdraw`` stops what an owner asked for.
            cleared: whether a person asked again on purpose, so that an earlier withdrawal no longer counts.

        Returns:
            The rollout, new or known.

        Raises:
            BusyError: another rollout of that service is in progress.
            ConflictError: the owner's release was withdrawn, or the revision or its model is isolated.
        """
        service_name = str(revision["service"])
        try:
            with self._writing() as session:
                earlier = session.scalar(select(Rollout).where(Rollout.key == request.key))
                if earlier is not None:
                    return earlier
                if not cleared:
                    refuse_withdrawn(session, owner)
                refuse_isolated(session, str(revision["id"]), str(revision["model_uri"]))
                service = locked_service(session, service_name)
                holder = session.scalar(active_rollout(service_name))
                if holder is not None and holder.key == request.key:
                    return holder  # the same request came twice at once
                if holder is not None:
                    raise busy(service_name, holder)
                service.generation += 1
                self._keep_revision(session, revision)
                rollout = self._new_rollout(session, service, revision, plan, request.key, owner)
                about = {"service": service_name, "owner": owner, "rollout_id": rollout.id}
                session.add(intent(request, IntentKind.ROLLOUT, self._clock(), **about))
                data = {"by": request.requested_by, "revision": rollout.revision_id}
                self._event(session, rollout, Phase.REQUESTED, data)
                return rollout
        except IntegrityError as error:  # another writer got in between: the database's own constraint said so
            raise ConflictError(
                f"service {service_name!r}: another writer started a rollout at the same time"
            ) from error

    @once_a_key
    def request_rollback(
        self, request: Request, *, rollout_id: int | None = None, service: str | None = None
    ) -> Rollback:
        """Ask for one rollout to be rolled back: records the intent and aborts the rollout, at once.

        A rollout that already promoted its revision is finished; going back from there is a rollout of its own.

        Args:
            request: who asks; its reason becomes the rollout's.
            rollout_id: this rollout; or
            service: whatever rollout is in progress for this service.

        Returns:
            The intent, and the rollout that returns because of it, if any.
        """
        with self._writing() as session:
            earlier = recorded(session, request)
            if earlier is not None:
                return Rollback(earlier.id, session.get(Rollout, earlier.rollout_id) if earlier.rollout_id else None)
            chosen = Rollout.service == service if rollout_id is None else Rollout.id == rollout_id
            aborted = self._roll_back_chosen(session, chosen, request)
            rollout = aborted[0] if aborted else None
            about = {"service": rollout.service, "rollout_id": rollout.id} if rollout else {"service": service}
            rollback = intent(request, IntentKind.ROLLBACK, self._clock(), **about)
            session.add(rollback)
            session.flush()
            return Rollback(rollback.id, rollout)

    @once_a_key
    def withdraw(self, owner: str, request: Request) -> Sequence[Rollout]:
        """Take back whatever an owner has in progress, and refuse what it has yet to ask for.

        So a deploy task that comes late, after its run's deadline, finds its release withdrawn.

        Args:
            owner: as given to ``request``; it may have rollouts of several services.
            request: who asks; its reason becomes the rollouts'.

        Returns:
            The rollouts that now return; none where the same request was recorded before.
        """
        with self._writing() as session:
            if recorded(session, request) is not None:
                return []
            session.add(intent(request, IntentKind.WITHDRAW, self._clock(), owner=owner))
            return self._roll_back_chosen(session, Rollout.owner == owner, request)

    def transition(
        self, rollout: Rollout, phase: Phase, event: str, data: Mapping[str, Any], **changes: Any
    ) -> Rollout:
        """Move a rollout on, if no other writer has.

        Args:
            rollout: as it was read.
            event: kind of the event to append.
            changes: other columns to set.

        Returns:
            The rollout as it is now.

        Raises:
            FencedError: it has moved since it was read; the caller's view is out of date.
        """
        now = self._clock()
        values = {"phase": phase, "sequence": rollout.sequence + 1, "phase_at": now, **changes}
        if phase.ended:
            values["ended_at"] = now
        with self._writing() as session:
            statement = (
                update(Rollout).where(Rollout.id == rollout.id, Rollout.sequence == rollout.sequence).values(**values)
            )
            if session.connection().execute(statement).rowcount != 1:
                raise FencedError(f"rollout {rollout.id} has moved on since sequence {rollout.sequence}")
            moved = session.get_one(Rollout, rollout.id)
            if phase is Phase.RETIRING:
                locked_service(session, rollout.service).stable_revision = rollout.revision_id
            self._event(session, moved, event, data)
            return moved

    def abort(self, rollout: Rollout, reason: str, decision: Mapping[str, Any]) -> Rollout:
        """Decide to roll back: a new generation, so that a writer that still pushes forward is refused.

        Args:
            rollout: as it was read.
            decision: the numbers behind it.

        Returns:
            The rollout as it is now.

        Raises:
            FencedError: it has moved since it was read.
        """
        with self._writing() as session:
            query = select(Rollout).where(Rollout.id == rollout.id).with_for_update()
            current = session.scalars(query).one()
            if current.sequence != rollout.sequence:
                raise FencedError(f"rollout {rollout.id} has moved on since sequence {rollout.sequence}")
            self._abort(session, current, reason, dict(decision))
            return current

    def _roll_back_chosen(self, session: Session, chosen: ColumnElement[bool], request: Request) -> list[Rollout]:
        """Abort the chosen rollouts in progress; one that has promoted its revision is stable already."""
        query = select(Rollout).where(chosen, Rollout.ended_at.is_(None), Rollout.phase != Phase.RETIRING)
        rollouts = list(session.scalars(query.order_by(Rollout.id).with_for_update()))
        for rollout in rollouts:
            if not rollout.phase.returning:
                self._abort(session, rollout, request.reason, {"by": request.requested_by})
        return rollouts

    def _abort(self, session: Session, rollout: Rollout, reason: str, decision: dict[str, Any]) -> None:
        service = locked_service(session, rollout.service)
        service.generation += 1
        rollout.generation = service.generation
        rollout.sequence += 1
        rollout.phase = Phase.RESTORING
        rollout.reason, rollout.decision = reason, decision
        rollout.decided_at = rollout.phase_at = self._clock()
        self._event(session, rollout, EventKind.ROLLBACK, {"reason": reason, **decision})

    def _keep_revision(self, session: Session, revision: Mapping[str, Any]) -> None:
        if session.get(Revision, revision["id"]) is None:
            session.add(Revision(**revision, created_at=self._clock()))
            session.flush()

    def _new_rollout(
        self,
        session: Session,
        service: Service,
        revision: Mapping[str, Any],
        plan: Mapping[str, Any],
        key: str,
        owner: str,
    ) -> Rollout:
        now = self._clock()
        rollout = Rollout(
            key=key,
            service=service.name,
            owner=owner,
            revision_id=revision["id"],
            stable_id=service.stable_revision,
            generation=service.generation,
            sequence=1,
            phase=Phase.REQUESTED,
            step=0,
            plan=dict(plan),
            created_at=now,
            phase_at=now,
            trace=tracing.current(),
        )
        if service.stable_revision == rollout.revision_id:
            rollout.phase, rollout.ended_at = Phase.PROMOTED, now
            rollout.reason = "it is the stable revision already"
        session.add(rollout)
        session.flush()
        return rollout

    def _event(self, session: Session, rollout: Rollout, kind: str, data: Mapping[str, Any]) -> None:
        event = Event(at=self._clock(), service=rollout.service, rollout_id=rollout.id, kind=kind, data=dict(data))
        session.add(event)

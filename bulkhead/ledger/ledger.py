"""Reading and writing the ledger: every method is one transaction, every write is fenced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bulkhead.errors import ConflictError, FencedError
from bulkhead.events import EventKind
from bulkhead.ledger.approvals import Approvals
from bulkhead.ledger.engine import open_engine
from bulkhead.ledger.refusals import active, busy, refuse_isolated, refuse_withdrawn
from bulkhead.ledger.tables import Event, Intent, Phase, Revision, Rollout, Service


@dataclass(frozen=True)
class Rollback:
    """What became of a wish to roll back.

    Attributes:
        intent_id: the intent; the same for the same key.
        rollout: the rollout that now returns, or None where none was in progress.
    """

    intent_id: int
    rollout: Rollout | None


class Ledger(Approvals):
    """The database of intents, rollouts and events.

    Args:
        url: see ``open_engine``.
        clock: gives the time in UTC.

    Raises:
        InvalidInputError, UnavailableError: see ``open_engine``.
    """

    def __init__(self, url: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__(open_engine(url), clock)

    # Intents

    def request_rollout(
        self,
        revision: Mapping[str, Any],
        plan: Mapping[str, Any],
        *,
        key: str,
        owner: str,
        requested_by: str,
        reason: str = "",
        cleared: bool = False,
    ) -> Rollout:
        """Ask for a revision to be rolled out. The same key gives the same rollout, however often.

        Args:
            revision: the columns of ``Revision`` but ``created_at``; kept unless the id is known already.
            plan: a valid plan in its JSON form.
            key: idempotency key of the wish.
            owner: on whose behalf, for instance one DAG run; ``withdraw`` stops what an owner asked for.
            requested_by: who asked, for the record.
            reason: for people.
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
                known = session.scalar(select(Rollout).where(Rollout.key == key))
                if known is not None:
                    return known
                if not cleared:
                    refuse_withdrawn(session, owner)
                refuse_isolated(session, str(revision["id"]), str(revision["model_uri"]))
                service = self._locked_service(session, service_name)
                holder = session.scalar(active(service_name))
                if holder is not None:
                    raise busy(service_name, holder)
                service.generation += 1
                self._keep_revision(session, revision)
                rollout = self._new_rollout(session, service, revision, plan, key, owner)
                intent = Intent(
                    key=key,
                    kind="rollout",
                    service=service_name,
                    owner=owner,
                    requested_by=requested_by,
                    reason=reason,
                    rollout_id=rollout.id,
                    created_at=self._clock(),
                )
                session.add(intent)
                self._event(session, rollout, Phase.REQUESTED, {"by": requested_by, "revision": rollout.revision_id})
                return rollout
        except IntegrityError as error:  # another writer got in between: the database's own constraint said so
            raise ConflictError(
                f"service {service_name!r}: another writer started a rollout at the same time"
            ) from error

    def request_rollback(
        self,
        *,
        key: str,
        reason: str,
        requested_by: str,
        rollout_id: int | None = None,
        service: str | None = None,
    ) -> Rollback:
        """Ask for one rollout to be taken back: records the intent and turns the rollout round, at once.

        A rollout that already promoted its revision is finished; going back from there is a rollout of its own.

        Args:
            key: idempotency key of the wish.
            reason: for people; becomes the rollout's reason.
            requested_by: who asked, for the record.
            rollout_id: this rollout; or
            service: whatever rollout is in progress for this service.

        Returns:
            The intent, and the rollout that returns because of it, if any.
        """
        with self._writing() as session:
            known = session.scalar(select(Intent).where(Intent.key == key))
            if known is not None:
                return Rollback(known.id, session.get(Rollout, known.rollout_id) if known.rollout_id else None)
            chosen = Rollout.service == service if rollout_id is None else Rollout.id == rollout_id
            found = self._roll_back_chosen(session, chosen, reason, requested_by)
            rollout = found[0] if found else None
            intent = Intent(
                key=key,
                kind="rollback",
                service=rollout.service if rollout else service,
                requested_by=requested_by,
                reason=reason,
                rollout_id=rollout.id if rollout else None,
                created_at=self._clock(),
            )
            session.add(intent)
            session.flush()
            return Rollback(intent.id, rollout)

    def withdraw(self, *, owner: str, key: str, reason: str, requested_by: str) -> Sequence[Rollout]:
        """Take back whatever an owner has in progress, and refuse what it has yet to ask for.

        So a deploy task that comes late, after its run's deadline, finds its release withdrawn.

        Args:
            owner: as given to ``request_rollout``; it may have rollouts of several services.
            key: idempotency key of the wish.
            reason: for people; becomes the rollouts' reason.
            requested_by: who asked, for the record.

        Returns:
            The rollouts that now return; none where the same wish was recorded before.
        """
        with self._writing() as session:
            if session.scalar(select(Intent).where(Intent.key == key)) is not None:
                return []
            intent = Intent(
                key=key,
                kind="withdraw",
                owner=owner,
                requested_by=requested_by,
                reason=reason,
                created_at=self._clock(),
            )
            session.add(intent)
            return self._roll_back_chosen(session, Rollout.owner == owner, reason, requested_by)

    # The reconciler's writes

    def transition(
        self, rollout: Rollout, phase: Phase, event: str, data: Mapping[str, Any], **changes: Any
    ) -> Rollout:
        """Move a rollout on, if nobody else has.

        Args:
            rollout: as it was read.
            phase: where to.
            event: kind of the event to append.
            data: of the event.
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
                self._locked_service(session, rollout.service).stable_revision = rollout.revision_id
            self._event(session, moved, event, data)
            return moved

    def abort(self, rollout: Rollout, reason: str, decision: Mapping[str, Any]) -> Rollout:
        """Decide to roll back: a new generation, so that whoever still pushes forward is refused.

        Args:
            rollout: as it was read.
            reason: for people.
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

    def new_generation(self, service: Service, why: str, kind: EventKind = EventKind.REPAIR) -> int:
        """Raise a service's generation, for a repair outside any rollout's own steps.

        Args:
            service: as it was read.
            why: for the event.
            kind: of the event.

        Returns:
            The new generation.

        Raises:
            FencedError: another revision is stable by now; the caller's view is out of date.
        """
        with self._writing() as session:
            row = self._locked_service(session, service.name)
            if row.stable_revision != service.stable_revision:
                raise FencedError(f"service {row.name}: {row.stable_revision} is stable, no more what was read")
            row.generation += 1
            rollout = session.scalar(active(row.name))
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

    def set_model_version(self, revision_id: str, version: str) -> None:
        """Fill in the registry's version of a revision, once.

        Args:
            revision_id: its id.
            version: MLflow's.

        Raises:
            ConflictError: it has another one already.
        """
        with self._writing() as session:
            revision = session.get_one(Revision, revision_id)
            if revision.model_version not in (None, version):
                raise ConflictError(f"revision {revision_id} is version {revision.model_version}, not {version}")
            revision.model_version = version

    def append(self, rollout: Rollout, kind: str, data: Mapping[str, Any]) -> None:
        """Append an event.

        Args:
            rollout: whose.
            kind: of the event.
            data: what JSON can hold.
        """
        with self._writing() as session:
            # A reader that has seen an event asks for those after it: of one rollout, they are committed in order.
            session.execute(select(Rollout.id).where(Rollout.id == rollout.id).with_for_update())
            self._event(session, rollout, kind, data)

    def record(self, service: str, kind: str, data: Mapping[str, Any]) -> None:
        """Append an event of a service outside its rollouts.

        Args:
            service: by name.
            kind: of the event.
            data: what JSON can hold.
        """
        with self._writing() as session:
            session.add(Event(at=self._clock(), service=service, kind=kind, data=dict(data)))

    # Inside a transaction

    def _roll_back_chosen(self, session: Session, chosen: ColumnElement[bool], reason: str, by: str) -> list[Rollout]:
        """Turn round the chosen rollouts in progress; one that has promoted its revision is stable already."""
        query = select(Rollout).where(chosen, Rollout.ended_at.is_(None), Rollout.phase != Phase.RETIRING)
        found = list(session.scalars(query.order_by(Rollout.id).with_for_update()))
        for rollout in found:
            if not rollout.phase.returning:
                self._abort(session, rollout, reason, {"by": by})
        return found

    def _abort(self, session: Session, rollout: Rollout, reason: str, decision: dict[str, Any]) -> None:
        service = self._locked_service(session, rollout.service)
        service.generation += 1
        rollout.generation = service.generation
        rollout.sequence += 1
        rollout.phase = Phase.RESTORING
        rollout.reason, rollout.decision = reason, decision
        rollout.decided_at = rollout.phase_at = self._clock()
        self._event(session, rollout, EventKind.ROLLBACK, {"reason": reason, **decision})

    def _locked_service(self, session: Session, name: str) -> Service:
        service = session.scalar(select(Service).where(Service.name == name).with_for_update())
        if service is None:
            service = Service(name=name, generation=0)
            session.add(service)
            session.flush()
        return service

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

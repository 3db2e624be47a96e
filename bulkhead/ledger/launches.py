"""Which task runs which pod: what the collector works from, so that it needs no Airflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bulkhead.errors import ConflictError
from bulkhead.ledger.tables import Launch
from bulkhead.ledger.transactions import Transactions


class Launches(Transactions):
    """The launches of one ledger."""

    def record(
        self,
        access: Mapping[str, Any],
        namespace: str,
        pod: str,
        *,
        owner: str,
        instance: str,
        task: Mapping[str, Any],
        keep: str = "never",
        kind: str = "Pod",
    ) -> Sequence[Launch]:
        """Say that a task is about to create a pod. Of one task instance one launch is wanted: the others end.

        Args:
            access: how to reach the pod: names only, never a credential.
            owner: the DAG run, see ``bulkhead.pods.identity.run_owner``.
            task: what identifies it in Airflow: ``dag_id``, ``run_id``, ``task_id``, ``map_index``.
            keep: whether a pod that has finished stays: ``never``, ``failed`` or ``always``.
            kind: ``Pod``, or what makes pods: ``Job``, ``JobSet``.

        Returns:
            Launches of the same task instance whose pods are not known to be gone; ended now, this one excepted.

        Raises:
            ConflictError: another process recorded that pod at the same moment.
        """
        cluster_key, now = cluster_key_of(access), self._clock()
        own = (Launch.cluster_key == cluster_key) & (Launch.namespace == namespace) & (Launch.pod == pod)
        try:
            with self._writing() as session:
                launch = session.scalar(select(Launch).where(own))
                if launch is None:
                    session.add(
                        Launch(
                            access=dict(access),
                            cluster_key=cluster_key,
                            namespace=namespace,
                            kind=kind,
                            pod=pod,
                            owner=owner,
                            instance=instance,
                            task=dict(task),
                            keep=keep,
                            created_at=now,
                        )
                    )
                else:  # a worker that died in between tries again
                    launch.ended_at = launch.gone_at = launch.reason = None
                session.flush()
                others = (Launch.instance == instance) & Launch.gone_at.is_(None) & ~own
                self._end(session, others, "a later try of its task took its place")
                return session.scalars(select(Launch).where(others).order_by(Launch.id)).all()
        except IntegrityError as error:
            raise ConflictError(f"pod {namespace}/{pod}: another process launches it at this moment") from error

    def end_instance(self, instance: str, reason: str) -> int:
        """End the launches of a task instance: nothing waits for its pods any more.

        Args:
            instance: as given to ``record``.

        Returns:
            How many launches ended by this.
        """
        with self._writing() as session:
            return self._end(session, Launch.instance == instance, reason)

    def end_run(self, owner: str, reason: str) -> int:
        """End the launches of a DAG run: nothing waits for its pods any more.

        Args:
            owner: as given to ``record``.

        Returns:
            How many launches ended by this.
        """
        with self._writing() as session:
            return self._end(session, Launch.owner == owner, reason)

    def end(self, launches: Iterable[Launch], reason: str) -> int:
        """End launches: nothing waits for their pods any more.

        Returns:
            How many launches ended by this.
        """
        with self._writing() as session:
            return self._end(session, Launch.id.in_([launch.id for launch in launches]), reason)

    def mark_gone(self, access: Mapping[str, Any], namespace: str, pod: str, reason: str) -> None:
        """The pod is gone, or kept on purpose: nothing is left to do about it.

        Args:
            access: as given to ``record``.
            reason: for people, unless the launch ended for a reason before.
        """
        own = (Launch.cluster_key == cluster_key_of(access)) & (Launch.namespace == namespace) & (Launch.pod == pod)
        with self._writing() as session:
            self._end(session, own, reason)
            session.execute(update(Launch).where(own, Launch.gone_at.is_(None)).values(gone_at=self._clock()))

    def active(self) -> Sequence[Launch]:
        """Launches that a task waits for, as far as the ledger knows; oldest first."""
        with self._reading() as session:
            query = select(Launch).where(Launch.ended_at.is_(None), Launch.gone_at.is_(None))
            return session.scalars(query.order_by(Launch.id)).all()

    def ended(self) -> Sequence[Launch]:
        """Launches that ended, and whose pods have still to be seen to; oldest first."""
        with self._reading() as session:
            query = select(Launch).where(Launch.ended_at.is_not(None), Launch.gone_at.is_(None))
            return session.scalars(query.order_by(Launch.id)).all()

    def forget(self, older_than: timedelta = timedelta(days=30)) -> int:
        """Drop launches whose pods have long been gone: the ledger is no archive of every pod.

        Args:
            older_than: since the pod was gone.

        Returns:
            How many were dropped.
        """
        with self._writing() as session:
            old = delete(Launch).where(Launch.gone_at < self._clock() - older_than)
            return int(session.connection().execute(old).rowcount)

    def pods(self, access: Mapping[str, Any], namespace: str) -> set[str]:
        """Names of the pods of a namespace that were launched from this ledger.

        Args:
            access: as given to ``record``.
        """
        with self._reading() as session:
            query = select(Launch.pod).where(
                Launch.cluster_key == cluster_key_of(access), Launch.namespace == namespace
            )
            return set(session.scalars(query))

    def _end(self, session: Session, chosen: ColumnElement[bool], reason: str) -> int:
        statement = update(Launch).where(chosen, Launch.ended_at.is_(None), Launch.gone_at.is_(None))
        values = {"ended_at": self._clock(), "reason": reason}
        statement = statement.values(**values).execution_options(synchronize_session=False)
        return int(session.connection().execute(statement).rowcount)


def cluster_key_of(access: Mapping[str, Any]) -> str:
    """A short name of a way to reach pods, equal for equal ways.

    Args:
        access: as given to ``Launches.record``.
    """
    return hashlib.sha256(json.dumps(access, sort_keys=True).encode()).hexdigest()[:32]

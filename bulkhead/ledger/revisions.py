"""Revisions: which there are, which have traffic, and which a service had before."""

from __future__ import annotations

from sqlalchemy import select

from bulkhead.errors import ConflictError, NotFoundError
from bulkhead.ledger.queries import existing, existing_service, revision_before
from bulkhead.ledger.tables import Revision, Rollout, Service
from bulkhead.ledger.transactions import Transactions


class Revisions(Transactions):
    """The revisions of one ledger."""

    def get(self, revision_id: str) -> Revision:
        """One revision.

        Raises:
            NotFoundError: there is none.
        """
        with self._reading() as session:
            return existing(session, Revision, revision_id)

    def serving(self, service: str | None = None) -> frozenset[str]:
        """Revisions that have traffic, or are about to: those of rollouts until they are contained, and stable ones
        until a rollout gives all of their traffic to another.

        Args:
            service: only this one's; None: of all services.
        """
        going = select(Rollout.revision_id).where(Rollout.ended_at.is_(None), Rollout.contained_at.is_(None))
        stable = select(Service.stable_revision).where(Service.stable_revision.is_not(None))
        if service is not None:
            going, stable = going.where(Rollout.service == service), stable.where(Service.name == service)
        with self._reading() as session:
            return frozenset([*session.scalars(going), *(revision for revision in session.scalars(stable) if revision)])

    def previous(self, service: str) -> str:
        """The revision that a service's stable one replaced; one that is isolated is left out, for the one before.

        Raises:
            NotFoundError: there is none to go back to.
        """
        with self._reading() as session:
            stable = existing_service(session, service).stable_revision
            before = revision_before(session, service, stable)
        if before is not None:
            return before
        raise NotFoundError(f"service {service!r} has no earlier revision than {stable!r} to roll back to")

    def set_model_version(self, revision_id: str, version: str) -> None:
        """Fill in the registry's version of a revision, once.

        Raises:
            ConflictError: it has another one already.
        """
        with self._writing() as session:
            revision = session.get_one(Revision, revision_id)
            if revision.model_version not in (None, version):
                raise ConflictError(f"revision {revision_id} is version {revision.model_version}, not {version}")
            revision.model_version = version

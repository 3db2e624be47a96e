"""Isolations in the world: each level that is asked for is put in force, and each that has ended is taken back."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from bulkhead.errors import ConflictError, NotFoundError
from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Isolation, Revision
from bulkhead.registries.base import Registry
from bulkhead.rollout.backend import ServingBackend
from bulkhead.rollout.devices import Devices
from bulkhead.rollout.returning import request_return

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Isolator:
    """Makes the world show what the ledger says of isolations.

    Attributes:
        ledger: says what is isolated.
        backends: where a service runs, by its name.
        registry: keeps models from reuse, and evidence.
        devices: under a revision's pods.
    """

    ledger: Ledger
    backends: Callable[[str], ServingBackend]
    registry: Registry
    devices: Devices
    _stuck: dict[int, str] = field(default_factory=dict)

    def apply(self, isolation: Isolation) -> None:
        """Put a level of an isolation in force, or take it back if it has ended, and write that down. Idempotent."""
        if isolation.ended_at is None:
            if self._isolate(isolation) and not self.ledger.isolations.mark_applied(isolation):
                self._unisolate(isolation)  # it ended while this was written; the next pass sees to it too
        else:
            self._unisolate(isolation)
            self.ledger.isolations.mark_applied(isolation)

    def return_from(self, isolation: Isolation) -> bool:
        """Return from a revision that is isolated, if it is the stable one.

        Returns:
            Whether that was asked for just now.
        """
        revision = self.ledger.revisions.get(isolation.revision_id)
        service = self.ledger.services.get(revision.service)
        if service.stable_revision != revision.id or self.ledger.rollouts.active_of(service.name) is not None:
            return False
        request = Request(f"isolated/{isolation.id}", "", "reconciler: the stable revision is isolated")
        try:
            request_return(self.ledger, self.ledger.revisions.previous(service.name), request)
        except (NotFoundError, ConflictError) as error:
            if self._stuck.get(isolation.id) != str(error):  # once, not at every pass
                log.error("service %s: its stable revision is isolated and goes on serving: %s", service.name, error)
            self._stuck[isolation.id] = str(error)
            return False
        return True

    def _isolate(self, isolation: Isolation) -> bool:
        """Make the world show a level; False where there is something to wait for."""
        revision = self.ledger.revisions.get(isolation.revision_id)
        workloads = self.backends(revision.service).workloads
        match isolation.level:
            case IsolationLevel.TRAFFIC:
                return not self._serves(revision)
            case IsolationLevel.NETWORK:
                if self._serves(revision):
                    return False  # its clients would meet a closed door
                workloads.deny_network(revision.id)
            case IsolationLevel.MODEL:
                model = (revision.model_uri, revision.model_name, revision.model_version)
                self.registry.forbid(*model, isolation.reason)
            case IsolationLevel.POD:
                if self._serves(revision):
                    return False  # its pods still answer clients; they are not stopped before this is done
                evidence = workloads.evidence(revision.id)
                self.registry.keep(f"{revision.id}-{isolation.id}", {**evidence, **self._history(revision)})
                workloads.orphan(revision.id)
            case IsolationLevel.DEVICE | IsolationLevel.NODE:
                self.devices.quarantine(isolation, workloads.placement(revision.id))
        return True

    def _serves(self, revision: Revision) -> bool:
        return revision.id in self.ledger.revisions.serving()

    def _unisolate(self, isolation: Isolation) -> None:
        revision = self.ledger.revisions.get(isolation.revision_id)
        if isolation.level is IsolationLevel.MODEL:
            self.registry.allow(revision.model_uri, revision.model_name, revision.model_version)
        elif isolation.level is IsolationLevel.NETWORK:
            self.backends(revision.service).workloads.allow_network(revision.id)
        elif isolation.level in (IsolationLevel.DEVICE, IsolationLevel.NODE):
            self.devices.unisolate(isolation)

    def _history(self, revision: Revision) -> dict[str, str]:
        """What the ledger knows of a revision: the numbers of each of its rollouts, and why each was decided."""
        history = []
        for rollout in self.ledger.rollouts.latest(revision.service):
            if rollout.revision_id == revision.id:
                events = [
                    {"at": event.at.isoformat(), "kind": event.kind, "data": event.data}
                    for event in self.ledger.events.select(rollout.id)
                ]
                history.append(
                    {"rollout": rollout.id, "reason": rollout.reason, "plan": rollout.plan, "events": events}
                )
        return {"rollouts.json": json.dumps(history, indent=1, default=str)}

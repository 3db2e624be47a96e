"""What people, tasks and alerts ask of the control plane: release, roll back, approve, promote, isolate.

Each command writes an intent into the ledger and wakes the reconciler, which does the rest; so a command is over in
milliseconds, and is kept also where its caller dies right after it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from opentelemetry.trace import SpanKind

from bulkhead.errors import NotFoundError, UnsupportedError
from bulkhead.events import EventKind
from bulkhead.gate_overrides import OVERRIDE_TAG, GateOverride
from bulkhead.isolation_levels import DEFAULT, IsolationLevel
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Intent, Phase, Revision, Rollout
from bulkhead.registries.mlflow import MlflowRegistry
from bulkhead.rollout.plan import Plan, first_release
from bulkhead.rollout.returning import request_return
from bulkhead.rollout.revision import RevisionSpec
from bulkhead.rollout.wake import wake
from bulkhead.settings import ServicePorts, Settings
from bulkhead.tracing import tracer

_logger = logging.getLogger(__name__)

_RETURN = "return"
"""The part of a request to leave a stable revision that is a rollout of the one before."""


@dataclass(frozen=True)
class Commands:
    """The commands of one control plane.

    Attributes:
        settings: the configuration.
        ledger: that it names.
    """

    settings: Settings
    ledger: Ledger

    def override_gate(self, model: str, version: str | None, override: GateOverride) -> Sequence[str]:
        """Let a model pass the evaluate gate: recorded first, then shown in the registry. Again, it does no harm.

        Args:
            model: URI of a logged model, or name of a registered one.
            version: of the registered one.

        Returns:
            URIs of what may pass.

        Raises:
            NotFoundError, InvalidInputError, UnavailableError: see ``MlflowRegistry.names``.
        """
        registry = MlflowRegistry(self.settings.mlflow_tracking_uri)
        uris = registry.names(model, version)
        self.ledger.events.record(None, EventKind.GATE_OVERRIDE, {"models": uris, **override.model_dump(mode="json")})
        registry.tag(uris, OVERRIDE_TAG, override.model_dump_json())
        return uris

    def wake(self) -> None:
        """Wake the reconciler. Where that cannot be, what was asked for is recorded all the same."""
        try:
            wake(self.settings.home)
        except OSError as error:
            _logger.warning("the reconciler looks at its next poll, since it cannot be woken: %s", error)

    def release(
        self, revision: RevisionSpec, plan: Plan, request: Request, *, owner: str, cleared: bool = False
    ) -> Rollout:
        """Release a revision.

        A service's first revision has nothing to be compared with and nothing else to serve the rest of the
        traffic: it goes to 100 % in one step, and is judged there.

        Args:
            owner: see ``Rollouts.request``.
            cleared: see there.

        Returns:
            The rollout.

        Raises:
            NotFoundError: the configuration does not know the service.
            ConflictError: see ``Rollouts.request``.
        """
        self.settings.service(revision.service)
        if not self._has_stable(revision.service):
            plan = first_release(plan)
        document = plan.model_dump(mode="json")
        with tracer().start_as_current_span(f"request release of {revision.service}", kind=SpanKind.PRODUCER):
            rollout = self.ledger.rollouts.request(revision.columns(), document, request, owner=owner, cleared=cleared)
        self.wake()
        return rollout

    def roll_back(self, service: str, request: Request) -> Rollout:
        """Roll a service back: what is in progress, else to the revision before the stable one.

        Returns:
            The rollout that returns the traffic.

        Raises:
            NotFoundError: the service is unknown, or there is nothing to go back to.
        """
        self.ledger.services.get(service)
        rollout = self.ledger.rollouts.request_rollback(request, service=service).rollout
        if rollout is None:
            rollout = self._return(service, request)
        self.wake()
        return rollout

    def abort(self, rollout_id: int, request: Request) -> Rollout | None:
        """Take one rollout back, if it is in progress.

        Returns:
            It; None where it has ended, or is about to with its revision as the stable one.
        """
        rollout = self.ledger.rollouts.request_rollback(request, rollout_id=rollout_id).rollout
        self.wake()
        return rollout

    def roll_back_revision(self, service: str, revision_id: str, request: Request) -> Rollout | None:
        """Return from one revision, if it still serves: it may have been replaced meanwhile.

        Args:
            revision_id: that is to lose its traffic.

        Returns:
            The rollout that returns the traffic; None where the revision has none.

        Raises:
            NotFoundError: there is nothing to go back to.
            ConflictError: another revision's rollout is in progress, from this one to that.
        """
        going = self.ledger.rollouts.active_of(service)
        if going is not None and going.revision_id == revision_id:
            rollout = self.ledger.rollouts.request_rollback(request, rollout_id=going.id).rollout
        elif self.ledger.services.get(service).stable_revision == revision_id:
            rollout = self._return(service, request)
        else:
            return None
        self.wake()
        return rollout

    def roll_back_to(self, revision_id: str, request: Request) -> Rollout:
        """Give all of a service's traffic to a revision that it had before.

        Returns:
            The rollout that does it.

        Raises:
            NotFoundError: there is no such revision.
            ConflictError: it is isolated, or another rollout of its service is in progress.
        """
        rollout = request_return(self.ledger, revision_id, request)
        self.wake()
        return rollout

    def roll_back_owner(self, owner: str, service: str | None, request: Request) -> list[Rollout]:
        """Undo what an owner has released, and refuse what it has yet to ask for.

        Args:
            owner: on whose behalf it was released, for instance one DAG run.
            service: where the owner's revision has become the stable one here, return to the one before it; None: only
                what is in progress is rolled back.

        Returns:
            The rollouts that return the traffic.

        Raises:
            NotFoundError: there is nothing to return to.
            ConflictError: another rollout of the service is in progress.
        """
        aborted = list(self.ledger.rollouts.withdraw(owner, request))
        self.wake()
        if service is not None and self._stable_by(owner, service):
            aborted.append(self._return(service, request))
            self.wake()
        return aborted

    def acted(self, request: Request) -> Intent | None:
        """What a rollback or an isolation has recorded for a request; None where nothing is."""
        return self.ledger.intents.find(request.key, request.part(_RETURN).key)

    def approve(self, rollout_id: int, request: Request, *, step: int | None = None) -> Rollout:
        """Let a rollout that waits for a person go on.

        Args:
            step: index of the step that was approved; None: the one at which it waits.

        Returns:
            The rollout.

        Raises:
            NotFoundError: there is no such rollout.
            ConflictError: it does not wait for anybody, or at another step.
        """
        rollout = self.ledger.approvals.approve(rollout_id, request, step=step)
        self.wake()
        return rollout

    def promote(self, rollout_id: int, request: Request) -> Rollout:
        """Have a rollout go to the last step of its plan at once. It is judged there as by plan.

        Returns:
            The rollout.

        Raises:
            NotFoundError: there is no such rollout.
            ConflictError: it is at no step, or at its last one.
        """
        rollout = self.ledger.approvals.promote(rollout_id, request)
        self.wake()
        return rollout

    def isolate(
        self, revision_id: str, request: Request, *, levels: Iterable[IsolationLevel] = DEFAULT, budgeted: bool = True
    ) -> Revision:
        """Take a revision's traffic away, and keep it from any.

        Args:
            levels: how far; see ``IsolationLevel``.
            budgeted: whether the service's ``max_isolated`` bounds it: for whatever is not a person.

        Returns:
            The revision.

        Raises:
            NotFoundError: there is no such revision.
            ConflictError: the budget is spent.
            UnsupportedError: a level that the service's runtime does not have.
        """
        asked = tuple(levels)
        service = self.settings.services.get(self.ledger.revisions.get(revision_id).service)
        if IsolationLevel.NETWORK in asked and isinstance(service, ServicePorts):
            remedy = "processes of one machine share its network: leave it out, or serve on Kubernetes"
            raise UnsupportedError("levels", str(IsolationLevel.NETWORK), remedy)
        budget = service.max_isolated if service and budgeted else None
        revision = self.ledger.isolations.isolate(revision_id, request, levels=asked, budget=budget)
        self.wake()
        return revision

    def isolate_released(self, owner: str, service: str, request: Request) -> Revision | None:
        """Isolate what an owner has released to a service, and refuse what it has yet to ask for.

        Args:
            owner: on whose behalf it was released, for instance one DAG run.

        Returns:
            The revision; None where the owner has released nothing there.
        """
        self.ledger.rollouts.withdraw(owner, request.part("withdraw"))
        self.wake()
        if not (latest := self.ledger.rollouts.latest(service, owner, limit=1)):
            return None
        return self.isolate(latest[0].revision_id, request)

    def unisolate(self, revision_id: str, request: Request) -> Revision:
        """End a revision's isolation. Nothing is given traffic by that.

        Raises:
            NotFoundError: there is no such revision.
        """
        revision = self.ledger.isolations.unisolate(revision_id, request)
        self.wake()
        return revision

    def _return(self, service: str, request: Request) -> Rollout:
        """Ask for the revision before the stable one."""
        return request_return(self.ledger, self.ledger.revisions.previous(service), request.part(_RETURN))

    def _stable_by(self, owner: str, service: str) -> bool:
        """Whether the stable revision is one that this owner has released."""
        latest = self.ledger.rollouts.latest(service, owner, limit=1)
        if not latest or latest[0].phase is not Phase.PROMOTED:
            return False
        return self.ledger.services.get(service).stable_revision == latest[0].revision_id

    def _has_stable(self, service: str) -> bool:
        try:
            return self.ledger.services.get(service).stable_revision is not None
        except NotFoundError:
            return False

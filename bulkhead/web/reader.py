"""From the ledger to the documents of the JSON API, and to what the command line shows of a release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bulkhead.commands import Commands
from bulkhead.health.verdict import Health
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.overview import RolloutView, ServiceView
from bulkhead.ledger.service_standing import PodDevices, ServiceStanding
from bulkhead.ledger.tables import Phase, Revision, Rollout
from bulkhead.pods.identity import run_of, run_owner
from bulkhead.registries.pages import model_page, run_page
from bulkhead.rollout.plan import Step, readable_plan
from bulkhead.rollout.sentences import end, sentence, step_words
from bulkhead.web.actions import possible
from bulkhead.web.course import course
from bulkhead.web.documents import (
    Attention,
    CourseDocument,
    EventDocument,
    IsolationDocument,
    Page,
    ReleaseDocument,
    ReleaseSummary,
    RevisionDocument,
    Role,
    ServedDevices,
    ServiceDocument,
    ShareDocument,
    StepDocument,
)

_BY_URGENCY = {attention: index for index, attention in enumerate(Attention)}
_WHOLE = (Phase.PROMOTING, Phase.BAKING, Phase.RETIRING, Phase.PROMOTED)


class LedgerReader:
    """What the ledger says. Nothing else is asked, so it answers whatever else is away.

    Args:
        ledger: that is read.
        mlflow_ui: address of MLflow's UI, for links; empty where it has none.
    """

    def __init__(self, ledger: Ledger, mlflow_ui: str = "") -> None:
        self._ledger, self._mlflow_ui = ledger, mlflow_ui

    def services(self, search: str = "", offset: int = 0, limit: int = 50) -> Page[ServiceDocument]:
        """Services, those that want a person first, then by name.

        Args:
            search: part of the name, in whatever case; empty for every one.
            offset: how many to leave out.
            limit: at most so many.
        """
        views, total = self._ledger.overview.services(_urgency, search, offset, limit)
        following = offset + limit
        items = [_service(view) for view in views]
        return Page(items=items, total=total, next=following if following < total else None)

    def service(self, name: str) -> ServiceDocument:
        """One service.

        Raises:
            NotFoundError: nothing was ever released to it.
        """
        return _service(self._ledger.overview.service(name))

    def releases(
        self,
        service: str | None = None,
        run: tuple[str, str] | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> Page[ReleaseSummary]:
        """Releases, newest first.

        Args:
            run: only those of this DAG run: DAG's id, run's id.
            before: only those older than the one of this id.
            limit: at most so many.
        """
        owner = None if run is None else run_owner(*run)
        rows = self._ledger.overview.rollouts(service, owner, before, limit + 1)
        items = [_summary(rollout, revision) for rollout, revision in rows[:limit]]
        return Page(items=items, total=None, next=items[-1].id if len(rows) > limit else None)

    def release(self, release_id: int) -> ReleaseDocument:
        """One release.

        Raises:
            NotFoundError: there is none.
        """
        return _release(self._ledger.overview.rollout(release_id), self._mlflow_ui)

    def course(self, release_id: int) -> CourseDocument:
        """How one release went over time.

        Raises:
            NotFoundError: there is none.
        """
        ledger = self._ledger
        rollout, events = ledger.rollouts.get(release_id), ledger.events.select(release_id)
        return course(rollout, events, ledger.measurements.of(release_id))


def reader(control: Commands) -> LedgerReader:
    """What a control plane's ledger says, with links as its configuration has them."""
    return LedgerReader(control.ledger, control.settings.mlflow_ui)


def _release(view: RolloutView, mlflow_ui: str) -> ReleaseDocument:
    rollout, revision = view.rollout, view.revision
    experiment_id, run_id = (str(revision.evidence.get(name) or "") for name in ("experiment_id", "run_id"))
    placed: Mapping[str, Any] = next((event.data for event in view.events if event.data.get("nodes")), {})
    return ReleaseDocument(
        **_summary(rollout, view.revision).model_dump(),
        plan=[
            StepDocument(weight=step.weight, mirror=step.mirror, approve=step.approve, words=step_words(step))
            for step in _steps(rollout)
        ],
        candidate=RevisionDocument.model_validate(view.revision),
        replaces=None if view.stable is None else RevisionDocument.model_validate(view.stable),
        serves=view.serving == rollout.revision_id,
        nodes=placed.get("nodes", ()),
        devices=placed.get("devices", ()),
        run_url=run_page(mlflow_ui, experiment_id, run_id),
        model_url=model_page(mlflow_ui, revision.model_uri, experiment_id, revision.model_name, revision.model_version),
        decision=rollout.decision,
        evidence=view.revision.evidence,
        isolated=[IsolationDocument.model_validate(isolation) for isolation in view.isolations],
        events=[
            EventDocument(
                id=event.id, at=event.at, kind=event.kind, words=sentence(event, rollout), data=event.data or {}
            )
            for event in view.events
        ],
        actions=list(possible(view)),
    )


def _service(view: ServiceView) -> ServiceDocument:
    standing, attention = view.standing, _attention(view.standing)
    return ServiceDocument(
        name=standing.service,
        stable=None if view.stable is None else RevisionDocument.model_validate(view.stable),
        split=_split(standing.stable, view.going),
        release=None if view.going is None else _summary(view.going, view.revisions[view.going.revision_id]),
        last=None if view.last is None else _summary(view.last, view.revisions[view.last.revision_id]),
        failing=standing.failing,
        isolated=standing.isolated,
        devices=_served(standing),
        attention=attention,
        why=_why(view, attention),
    )


def _urgency(standing: ServiceStanding) -> int:
    return _BY_URGENCY[_attention(standing)]


def _attention(standing: ServiceStanding) -> Attention:
    if standing.going is not None and standing.going.phase is Phase.APPROVING:
        return Attention.APPROVAL
    if standing.failing:
        return Attention.FAILING
    if standing.going is None and standing.last is not None and standing.last.phase is Phase.ROLLED_BACK:
        return Attention.ROLLED_BACK
    if _unhealthy(standing):
        return Attention.DEVICES
    return Attention.ISOLATED if standing.isolated else Attention.NONE


def _why(view: ServiceView, attention: Attention) -> str | None:
    """What a person is wanted for, in a sentence."""
    if attention is Attention.APPROVAL and view.going is not None:
        return f"Step {view.going.step + 1} waits for a person to approve."
    if attention is Attention.FAILING:
        return "; ".join(f"{work}: {why}" for work, why in view.standing.failing.items())
    if attention is Attention.ROLLED_BACK and view.last is not None:
        return end(view.last)
    if attention is Attention.DEVICES:
        return "; ".join(f"{alike.uuid} of {alike.node}: {alike.evidence}" for alike in _unhealthy(view.standing))
    if attention is Attention.ISOLATED:
        return f"Isolated until a person releases it: {', '.join(view.standing.isolated)}."
    return None


def _served(standing: ServiceStanding) -> ServedDevices | None:
    counted: Counter[str] = Counter()
    for alike in standing.devices:
        counted[alike.health] += alike.count
    return ServedDevices(count=counted.total(), by_health=counted) if counted else None


def _unhealthy(standing: ServiceStanding) -> list[PodDevices]:
    return [alike for alike in standing.devices if alike.health == Health.UNHEALTHY]


def _split(stable: str | None, rollout: Rollout | None) -> list[ShareDocument]:
    """The traffic as the ledger has decided it: during a step what the step says, on the way to one what was before."""
    percent = 0 if rollout is None else _percent(rollout)
    shares = [] if stable is None else [ShareDocument(revision=stable, percent=100 - percent, role=Role.STABLE)]
    if rollout is not None and rollout.revision_id != stable:
        shares.append(ShareDocument(revision=rollout.revision_id, percent=percent, role=Role.CANDIDATE))
    return shares


def _percent(rollout: Rollout) -> int:
    """Of the traffic that the candidate has; 0 as soon as it was decided to take it back."""
    if rollout.phase in _WHOLE:
        return 100
    steps = _steps(rollout)
    index = rollout.step if rollout.phase.at_step else rollout.step - 1
    on_its_way = rollout.phase.at_step or rollout.phase is Phase.SHIFTING
    return steps[index].weight if on_its_way and 0 <= index < len(steps) else 0


def _summary(rollout: Rollout, revision: Revision) -> ReleaseSummary:
    dag_id, run_id = run_of(rollout.owner) or (None, None)
    return ReleaseSummary(
        id=rollout.id,
        service=rollout.service,
        revision=rollout.revision_id,
        model_name=revision.model_name,
        model_version=revision.model_version,
        stable=rollout.stable_id,
        phase=rollout.phase,
        step=rollout.step + 1,
        steps=len(_steps(rollout)),
        dag_id=dag_id,
        run_id=run_id,
        requested_at=rollout.created_at,
        phase_at=rollout.phase_at,
        decided_at=rollout.decided_at,
        contained_at=rollout.contained_at,
        ended_at=rollout.ended_at,
        reason=rollout.reason,
        words=end(rollout) if rollout.phase.ended else None,
    )


def _steps(rollout: Rollout) -> Sequence[Step]:
    plan = readable_plan(rollout.plan)
    return () if plan is None else plan.steps

"""Sensors: the guard of a release after it was deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from bulkhead import arguments
from bulkhead.errors import NotFoundError
from bulkhead.operators.ends import NO_TRIGGERER, PlainEnds, PlainFailure
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.identity import identity
from bulkhead.operators.retry import default_to_one_retry
from bulkhead.operators.templates import check_known
from bulkhead.operators.triggers.serving import ServingTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

BREACHES = ("roll-back", "isolate", "fail")
"""What a guard may do about a broken objective."""

_MARGIN = timedelta(minutes=10)


class ServingSLOSensor(PlainEnds, BaseSensorOperator):
    """Guards a revision for a time: where it uses up its error budget too fast, it is rolled back or isolated.

    The burn rate is judged each second in several windows at once, as the SRE workbook has it, scaled to the guard's
    length (see ``bulkhead.rollout.analysis.burn``), from the revision's own requests. The sensor defers: it holds no
    worker. Its state is in the triggerer, so a triggerer that restarts restarts its windows.

    Args:
        service: by name; templated.
        objective: share of the revision's requests that has to succeed, 0.5 to below 1.
        guard: how long.
        min_failures: fewest failures in a window that mean anything.
        on_breach: ``roll-back`` (the task fails, the service returns to the revision before), ``isolate``, or ``fail``.
        deploy_task_id: guards the revision that this deploy task released; by default the service's stable one.
        bulkhead_conn_id: connection of type ``bulkhead``.
        kwargs: of ``BaseSensorOperator``; ``retries`` is 1 by default (see
            ``bulkhead.operators.retry.default_to_one_retry``).

    Raises:
        InvalidInputError: an argument is out of range.
    """

    template_fields: Sequence[str] = ("service",)

    def __init__(
        self,
        *,
        service: str,
        objective: float = 0.99,
        guard: timedelta = timedelta(hours=1),
        min_failures: int = 10,
        on_breach: str = "roll-back",
        deploy_task_id: str | None = None,
        bulkhead_conn_id: str = BulkheadHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        default_to_one_retry(kwargs)
        super().__init__(**kwargs)
        check_known(arguments.service, "service", service)
        remedy = "give a share from 0.5 to below 1, for instance 0.999"
        arguments.number("objective", objective, lambda share: 0.5 <= share < 1, remedy)
        arguments.duration("guard", guard)
        arguments.whole("min_failures", min_failures, 1)
        arguments.choice("on_breach", on_breach, BREACHES)
        if deploy_task_id is not None:
            arguments.text("deploy_task_id", deploy_task_id)
        arguments.text("bulkhead_conn_id", bulkhead_conn_id)
        self.service, self.objective, self.guard = service, objective, guard
        self.min_failures, self.on_breach = min_failures, on_breach
        self.deploy_task_id, self.bulkhead_conn_id = deploy_task_id, bulkhead_conn_id

    def execute(self, context: Context) -> None:
        """Defer to the guard.

        Raises:
            AirflowFailException: there is nothing to guard.
        """
        task = identity(context)
        trigger = ServingTrigger(
            service=self.service,
            revision=self._revision(context),
            objective=self.objective,
            until=(datetime.now(UTC) + self.guard).isoformat(),
            length_s=self.guard.total_seconds(),
            min_failures=self.min_failures,
            on_breach=self.on_breach,
            key=f"guard/{task.key}",
            requested_by=f"{task.owner}/{task.task_id}",
            bulkhead_conn_id=self.bulkhead_conn_id,
        )
        self.log.info("guarding revision %s of %s for %s", trigger.revision, self.service, self.guard)
        self.defer(trigger=trigger, method_name="resume", timeout=self.guard + _MARGIN)

    def resume(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Say how the guard ended.

        Returns:
            ``result`` (``kept``, or ``left`` where another revision serves now) and ``reason``.

        Raises:
            AirflowFailException: the objective was broken; the reason names the numbers.
        """
        if event["result"] == "breached":
            raise PlainFailure(event["reason"])
        self.log.info("%s", event["reason"])
        return dict(event)

    def gave_up(self) -> str:
        """See ``PlainEnds.gave_up``."""
        return f"The guard of service {self.service} was not over within {self.guard + _MARGIN}. {NO_TRIGGERER}"

    def _revision(self, context: Context) -> str:
        if self.deploy_task_id is not None:
            deployed = context["ti"].xcom_pull(task_ids=self.deploy_task_id) or {}
            if "revision" not in deployed:
                raise PlainFailure(f"deploy_task_id = {self.deploy_task_id!r}: it has left no revision")
            return str(deployed["revision"])
        try:
            stable = BulkheadHook(self.bulkhead_conn_id).control().ledger.services.get(self.service).stable_revision
        except NotFoundError as error:
            raise PlainFailure(str(error)) from error
        if stable is None:
            raise PlainFailure(f"service {self.service!r} has no revision to guard")
        return str(stable)

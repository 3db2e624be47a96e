"""The fleet watch as a task."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator

from bulkhead import arguments
from bulkhead.health.quarantine import QuarantineChanges, summary
from bulkhead.operators.ends import PlainEnds
from bulkhead.operators.hooks import BulkheadHook

if TYPE_CHECKING:
    from airflow.sdk import Context

FLEET = "bulkhead-fleet"
"""Name of the asset that is updated by each poll; its events carry what has changed."""


class FleetHealthOperator(PlainEnds, BaseOperator):
    """Looks at the fleet a few times, opens and closes quarantines, and tells of it in an asset event.

    What it knows of each device is kept in the ledger between its runs.

    Args:
        polls: how many, ``fleet.poll_s`` apart: some faults show only by what changes.
        bulkhead_conn_id: connection of type ``bulkhead``, whose configuration names the fleet.
        kwargs: of ``BaseOperator``.

    Raises:
        InvalidInputError: an argument is out of range.
    """

    def __init__(
        self, *, polls: int = 4, bulkhead_conn_id: str = BulkheadHook.default_conn_name, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        arguments.whole("polls", polls, 1)
        arguments.text("bulkhead_conn_id", bulkhead_conn_id)
        self.polls, self.bulkhead_conn_id = polls, bulkhead_conn_id
        self._stop = threading.Event()

    def execute(self, context: Context) -> dict[str, Any]:
        """Look.

        Returns:
            ``devices`` (counts by health), ``quarantined``, ``moved``, ``refused`` and ``failed``.
        """
        control = BulkheadHook(self.bulkhead_conn_id).control()
        watch, controller = control.fleet_watch(), control.quarantine_controller()
        done, assessment = QuarantineChanges(), watch.poll()
        for number in range(self.polls):
            if number:
                self._stop.wait(control.settings.fleet.poll_s)
                assessment = watch.poll()
            done.add(controller.step(assessment))
        watch.remember()
        report: dict[str, Any] = {
            "devices": summary(assessment),
            "quarantined": sorted({quarantine.target for quarantine in done.started}),
            "moved": {target: str(phase) for target, phase in done.moved.items()},
            "refused": done.refused,
            "failed": {**assessment.failed, **done.failed},
        }
        for target, why in done.refused.items():
            self.log.error("a person is needed: %s is unhealthy and stays at work: %s", target, why)
        if self.outlets:
            context["outlet_events"][Asset(FLEET)].extra = report
        return report

    def on_kill(self) -> None:
        """The task process was told to end."""
        self._stop.set()

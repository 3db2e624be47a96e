"""Watching a fleet's devices: one poll serves every sensor of a triggerer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import structlog
from airflow.triggers.base import TriggerEvent

from bulkhead import arguments
from bulkhead.control import Control
from bulkhead.errors import UnavailableError
from bulkhead.health.requirement import DeviceRequirement, check_model, find
from bulkhead.health.verdict import Assessment, DeviceVerdict, Health
from bulkhead.health.watch import FleetWatch
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.triggers.polling import PollingTrigger, poll

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class FleetView:
    """A fleet at one moment.

    Attributes:
        assessment: how it stands.
        kept: devices and nodes that are in quarantine.
    """

    assessment: Assessment
    kept: frozenset[str]


class _FleetPoll:
    """Looks at the fleet of a control plane, with what it knows from the polls before."""

    def __init__(self) -> None:
        self._watch: FleetWatch | None = None

    def __call__(self, control: Control) -> FleetView:
        if self._watch is None:
            self._watch = control.fleet_watch()
        assessment = self._watch.poll()
        held = control.ledger.quarantines.held()
        return FleetView(assessment, frozenset({*(row.target for row in held), *(row.node for row in held)}))


class FleetTrigger(PollingTrigger):
    """Base of triggers that share polls at one fleet.

    Args:
        bulkhead_conn_id: whose configuration names the fleet.
    """

    def __init__(self, bulkhead_conn_id: str) -> None:
        super().__init__()
        self.bulkhead_conn_id = bulkhead_conn_id

    def shared_stream_key(self) -> Hashable:
        """One poll a connection."""
        return ("bulkhead-fleet", self.bulkhead_conn_id)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[FleetView]:
        """Look at the fleet again and again.

        Args:
            kwargs: of any trigger of the group; they share ``bulkhead_conn_id``.

        Yields:
            How it stands.
        """
        async for view in poll(kwargs["bulkhead_conn_id"], _FleetPoll(), lambda control: control.settings.fleet.poll_s):
            yield view


class DeviceHealthTrigger(FleetTrigger):
    """Fires when enough healthy devices are there.

    The event is ``{"devices": {node: [uuid]}, "text": …}``.

    Args:
        requirement: ``DeviceRequirement`` in JSON form.
        bulkhead_conn_id: whose configuration names the fleet.
    """

    def __init__(self, requirement: dict[str, Any], bulkhead_conn_id: str) -> None:
        super().__init__(bulkhead_conn_id)
        self.requirement = requirement

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        given = {"requirement": self.requirement, "bulkhead_conn_id": self.bulkhead_conn_id}
        return (f"{type(self).__module__}.{type(self).__qualname__}", given)

    async def filter_shared_stream(self, shared_stream: AsyncIterator[FleetView]) -> AsyncIterator[TriggerEvent]:
        """Judge every poll, and fire once."""
        requirement, reported = DeviceRequirement(**self.requirement), ""
        async for view in shared_stream:
            match = find(requirement, view.assessment, view.kept)
            if match.text != reported:
                reported = match.text
                await log.ainfo("devices", found=reported)
            if match.met:
                devices = {node: list(uuids) for node, uuids in match.devices.items()}
                yield TriggerEvent({"devices": devices, "text": match.text})
                return


class DeviceFaultTrigger(FleetTrigger):
    """Fires each time that a device turns unhealthy: an event for a sensor, or for the AssetWatcher of a DAG.

    The event is ``{"device", "node", "model", "reason", "text", "action", "job"}``. Devices that are unhealthy at the
    first poll are told of as well, unless ``only_new``.

    Args:
        model: pattern of the product's name, as in a shell.
        only_new: whether those that are unhealthy already are left out.
        bulkhead_conn_id: whose configuration names the fleet.

    Raises:
        InvalidInputError: an argument is wrong.
    """

    def __init__(self, model: str = "*", only_new: bool = False, bulkhead_conn_id: str = "bulkhead_default") -> None:
        check_model("model", model)
        arguments.switch("only_new", only_new)
        arguments.text("bulkhead_conn_id", bulkhead_conn_id)
        super().__init__(bulkhead_conn_id)
        self.model, self.only_new = model, only_new

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        names = ("model", "only_new", "bulkhead_conn_id")
        return (f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names})

    async def filter_shared_stream(self, shared_stream: AsyncIterator[FleetView]) -> AsyncIterator[TriggerEvent]:
        """Tell of each device once for as long as it is unhealthy."""
        before: set[str] | None = set() if not self.only_new else None
        async for view in shared_stream:
            unhealthy = {
                uuid: device
                for uuid, device in view.assessment.devices.items()
                if device.health is Health.UNHEALTHY and fnmatchcase(device.device.model, self.model)
            }
            for uuid, device in unhealthy.items():
                if before is not None and uuid not in before:
                    yield TriggerEvent(_payload(device))
            before = set(unhealthy)


def look_once(trigger: FleetTrigger) -> dict[str, Any] | None:
    """Look at the fleet, for a task that need not defer where what it waits for is there.

    Args:
        trigger: to which it would defer.

    Returns:
        What the trigger would fire with at its first poll; None where it would wait, or the fleet does not answer.
    """
    try:
        view = _FleetPoll()(BulkheadHook(trigger.bulkhead_conn_id).control())
    except UnavailableError as error:
        log.warning("no answer, polling in the triggerer", error=str(error))
        return None
    return asyncio.run(_first(trigger, view))


async def _first(trigger: FleetTrigger, view: FleetView) -> dict[str, Any] | None:
    async def stream() -> AsyncIterator[FleetView]:
        yield view

    async for event in trigger.filter_shared_stream(stream()):
        payload: dict[str, Any] = event.payload
        return payload
    return None


def _payload(verdict: DeviceVerdict) -> dict[str, Any]:
    return {
        "device": verdict.device.uuid,
        "node": verdict.device.node,
        "model": verdict.device.model,
        "reason": str(verdict.reason),
        "text": verdict.text,
        "action": str(verdict.action),
        "job": verdict.job,
    }

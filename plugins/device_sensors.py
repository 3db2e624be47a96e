"""Sensors of devices: enough healthy ones are there, or one turns unhealthy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from bulkhead import arguments
from bulkhead.health.requirement import DeviceRequirement, check_model
from bulkhead.operators.ends import PlainEnds
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.retry import default_to_one_retry
from bulkhead.operators.triggers.fleet import DeviceFaultTrigger, DeviceHealthTrigger, FleetTrigger, look_once

if TYPE_CHECKING:
    from airflow.sdk import Context


class DeviceHealthSensor(PlainEnds, BaseSensorOperator):
    """Waits until enough healthy devices of a kind are there. Unknown is not healthy.

    It defers: it holds no worker, and all sensors of a triggerer share one poll at the fleet every ``fleet.poll_s``.
    ``timeout`` and ``soft_fail`` are those of every sensor.

    Args:
        count: devices, on each node where ``nodes`` is given.
        nodes: how many such nodes; None where the devices may be anywhere.
        model: pattern of the product's name, as in a shell: ``*H100*``.
        free: whether only devices count that no job has.
        bulkhead_conn_id: connection of type ``bulkhead``, whose configuration names the fleet.
        kwargs: of ``BaseSensorOperator``; ``retries`` is 1 by default (see
            ``bulkhead.operators.retry.default_to_one_retry``).

    Raises:
        InvalidInputError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        count: int = 1,
        nodes: int | None = None,
        model: str = "*",
        free: bool = False,
        bulkhead_conn_id: str = BulkheadHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        default_to_one_retry(kwargs)
        super().__init__(**kwargs)
        arguments.text("bulkhead_conn_id", bulkhead_conn_id)
        self.requirement = DeviceRequirement(count, nodes, model, free)
        self.bulkhead_conn_id = bulkhead_conn_id

    def execute(self, context: Context) -> dict[str, list[str]]:
        """Defer to the shared poll; another try looks first, and need not defer."""
        self.log.info("waiting for %s", self.requirement)
        trigger = DeviceHealthTrigger(asdict(self.requirement), self.bulkhead_conn_id)
        event = _there_by_now(trigger, context)
        if event is None:
            self.defer(trigger=trigger, method_name="resume", timeout=timedelta(seconds=self.timeout))
        return self.resume(context, event)

    def resume(self, context: Context, event: Mapping[str, Any]) -> dict[str, list[str]]:
        """Say what there is.

        Returns:
            UUIDs by node, of all healthy devices that were asked for.
        """
        self.log.info("%s", event["text"])
        return dict(event["devices"])

    def gave_up(self) -> str:
        """See ``PlainEnds.gave_up``."""
        waited = timedelta(seconds=self.timeout)
        return f"Gave up after {waited}: there were not {self.requirement}. `bulkhead fleet` shows what there is."


class DeviceFaultSensor(PlainEnds, BaseSensorOperator):
    """Waits until a device turns unhealthy, and returns what is known of it.

    To start a run for each fault instead, give ``DeviceFaultTrigger`` to the AssetWatcher of an asset, and let a DAG be
    scheduled by that.

    Args:
        model: pattern of the product's name, as in a shell.
        only_new: whether devices that are unhealthy already are left out.
        bulkhead_conn_id: connection of type ``bulkhead``, whose configuration names the fleet.
        kwargs: of ``BaseSensorOperator``; ``retries`` is 1 by default, but for ``only_new``.

    Raises:
        InvalidInputError: an argument is wrong.
    """

    def __init__(
        self,
        *,
        model: str = "*",
        only_new: bool = False,
        bulkhead_conn_id: str = BulkheadHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        check_model("model", model)
        arguments.switch("only_new", only_new)
        arguments.text("bulkhead_conn_id", bulkhead_conn_id)
        if not only_new:  # another try would leave out the very fault that the first one has seen
            default_to_one_retry(kwargs)
        super().__init__(**kwargs)
        self.model, self.only_new, self.bulkhead_conn_id = model, only_new, bulkhead_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Defer to the shared poll; another try looks first, and need not defer."""
        trigger = DeviceFaultTrigger(self.model, self.only_new, self.bulkhead_conn_id)
        event = _there_by_now(trigger, context)
        if event is None:
            self.defer(trigger=trigger, method_name="resume", timeout=timedelta(seconds=self.timeout))
        return self.resume(context, event)

    def resume(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Say which.

        Returns:
            ``device``, ``node``, ``model``, ``reason``, ``text``, ``action`` and ``job``.
        """
        self.log.warning("device %s of node %s is unhealthy: %s", event["device"], event["node"], event["text"])
        return dict(event)

    def gave_up(self) -> str:
        """See ``PlainEnds.gave_up``."""
        return f"Gave up after {timedelta(seconds=self.timeout)}: no device of {self.model} turned unhealthy."


def _there_by_now(trigger: FleetTrigger, context: Context) -> dict[str, Any] | None:
    """What a later try waits for, where it is there.

    The try before may have failed just since its trigger fired at once: Airflow fails a task whose trigger fires before
    the executor has reported the deferral. To defer again would meet the same.
    """
    return look_once(trigger) if context["ti"].try_number > 1 else None

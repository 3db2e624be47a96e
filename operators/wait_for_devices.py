"""Healthy devices first: what a launch may wait for before its pod is created."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from bulkhead import arguments
from bulkhead.errors import InvalidInputError
from bulkhead.health.requirement import DeviceRequirement
from bulkhead.operators.ends import NO_TRIGGERER, PlainEnds
from bulkhead.operators.identity import identity
from bulkhead.operators.triggers.fleet import DeviceHealthTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class WaitForDevicesMixin(PlainEnds, BaseOperator):
    """Base of operators that launch: it comes before the launch, and holds no worker meanwhile.

    Args:
        require_devices: devices that have to be there first; None: the pod is created at once, wherever it may land.
        devices_timeout: longest wait for them.
        bulkhead_conn_id: whose configuration names the fleet.
        kwargs: of the operator.

    Raises:
        InvalidInputError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        require_devices: DeviceRequirement | None = None,
        devices_timeout: timedelta = timedelta(hours=1),
        bulkhead_conn_id: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if require_devices is not None and not isinstance(require_devices, DeviceRequirement):
            raise InvalidInputError(
                "require_devices", require_devices, "give a bulkhead.DeviceRequirement, or leave it out"
            )
        arguments.duration("devices_timeout", devices_timeout)
        arguments.text("bulkhead_conn_id", bulkhead_conn_id)
        self.require_devices, self.devices_timeout, self.bulkhead_conn_id = (
            require_devices,
            devices_timeout,
            bulkhead_conn_id,
        )

    def execute(self, context: Context) -> Any:
        """Launch, when the devices are there.

        Returns:
            As ``launch``.
        """
        if self.require_devices is None:
            return self.launch(context)
        self.log.info("waiting for %s", self.require_devices)
        trigger = DeviceHealthTrigger(asdict(self.require_devices), self.bulkhead_conn_id)
        self.defer(trigger=trigger, method_name="launch", timeout=self.devices_timeout)
        return None

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """See ``PlainEnds.resume_execution``.

        Where Airflow's database gives the id of a deleted trigger again (SQLite), the late event of a task that was
        cleared resumes its next try: word of a pod that is not the same clear number's is none, and the task goes on
            waiting.

        Args:
            next_method: see there.
            next_kwargs: see there.
            context: see there.
        """
        name = ((next_kwargs or {}).get("event") or {}).get("name") if next_method == "resume" else None
        if name is not None and not identity(context).named(name):
            self.log.info("word of pod %s, which is from before the task was cleared: going on with its own", name)
            return self.launch(context)
        return super().resume_execution(next_method, next_kwargs, context)

    def gave_up(self) -> str:
        """See ``PlainEnds.gave_up``."""
        late = f"its pod did not end long after its deadline. {NO_TRIGGERER}"
        if self.require_devices is None:
            return f"Gave up: {late}"
        missing = f"there were not {self.require_devices} within {self.devices_timeout}"
        return f"Gave up: {missing} (`bulkhead fleet` shows what there is), or {late}"

    def launch(self, context: Context, event: Mapping[str, Any] | None = None) -> Any:
        """Launch.

        Args:
            event: what was found, where devices were waited for.
        """
        raise NotImplementedError

"""Connections: where the ledger, MLflow and the local runtime are, as Airflow keeps such things."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

from bulkhead import arguments, settings
from bulkhead.errors import InvalidInputError

# Every process of Airflow's loads this with the plugin. What changes the world is imported where it is used:
# Kubernetes' clients alone are 70 MB.
if TYPE_CHECKING:
    from airflow.sdk import Connection

    from bulkhead.commands import Commands
    from bulkhead.control import Control
    from bulkhead.runtimes.local.runtime import LocalRuntime


SECTION = "bulkhead"
"""Of Airflow's configuration; the provider describes it."""

OPTIONS = (
    "config_file",
    "home",
    "ledger_url",
    "mlflow_tracking_uri",
    "mlflow_ui_url",
    "mlflow_secret",
    "tasks_image",
    "runtime_conn_id",
    "simulated_gpus",
)
"""Of that section."""


class BulkheadHook(BaseHook):
    """The control plane: ledger, router, MLflow.

    A connection of type ``bulkhead`` overrides, field by field, the section ``[bulkhead]`` of Airflow's configuration,
    which overrides Bulkhead's own file.

    Args:
        bulkhead_conn_id: the connection.
    """

    conn_name_attr = "bulkhead_conn_id"
    default_conn_name = "bulkhead_default"
    conn_type = "bulkhead"
    hook_name = "Bulkhead"

    def __init__(self, bulkhead_conn_id: str = default_conn_name) -> None:
        super().__init__()
        arguments.text("bulkhead_conn_id", bulkhead_conn_id)
        self.bulkhead_conn_id = bulkhead_conn_id

    def control(self) -> Control:
        """The parts, ready to use in a worker.

        Raises:
            InvalidInputError: a field of the connection or the file is wrong.
        """
        from bulkhead.control import Control

        return Control(self._configured())

    def commands(self) -> Commands:
        """What can be asked for, and the ledger: for who changes nothing else.

        Raises:
            InvalidInputError: a field of the connection or the file is wrong.
        """
        from bulkhead.commands import Commands
        from bulkhead.ledger.ledger import Ledger

        own = self._configured()
        return Commands(own, Ledger(own.ledger))

    def _configured(self) -> settings.Settings:
        return configured(_fields(find_connection(self.bulkhead_conn_id)))

    async def acontrol(self) -> Control:
        """As ``control``, in the triggerer."""
        from bulkhead.control import Control

        return Control(configured(_fields(await _afind(self.bulkhead_conn_id))))

    def test_connection(self) -> tuple[bool, str]:
        """Open the ledger: what the UI's "Test" button does."""
        control = self.control()
        services = ", ".join(service.name for service in control.ledger.services.all()) or "none yet"
        return True, f"the ledger answers; services: {services}"


class LocalRuntimeHook(BaseHook):
    """The local runtime: pods as processes of the worker's machine.

    Args:
        local_conn_id: a connection of type ``bulkhead_local``; where there is none, the configuration counts.
    """

    conn_name_attr = "local_conn_id"
    default_conn_name = "bulkhead_local_default"
    conn_type = "bulkhead_local"
    hook_name = "Bulkhead local runtime"

    def __init__(self, local_conn_id: str = default_conn_name) -> None:
        super().__init__()
        arguments.text("local_conn_id", local_conn_id)
        self.local_conn_id = local_conn_id

    def runtime(self) -> LocalRuntime:
        """The runtime.

        Raises:
            InvalidInputError: a field of the connection is wrong.
        """
        from bulkhead.runtimes.local.runtime import LocalRuntime

        connection = find_connection(self.local_conn_id)
        extra: Mapping[str, Any] = connection.extra_dejson if connection else {}
        own = configured()
        simulated_gpus = extra.get("simulated_gpus", own.simulated_gpus)
        try:
            count = int(simulated_gpus or 0)
        except (TypeError, ValueError):
            raise InvalidInputError(
                f"{self.local_conn_id}.simulated_gpus", simulated_gpus, "give a whole number"
            ) from None
        return LocalRuntime(Path(extra.get("root") or own.pods), count)


def configured(fields: Mapping[str, Any] | None = None) -> settings.Settings:
    """Bulkhead's file, what Airflow's section [bulkhead] says otherwise, and what a connection says otherwise.

    Args:
        fields: of a connection.

    Raises:
        InvalidInputError: a field is wrong.
    """
    section = {name: conf.get(SECTION, name, fallback=None) for name in OPTIONS}
    file = section.pop("config_file")
    return settings.load(section, fields or {}, file=file)


def _fields(connection: Connection | None) -> dict[str, Any]:
    if connection is None:
        return {}
    extra = connection.extra_dejson
    given = {name: extra.get(name) for name in ("home", "mlflow_tracking_uri", "mlflow_ui_url")}
    return {**given, "ledger_url": connection.password}


def find_connection(conn_id: str) -> Connection | None:
    """A connection, or None where there is none of that name."""
    try:
        return BaseHook.get_connection(conn_id)
    except (AirflowNotFoundException, AirflowRuntimeError) as error:
        _check_absent(error)
        return None


async def _afind(conn_id: str) -> Connection | None:
    try:
        return await BaseHook.aget_connection(conn_id)
    except (AirflowNotFoundException, AirflowRuntimeError) as error:
        _check_absent(error)
        return None


def _check_absent(error: Exception) -> None:
    """No such connection is an answer; any other trouble is not."""
    if isinstance(error, AirflowNotFoundException) or "NOT_FOUND" in str(error):
        return
    raise error

"""What Airflow discovers: entry points, connection types, forms."""

from importlib.metadata import entry_points

from airflow.plugins_manager import AirflowPlugin
from airflow.providers_manager import ProvidersManager

from bulkhead import __version__
from bulkhead.operators import hooks
from bulkhead.plugins import listener
from bulkhead.plugins.airflow_plugin import BulkheadPlugin
from bulkhead.plugins.deadlines import RunParamDeadline
from bulkhead.plugins.provider import get_provider_info


def test_airflow_finds_the_plugin() -> None:
    (found,) = entry_points(group="airflow.plugins", name="bulkhead")
    plugin = found.load()
    assert plugin is BulkheadPlugin and issubclass(plugin, AirflowPlugin)
    assert plugin.listeners == [listener]
    assert plugin.deadline_references == [RunParamDeadline]


def test_airflow_finds_the_provider_and_its_hooks() -> None:
    manager = ProvidersManager()
    assert manager.providers["bulkhead"].version == __version__
    for kind, hook in (("bulkhead", "BulkheadHook"), ("bulkhead_local", "LocalRuntimeHook")):
        assert manager.hooks[kind].hook_class_name == f"bulkhead.operators.hooks.{hook}"
        assert getattr(hooks, hook).conn_type == kind


def test_the_forms_hide_the_ledgers_password() -> None:
    control = get_provider_info()["connection-types"][0]
    assert control["ui-field-behaviour"]["relabeling"] == {"password": "Ledger URL"}
    assert set(control["conn-fields"]) == {"home", "mlflow_tracking_uri"}

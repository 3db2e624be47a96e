"""What Airflow discovers: entry points, connection types, forms."""

import json
import pkgutil
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import airflow
import jsonschema
import pytest
import yaml
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.plugins_manager import AirflowPlugin
from airflow.providers_manager import ProvidersManager
from airflow.sdk import BaseHook, BaseOperator, BaseSensorOperator
from airflow.sdk.bases.notifier import BaseNotifier
from airflow.triggers.base import BaseTrigger

import bulkhead
from bulkhead import __version__
from bulkhead.operators import hooks
from bulkhead.plugins import callbacks, listener
from bulkhead.plugins.airflow_plugin import BulkheadPlugin
from bulkhead.plugins.deadlines import RunParamDeadline
from bulkhead.plugins.provider import get_provider_info

ROOT = Path(__file__).parents[2]


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


def _defined(folder: str, base: type) -> set[str]:
    """Modules of a folder that define a class of a kind for others to use."""
    found = set()
    for module in pkgutil.iter_modules([str(ROOT / folder)], f"bulkhead.{folder.replace('/', '.')}."):
        public = {name: one for name, one in vars(import_module(module.name)).items() if not name.startswith("_")}
        offered = [one for one in public.values() if isinstance(one, type) and one.__module__ == module.name]
        if any(issubclass(one, base) for one in offered):
            found.add(module.name)
    return found


def test_airflow_is_told_of_every_module() -> None:
    info = get_provider_info()
    listed = {kind: set(info[kind][0]["python-modules"]) for kind in ("operators", "sensors", "hooks", "triggers")}
    bases = {
        f"bulkhead.operators.{name}"
        for name in ("ends", "launching", "rollouts", "triggers.polling", "wait_for_devices")
    }
    assert listed["operators"] == _defined("operators", BaseOperator) - bases
    assert listed["sensors"] == _defined("plugins", BaseSensorOperator)
    assert listed["hooks"] == _defined("operators", BaseHook)
    assert listed["triggers"] == _defined("operators/triggers", BaseTrigger) - bases
    notifiers = {f"{one.__module__}.{one.__name__}" for one in (callbacks.IsolateNotifier, callbacks.RollBackNotifier)}
    assert set(info["notifications"]) == notifiers


def test_the_registry_is_told_of_what_is_public() -> None:
    message = yaml.safe_load((ROOT / ".airflow-registry.yaml").read_text())
    bases = {"operators": BaseOperator, "sensors": BaseSensorOperator, "hooks": BaseHook, "triggers": BaseTrigger}
    public = {f"bulkhead.{name}": getattr(bulkhead, name) for name in bulkhead.__all__}
    for kind, base in {**bases, "notifications": BaseNotifier}.items():
        ours = {name for name, one in public.items() if isinstance(one, type) and issubclass(one, base)}
        if kind == "operators":
            ours -= {sensor["module"] for sensor in message["sensors"]}
        assert {one["module"] for one in message[kind]} == ours
    assert {one["module"] for one in message["other"]} <= set(public)
    assert message["package-name"] == get_provider_info()["package-name"]


def test_airflow_is_told_of_the_dag_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    (message,) = get_provider_info()["bundles"]
    (module,) = message["python-modules"]
    entry = {"name": "bulkhead", "classpath": f"{module}.ControlPlaneDagBundle", "kwargs": {}}
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([entry]))
    bundle = DagBundlesManager().get_bundle("bulkhead")
    bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name="bulkhead")
    assert bag.import_errors == {}
    assert set(bag.dags) == {"bulkhead_collect", "bulkhead_fleet_health", "bulkhead_reconcile"}
    assert all(dag.is_paused_upon_creation for dag in bag.dags.values())


def test_the_metadata_meet_airflows_schema() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_every_option_of_the_configuration_is_read() -> None:
    (section,) = get_provider_info()["config"]
    assert section == hooks.SECTION
    assert set(get_provider_info()["config"][section]["options"]) == set(hooks.OPTIONS)


def test_the_forms_hide_the_ledgers_password() -> None:
    control = get_provider_info()["connection-types"][0]
    assert control["ui-field-behaviour"]["relabeling"] == {"password": "Ledger URL"}
    assert set(control["conn-fields"]) == {"home", "mlflow_tracking_uri", "mlflow_ui_url"}

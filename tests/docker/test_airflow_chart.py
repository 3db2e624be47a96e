"""The values that docs/chart.md gives for Airflow's own chart, and what that chart makes of them."""

import json
import os
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from bulkhead.settings import Settings

ROOT = Path(__file__).parents[2]
BLOCKS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/chart.md").read_text(), re.S)]
CONTROL_PLANE, AIRFLOW = BLOCKS
COMPONENTS = {
    "LocalExecutor": {"scheduler", "triggerer", "api-server", "dag-processor"},
    "CeleryExecutor": {"scheduler", "triggerer", "api-server", "dag-processor", "worker"},
    "KubernetesExecutor": {"scheduler", "triggerer", "api-server", "dag-processor"},
}
LAUNCHERS = {"LocalExecutor": "scheduler", "CeleryExecutor": "worker", "KubernetesExecutor": "worker"}
"""Whose service account launches pods, beside the triggerer's."""


def _config() -> dict[str, Any]:
    return dict(yaml.safe_load(yaml.safe_load(AIRFLOW["extraConfigMaps"]["bulkhead"]["data"])["config.yaml"]))


def test_airflow_and_the_control_plane_are_given_the_same_services() -> None:
    config = _config()
    assert config["services"] == CONTROL_PLANE["config"]["services"]
    settings = Settings.model_validate(config)
    assert settings.mlflow_tracking_uri == CONTROL_PLANE["mlflow"]["trackingUri"]
    assert settings.tasks_image == "{repository}@{digest}".format(**CONTROL_PLANE["tasks"]["image"])
    connections = [one["value"] for one in AIRFLOW["env"] if one["name"] == "AIRFLOW_CONN_KUBERNETES_DEFAULT"]
    (extra,) = [json.loads(connection)["extra"] for connection in connections]
    assert extra["namespace"] in CONTROL_PLANE["tasks"]["namespaces"]
    assert settings.runtime_conn_id == "kubernetes_default"


def test_its_bundles_are_there() -> None:
    for bundle in AIRFLOW["dagProcessor"]["dagBundleConfigList"]:
        module, _, name = bundle["classpath"].rpartition(".")
        assert hasattr(import_module(module), name)


@pytest.fixture(scope="module")
def chart() -> Iterator[Any]:
    path = os.environ.get("BULKHEAD_AIRFLOW_CHART")
    if not path:
        pytest.skip("NOT RENDERED: set BULKHEAD_AIRFLOW_CHART to the official Airflow chart, a folder or an archive")
    loaded = helm.Chart.load(Path(path))
    yield loaded
    loaded.close()


def _documents(chart: Any, executor: str) -> list[dict[str, Any]]:
    values = {**AIRFLOW, "executor": executor, "allowPodLaunching": executor == "KubernetesExecutor"}
    rendered = chart.render(values, name="airflow", namespace="airflow")
    texts = [text for path, text in rendered.items() if path.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def _pods(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Specifications of the pods of Airflow's components, the executor's template of a worker among them."""
    pods = {
        one["metadata"]["labels"]["component"]: one["spec"]["template"]["spec"]
        for one in documents
        if one["kind"] in ("Deployment", "StatefulSet") and one["metadata"]["labels"].get("tier") == "airflow"
    }
    texts = [one["data"] for one in documents if one["kind"] == "ConfigMap"]
    templates = [text for data in texts for file, text in data.items() if file == "pod_template_file.yaml"]
    if templates:
        (template,) = templates
        pods["pod"] = yaml.safe_load(template)["spec"]
    return pods


@pytest.mark.parametrize("executor", COMPONENTS)
def test_every_component_has_the_wheel_the_ledger_and_the_services(chart: Any, executor: str) -> None:
    pods = _pods(_documents(chart, executor))
    assert pods.keys() >= COMPONENTS[executor] and ("pod" in pods) == (executor == "KubernetesExecutor")
    for component in pods.keys() & {*COMPONENTS[executor], "pod"}:
        pod = pods[component]
        image = "registry.example/bulkhead-airflow:1"
        containers = [one for one in pod["containers"] if one["image"] == image]
        assert containers, component
        own = [one for one in containers if "log-groomer" not in one["name"]]
        for container in own:
            environment = {one["name"]: one for one in container["env"]}
            ledger = environment["AIRFLOW__BULKHEAD__LEDGER_URL"]["valueFrom"]["secretKeyRef"]
            assert ledger == {"name": "bulkhead-ledger", "key": "url"}, component
            mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
            folder = str(Path(environment["AIRFLOW__BULKHEAD__CONFIG_FILE"]["value"]).parent)
            volumes = {one["name"]: one for one in pod["volumes"]}
            assert volumes[mounts[folder]]["configMap"]["name"] == "bulkhead", component


@pytest.mark.parametrize("executor", COMPONENTS)
def test_its_service_accounts_are_those_that_are_given_the_role(chart: Any, executor: str) -> None:
    documents = _documents(chart, executor)
    made = {one["metadata"]["name"] for one in documents if one["kind"] == "ServiceAccount"}
    needed = {f"airflow-{LAUNCHERS[executor]}", "airflow-triggerer"}
    assert needed <= made
    subjects = {one["name"] for one in CONTROL_PLANE["tasks"]["subjects"]}
    assert needed <= subjects | {"airflow-scheduler"} and all(
        one["namespace"] == "airflow" for one in CONTROL_PLANE["tasks"]["subjects"]
    )


def test_what_is_mounted_is_read(chart: Any) -> None:
    documents = _documents(chart, "CeleryExecutor")
    (data,) = [one["data"] for one in documents if one["kind"] == "ConfigMap" and one["metadata"]["name"] == "bulkhead"]
    assert yaml.safe_load(data["config.yaml"]) == _config()
    (config,) = [
        one["data"]["airflow.cfg"] for one in documents if one["kind"] == "ConfigMap" and "airflow.cfg" in one["data"]
    ]
    (bundles,) = re.findall(r"^dag_bundle_config_list = (.*)$", config, re.M)
    assert [one["name"] for one in json.loads(bundles)] == ["dags-folder", "bulkhead"]

"""What the demo makes beside the chart, held to what it promises."""

import re
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest

from bulkhead.demo.cluster.manifests import NAMESPACE, SERVING, DemoImages, DemoKeys, documents, values
from bulkhead.settings import Settings

ROOT = Path(__file__).parents[4]
IMAGES = DemoImages("registry.example/bulkhead-", "7", "postgres:17")
KEYS = DemoKeys.make()


@pytest.fixture(scope="module")
def made() -> dict[str, dict[str, Any]]:
    return documents(IMAGES, KEYS, 40.0)


def _pods(made: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    templates = {name: one["spec"]["template"]["spec"] for name, one in made.items() if one["kind"] == "Deployment"}
    return {**templates, **{name: one["spec"] for name, one in made.items() if one["kind"] == "Pod"}}


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_every_pod_meets_the_restricted_level_with_a_root_that_is_read_only(made: dict[str, dict[str, Any]]) -> None:
    assert len(_pods(made)) == 4
    for pod in _pods(made).values():
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in _containers(pod):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_no_key_is_outside_of_a_secret_and_no_two_are_the_same(made: dict[str, dict[str, Any]]) -> None:
    keys = set(vars(KEYS).values())
    assert len(keys) == 7 and not keys & set(vars(DemoKeys.make()).values())
    for name, document in made.items():
        if document["kind"] != "Secret":
            assert not [key for key in keys if key in str(document)], name


def test_every_secret_volume_and_claim_that_is_named_is_made(made: dict[str, dict[str, Any]]) -> None:
    for name, pod in _pods(made).items():
        text = str(pod)
        for secret, key in re.findall(r"'secretKeyRef': {'name': '([^']*)', 'key': '([^']*)'}", text):
            assert key in made[f"Secret {NAMESPACE}/{secret}"]["stringData"], (name, secret, key)
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in _containers(pod):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    assert f"PersistentVolumeClaim {SERVING}/checkpoints" in made


def test_airflow_and_the_chart_are_configured_alike(made: dict[str, dict[str, Any]]) -> None:
    import yaml

    own = Settings.model_validate(yaml.safe_load(made[f"ConfigMap {NAMESPACE}/airflow"]["data"]["config.yaml"]))
    chart = helm.Chart.load(ROOT / "docker" / "chart")
    rendered = chart.render(values(IMAGES), name="bulkhead", namespace=NAMESPACE)
    chart.close()
    (config,) = [text for path, text in rendered.items() if path.endswith("templates/configmap.yaml")]
    theirs = Settings.model_validate(yaml.safe_load(yaml.safe_load(config)["data"]["config.yaml"]))
    assert (
        own.services == theirs.services and own.tasks_image == theirs.tasks_image == "registry.example/bulkhead-tasks:7"
    )
    assert own.mlflow_tracking_uri == theirs.mlflow_tracking_uri
    roles = "\n".join(rendered.values())
    assert "name: airflow" in roles and f"namespace: {SERVING}" in roles

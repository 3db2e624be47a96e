from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client as k8s

from bulkhead.errors import UnsupportedError
from bulkhead.pods.spec import PodRequest, build
from bulkhead.runtimes.local.validation import check


def _pod(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    pod = build(PodRequest(name="job", image="none", command=["true"]))
    document: dict[str, Any] = k8s.ApiClient().sanitize_for_serialization(pod)
    change(document["spec"])
    return document


def test_what_the_builder_makes_is_supported() -> None:
    check(_pod(lambda _: None))


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("pod.spec.hostNetwork", lambda spec: spec.update(hostNetwork=True)),
        ("pod.spec.initContainers", lambda spec: spec.update(initContainers=[{"name": "init"}])),
        ("pod.spec.containers", lambda spec: spec["containers"].append({"name": "sidecar"})),
        ("pod.spec.restartPolicy", lambda spec: spec.update(restartPolicy="Always")),
        ("pod.spec.volumes[0]", lambda spec: spec.update(volumes=[{"name": "data", "hostPath": {"path": "/"}}])),
        (
            "pod.spec.volumes[0].claimName",
            lambda spec: spec.update(volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "../other"}}]),
        ),
        (
            "pod.spec.volumes[0].claimName",
            lambda spec: spec.update(volumes=[{"name": "data", "persistentVolumeClaim": {}}]),
        ),
        ("pod.spec.containers[0].lifecycle", lambda spec: spec["containers"][0].update(lifecycle={"preStop": {}})),
        ("pod.spec.containers[0].command", lambda spec: spec["containers"][0].update(command=None)),
        (
            "pod.spec.containers[0].env[0].valueFrom",
            lambda spec: spec["containers"][0].update(env=[{"name": "N", "valueFrom": {"fieldRef": {}}}]),
        ),
        (
            "pod.spec.containers[0].readinessProbe",
            lambda spec: spec["containers"][0].update(readinessProbe={"exec": {"command": ["true"]}}),
        ),
        (
            "pod.spec.containers[0].resources.limits",
            lambda spec: spec["containers"][0].update(resources={"limits": {"amd.com/gpu": "1"}}),
        ),
        (
            "pod.spec.containers[0].volumeMounts[0].subPath",
            lambda spec: spec["containers"][0]["volumeMounts"][0].update(subPath="x"),
        ),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(field: str, change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(UnsupportedError) as caught:
        check(_pod(change))
    assert caught.value.field == field and caught.value.remedy

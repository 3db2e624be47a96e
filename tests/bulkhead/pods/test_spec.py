from dataclasses import replace
from typing import Any

import pytest
from kubernetes import client as k8s

from bulkhead.errors import InvalidInputError
from bulkhead.pods.quantities import scale
from bulkhead.pods.secret_ref import SecretRef
from bulkhead.pods.spec import GPU_RESOURCE, PodRequest, build

JOB = PodRequest(name="train-1", image="repo/train@sha256:1", command=["python", "-m", "job"], gpus=2, memory="2Gi")
SERVER = replace(JOB, deadline_s=None, port=8080, ready_path="/ping")


def test_a_gpu_request_becomes_limits_and_equal_requests() -> None:
    resources = build(replace(JOB, cpu="500m")).spec.containers[0].resources
    assert resources.limits == {"cpu": "500m", "memory": "2Gi", GPU_RESOURCE: "2"}
    assert resources.requests == resources.limits


def test_no_gpu_asks_for_none() -> None:
    assert GPU_RESOURCE not in build(replace(JOB, gpus=0)).spec.containers[0].resources.limits


def test_it_is_at_the_restricted_pod_security_level() -> None:
    pod = build(JOB)
    container = pod.spec.containers[0].security_context
    assert pod.spec.security_context.run_as_non_root
    assert pod.spec.security_context.seccomp_profile.type == "RuntimeDefault"
    assert container.allow_privilege_escalation is False
    assert container.capabilities.drop == ["ALL"] and container.capabilities.add is None
    assert container.read_only_root_filesystem
    assert pod.spec.automount_service_account_token is False
    assert not pod.spec.host_network and not pod.spec.host_pid


def test_the_read_only_root_has_somewhere_to_write() -> None:
    pod = build(replace(JOB, scratch=["/cache"]))
    assert [mount.mount_path for mount in pod.spec.containers[0].volume_mounts] == ["/tmp", "/cache"]
    assert all(volume.empty_dir is not None for volume in pod.spec.volumes)


def test_claims_are_mounted_where_the_author_says() -> None:
    pod = build(replace(JOB, claims={"/data": "team", "/models": "models"}))
    claims = {
        volume.name: volume.persistent_volume_claim.claim_name
        for volume in pod.spec.volumes
        if volume.persistent_volume_claim
    }
    mounted = {
        mount.mount_path: claims[mount.name] for mount in pod.spec.containers[0].volume_mounts if mount.name in claims
    }
    assert mounted == {"/data": "team", "/models": "models"}


def test_the_container_is_told_where_its_termination_message_goes() -> None:
    container = build(JOB).spec.containers[0]
    message = {variable.name: variable.value for variable in container.env}
    assert message["BULKHEAD_TERMINATION_LOG"] == container.termination_message_path


def test_secrets_are_references_only() -> None:
    pod = build(replace(JOB, secret_env={"TOKEN": SecretRef("mlflow", "password")}))
    variable = pod.spec.containers[0].env[-1]
    assert variable.value is None
    assert (variable.value_from.secret_key_ref.name, variable.value_from.secret_key_ref.key) == ("mlflow", "password")


def test_a_server_is_probed_and_has_no_deadline() -> None:
    pod = build(SERVER)
    assert pod.spec.active_deadline_seconds is None
    assert pod.spec.containers[0].readiness_probe.http_get.path == "/ping"


def test_a_job_always_has_a_deadline() -> None:
    assert build(JOB).spec.active_deadline_seconds == 24 * 3600


def test_who_restarts_it_is_its_owner() -> None:
    assert build(JOB).spec.restart_policy == "Never"


def test_it_serialises_as_a_pod() -> None:
    document = k8s.ApiClient().sanitize_for_serialization(build(SERVER))
    assert (document["kind"], document["apiVersion"]) == ("Pod", "v1")
    assert document["metadata"]["labels"] == {"bulkhead.dev/managed": "true"}


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("pod.name", {"name": "Train_1"}),
        ("pod.name", {"name": "x" * 64}),
        ("pod.name", {"name": ""}),
        ("pod.image", {"image": ""}),
        ("pod.command", {"command": []}),
        ("pod.gpus", {"gpus": -1}),
        ("pod.deadline_s", {"deadline_s": 0}),
        ("pod.deadline_s", {"deadline_s": None}),
        ("pod.grace_s", {"grace_s": -1}),
        ("pod.ready_path", {"ready_path": "/ping"}),
        ("pod.cpu", {"cpu": "two"}),
        ("pod.memory", {"memory": "-1Gi"}),
        ("pod.memory", {"memory": "2GB"}),
        ("pod.scratch[0]", {"scratch": ["cache"]}),
        ("pod.claims[data]", {"claims": {"data": "team"}}),
        ("pod.claims[/data]", {"claims": {"/data": "../team"}}),
        ("pod.env", {"env": {"A": "1"}, "secret_env": {"A": SecretRef("s", "k")}}),
    ],
)
def test_bad_input_names_the_field_the_value_and_the_remedy(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        build(replace(JOB, **changes))
    assert caught.value.field == field
    assert caught.value.remedy
    assert repr(caught.value.value) in str(caught.value)


@pytest.mark.parametrize(
    ("memory", "factor", "grown"),
    [("2Gi", 1.5, str(3 * 2**30)), ("2Gi", 1.0, "2Gi"), (None, 2.0, None), ("much", 2.0, "much")],
)
def test_a_memory_limit_grows(memory: str | None, factor: float, grown: str | None) -> None:
    assert scale(memory, factor) == grown

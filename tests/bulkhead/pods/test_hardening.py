from typing import Any

import pytest
from kubernetes import client as k8s

from bulkhead.errors import InvalidInputError
from bulkhead.pods.hardening import DAY_S, harden
from bulkhead.pods.relaxations import Relaxations


def _pod(container: dict[str, Any] | None = None, **spec: Any) -> k8s.V1Pod:
    main = k8s.V1Container(name="base", **(container or {}))
    return k8s.V1Pod(metadata=k8s.V1ObjectMeta(name="p"), spec=k8s.V1PodSpec(containers=[main], **spec))


def _context(**fields: Any) -> dict[str, Any]:
    return {"security_context": k8s.V1SecurityContext(**fields)}


def test_what_was_left_open_is_filled_in_for_every_container() -> None:
    pod = harden(_pod(init_containers=[k8s.V1Container(name="init")]), Relaxations())
    assert pod.spec.security_context.run_as_non_root
    assert pod.spec.security_context.seccomp_profile.type == "RuntimeDefault"
    assert pod.spec.automount_service_account_token is False
    assert pod.spec.active_deadline_seconds == DAY_S
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        own = container.security_context
        assert (own.allow_privilege_escalation, own.read_only_root_filesystem) == (False, True)
        assert own.capabilities.drop == ["ALL"]
        assert [mount.mount_path for mount in container.volume_mounts] == ["/tmp"]


def test_what_the_author_set_stays() -> None:
    pod = _pod(active_deadline_seconds=60, security_context=k8s.V1PodSecurityContext(run_as_user=1000))
    pod.spec.containers[0].volume_mounts = [k8s.V1VolumeMount(name="mine", mount_path="/tmp")]
    harden(pod, Relaxations())
    assert (pod.spec.active_deadline_seconds, pod.spec.security_context.run_as_user) == (60, 1000)
    assert [mount.name for mount in pod.spec.containers[0].volume_mounts] == ["mine"]


@pytest.mark.parametrize(
    ("pod", "field", "argument"),
    [
        (_pod(security_context=k8s.V1PodSecurityContext(run_as_non_root=False)), "run_as_non_root", "run_as_root"),
        (_pod(security_context=k8s.V1PodSecurityContext(run_as_user=0)), "runAsUser", "run_as_root"),
        (_pod(automount_service_account_token=True), "automount_service_account_token", "service_account_token"),
        (_pod(_context(allow_privilege_escalation=True)), "allow_privilege_escalation", "privilege_escalation"),
        (_pod(_context(read_only_root_filesystem=False)), "read_only_root_filesystem", "writable_root"),
        (_pod(_context(capabilities=k8s.V1Capabilities(add=["SYS_PTRACE"]))), "capabilities.add", "capabilities"),
        (
            _pod(
                security_context=k8s.V1PodSecurityContext(seccomp_profile=k8s.V1SeccompProfile(type="Unconfined")),
            ),
            "seccompProfile",
            "unconfined_seccomp",
        ),
    ],
)
def test_what_contradicts_the_level_is_refused_with_the_name_of_its_relaxation(
    pod: k8s.V1Pod, field: str, argument: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        harden(pod, Relaxations())
    assert field in caught.value.field and argument in caught.value.remedy
    value: Any = ("SYS_PTRACE",) if argument == "capabilities" else True
    harden(pod, Relaxations(**{argument: value}))


@pytest.mark.parametrize("pod", [_pod(host_network=True), _pod(host_pid=True), _pod(_context(privileged=True))])
def test_some_things_have_no_relaxation(pod: k8s.V1Pod) -> None:
    with pytest.raises(InvalidInputError, match="leave it out"):
        harden(pod, Relaxations())


def test_hardening_twice_changes_nothing_more() -> None:
    once = harden(_pod(), Relaxations()).to_dict()
    assert harden(harden(_pod(), Relaxations()), Relaxations()).to_dict() == once

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import kmock
import pytest

from bulkhead.operators.triggers import kubernetes_pod as module
from bulkhead.operators.triggers import pod_logs
from bulkhead.operators.triggers.kubernetes_pod import Access, KubernetesPodTrigger
from tests.fixtures.kubernetes import EVENTS, PODS, Log, pod, pod_event
from tests.waiting import PATIENCE_S

URL = "/api/v1/namespaces/default/pods"
NOT_FOUND = {"waiting": {"reason": "ErrImagePull", "message": "repo/train:9: not found"}}
NO_GPU = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/5 nodes are available: 5 Insufficient nvidia.com/gpu.",
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_S", 0.05)
    monkeypatch.setattr(module, "UNSEEN_S", 0.3)
    monkeypatch.setattr(module, "_HOPELESS_S", 0.2)
    monkeypatch.setattr(module, "_EVENTS_AFTER_S", 0.1)
    monkeypatch.setattr(module, "_EVENTS_S", 0.1)


def _trigger(kubeconfig: str, name: str = "a", startup_s: float = 600) -> KubernetesPodTrigger:
    access = {"kubernetes_conn_id": None, "in_cluster": None, "cluster_context": None, "config_file": kubeconfig}
    return KubernetesPodTrigger(name, "default", access, startup_s)


async def _watched(cluster: kmock.KubernetesEmulator) -> None:
    """Wait until the watch is open: this API server tells nobody what has happened before."""
    async with asyncio.timeout(PATIENCE_S):
        while not len(cluster[kmock.action.WATCH]):
            await asyncio.sleep(0.01)


async def _first(trigger: KubernetesPodTrigger) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        async for event in trigger.run():
            return dict(event.payload)
    raise AssertionError("the trigger ended without an event")


async def test_it_brings_the_last_state_along(cluster: kmock.KubernetesEmulator, kubeconfig: str) -> None:
    cluster.objects[PODS, "default", "a"] = pod("a")
    waiting = asyncio.ensure_future(_first(_trigger(kubeconfig)))
    await _watched(cluster)
    done, _ = await asyncio.wait({waiting}, timeout=0.1)
    assert not done
    await cluster.patch(f"{URL}/a", json={"status": {"phase": "Succeeded"}})
    event = await waiting
    assert (event["name"], event["namespace"], event["why"]) == ("a", "default", "ended")
    assert event["pod"]["status"]["phase"] == "Succeeded"
    assert event["pod"]["spec"]["nodeName"] == "gpu-1"


async def test_one_that_ended_before_fires_at_once(cluster: kmock.KubernetesEmulator, kubeconfig: str) -> None:
    cluster.objects[PODS, "default", "a"] = pod("a", "Failed")
    assert (await _first(_trigger(kubeconfig)))["why"] == "ended"


async def test_one_that_was_deleted_is_gone(cluster: kmock.KubernetesEmulator, kubeconfig: str) -> None:
    cluster.objects[PODS, "default", "a"] = pod("a")
    waiting = asyncio.ensure_future(_first(_trigger(kubeconfig)))
    await _watched(cluster)
    await cluster.delete(f"{URL}/a")
    assert (await waiting)["why"] == "gone"


async def test_one_that_never_appears_is_gone_after_a_while(cluster: kmock.KubernetesEmulator, kubeconfig: str) -> None:
    assert (await _first(_trigger(kubeconfig, "absent")))["why"] == "gone"


async def test_an_image_that_does_not_exist_is_given_up_soon(
    cluster: kmock.KubernetesEmulator, kubeconfig: str
) -> None:
    status = {"containerStatuses": [{"name": "base", "state": NOT_FOUND}]}
    cluster.objects[PODS, "default", "a"] = pod("a", "Pending", **status)
    event = await _first(_trigger(kubeconfig))
    assert (event["why"], event["text"]) == ("stuck", "repo/train:9: not found")


@pytest.mark.parametrize(("startup_s", "fires"), [(0.2, True), (600, False)])
async def test_a_pod_without_a_node_has_until_its_startup_limit(
    cluster: kmock.KubernetesEmulator, kubeconfig: str, startup_s: float, fires: bool
) -> None:
    cluster.objects[PODS, "default", "a"] = pod("a", "Pending", conditions=[NO_GPU])
    waiting = asyncio.ensure_future(_first(_trigger(kubeconfig, startup_s=startup_s)))
    done, _ = await asyncio.wait({waiting}, timeout=PATIENCE_S if fires else 1)
    assert bool(done) is fires
    waiting.cancel()
    await asyncio.wait({waiting})
    if fires:
        assert "Insufficient nvidia.com/gpu" in waiting.result()["text"]


async def test_missing_access_is_said(cluster: kmock.KubernetesEmulator, kubeconfig: str) -> None:
    cluster[kmock.action.LIST] << 403
    event = await _first(_trigger(kubeconfig))
    assert event["why"] == "refused" and "the verbs list and watch" in event["text"]


async def test_many_triggers_share_one_watch(cluster: kmock.KubernetesEmulator, kubeconfig: str) -> None:
    triggers = [_trigger(kubeconfig, f"p{number}") for number in range(20)]
    assert len({trigger.shared_stream_key() for trigger in triggers}) == 1
    for trigger in triggers:
        cluster.objects[PODS, "default", trigger.name] = pod(trigger.name)
    queues: list[asyncio.Queue[set[str]]] = [asyncio.Queue() for _ in triggers]

    async def broadcast() -> None:
        async for changed in KubernetesPodTrigger.open_shared_stream(triggers[0].serialize()[1]):
            for queue in queues:
                queue.put_nowait(changed)

    async def drain(queue: asyncio.Queue[set[str]]) -> AsyncIterator[set[str]]:
        while True:
            yield await queue.get()

    async def wait(trigger: KubernetesPodTrigger, queue: asyncio.Queue[set[str]]) -> Any:
        async for event in trigger.filter_shared_stream(drain(queue)):
            return event.payload["why"]
        return None

    stream = asyncio.ensure_future(broadcast())
    waiting = [asyncio.ensure_future(wait(*pair)) for pair in zip(triggers, queues, strict=True)]
    await _watched(cluster)
    for trigger in triggers:
        await cluster.patch(f"{URL}/{trigger.name}", json={"status": {"phase": "Succeeded"}})
    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.gather(*waiting) == ["ended"] * 20
    stream.cancel()
    await asyncio.wait({stream})
    assert len(cluster[kmock.action.LIST]) + len(cluster[kmock.action.WATCH]) == 2


async def test_when_its_task_is_marked_the_pod_goes(cluster: kmock.KubernetesEmulator, kubeconfig: str) -> None:
    cluster.objects[PODS, "default", "a"] = pod("a")
    for _ in range(2):  # the second finds nothing
        await _trigger(kubeconfig).on_kill()
    assert cluster.objects[PODS, "default", "a"].deleted


async def test_no_credentials_go_through_the_triggerers_database(kubeconfig: str) -> None:
    path, arguments = _trigger(kubeconfig).serialize()
    assert path == "bulkhead.operators.triggers.kubernetes_pod.KubernetesPodTrigger"
    assert set(arguments["access"]) == {"kubernetes_conn_id", "in_cluster", "cluster_context", "config_file"}
    again = KubernetesPodTrigger(**arguments)
    assert again.serialize() == (path, arguments)
    assert isinstance(Access(**arguments["access"]), Access)


# Logs


def _state(name: str, state: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "state": {state: more}}


async def test_the_logs_of_all_containers_come_while_they_run(
    cluster: kmock.KubernetesEmulator, kubeconfig: str, trigger_log: Log
) -> None:
    trigger = _trigger(kubeconfig)
    trigger.stream_logs = True
    init = {"initContainerStatuses": [_state("fetch", "running")], "containerStatuses": [_state("base", "waiting")]}
    cluster.objects[PODS, "default", "a"] = pod("a", "Pending", **init)
    for name in ("fetch", "base"):
        said = f"2026-11-24T10:00:00.1Z {name} says so\n".encode()
        cluster[f"get {URL}/a/log", {"container": name}] << said
    waiting = asyncio.ensure_future(_first(trigger))
    while not trigger_log.lines:
        await asyncio.wait({waiting}, timeout=0.05)
    await _watched(cluster)
    assert trigger_log.lines == ["[fetch] fetch says so"], "before the pod has ended"
    done = {
        "phase": "Succeeded",
        "initContainerStatuses": [_state("fetch", "terminated", exitCode=0)],
        "containerStatuses": [_state("base", "terminated", exitCode=0)],
    }
    await cluster.patch(f"{URL}/a", json={"status": done})
    event = await waiting
    assert trigger_log.lines == ["[fetch] fetch says so", "[base] base says so"]
    assert {name: one["complete"] for name, one in event["logs"].items()} == {"fetch": True, "base": True}
    assert event["logs"]["base"]["position"]["seen"] == 1


async def test_beyond_so_many_pods_the_logs_are_read_at_the_end(
    cluster: kmock.KubernetesEmulator, kubeconfig: str, monkeypatch: pytest.MonkeyPatch, trigger_log: Log
) -> None:
    trigger = _trigger(kubeconfig)
    trigger.stream_logs = True
    monkeypatch.setattr(pod_logs, "MAX_FOLLOWED", 0)
    cluster.objects[PODS, "default", "a"] = pod("a", "Succeeded", containerStatuses=[_state("base", "terminated")])
    event = await _first(trigger)
    assert event["logs"] == {} and not any("/log" in str(request.url) for request in cluster)


UNMATCHED = {**NO_GPU, "message": "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."}
UNBOUND = {**NO_GPU, "message": "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims."}
MOUNT = {"containerStatuses": [{"name": "base", "state": {"waiting": {"reason": "ContainerCreating"}}}]}


async def _given_up(trigger: KubernetesPodTrigger, within_s: float) -> dict[str, Any] | None:
    waiting = asyncio.ensure_future(_first(trigger))
    done, _ = await asyncio.wait({waiting}, timeout=within_s)
    if done:
        return waiting.result()
    waiting.cancel()
    await asyncio.wait({waiting})
    return None


@pytest.mark.parametrize("condition", [UNMATCHED, UNBOUND])
async def test_a_node_or_a_volume_that_is_on_its_way_is_waited_for(
    cluster: kmock.KubernetesEmulator, kubeconfig: str, condition: dict[str, Any]
) -> None:
    cluster.objects[PODS, "default", "a"] = pod("a", "Pending", conditions=[condition])
    assert await _given_up(_trigger(kubeconfig), 1) is None


async def test_where_an_autoscaler_says_that_no_node_would_do_it_is_given_up_soon(
    cluster: kmock.KubernetesEmulator, kubeconfig: str
) -> None:
    cluster.objects[PODS, "default", "a"] = pod("a", "Pending", conditions=[UNMATCHED])
    text = "pod didn't trigger scale-up: 1 node(s) didn't match Pod's node affinity/selector"
    cluster.objects[EVENTS, "default", "e"] = pod_event("e", "a", "NotTriggerScaleUp", text)
    found = await _given_up(_trigger(kubeconfig), PATIENCE_S)
    assert found is not None and found["why"] == "stuck" and "didn't match" in found["text"]


async def test_a_secret_that_does_not_exist_is_named_soon(cluster: kmock.KubernetesEmulator, kubeconfig: str) -> None:
    cluster.objects[PODS, "default", "a"] = pod("a", "Pending", **MOUNT)
    cluster.objects[EVENTS, "default", "e"] = pod_event("e", "a", "FailedMount", 'secret "hf-token" not found')
    found = await _given_up(_trigger(kubeconfig), PATIENCE_S)
    assert found is not None and (found["why"], found["text"]) == ("stuck", 'secret "hf-token" not found')


async def test_a_volume_that_another_node_still_holds_is_waited_for(
    cluster: kmock.KubernetesEmulator, kubeconfig: str
) -> None:
    cluster.objects[PODS, "default", "a"] = pod("a", "Pending", **MOUNT)
    cluster.objects[EVENTS, "default", "e"] = pod_event("e", "a", "FailedAttachVolume", "Multi-Attach error for volume")
    assert await _given_up(_trigger(kubeconfig), 1) is None


async def test_who_may_not_read_events_goes_on_without(cluster: kmock.KubernetesEmulator, kubeconfig: str) -> None:
    del cluster.resources[EVENTS]
    cluster.objects[PODS, "default", "a"] = pod("a", "Pending", **MOUNT)
    found = await _given_up(_trigger(kubeconfig, startup_s=1), PATIENCE_S)
    assert found is not None and "not running after 1 s" in found["text"]


async def test_a_task_ends_with_its_base_container_whatever_runs_beside_it(
    cluster: kmock.KubernetesEmulator, kubeconfig: str
) -> None:
    ended = {"name": "base", "state": {"terminated": {"exitCode": 0, "finishedAt": "2026-11-24T10:00:02Z"}}}
    beside = {"name": "azwi-proxy", "state": {"running": {"startedAt": "2026-11-24T10:00:00Z"}}}
    cluster.objects[PODS, "default", "a"] = pod("a", containerStatuses=[beside, ended])
    assert (await _first(_trigger(kubeconfig)))["why"] == "ended"


async def test_a_running_pod_whose_node_does_not_answer_is_not_given_up(
    cluster: kmock.KubernetesEmulator, kubeconfig: str
) -> None:
    cluster.objects[PODS, "default", "a"] = pod("a", "Unknown", reason="NodeLost")
    assert await _given_up(_trigger(kubeconfig, startup_s=0.1), 1) is None

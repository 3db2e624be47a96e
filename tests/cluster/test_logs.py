"""Real logs of real containers; needs a kubelet."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client as k8s

from bulkhead.operators.gpu_pod import GpuPodOperator
from bulkhead.operators.triggers.kubernetes_pod import KubernetesPodTrigger
from tests.fixtures.cluster import IMAGE, default_account, launch, wait
from tests.fixtures.kubernetes import Log

pytestmark = pytest.mark.timeout(180)
NUMBERS = [str(number) for number in range(1, 2001)]


async def test_every_line_of_every_container_once(
    running_nodes: None,
    core: k8s.CoreV1Api,
    namespace: str,
    job: Callable[..., GpuPodOperator],
    context: Callable[..., Any],
    trigger_log: Log,
) -> None:
    default_account(core, namespace)
    init = k8s.V1Container(name="fetch", image=IMAGE, command=["sh", "-c", "echo fetched"])
    words = "for i in $(seq 1 2000); do echo $i; [ $((i % 200)) = 0 ] && sleep 0.3; done; printf end"
    operator = job(arguments=[words], schedulername=None, get_logs=True, init_containers=[init])
    event = await wait(await asyncio.to_thread(launch, operator, context("train")))
    assert trigger_log.lines == ["[fetch] fetched", *(f"[base] {number}" for number in NUMBERS), "[base] end"]
    assert all(one["complete"] for one in event["logs"].values())


async def test_breaks_leave_neither_gap_nor_double(
    running_nodes: None,
    core: k8s.CoreV1Api,
    namespace: str,
    job: Callable[..., GpuPodOperator],
    context: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    trigger_log: Log,
) -> None:
    """Every connection of a log is cut after half a second, in the middle of whatever comes."""
    default_account(core, namespace)
    opened = 0
    original = KubernetesPodTrigger._open_log

    async def cut(self: KubernetesPodTrigger, query: Any) -> Any:
        nonlocal opened
        opened += 1
        answer = await original(self, query)
        asyncio.get_running_loop().call_later(0.5, answer.close)
        return answer

    monkeypatch.setattr(KubernetesPodTrigger, "_open_log", cut)
    words = "for i in $(seq 1 2000); do echo $i; [ $((i % 20)) = 0 ] && sleep 0.05; done"
    operator = job(arguments=[words], schedulername=None, get_logs=True)
    await wait(await asyncio.to_thread(launch, operator, context("train")))
    assert opened > 3
    assert trigger_log.lines == [f"[base] {number}" for number in NUMBERS]

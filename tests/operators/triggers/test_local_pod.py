import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bulkhead.operators.triggers.local_pod import LocalPodTrigger
from bulkhead.pods.spec import PodRequest, build
from bulkhead.pods.status import PodPhase, PodStatus
from bulkhead.runtimes.local.runtime import LocalRuntime


def _trigger(runtime: LocalRuntime, name: str = "job") -> LocalPodTrigger:
    return LocalPodTrigger(str(runtime.layout.root), name)


async def _first(trigger: LocalPodTrigger) -> Any:
    async for event in trigger.run():
        return event.payload
    raise AssertionError("the trigger ended without an event")


def test_it_fires_when_the_pod_ends(runtime: LocalRuntime) -> None:
    command = ["python", "-c", "import time; time.sleep(0.5)"]
    runtime.launch(build(PodRequest(name="job", image="none", command=command)))
    payload = asyncio.run(asyncio.wait_for(_first(_trigger(runtime)), 30))
    assert (payload["name"], payload["namespace"], payload["why"]) == ("job", "default", "ended")
    assert payload["pod"]["status"]["phase"] == "Succeeded"
    assert runtime.status("job").phase is PodPhase.SUCCEEDED


def test_it_fires_for_a_pod_that_ended_before(runtime: LocalRuntime, run_pod: Callable[..., PodStatus]) -> None:
    run_pod(["true"])
    assert asyncio.run(asyncio.wait_for(_first(_trigger(runtime)), 10))["name"] == "job"


def test_it_fires_for_a_pod_that_is_gone(runtime: LocalRuntime) -> None:
    runtime.layout.make()
    payload = asyncio.run(asyncio.wait_for(_first(_trigger(runtime, "absent")), 10))
    assert (payload["name"], payload["why"], payload["pod"]) == ("absent", "gone", None)


def test_triggers_of_one_runtime_share_one_watch(runtime: LocalRuntime, run_pod: Callable[..., PodStatus]) -> None:
    one, two = _trigger(runtime, "a"), _trigger(runtime, "b")
    assert one.shared_stream_key() == two.shared_stream_key()
    assert one.shared_stream_key() != LocalPodTrigger("/elsewhere", "a").shared_stream_key()


def test_an_event_of_another_pod_does_not_fire_it(runtime: LocalRuntime) -> None:
    command = ["python", "-c", "import time; time.sleep(60)"]
    runtime.launch(build(PodRequest(name="job", image="none", command=command)))

    async def others() -> Any:
        for changed in (set(), {"default.other"}):
            yield changed

    async def collect() -> list[Any]:
        return [event async for event in _trigger(runtime).filter_shared_stream(others())]

    assert asyncio.run(collect()) == []


def test_it_survives_the_triggerers_database(runtime: LocalRuntime) -> None:
    path, arguments = _trigger(runtime).serialize()
    assert path == "bulkhead.operators.triggers.local_pod.LocalPodTrigger"
    assert LocalPodTrigger(**arguments).serialize() == (path, arguments)


def test_when_its_task_is_marked_the_pod_goes(runtime: LocalRuntime) -> None:
    command = ["python", "-c", "import time; time.sleep(60)"]
    runtime.launch(build(PodRequest(name="job", image="none", command=command, grace_s=1)))
    asyncio.run(_trigger(runtime).on_kill())
    assert runtime.status("job").message == "its task was marked or cleared"


@pytest.mark.parametrize("name", ["job", "absent"])
def test_killing_twice_or_nothing_does_no_harm(runtime: LocalRuntime, name: str) -> None:
    runtime.layout.make()
    for _ in range(2):
        asyncio.run(_trigger(runtime, name).on_kill())

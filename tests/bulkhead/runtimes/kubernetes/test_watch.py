"""The watch over a real HTTP API (kmock), with each fault that a real one shows."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import kmock
import pytest
import pytest_asyncio

from bulkhead.errors import UnavailableError
from bulkhead.runtimes.kubernetes import watch as module
from bulkhead.runtimes.kubernetes.watch import Connect, PodWatch, ended
from tests.fixtures.kubernetes import PODS, pod
from tests.waiting import PATIENCE_S

Following = Callable[..., tuple[PodWatch, AsyncIterator[set[str]]]]
LIST, WATCH = kmock.action.LIST, kmock.action.WATCH
URL = "/api/v1/namespaces/default/pods"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(module, "_LONGEST_DELAY_S", 0.05)


@pytest_asyncio.fixture
async def following(connect: Connect) -> AsyncIterator[Following]:
    """``following(silence_s, connect)``: a watch and its stream, closed before the server stops."""
    streams: list[Any] = []

    def begin(silence_s: float = 30, connect: Connect = connect) -> tuple[PodWatch, AsyncIterator[set[str]]]:
        watch = PodWatch(connect, "default", "bulkhead.dev/managed=true", silence_s)
        streams.append(watch.changes())
        return watch, streams[-1]

    yield begin
    for stream in streams:
        await stream.aclose()


async def _until(watch: PodWatch, stream: AsyncIterator[set[str]], name: str, phase: str | None) -> None:
    """Follow until a pod is in a phase, or gone."""

    def there() -> bool:
        known = watch.pods.get(name)
        return known["status"]["phase"] == phase if known else phase is None and watch.synced

    async with asyncio.timeout(PATIENCE_S):
        while not there():
            await anext(stream)


def _add(cluster: kmock.KubernetesEmulator, name: str, phase: str = "Running") -> None:
    cluster.objects[PODS, "default", name] = pod(name, phase)


async def _finish(cluster: kmock.KubernetesEmulator, name: str) -> None:
    await cluster.patch(f"{URL}/{name}", json={"status": {"phase": "Succeeded"}})


async def test_it_lists_and_then_follows(cluster: kmock.KubernetesEmulator, following: Following) -> None:
    _add(cluster, "a", "Pending")
    watch, stream = following()
    assert await anext(stream) == {"a"}
    await _finish(cluster, "a")
    await _until(watch, stream, "a", "Succeeded")
    await cluster.delete(f"{URL}/a")
    await _until(watch, stream, "a", None)


async def test_many_pods_cost_two_requests(cluster: kmock.KubernetesEmulator, following: Following) -> None:
    for number in range(50):
        _add(cluster, f"p{number}")
    watch, stream = following()
    await anext(stream)
    for number in range(50):
        await _finish(cluster, f"p{number}")
    for number in range(50):
        await _until(watch, stream, f"p{number}", "Succeeded")
    assert watch.requests == len(cluster[LIST]) + len(cluster[WATCH]) == 2


async def test_it_asks_for_its_own_pods_with_bookmarks(cluster: kmock.KubernetesEmulator, following: Following) -> None:
    _add(cluster, "a")
    watch, stream = following()
    await anext(stream)
    await _finish(cluster, "a")
    await _until(watch, stream, "a", "Succeeded")
    assert cluster[LIST][0].params["labelSelector"] == "bulkhead.dev/managed=true"
    assert cluster[WATCH][0].params["allowWatchBookmarks"] == "true"


async def test_only_what_a_wait_needs_is_kept(cluster: kmock.KubernetesEmulator, following: Following) -> None:
    large = pod("a")
    large["metadata"]["managedFields"] = [{"manager": "kubelet"}] * 100
    large["spec"]["containers"] = [{"name": "main", "env": [{"name": "A", "value": "x" * 1000}]}]
    cluster.objects[PODS, "default", "a"] = large
    watch, stream = following()
    await anext(stream)
    assert set(watch.pods["a"]) == {"metadata", "spec", "status"}
    assert watch.pods["a"]["spec"] == {"nodeName": "gpu-1"}
    assert "managedFields" not in watch.pods["a"]["metadata"]


@pytest.mark.parametrize(
    ("action", "fault"),
    [
        (LIST, 500),
        (LIST, 503),
        (LIST, b"this is no JSON"),
        (WATCH, 500),
        (WATCH, 401),
        (WATCH, 410),
        (WATCH, (b"",)),
        (WATCH, ({"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}},)),
        (WATCH, ({"type": "ERROR", "object": {"code": 500, "message": "etcd"}},)),
        (WATCH, (b'{"type": "MODIF',)),
        (WATCH, (b"this is no JSON\n",)),
        (WATCH, ({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}},)),
    ],
    ids=str,
)
async def test_after_a_fault_it_goes_on_and_misses_nothing(
    cluster: kmock.KubernetesEmulator, following: Following, action: Any, fault: Any
) -> None:
    _add(cluster, "a")
    cluster[action][:1] << fault
    watch, stream = following()
    await _until(watch, stream, "a", "Running")
    await _finish(cluster, "a")
    await _until(watch, stream, "a", "Succeeded")
    assert 3 <= watch.requests <= 4


async def test_what_went_away_during_a_gap_is_told(cluster: kmock.KubernetesEmulator, following: Following) -> None:
    _add(cluster, "a")
    cluster[WATCH][:1] << 410
    watch, stream = following()
    assert await anext(stream) == {"a"}
    await cluster.delete(f"{URL}/a")
    async with asyncio.timeout(PATIENCE_S):
        assert await anext(stream) == {"a"}
    assert "a" not in watch.pods and watch.synced


async def test_a_connection_that_says_nothing_is_taken_for_dead(
    cluster: kmock.KubernetesEmulator, following: Following
) -> None:
    _add(cluster, "a")
    cluster[WATCH][:1] << (b"", lambda: asyncio.sleep(3600))
    watch, stream = following(silence_s=0.3)
    await anext(stream)
    await _finish(cluster, "a")
    await _until(watch, stream, "a", "Succeeded")


async def test_it_waits_as_long_as_it_is_asked_to(cluster: kmock.KubernetesEmulator, following: Following) -> None:
    _add(cluster, "a")
    cluster[LIST][:1] << 429 << kmock.headers({"Retry-After": "1"})
    began = asyncio.get_running_loop().time()
    await anext(following()[1])
    assert asyncio.get_running_loop().time() - began >= 1


@pytest.mark.parametrize(
    ("status", "named"), [(403, "grant the service account the verbs list and watch"), (404, "create the namespace")]
)
async def test_a_refusal_for_good_is_an_error_with_the_remedy(
    cluster: kmock.KubernetesEmulator, following: Following, status: int, named: str
) -> None:
    cluster[LIST] << status
    with pytest.raises(UnavailableError, match=f"pods of namespace 'default'.*{named}"):
        await anext(following()[1])


async def test_an_api_that_is_away_is_waited_for(
    cluster: kmock.KubernetesEmulator, connect: Connect, following: Following
) -> None:
    _add(cluster, "a")
    tries = 0

    def flaky() -> Any:
        nonlocal tries
        tries += 1
        client = connect()
        if tries <= 3:
            client.configuration.host = "http://127.0.0.1:1"
        return client

    _, stream = following(connect=flaky)
    async with asyncio.timeout(PATIENCE_S):
        assert await anext(stream) == {"a"}
    assert tries == 4


def test_a_pod_has_ended_when_it_says_so_or_is_gone() -> None:
    assert ended(None) and ended(pod("a", "Failed")) and ended(pod("a", "Succeeded"))
    assert not ended(pod("a")) and not ended(pod("a", "Pending"))

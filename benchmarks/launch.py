"""``python -m benchmarks.launch``: waiting for many pods, against stock KubernetesPodOperator in one run.

All wait for the same kind of pods (5 s Pending, 10 to 60 s Running, started within 5 s) of the same counting API
server, each in one event loop as in a triggerer, with Airflow's own shared-stream manager for the shared watch; the
stock operator also with one client for all of its calls, and in worker threads. Measured: API requests a pod,
connections, CPU seconds of the waiting process, event-loop lag, and how late the end of a pod is noticed. What the
worker asks for one pod (create, read, delete) is measured and added.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from statistics import quantiles
from types import SimpleNamespace
from typing import Any

import yaml
from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger as StockTrigger
from airflow.sdk.exceptions import TaskDeferred
from airflow.triggers.shared_stream import SharedStreamManager
from kubernetes_asyncio.client import ApiClient

from bulkhead.operators.gpu_pod import GpuPodOperator
from bulkhead.operators.triggers.kubernetes_pod import KubernetesPodTrigger

PENDING_S, SHORTEST_S, LONGEST_S, SPREAD_S = 5.0, 10.0, 60.0, 5.0
_ROOT = Path(__file__).parents[1]

Wait = Callable[[str, str], Coroutine[Any, Any, float]]
"""Waits for a pod; returns when its end was noticed, seconds since the epoch."""


@contextmanager
def api_server(pending_s: float | None = None) -> Iterator[str]:
    """A fresh counting API server; yields its URL.

    Args:
        pending_s: seconds that a pod is Pending; None for those of the benchmark.
    """
    command = [sys.executable, "-m", "benchmarks.counting_api", str(PENDING_S if pending_s is None else pending_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def counts(url: str) -> dict[str, Any]:
    """What the server has counted."""
    with urllib.request.urlopen(f"{url}/counts", timeout=30) as answer:
        requests: dict[str, Any] = json.load(answer)
        return requests


def kubeconfig(url: str, folder: str) -> str:
    """Write a kubeconfig that leads to the server.

    Args:
        folder: to write it to.

    Returns:
        Its path.
    """
    access = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = Path(folder) / "kubeconfig"
    path.write_text(yaml.safe_dump(access))
    return str(path)


def bulkhead(config: str) -> Wait:
    """Our trigger, over the triggerer's shared-stream manager.

    Args:
        config: path of a kubeconfig.
    """
    manager = SharedStreamManager()
    numbers = iter(range(10**9))

    async def wait(name: str, config_path: str) -> float:
        access = {"kubernetes_conn_id": None, "in_cluster": None, "cluster_context": None, "config_file": config_path}
        trigger, number = KubernetesPodTrigger(name, "default", access, 600, stream_logs=True), next(numbers)
        key = trigger.shared_stream_key()
        stream = manager.subscribe(trigger_id=number, trigger=trigger, key=key)
        try:
            async for _ in trigger.filter_shared_stream(stream):
                return time.time()
        finally:
            await manager.unsubscribe(number, key)
        raise AssertionError("no event")

    return wait


class ReusedClientHook(AsyncKubernetesHook):
    """The provider's hook with one client for all calls, as an open pull request has it."""

    _shared: ApiClient | None = None

    @asynccontextmanager
    async def get_conn(self) -> AsyncIterator[ApiClient]:
        """The one client."""
        if type(self)._shared is None:
            await self._load_config()  # type: ignore[no-untyped-call]
            type(self)._shared = ApiClient(self.client_configuration)
        yield type(self)._shared


class ReusedClientTrigger(StockTrigger):
    """The provider's trigger with that hook."""

    @cached_property
    def hook(self) -> AsyncKubernetesHook:
        """The hook."""
        return ReusedClientHook(conn_id=self.kubernetes_conn_id, config_dict=self.config_dict)


def stock(config: str, kind: type[StockTrigger] = StockTrigger) -> Wait:
    """The provider's deferrable trigger, with its defaults.

    Args:
        config: path of a kubeconfig.
    """
    document = yaml.safe_load(Path(config).read_text())
    ReusedClientHook._shared = None  # each run has its own server and event loop

    async def wait(name: str, config_path: str) -> float:
        trigger = kind(
            pod_name=name,
            pod_namespace="default",
            trigger_start_time=datetime.now(UTC),
            base_container_name="base",
            kubernetes_conn_id=None,
            config_dict=document,
        )
        async for _ in trigger.run():
            return time.time()
        raise AssertionError("no event")

    return wait


def in_the_worker(config: str) -> Wait:
    """The provider's operator without deferring: a thread, and a worker slot, for as long as its pod runs.

    Args:
        config: path of a kubeconfig.
    """
    pool = ThreadPoolExecutor(1000)

    async def wait(name: str, config_path: str) -> float:
        run_s = random.Random(name).uniform(SHORTEST_S, LONGEST_S)
        operator = KubernetesPodOperator(task_id="t", deferrable=False, **_pod_arguments(name, config_path, run_s))
        await asyncio.get_running_loop().run_in_executor(pool, operator.execute, _context())
        return time.time()

    return wait


CONTENDERS: dict[str, tuple[Callable[[str], Wait], bool]] = {
    "bulkhead": (bulkhead, True),
    "stock": (stock, True),
    "stock, one client": (partial(stock, kind=ReusedClientTrigger), True),
    "stock, in the worker": (in_the_worker, False),
}
"""How each waits, and whether it does so for a pod that is there already."""


async def run(contender: str, url: str, config: str, pods: int) -> dict[str, float]:
    """Wait for so many pods at once.

    Args:
        contender: one of ``CONTENDERS``.
        url: of the API server.
        config: path of a kubeconfig.

    Returns:
        Requests a pod, connections, CPU seconds, loop lag and detection latency.
    """
    make, deferring = CONTENDERS[contender]
    rng, wait = random.Random(pods), make(config)
    begin_cpu, noticed = _cpu_s(), {}
    lags: list[float] = []
    watcher = asyncio.ensure_future(_lag(lags))

    async def launch(number: int) -> None:
        await asyncio.sleep(rng.uniform(0, SPREAD_S))
        name = f"pod-{number}"
        if deferring:
            await asyncio.to_thread(_create, url, name, rng.uniform(SHORTEST_S, LONGEST_S))
        noticed[name] = await wait(name, config)

    await asyncio.gather(*(launch(number) for number in range(pods)))
    watcher.cancel()
    cpu = _cpu_s() - begin_cpu
    seen = counts(url)
    late = [noticed[name] - ended for name, ended in seen["ended"].items()]
    requests = sum(seen["counts"].values()) - (pods if deferring else 0)  # these creates are the benchmark's own
    if contender == "bulkhead":  # beyond so many pods at once, the worker reads the log
        requests += pods - seen["counts"].get("GET log", 0)
    return {
        "wait_requests_a_pod": round(requests / pods, 3),
        "connections": seen["connections"] - (pods if deferring else 0),
        "cpu_s": round(cpu, 2),
        "lag_max_s": round(max(lags), 3),
        "late_p50_s": round(_quantile(late, 50), 3),
        "late_p99_s": round(_quantile(late, 99), 3),
    }


def worker_requests(kind: type[KubernetesPodOperator], **more: Any) -> int:
    """How many requests the worker makes for one pod, from launch to clean-up."""
    with api_server() as url, tempfile.TemporaryDirectory() as folder, _ledger(folder):
        config = kubeconfig(url, folder)
        operator = kind(task_id="t", deferrable=True, **_pod_arguments("t", config, 0.1), **more)
        context = _context()
        try:
            operator.execute(context)
        except TaskDeferred as deferred:
            trigger, method = deferred.trigger, deferred.method_name
        before = sum(counts(url)["counts"].values())

        async def first() -> Any:
            async for event in trigger.run():
                return event.payload
            raise AssertionError("no event")

        event = asyncio.run(first())
        waited: int = sum(counts(url)["counts"].values()) - before
        getattr(operator, method)(context, event)
        whole: int = sum(counts(url)["counts"].values())
        return whole - waited


@contextmanager
def _ledger(folder: str) -> Iterator[None]:
    """A ledger of its own for our operator, and no connection to look up."""
    mine = {"BULKHEAD_LEDGER_URL": f"sqlite:///{folder}/ledger.db", "AIRFLOW_CONN_BULKHEAD_DEFAULT": "bulkhead://"}
    before = {name: os.environ.get(name) for name in mine}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _pod_arguments(name: str, config: str, run_s: float) -> dict[str, Any]:
    return {
        "name": name,
        "random_name_suffix": False,
        "namespace": "default",
        "image": "i",
        "labels": {"run-s": f"{run_s:.3f}"},
        "kubernetes_conn_id": None,
        "config_file": config,
    }


def _context() -> Any:
    ti = SimpleNamespace(
        dag_id="d",
        run_id="r",
        task_id="t",
        map_index=-1,
        try_number=1,
        max_tries=0,
        start_date=datetime.now(UTC),
        task=SimpleNamespace(retries=0),
        xcom_push=lambda **_: None,
    )
    return {"ti": ti, "task_instance": ti, "run_id": "r", "dag": None}


def _create(url: str, name: str, run_s: float) -> None:
    labels = {"bulkhead.dev/managed": "true", "run-s": f"{run_s:.3f}"}
    pod = {"metadata": {"name": name, "labels": labels}, "spec": {"containers": [{"name": "base", "image": "i"}]}}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/api/v1/namespaces/default/pods", json.dumps(pod).encode(), headers)
    urllib.request.urlopen(request, timeout=60).close()


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _lag(lags: list[float]) -> None:
    while True:
        began = time.monotonic()
        await asyncio.sleep(0.02)
        lags.append(time.monotonic() - began - 0.02)


def _quantile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def main() -> None:
    """Run the contenders and print one JSON line."""
    parser = argparse.ArgumentParser(prog="benchmarks.launch", description=__doc__)
    parser.add_argument("--pods", type=int, nargs="+", default=[10, 100, 250, 1000])
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS))
    arguments = parser.parse_args()
    deferred = worker_requests(KubernetesPodOperator)
    workers = {"bulkhead": worker_requests(GpuPodOperator), "stock": deferred, "stock, one client": deferred}
    print(f"requests of the worker for one pod: {workers}", file=sys.stderr)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for pods in arguments.pods:
        for name in arguments.contenders:
            with api_server() as url, tempfile.TemporaryDirectory() as folder:
                measured = asyncio.run(run(name, url, kubeconfig(url, folder), pods))
            measured["requests_a_pod"] = round(measured["wait_requests_a_pod"] + workers.get(name, 0), 3)
            results.setdefault(str(pods), {})[name] = measured
            print(f"{pods} pods, {name}: {measured}", file=sys.stderr, flush=True)
    print(json.dumps({"metric": "launch", "worker_requests": workers, "pods": results}))


if __name__ == "__main__":
    main()

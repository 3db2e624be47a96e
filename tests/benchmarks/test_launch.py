"""The benchmark measures what it says, on a few short pods. No assertion here is about time."""

import asyncio
import tempfile

import pytest
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

from benchmarks import launch
from bulkhead.operators.gpu_pod import GpuPodOperator


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PENDING_S", 0.2), ("SHORTEST_S", 0.2), ("LONGEST_S", 0.5), ("SPREAD_S", 0.2)):
        monkeypatch.setattr(launch, name, value)


def test_our_worker_makes_two_requests_and_the_stock_one_more() -> None:
    assert launch.worker_requests(GpuPodOperator, gpus=1) == 2  # create, delete
    assert launch.worker_requests(KubernetesPodOperator) > 3


def test_twenty_pods_share_one_list_and_one_watch() -> None:
    with launch.api_server() as url, tempfile.TemporaryDirectory() as folder:
        config = launch.kubeconfig(url, folder)
        found = asyncio.run(launch.run("bulkhead", url, config, 20))
        counted = launch.counts(url)["counts"]
    assert counted["GET pods"] == counted["WATCH pods"] == 1
    assert found["wait_requests_a_pod"] == 1.1  # its share of list and watch, and its log
    assert 2 + found["wait_requests_a_pod"] <= 4


@pytest.mark.parametrize("contender", ["stock", "stock, one client", "stock, in the worker"])
def test_the_stock_operator_polls_each_pod_by_itself(contender: str) -> None:
    with launch.api_server() as url, tempfile.TemporaryDirectory() as folder:
        config = launch.kubeconfig(url, folder)
        found = asyncio.run(launch.run(contender, url, config, 2))
    assert found["wait_requests_a_pod"] >= 3

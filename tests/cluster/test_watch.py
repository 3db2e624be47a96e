"""The watch on a real API server: versions, 410 and all."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

import pytest
import pytest_asyncio
from kubernetes import client as k8s

from bulkhead.operators.clusters import aconnect
from bulkhead.operators.triggers.kubernetes_pod import SELECTOR
from bulkhead.runtimes.kubernetes.access import Access
from bulkhead.runtimes.kubernetes.watch import PodWatch
from tests.fixtures.cluster import default_account

pytestmark = pytest.mark.timeout(120)


@pytest_asyncio.fixture
async def watch(api: k8s.ApiClient, namespace: str) -> PodWatch:
    return PodWatch(partial(aconnect, Access(config_file=os.environ["KUBECONFIG"])), namespace, SELECTOR)


def _pod(name: str) -> k8s.V1Pod:
    restricted = k8s.V1SecurityContext(
        allow_privilege_escalation=False, capabilities=k8s.V1Capabilities(drop=["ALL"]), run_as_non_root=True
    )
    restricted.seccomp_profile = k8s.V1SeccompProfile(type="RuntimeDefault")
    container = k8s.V1Container(name="base", image="none", security_context=restricted)
    metadata = k8s.V1ObjectMeta(name=name, labels={"bulkhead.dev/managed": "true"})
    return k8s.V1Pod(metadata=metadata, spec=k8s.V1PodSpec(containers=[container], scheduler_name="nobody"))


async def _until(stream: AsyncIterator[set[str]], name: str) -> None:
    async with asyncio.timeout(30):
        async for changed in stream:
            if name in changed:
                return


async def test_it_lists_follows_and_forgets(core: k8s.CoreV1Api, namespace: str, watch: PodWatch) -> None:
    default_account(core, namespace)
    core.create_namespaced_pod(namespace, _pod("before"))
    async with aclosing(watch.changes()) as stream:
        assert await anext(stream) == {"before"}
        await asyncio.to_thread(core.create_namespaced_pod, namespace, _pod("after"))
        await _until(stream, "after")
        await asyncio.to_thread(core.delete_namespaced_pod, "before", namespace, grace_period_seconds=0)
        await _until(stream, "before")
        while "before" in watch.pods:  # the mark for deletion may come first
            await _until(stream, "before")
    assert set(watch.pods) == {"after"}
    assert watch.requests == 2


async def test_a_version_that_is_gone_is_listed_again(core: k8s.CoreV1Api, namespace: str, watch: PodWatch) -> None:
    default_account(core, namespace)
    core.create_namespaced_pod(namespace, _pod("a"))
    watch._version = "1"  # long forgotten on any cluster
    async with aclosing(watch.changes()) as stream:
        await _until(stream, "a")
    assert watch.synced and "a" in watch.pods


async def test_other_peoples_pods_are_not_seen(core: k8s.CoreV1Api, namespace: str, watch: PodWatch) -> None:
    default_account(core, namespace)
    theirs = _pod("theirs")
    theirs.metadata.labels = {}
    core.create_namespaced_pod(namespace, theirs)
    core.create_namespaced_pod(namespace, _pod("ours"))
    async with aclosing(watch.changes()) as stream:
        await _until(stream, "ours")
    assert set(watch.pods) == {"ours"}

"""Checkpoints on a real volume: a retry finds those of the try before."""

import asyncio
import json
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client as k8s

from bulkhead.operators.gpu_pod import GpuPodOperator
from bulkhead.pods.exceptions import PodPreemptedError
from tests.fixtures.cluster import default_account, launch, wait, with_dag

Job = Callable[..., GpuPodOperator]
Context = Callable[..., Any]

pytestmark = pytest.mark.timeout(240)

PREEMPTED = {"failure": {"failure_class": "preempted", "message": "told to end", "checkpoint": "step-0000000007"}}
TRAIN = (
    'last="$BULKHEAD_CHECKPOINTS/step-0000000007"; '
    'if [ -d "$last" ]; then printf \'{"result": {"resumed_from": 7}}\' > "$BULKHEAD_TERMINATION_LOG"; exit 0; fi; '
    f'mkdir -p "$last"; printf \'{json.dumps(PREEMPTED)}\' > "$BULKHEAD_TERMINATION_LOG"; exit 1'
)


@pytest.fixture
def claim(core: k8s.CoreV1Api, namespace: str) -> Iterator[k8s.V1Volume]:
    """A claim of the default storage class; without one, of a folder of this machine, which has to be the node."""
    storage = k8s.StorageV1Api(core.api_client)
    default = "storageclass.kubernetes.io/is-default-class"
    classes = storage.list_storage_class().items
    provisioned = any((one.metadata.annotations or {}).get(default) == "true" for one in classes)
    name, size = f"bulkhead-{uuid.uuid4().hex[:8]}", {"storage": "1Mi"}
    with tempfile.TemporaryDirectory(prefix="bulkhead-claim-") as folder:
        if not provisioned:
            Path(folder).chmod(0o777)  # the pod is not root
            spec = k8s.V1PersistentVolumeSpec(
                capacity=size,
                access_modes=["ReadWriteOnce"],
                host_path=k8s.V1HostPathVolumeSource(path=folder),
                storage_class_name="",
                persistent_volume_reclaim_policy="Retain",
            )
            core.create_persistent_volume(k8s.V1PersistentVolume(metadata=k8s.V1ObjectMeta(name=name), spec=spec))
        wanted = k8s.V1PersistentVolumeClaimSpec(
            access_modes=["ReadWriteOnce"],
            resources=k8s.V1VolumeResourceRequirements(requests=size),
            storage_class_name=None if provisioned else "",
            volume_name=None if provisioned else name,
        )
        document = k8s.V1PersistentVolumeClaim(metadata=k8s.V1ObjectMeta(name=name), spec=wanted)
        core.create_namespaced_persistent_volume_claim(namespace, document)
        source = k8s.V1PersistentVolumeClaimVolumeSource(claim_name=name)
        yield k8s.V1Volume(name="data", persistent_volume_claim=source)
        if not provisioned:
            core.delete_persistent_volume(name)


async def test_a_retry_finds_the_checkpoints_of_the_try_before(
    running_nodes: None, core: k8s.CoreV1Api, namespace: str, claim: k8s.V1Volume, job: Job, context: Context
) -> None:
    default_account(core, namespace)
    mount = k8s.V1VolumeMount(name="data", mount_path="/data")
    storage = {"checkpoint": "/data", "volumes": [claim], "volume_mounts": [mount]}
    operator = job(arguments=[TRAIN], schedulername=None, **storage)
    first = context("train")
    event = await wait(await asyncio.to_thread(launch, operator, first))
    with pytest.raises(PodPreemptedError, match="told to end"):
        await asyncio.to_thread(operator.resume, with_dag(first), event)
    second = context("train", try_number=2)
    again = await wait(await asyncio.to_thread(launch, operator, second))
    assert again["name"] != event["name"]
    assert await asyncio.to_thread(operator.resume, with_dag(second), again) == {"resumed_from": 7}

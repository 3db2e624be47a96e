"""GPUs by device class: a real scheduler allocates devices that exist on paper."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client as k8s

from bulkhead.operators.gpu_pod import GpuPodOperator
from tests.fixtures.cluster import default_account, launch, wait
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def device_class(core: k8s.CoreV1Api, node: None) -> Iterator[str]:
    """A class with two devices of 40 and 80 GiB on the first node."""
    groups = k8s.ApisApi(core.api_client).get_api_versions().groups
    if not any(version.group_version == "resource.k8s.io/v1" for group in groups for version in group.versions):
        pytest.skip("NOT TESTED: the cluster does not serve resource.k8s.io/v1")
    resources, name = k8s.ResourceV1Api(core.api_client), f"paper-{uuid.uuid4().hex[:8]}"
    driver = "gpu.nvidia.com"
    cel = k8s.V1CELDeviceSelector(
        expression=f'device.driver == "{driver}" && device.attributes["paper"].pool == "{name}"'
    )
    spec = k8s.V1DeviceClassSpec(selectors=[k8s.V1DeviceSelector(cel=cel)])
    resources.create_device_class(k8s.V1DeviceClass(metadata=k8s.V1ObjectMeta(name=name), spec=spec))
    devices = [
        k8s.V1Device(
            name=f"gpu-{size}",
            attributes={"paper/pool": k8s.V1DeviceAttribute(string=name)},
            capacity={"memory": k8s.V1DeviceCapacity(value=f"{size}Gi")},
        )
        for size in (40, 80)
    ]
    pool = k8s.V1ResourcePool(name=name, generation=1, resource_slice_count=1)
    slice_spec = k8s.V1ResourceSliceSpec(
        driver=driver, pool=pool, devices=devices, node_name=core.list_node().items[0].metadata.name
    )
    metadata = k8s.V1ObjectMeta(name=name)
    resources.create_resource_slice(k8s.V1ResourceSlice(metadata=metadata, spec=slice_spec))
    yield name
    resources.delete_resource_slice(name)
    resources.delete_device_class(name)


def test_the_device_that_is_large_enough_is_allocated(
    device_class: str,
    core: k8s.CoreV1Api,
    namespace: str,
    job: Callable[..., GpuPodOperator],
    context: Callable[..., Any],
) -> None:
    default_account(core, namespace)
    launch(job(gpus=1, device_class=device_class, gpu_memory_gib=64, schedulername=None), context("train"))
    claims = k8s.ResourceV1Api(core.api_client)

    def allocated() -> list[str]:
        found = claims.list_namespaced_resource_claim(namespace).items
        results = [one.status.allocation.devices.results for one in found if one.status and one.status.allocation]
        return [device.device for result in results for device in result]

    assert until(allocated, "the allocation") == ["gpu-80"]


async def test_more_devices_than_there_are_is_named(
    device_class: str,
    core: k8s.CoreV1Api,
    namespace: str,
    job: Callable[..., GpuPodOperator],
    context: Callable[..., Any],
) -> None:
    default_account(core, namespace)
    more = {"gpus": 3, "device_class": device_class, "schedulername": None, "startup_timeout_seconds": 3}
    event = await wait(launch(job(**more), context("train")))
    assert event["why"] == "stuck" and "cannot allocate all claims" in event["text"]

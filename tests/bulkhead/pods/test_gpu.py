from typing import Any

import pytest
from kubernetes import client as k8s

from bulkhead.errors import InvalidInputError
from bulkhead.pods.gpu import bind, claim_template, place
from bulkhead.pods.gpu_request import GpuRequest


def _place(request: GpuRequest, **spec: Any) -> k8s.V1PodSpec:
    container = k8s.V1Container(name="base", resources=k8s.V1ResourceRequirements(limits={"cpu": "2"}))
    pod = k8s.V1Pod(metadata=k8s.V1ObjectMeta(name="p"), spec=k8s.V1PodSpec(containers=[container], **spec))
    return place(pod, request).spec


def _required(spec: k8s.V1PodSpec) -> list[list[tuple[str, str, list[str]]]]:
    terms = spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution.node_selector_terms
    return [
        [(expression.key, expression.operator, expression.values) for expression in term.match_expressions]
        for term in terms
    ]


def _fields(term: k8s.V1NodeSelectorTerm) -> list[tuple[str, str]]:
    """What is asked of nodes' names: each requirement has the one value that Kubernetes allows."""
    assert {field.key for field in term.match_fields} == {"metadata.name"}
    return [(field.operator, *field.values) for field in term.match_fields]


def test_whole_gpus_beside_what_was_asked_for() -> None:
    resources = _place(GpuRequest(2)).containers[0].resources
    assert resources.limits == {"cpu": "2", "nvidia.com/gpu": "2"}
    assert resources.requests == {"nvidia.com/gpu": "2"}


def test_a_mig_slice() -> None:
    assert _place(GpuRequest(mig_profile="1g.10gb")).containers[0].resources.limits["nvidia.com/mig-1g.10gb"] == "1"


def test_none_at_all() -> None:
    assert _place(GpuRequest(0)).containers[0].resources.limits == {"cpu": "2"}


def test_product_and_memory_by_the_labels_of_gpu_feature_discovery() -> None:
    spec = _place(GpuRequest(product="NVIDIA-H100-80GB-HBM3", memory_gib=80), node_selector={"zone": "a"})
    assert spec.node_selector == {"zone": "a", "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    assert _required(spec) == [[("nvidia.com/gpu.memory", "Gt", ["81919"])]]


def test_excluded_nodes_are_excluded_from_each_of_the_authors_alternatives() -> None:
    own = [
        k8s.V1NodeSelectorTerm(match_expressions=[k8s.V1NodeSelectorRequirement(key="zone", operator="In", values=[z])])
        for z in ("a", "b")
    ]
    required = k8s.V1NodeSelector(node_selector_terms=own)
    affinity = k8s.V1Affinity(
        node_affinity=k8s.V1NodeAffinity(required_during_scheduling_ignored_during_execution=required)
    )
    spec = _place(GpuRequest(exclude_nodes=("gpu-7", "gpu-8")), affinity=affinity)
    assert _required(spec) == [[("zone", "In", ["a"])], [("zone", "In", ["b"])]]
    terms = spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution.node_selector_terms
    assert [_fields(term) for term in terms] == [[("NotIn", "gpu-7"), ("NotIn", "gpu-8")]] * 2


def test_nodes_to_avoid_are_one_preference_beside_the_authors_own() -> None:
    own = k8s.V1PreferredSchedulingTerm(weight=1, preference=k8s.V1NodeSelectorTerm(match_fields=[]))
    affinity = k8s.V1Affinity(
        node_affinity=k8s.V1NodeAffinity(preferred_during_scheduling_ignored_during_execution=[own])
    )
    found = _place(GpuRequest(avoid_nodes=("gpu-7", "gpu-8")), affinity=affinity).affinity.node_affinity
    assert found.required_during_scheduling_ignored_during_execution is None
    kept, added = found.preferred_during_scheduling_ignored_during_execution
    assert (kept, added.weight) == (own, 100)
    assert _fields(added.preference) == [("NotIn", "gpu-7"), ("NotIn", "gpu-8")]


def test_nothing_to_avoid_leaves_the_pod_alone() -> None:
    assert _place(GpuRequest()).affinity is None


def test_a_pod_is_bound_to_one_node() -> None:
    spec = bind(k8s.V1Pod(spec=k8s.V1PodSpec(containers=[])), "gpu-7").spec
    (term,) = spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution.node_selector_terms
    assert _fields(term) == [("In", "gpu-7")]


def test_spot_and_shared_memory() -> None:
    spec = _place(GpuRequest(tolerate_spot=("cloud.google.com/gke-spot",), shared_memory="16Gi"))
    assert [(toleration.key, toleration.operator) for toleration in spec.tolerations] == [
        ("cloud.google.com/gke-spot", "Exists")
    ]
    assert spec.volumes[0].empty_dir.medium == "Memory" and spec.volumes[0].empty_dir.size_limit == "16Gi"
    assert spec.containers[0].volume_mounts[0].mount_path == "/dev/shm"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"count": -1}, "gpus = -1"),
        ({"mig_profile": "big"}, "mig_profile = 'big': give a profile such as '1g.10gb'"),
        ({"memory_gib": 0}, "gpu_memory_gib = 0"),
    ],
)
def test_an_impossible_request_is_refused_by_name(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        GpuRequest(**arguments)
    assert named in str(caught.value)


# By device class (Dynamic Resource Allocation)


def test_a_claim_in_place_of_the_device_plugins_resource() -> None:
    request = GpuRequest(2, "NVIDIA H100", 80, device_class="gpu.nvidia.com", exclude_nodes=("gpu-7",))
    spec = _place(request)
    resources = spec.containers[0].resources
    assert resources.limits == {"cpu": "2"} and [claim.name for claim in resources.claims] == ["gpus"]
    assert spec.node_selector is None
    (term,) = spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution.node_selector_terms
    assert (term.match_expressions, _fields(term)) == (None, [("NotIn", "gpu-7")])
    template = claim_template(request, "ml")
    assert spec.resource_claims[0].resource_claim_template_name == template.metadata.name
    (asked,) = template.spec.spec.devices.requests
    assert (asked.exactly.device_class_name, asked.exactly.count) == ("gpu.nvidia.com", 2)
    assert [selector.cel.expression for selector in asked.exactly.selectors] == [
        'device.attributes["gpu.nvidia.com"].productName == "NVIDIA H100"',
        'device.capacity["gpu.nvidia.com"].memory.compareTo(quantity("80Gi")) >= 0',
    ]


def test_equal_requests_share_a_template_and_others_do_not() -> None:
    def name(**more: Any) -> str:
        return claim_template(GpuRequest(device_class="c", **more), "ml").metadata.name

    assert name() == name(exclude_nodes=("gpu-7",), shared_memory="1Gi")
    assert len({name(), name(count=2), name(memory_gib=40), name(device_selectors=("true",))}) == 4


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"device_selectors": ("true",)}, "device_selectors = .*name a device_class"),
        ({"device_class": "c", "count": 0}, "gpus = 0: ask for at least 1 device of class 'c'"),
        ({"device_class": "c", "mig_profile": "1g.10gb"}, "mig_profile"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        GpuRequest(**arguments)

import pytest
from kubernetes import client as k8s

from bulkhead.errors import InvalidInputError
from bulkhead.pods.distributed import GANG, Gang, job, jobset, service


def _pod() -> k8s.V1Pod:
    container = k8s.V1Container(name="base", image="i", env=[k8s.V1EnvVar(name="SEED", value="1")])
    labels = {"bulkhead.dev/managed": "true", "kueue.x-k8s.io/queue-name": "team-a"}
    metadata = k8s.V1ObjectMeta(name="train-1", namespace="ml", labels=labels)
    return k8s.V1Pod(metadata=metadata, spec=k8s.V1PodSpec(containers=[container], active_deadline_seconds=60))


def test_a_job_of_equal_nodes_that_ends_with_the_first_that_fails() -> None:
    document = job(_pod(), Gang(4, 8), None)
    spec = document["spec"]
    assert (document["kind"], document["metadata"]["name"]) == ("Job", "train-1")
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 4, 4)
    assert (spec["backoffLimitPerIndex"], spec["maxFailedIndexes"], "suspend" in spec) == (0, 0, False)
    assert [rule["action"] for rule in spec["podFailurePolicy"]["rules"]] == ["FailJob", "FailJob"]
    template = spec["template"]
    assert template["spec"]["restartPolicy"] == "Never" and template["spec"]["activeDeadlineSeconds"] == 60
    assert template["metadata"]["labels"] == {"bulkhead.dev/managed": "true", GANG: "train-1"}


def test_every_process_is_told_where_the_others_are() -> None:
    template = job(_pod(), Gang(4, 8, 1234), None)["spec"]["template"]["spec"]
    environment = {one["name"]: one.get("value", one.get("valueFrom")) for one in template["containers"][0]["env"]}
    rank = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}}
    assert environment == {
        "MASTER_ADDR": "train-1-0.train-1",
        "MASTER_PORT": "1234",
        "NNODES": "4",
        "NPROC_PER_NODE": "8",
        "WORLD_SIZE": "32",
        "NODE_RANK": rank,
        "SEED": "1",
    }
    assert template["subdomain"] == "train-1"


def test_the_pod_it_was_made_of_is_left_as_it_was() -> None:
    pod = _pod()
    job(pod, Gang(2), None)
    assert pod.to_dict() == _pod().to_dict()


def test_a_queue_suspends_it_until_all_of_it_is_admitted() -> None:
    document = job(_pod(), Gang(2), "team-a")
    assert document["spec"]["suspend"] is True
    assert document["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert "kueue.x-k8s.io/queue-name" not in document["spec"]["template"]["metadata"]["labels"]


def test_a_jobset_has_the_same_job_inside() -> None:
    document = jobset(_pod(), Gang(2), "team-a")
    (replicated,) = document["spec"]["replicatedJobs"]
    inside = replicated["template"]["spec"]
    assert document["spec"]["suspend"] is True and document["spec"]["failurePolicy"] == {"maxRestarts": 0}
    assert (inside["completions"], inside["completionMode"]) == (2, "Indexed") and "suspend" not in inside
    environment = {one["name"]: one.get("value") for one in inside["template"]["spec"]["containers"][0]["env"]}
    assert environment["MASTER_ADDR"] == "train-1-node-0-0.train-1"


def test_the_service_names_the_nodes_and_goes_with_the_job() -> None:
    made = {**job(_pod(), Gang(2), None)}
    made["metadata"] = {**made["metadata"], "uid": "u"}
    wanted = service(made, Gang(2))
    assert wanted.spec.cluster_ip == "None" and wanted.spec.publish_not_ready_addresses
    assert wanted.spec.selector == {GANG: "train-1"} and wanted.metadata.name == "train-1"
    assert [owner.uid for owner in wanted.metadata.owner_references] == ["u"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((0, 1), "nodes = 0"), ((1, 0), "processes_per_node = 0"), ((1, 1, 80), "master_port = 80")],
)
def test_an_impossible_size_is_refused(arguments: tuple[int, ...], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        Gang(*arguments)

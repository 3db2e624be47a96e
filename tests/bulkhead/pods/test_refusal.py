import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.pods.outcome import FailureClass
from bulkhead.pods.refusal import classify_refusal

ACCESS = (
    'pods is forbidden: User "system:serviceaccount:ml:airflow" cannot create resource "pods" in API group "" in the '
    'namespace "ml"'
)


@pytest.mark.parametrize(
    ("status", "message", "named", "kind"),
    [
        (
            403,
            'pods "train" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=8, used: 8',
            "unschedulable",
            "quota",
        ),
        (403, ACCESS, "config", "access"),
        (403, 'pods "train" is forbidden: violates PodSecurity "restricted:latest"', "admission", "policy"),
        (403, 'pods "train" is forbidden: no PriorityClass with name gold was found', "admission", "policy"),
        (400, 'admission webhook "policy.example" denied the request: no latest tag', "admission", "policy"),
        (
            403,
            'pods "train" is forbidden: the server was unable to return a response in the time allotted, but may still '
            "be processing the request (get limitranges)",
            "cluster_unreachable",
            "timeout",
        ),
        (403, 'pods "train" is forbidden: etcdserver: leader changed', "cluster_unreachable", "timeout"),
        (403, 'admission webhook "slow" denied the request: context deadline exceeded', "admission", "policy"),
        (404, 'namespaces "ml" not found', "config", "namespace"),
        (422, 'Pod "train" is invalid: spec.containers[0].image: Required value', "config", "invalid"),
        (400, "Pod in version v1 cannot be handled: unknown field", "config", "invalid"),
        (500, "failed to create typed patch object: .spec.a: expected map, got &{b}", "config", "invalid"),
        (401, "Unauthorized", "cluster_unreachable", "credentials"),
        (429, "too many requests", "cluster_unreachable", "429"),
        (500, "etcdserver: request timed out", "cluster_unreachable", "500"),
        (503, "apiserver is shutting down", "cluster_unreachable", "503"),
        (0, "", "cluster_unreachable", "no-answer"),
    ],
)
def test_a_refusal_gets_its_name(status: int, message: str, named: str, kind: str) -> None:
    failure = classify_refusal(status, json.dumps({"kind": "Status", "message": message}), "ml")
    assert (failure.failure_class, failure.kind) == (named, kind)
    assert message in failure.message


def test_missing_access_comes_with_the_role_that_grants_it() -> None:
    message = classify_refusal(403, json.dumps({"message": ACCESS}), "ml").message
    assert 'rules: [{apiGroups: [""], resources: ["pods"], verbs: ["create"]}]' in message
    assert "namespace: ml" in message and "system:serviceaccount:ml:airflow" in message


@given(st.integers(0, 599), st.text(max_size=2000))
def test_no_answer_makes_it_crash(status: int, body: str) -> None:
    assert classify_refusal(status, body, "ml").failure_class in FailureClass

"""The diagnosis of a real cluster."""

import pytest
from kubernetes import client as k8s
from kubernetes import config

from bulkhead.runtimes.kubernetes.doctor import CheckResult, DoctorFinding, diagnose
from tests.fixtures.cluster import default_account

pytestmark = pytest.mark.timeout(180)


def _poll(api: k8s.ApiClient, namespace: str) -> dict[str, DoctorFinding]:
    return {one.check: one for one in diagnose(api, namespace)}


def test_an_administrator_has_what_it_takes(api: k8s.ApiClient, core: k8s.CoreV1Api, namespace: str) -> None:
    default_account(core, namespace)
    found = _poll(api, namespace)
    for check in ("version", "namespace", "access to pods", "access to jobs", "admission"):
        assert found[check].verdict is CheckResult.OK, found[check]
    assert core.list_namespaced_pod(namespace).items == [], "nothing was created"


def test_an_account_without_rights_is_told_what_it_lacks(namespace: str, powerless: str) -> None:
    found = _poll(config.new_client_from_config(powerless), namespace)
    assert found["access to pods"].verdict is CheckResult.MISSING
    assert "create, get, list, watch, delete" in found["access to pods"].detail
    assert found["admission"].verdict is CheckResult.MISSING and "grant it by" in found["admission"].detail
    assert found["GPUs"].verdict is CheckResult.UNKNOWN

"""The chart in a real cluster: installed, upgraded, rolled back, taken away; and what cannot be leaves nothing."""

import json
from typing import Any

import helm_python as helm
import pytest
from kubernetes import client as k8s

from tests.fixtures.chart import NAME, ChartSite
from tests.waiting import until

pytestmark = pytest.mark.timeout(900)


def test_it_is_installed_upgraded_rolled_back_and_taken_away(chart_site: ChartSite) -> None:
    chart_site.install()
    assert [len(chart_site.pods(part)) for part in ("reconciler", "collector", "router")] == [2, 1, 2]
    (first, _) = chart_site.pods("reconciler")
    code, output, errors = chart_site.run(first, "bulkhead", "status", "--json")
    assert code == 0, errors
    assert json.loads(output)["rollouts"] == []

    chart_site.upgrade(reconciler={"replicas": 3})
    until(lambda: len(chart_site.pods("reconciler")) == 3, "a third reconciler")
    before = {pod.metadata.name for pod in chart_site.pods("reconciler")}
    with pytest.raises(helm.HelmError):
        chart_site.upgrade(reconciler={"replicas": 3}, ledger={"secretName": "nowhere"}, timeout=20)
    assert {pod.metadata.name for pod in chart_site.pods("reconciler")} == before  # they have served on

    chart_site.helm.rollback(NAME, version=1, wait="watcher", timeout=240)
    until(lambda: len(chart_site.pods("reconciler")) == 2, "two reconcilers again")
    chart_site.helm.uninstall(NAME)
    until(lambda: chart_site.left() == [], "everything to be gone")


def _absent_image(site: ChartSite) -> dict[str, Any]:
    return {"image": {"repository": "localhost/there-is-no-such-image", "tag": "1"}}


def _silent_ledger(site: ChartSite) -> dict[str, Any]:
    secret = k8s.V1Secret(metadata=k8s.V1ObjectMeta(name="silent"))
    secret.string_data = {"url": "postgresql://postgres:x@127.0.0.1:1/postgres"}
    site.core.create_namespaced_secret(site.namespace, secret)
    return {"ledger": {"secretName": "silent"}}


def _full_quota(site: ChartSite) -> dict[str, Any]:
    spec = k8s.V1ResourceQuotaSpec(hard={"pods": "1"})
    site.core.create_namespaced_resource_quota(
        site.namespace, k8s.V1ResourceQuota(metadata=k8s.V1ObjectMeta(name="full"), spec=spec)
    )
    return {}


@pytest.mark.parametrize("wrong", [_absent_image, _silent_ledger, _full_quota])
def test_what_cannot_be_installed_is_said_and_leaves_nothing(chart_site: ChartSite, wrong: Any) -> None:
    with pytest.raises(helm.HelmError, match=r"has been uninstalled[^$]*Deployment/\S+-reconciler not ready"):
        chart_site.install(timeout=20, **wrong(chart_site))
    until(lambda: chart_site.left() == [], "nothing to be left")


def test_a_service_that_another_release_routes_is_refused(chart_site: ChartSite) -> None:
    chart_site.install()
    with pytest.raises(helm.HelmError, match=r'Service "router-digits".*exists and cannot be imported'):
        chart_site.install("other", timeout=20)
    until(lambda: chart_site.left("other") == [], "nothing to be left")
    assert len(chart_site.pods("router")) == 2

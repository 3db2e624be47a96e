"""Where each service of a configuration runs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from bulkhead.backends import MLFLOW_SECRET
from bulkhead.control import Control
from bulkhead.errors import InvalidInputError, NotFoundError
from bulkhead.metrics.http_json import HttpMetrics
from bulkhead.metrics.prometheus import PrometheusMetrics
from bulkhead.routers.envoy.pods import RouterPodsRouter
from bulkhead.routers.envoy.router import EnvoyRouter
from bulkhead.routers.gateway_api import GatewayRouter
from bulkhead.settings import Settings
from bulkhead.workloads.kubernetes import KubernetesWorkloads
from bulkhead.workloads.local import LocalWorkloads

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "test",
    "clusters": [{"name": "test", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "test", "user": {"token": "t"}}],
    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
}


@pytest.fixture
def control(tmp_path: Path) -> Control:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(KUBECONFIG))
    inside: dict[str, Any] = {"namespace": "serving", "cluster": "test"}
    cluster: dict[str, Any] = {**inside, "gateway": {"name": "public"}}
    prometheus = {"url": "http://prometheus", "queries": "vllm"}
    document = {
        "home": tmp_path,
        "kubeconfigs": {"test": str(kubeconfig), "gone": str(tmp_path / "gone")},
        "services": {
            "digits": {"port": 18080, "admin_port": 18081},
            "chat": {**cluster, "prometheus": prometheus, "resync_s": 7},
            "words": {**cluster, "http": {}},
            "own": {**inside, "envoy": {}, "resync_s": 3},
            "counted": {**inside, "envoy": {}, "prometheus": prometheus},
            "lost": {**cluster, "http": {}, "cluster": "gone"},
            "odd": {**cluster, "prometheus": {**prometheus, "queries": "grafana"}},
        },
    }
    return Control(Settings.model_validate(document))


def test_a_service_of_this_machine_is_behind_envoy(control: Control) -> None:
    site = control.backends("digits")
    assert isinstance(site.router, EnvoyRouter) and site.metrics is site.router
    assert isinstance(site.workloads, LocalWorkloads) and site.resync_s == 0
    assert control.backends("digits") is site


def test_one_in_a_cluster_is_behind_a_gateway(control: Control) -> None:
    site = control.backends("chat")
    assert isinstance(site.router, GatewayRouter) and isinstance(site.workloads, KubernetesWorkloads)
    assert isinstance(site.metrics, PrometheusMetrics) and site.resync_s == 7
    assert isinstance(control.backends("words").metrics, HttpMetrics)


def test_one_behind_envoys_of_our_own_is_counted_by_them_or_by_whoever_is_named(control: Control) -> None:
    site = control.backends("own")
    assert isinstance(site.router, RouterPodsRouter) and site.metrics is site.router and site.resync_s == 3
    assert isinstance(site.workloads, KubernetesWorkloads)
    assert isinstance(control.backends("counted").metrics, PrometheusMetrics)


def test_what_is_not_there_is_named(control: Control) -> None:
    with pytest.raises(NotFoundError, match="unknown service 'chart'"):
        control.backends("chart")
    with pytest.raises(InvalidInputError, match=r"kubeconfigs\.gone"):
        control.backends("lost")
    with pytest.raises(InvalidInputError, match=r"prometheus\.queries = 'grafana'"):
        control.backends("odd")


def test_mlflows_credentials_are_given_by_reference(control: Control) -> None:
    assert control.backends.local_credentials() == {}
    control.runtime.write_secret(MLFLOW_SECRET, {"username": "u", "password": "hunter2"})
    assert control.backends.local_credentials() == {
        "MLFLOW_TRACKING_USERNAME": ("mlflow", "username"),
        "MLFLOW_TRACKING_PASSWORD": ("mlflow", "password"),
    }

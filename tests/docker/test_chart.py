"""The chart, by Helm's own library: what it renders, and what it refuses. tests/cluster is where it is installed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from bulkhead.router_agent.agent import PORTS
from bulkhead.routers.envoy.pods import ENVOY, ROUTER, object_name
from bulkhead.routers.envoy.router import EnvoyRouter
from bulkhead.runtimes.kubernetes.doctor import NEEDS
from bulkhead.settings import ClusterService, Settings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "docker" / "chart"
LEAST: dict[str, Any] = {"ledger": {"secretName": "ledger"}, "mlflow": {"trackingUri": "http://mlflow:5000"}}
SERVICE = {"namespace": "ml", "gateway": {"name": "gateway"}, "http": {}}
OWN = {"namespace": "ml", "envoy": {}}
WORKER = {"kind": "ServiceAccount", "name": "airflow-worker", "namespace": "airflow"}
WHOLE: dict[str, Any] = {
    **LEAST,
    "mlflow": {"trackingUri": "http://mlflow:5000", "secretName": "mlflow"},
    "config": {
        "services": {"digits": SERVICE, "words": OWN, "other": {**SERVICE, "namespace": "team-b"}},
        "fleet": {"nodes": True},
    },
    "fleet": {"enabled": True},
    "alerts": {"enabled": True, "tokenSecretName": "alerts-token"},
    "routers": {"tokenSecretName": "router-token"},
    "monitoring": {
        "tokenSecretName": "metrics-token",
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True},
    },
    "tasks": {"namespaces": ["ml"], "subjects": [WORKER]},
    "imagePullSecrets": ["registry"],
    "podLabels": {"team": "ml"},
    "priorityClassName": "high",
    "nodeSelector": {"pool": "cpu"},
    "tolerations": [{"key": "cpu", "operator": "Exists"}],
}


@pytest.fixture(scope="module")
def chart() -> Iterator[Any]:
    loaded = helm.Chart.load(CHART)
    yield loaded
    loaded.close()


def _documents(
    chart: Any, values: dict[str, Any], name: str = "prod", namespace: str = "mlops"
) -> list[dict[str, Any]]:
    rendered = chart.render(values, name=name, namespace=namespace)
    texts = [text for path, text in rendered.items() if path.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def _of_kind(documents: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """Those of the control plane, by the name without the release's."""
    names = {id(document): document["metadata"]["name"].removeprefix("prod-bulkhead") for document in documents}
    return {
        names[id(document)].removeprefix("-"): document
        for document in documents
        if document["kind"] == kind and "router-words" not in names[id(document)]
    }


def _of_router(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What makes the router of ``words``, by kind."""
    labelled = [one for one in documents if one["metadata"]["labels"].get("app.kubernetes.io/component") == "router"]
    return {one["kind"]: one for one in labelled}


def _rules(text: str) -> set[tuple[str, str, str]]:
    """Group, resource and verb of each rule."""
    return {
        (group, resource, verb)
        for rule in yaml.safe_load(text)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def _file(name: str) -> str:
    return (CHART / "files" / name).read_text()


def _in_docs(name: str) -> str:
    (rules,) = re.findall(r"^rules:\n((?:\s*(?:-|#) .*\n)+)", (ROOT / "docs" / name).read_text(), re.MULTILINE)
    return str(rules)


@pytest.mark.parametrize("values", [LEAST, WHOLE], ids=["least", "whole"])
def test_helm_has_nothing_to_say_against_it(values: dict[str, Any]) -> None:
    report = helm.lint(CHART, values, strict=True)
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


def test_by_default_there_are_reconcilers_and_a_collector(chart: Any) -> None:
    documents = _documents(chart, LEAST)
    assert set(_of_kind(documents, "Deployment")) == {"reconciler", "collector"}
    reconciler = _of_kind(documents, "Deployment")["reconciler"]
    assert reconciler["spec"]["replicas"] == 2
    assert _of_kind(documents, "PodDisruptionBudget")["reconciler"]["spec"]["minAvailable"] == 1
    (container,) = reconciler["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["reconcile", "--watch"]
    assert container["image"] == "localhost/bulkhead-control:0.1.0"
    assert not {"Role", "ClusterRole", "PodMonitor", "PrometheusRule", "Service"} & {one["kind"] for one in documents}


def test_spans_go_where_the_values_say_and_nowhere_else(chart: Any) -> None:
    def endpoints(values: dict[str, Any]) -> set[tuple[str, str]]:
        return {
            (name, variable["value"])
            for name, deployment in _of_kind(_documents(chart, values), "Deployment").items()
            for variable in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
            if variable["name"].startswith("OTEL_")
        }

    url = "http://collector.monitoring:4318"
    assert endpoints({**WHOLE, "tracing": {"endpoint": url}}) == {("reconciler", url)}
    assert endpoints(WHOLE) == set()


@pytest.mark.parametrize("values", [LEAST, WHOLE], ids=["least", "whole"])
def test_its_configuration_is_one_that_the_parts_read(chart: Any, values: dict[str, Any]) -> None:
    (config,) = _of_kind(_documents(chart, values), "ConfigMap").values()
    settings = Settings.model_validate(yaml.safe_load(config["data"]["config.yaml"]))
    assert settings.mlflow_tracking_uri == "http://mlflow:5000" and settings.log_format == "json"
    assert settings.tasks_image == "localhost/bulkhead-tasks:0.1.0"
    assert settings.monitoring is not None and not settings.monitoring.is_local
    assert set(settings.services) == set(values.get("config", {}).get("services", {}))
    assert "secret" not in config["data"]["config.yaml"].replace("bulkhead-secrets", "")


def test_every_pod_meets_the_restricted_level_and_has_probes(chart: Any) -> None:
    deployments = _of_kind(_documents(chart, WHOLE), "Deployment")
    assert set(deployments) == {"reconciler", "collector", "fleet", "alerts"}
    for name, deployment in deployments.items():
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert all(volume.keys() & {"configMap", "emptyDir", "secret"} for volume in pod["volumes"])
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "monitoring"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "monitoring"}
        assert container["resources"]["requests"]["cpu"] and container["resources"]["limits"]["memory"]
        assert pod["automountServiceAccountToken"] is (name != "alerts")  # it asks the ledger alone
        assert pod["imagePullSecrets"] == [{"name": "registry"}] and pod["priorityClassName"] == "high"
        assert pod["nodeSelector"] == {"pool": "cpu"} and pod["tolerations"] == WHOLE["tolerations"]
        assert deployment["spec"]["template"]["metadata"]["labels"]["team"] == "ml"


def test_no_secret_is_in_an_argument_or_a_value(chart: Any) -> None:
    for deployment in _of_kind(_documents(chart, WHOLE), "Deployment").values():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        given = {entry["name"]: entry for entry in container["env"]}
        for name in ("BULKHEAD_LEDGER_URL", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            assert "value" not in given[name] and given[name]["valueFrom"]["secretKeyRef"]["name"]


def test_another_configuration_restarts_the_pods(chart: Any) -> None:
    def checksum(values: dict[str, Any]) -> str:
        reconciler = _of_kind(_documents(chart, values), "Deployment")["reconciler"]
        return str(reconciler["spec"]["template"]["metadata"]["annotations"]["checksum/config"])

    assert checksum(LEAST) == checksum({**LEAST, "reconciler": {"replicas": 3}})
    assert checksum(LEAST) != checksum({**LEAST, "config": {"lease_s": 7}})


def test_each_account_has_its_role_where_its_work_is_and_nowhere_else(chart: Any) -> None:
    documents = _documents(chart, WHOLE)
    places = {
        (document["metadata"]["name"], document["metadata"]["namespace"])
        for document in documents
        if document["kind"] == "Role"
    }
    assert places == {
        ("prod-bulkhead-serving", "ml"),
        ("prod-bulkhead-serving", "team-b"),
        ("prod-bulkhead-split-words", "ml"),
        ("prod-bulkhead-router-words", "ml"),
        ("prod-bulkhead-collector", "ml"),
        ("prod-bulkhead-tasks", "ml"),
    }
    bindings = [document for document in documents if document["kind"] in ("RoleBinding", "ClusterRoleBinding")]
    bound = {
        (binding["roleRef"]["name"].removeprefix("mlops-").removeprefix("prod-bulkhead-"), subject["name"])
        for binding in bindings
        for subject in binding["subjects"]
    }
    assert bound == {
        ("serving", "prod-bulkhead-reconciler"),
        ("split-words", "prod-bulkhead-reconciler"),
        ("router-words", "prod-bulkhead-router-words"),
        ("collector", "prod-bulkhead-collector"),
        ("tasks", "airflow-worker"),
        ("fleet", "prod-bulkhead-fleet"),
    }


def test_roles_are_what_doctor_asks_for_and_the_docs_say() -> None:
    asked = {(need.group, need.resource, verb) for need in NEEDS for verb in need.verbs}
    assert _rules(_file("tasks-rules.yaml")) == asked == _rules(_in_docs("kubernetes.md"))
    split = _rules(_file("split-rules.yaml"))  # where services have Envoys of their own
    assert _rules(_file("serving-rules.yaml")) | split == _rules(_in_docs("serving.md"))
    assert _rules(_file("fleet-rules.yaml")) == _rules(_in_docs("devices.md"))
    assert _rules(_file("collector-rules.yaml")) < asked


def test_a_fleet_that_is_not_asked_for_nodes_has_no_cluster_role(chart: Any) -> None:
    values = {**WHOLE, "config": {"services": {}, "fleet": {"exporters": [{"url": "http://dcgm:9400/metrics"}]}}}
    assert _of_kind(_documents(chart, values), "ClusterRole") == {}


def test_the_rules_are_those_that_promtool_tests(chart: Any) -> None:
    (rules,) = _of_kind(_documents(chart, WHOLE), "PrometheusRule").values()
    assert rules["spec"] == yaml.safe_load((ROOT / "docker" / "monitoring" / "rules.yaml").read_text())
    monitors = _of_kind(_documents(chart, WHOLE), "PodMonitor")
    assert set(monitors) == {"", "routers"} and monitors["routers"]["spec"]["namespaceSelector"] == {
        "matchNames": ["ml"]
    }
    monitor = monitors[""]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["authorization"] == {"credentials": {"name": "metrics-token", "key": "token"}}


def test_only_who_is_named_reaches_its_ports(chart: Any) -> None:
    (policy,) = _of_kind(_documents(chart, WHOLE), "NetworkPolicy").values()
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert [port["port"] for port in policy["spec"]["ingress"][0]["ports"]] == [9464, 9095]
    (closed,) = _of_kind(_documents(chart, {**LEAST, "networkPolicy": {"from": []}}), "NetworkPolicy").values()
    assert "ingress" not in closed["spec"]


def test_a_service_with_envoys_of_our_own_has_them_beside_what_has_them_follow(chart: Any) -> None:
    router = _of_router(_documents(chart, WHOLE))
    assert set(router) == {
        "ServiceAccount",
        "ConfigMap",
        "Deployment",
        "Service",
        "PodDisruptionBudget",
        "NetworkPolicy",
    }
    assert {one["metadata"]["namespace"] for one in router.values()} == {"ml"}
    template = router["Deployment"]["spec"]["template"]
    pod, labels = template["spec"], template["metadata"]["labels"]
    assert labels[ROUTER] == "words" and router["Deployment"]["spec"]["replicas"] == 2
    assert router["Service"]["metadata"]["name"] == object_name("words")
    assert router["Service"]["spec"]["selector"].items() <= labels.items()
    (follow,), (envoy,) = pod["initContainers"], pod["containers"]
    assert envoy["name"] == ENVOY and follow["restartPolicy"] == "Always" and follow["args"] == ["router", "words"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 65532
    for container in (follow, envoy):
        assert container["securityContext"]["readOnlyRootFilesystem"] and container["resources"]["limits"]["memory"]
    # A restart of what follows must not drain Envoy, as its hook does before the pod's end.
    assert "livenessProbe" not in follow and "drain_listeners" in follow["lifecycle"]["preStop"]["exec"]["command"][-1]


def test_an_envoy_starts_with_what_is_written_for_it(chart: Any, tmp_path: Path) -> None:
    router = _of_router(_documents(chart, WHOLE))
    settings = Settings.model_validate(yaml.safe_load(router["ConfigMap"]["data"]["config.yaml"]))
    placed = settings.service("words")
    assert isinstance(placed, ClusterService) and placed.envoy is not None
    pod = router["Deployment"]["spec"]["template"]["spec"]
    (follow,), (envoy,) = pod["initContainers"], pod["containers"]
    prepared = EnvoyRouter(settings.routers, {"words": PORTS})._folder("words") / "bootstrap.json"
    assert str(prepared) in envoy["args"]
    assert envoy["ports"] == [{"name": "http", "containerPort": PORTS.port}]
    assert follow["ports"] == [{"name": "state", "containerPort": placed.envoy.port}]
    assert f"127.0.0.1:{PORTS.admin_port}/" in follow["lifecycle"]["preStop"]["exec"]["command"][-1]
    mounted = [{mount["mountPath"] for mount in container["volumeMounts"]} for container in (follow, envoy)]
    assert str(settings.home) in mounted[0] & mounted[1]


def test_the_token_of_the_routers_is_in_both_namespaces_under_one_name(chart: Any) -> None:
    own = {"namespace": "ml", "envoy": {"token_variable": "WORDS_TOKEN", "port": 7000}}
    documents = _documents(chart, {**WHOLE, "config": {"services": {"words": own}, "fleet": {"nodes": True}}})
    (reconciler,) = _of_kind(documents, "Deployment")["reconciler"]["spec"]["template"]["spec"]["containers"]
    router = _of_router(documents)
    (follow,) = router["Deployment"]["spec"]["template"]["spec"]["initContainers"]
    for container in (reconciler, follow):
        given = {entry["name"]: entry for entry in container["env"]}
        assert given["WORDS_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "router-token", "key": "token"}
    assert router["NetworkPolicy"]["spec"]["ingress"][1]["ports"] == [{"protocol": "TCP", "port": 7000}]


def test_two_releases_stand_side_by_side(chart: Any) -> None:
    def names(release: str) -> set[tuple[str, str, str]]:
        documents = _documents(chart, WHOLE, release)
        return {
            (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"])
            for one in documents
            if one["metadata"]["name"] != object_name("words")  # its clients' Service: one release routes a service
        }

    assert not names("prod") & names("staging")
    assert max(len(name) for _, _, name in names("x" * 53)) <= 63


REFUSED = [
    ({}, "/ledger/secretName"),
    ({"ledger": {"secretName": ""}}, "/ledger/secretName"),
    ({"ledger": {"secretName": "Not A Name"}}, "/ledger/secretName"),
    ({**LEAST, "mlflow": {"trackingUri": "mlflow:5000"}}, "/mlflow/trackingUri"),
    ({**LEAST, "relpicas": 3}, "additional properties 'relpicas' not allowed"),
    ({**LEAST, "reconciler": {"replicas": 0}}, "/reconciler/replicas"),
    ({**LEAST, "image": {"digest": "latest"}}, "/image/digest"),
    ({**LEAST, "collector": {"everySeconds": 0}}, "/collector/everySeconds"),
    ({**LEAST, "tasks": {"subjects": [{"name": "x"}]}}, "/tasks/subjects/0"),
    ({**LEAST, "fleet": {"enabled": True}}, "fleet.enabled: name the fleet's sources in config.fleet"),
    ({**LEAST, "alerts": {"enabled": True}}, "alerts.tokenSecretName: name a Secret"),
    ({**LEAST, "monitoring": {"podMonitor": {"enabled": True}}}, "monitoring.tokenSecretName: /metrics wants a token"),
    ({**LEAST, "config": {"home": "/x"}}, "config.home: the chart sets it; leave it out"),
    ({**LEAST, "config": {"tasks_image": "x"}}, "config.tasks_image: the chart sets it; leave it out"),
    ({**LEAST, "config": {"monitoring": {"port": 1}}}, "config.monitoring: the chart sets it; leave it out"),
    ({**LEAST, "config": {"services": {"a": {"port": 1}}}}, "config.services.a.namespace: in a cluster"),
    ({**LEAST, "config": {"services": {"a": OWN}}}, "routers.tokenSecretName: name a Secret with token, in namespaces"),
    ({**WHOLE, "config": {"services": {"a": {**OWN, "cluster": "b"}}}}, "config.services.a.cluster: Envoys run where"),
    ({**LEAST, "tracing": {"endpoint": "collector:4318"}}, "/tracing/endpoint"),
    ({**LEAST, "routers": {"replicas": 0}}, "/routers/replicas"),
    ({**LEAST, "routers": {"service": {"type": "ExternalName"}}}, "/routers/service/type"),
]


@pytest.mark.parametrize(("values", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_does_not_fit_is_refused_by_name(chart: Any, values: dict[str, Any], words: str) -> None:
    with pytest.raises(helm.HelmError, match=re.escape(words)):
        _documents(chart, values)

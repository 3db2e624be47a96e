from pathlib import Path

import pytest

from bulkhead import settings
from bulkhead.errors import InvalidInputError, NotFoundError


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.yaml"
    monkeypatch.setenv(settings.CONFIG_VARIABLE, str(path))
    return path


def test_the_file_names_what_it_sets_and_the_rest_is_default(config: Path) -> None:
    config.write_text("home: /srv/bulkhead\nservices: {digits: {port: 8080, admin_port: 9901}}\n")
    loaded = settings.load()
    assert loaded.services["digits"].port == 8080
    assert loaded.ledger == "sqlite:////srv/bulkhead/ledger.db"
    assert loaded.simulated_gpus == 0


def test_environment_over_file_and_arguments_over_both(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("mlflow_tracking_uri: http://file\nledger_url: sqlite:////file.db\nsimulated_gpus: 1\n")
    monkeypatch.setenv("BULKHEAD_MLFLOW_TRACKING_URI", "http://environment")
    monkeypatch.setenv("BULKHEAD_LEDGER_URL", "sqlite:////environment.db")
    loaded = settings.load({"ledger_url": "sqlite:////argument.db", "home": None, "mlflow_tracking_uri": ""})
    assert loaded.ledger == "sqlite:////argument.db"
    assert loaded.mlflow_tracking_uri == "http://environment"
    assert loaded.simulated_gpus == 1


def test_without_a_file_there_are_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(settings.CONFIG_VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.load().services == {}


def test_a_named_file_must_exist(config: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"BULKHEAD_CONFIG = .*no such file"):
        settings.load()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("services: {digits: {port: 99999, admin_port: 1}}", "services.digits.port = 99999"),
        (
            "services: {a: {port: 80, admin_port: 80}}",
            "a.port and a.admin_port are both 80: give each",
        ),
        ("services: {a: {port: 1, admin_port: 2}, b: {port: 3, admin_port: 1}}", "a.port and b.admin_port are both 1"),
        ("colour: red", "colour = 'red'"),
        ("simulated_gpus: -1", "simulated_gpus = -1"),
        ("- a list", "must hold a mapping"),
        ("a: [", "not readable as YAML"),
    ],
)
def test_a_wrong_field_is_named(config: Path, text: str, named: str) -> None:
    config.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        settings.load()
    assert named in str(caught.value)


def test_a_wrong_ledger_url_is_not_shown_since_it_may_hold_a_password(config: Path) -> None:
    config.write_text("ledger_url: [postgresql://u:hunter2@h/d]\n")
    with pytest.raises(InvalidInputError) as caught:
        settings.load()
    assert "hunter2" not in str(caught.value) and "ledger_url" in str(caught.value)


CLUSTER = """
services:
  chat:
    namespace: serving
    gateway: {name: public, namespace: infra}
    prometheus: {url: "http://prometheus:9090", queries: vllm}
  digits: {port: 8000, admin_port: 8001, drift: adopt}
"""


def test_a_service_that_names_a_gateway_is_in_a_cluster(config: Path) -> None:
    config.write_text(CLUSTER)
    loaded = settings.load()
    chat, digits = loaded.service("chat"), loaded.service("digits")
    assert isinstance(chat, settings.ClusterService)
    assert chat.gateway == settings.GatewayRef(name="public", namespace="infra")
    assert isinstance(digits, settings.ServicePorts) and digits.drift == "adopt"
    assert list(loaded.ports) == ["digits"]
    with pytest.raises(NotFoundError, match="unknown service 'chart'; services in the configuration: chat, digits"):
        loaded.service("chart")


def test_a_service_behind_envoys_of_our_own_needs_nobody_else_to_count(config: Path) -> None:
    config.write_text("services: {chat: {namespace: serving, envoy: {}}}")
    chat = settings.load().service("chat")
    assert isinstance(chat, settings.ClusterService) and chat.envoy == settings.RouterPods() and chat.gateway is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("{name: public, namespace: infra}", "{}"), "services.chat.gateway.name"),
        (("http://prometheus:9090", "prometheus"), "services.chat.prometheus.url = '<hidden>'"),
        (("queries: vllm", "queries: {requests: up}"), "services.chat.prometheus.queries"),
        (("adopt", "ignore"), "services.digits.drift = 'ignore'"),
        (("prometheus: {", "hostnames: [a]\n    metrics: {"), "services.chat.metrics"),
        (("gateway:", "http: {}\n    gateway:"), "give prometheus or http"),
        (("gateway:", "envoy: {}\n    gateway:"), "give gateway or envoy"),
        (("gateway: {name: public, namespace: infra}", "envoy: {port: 0}"), "services.chat.envoy.port"),
        (("gateway: {name: public, namespace: infra}", "envoy: {}\n    path: /v1"), "envoy takes every request"),
        (("gateway: {name: public, namespace: infra}", "envoy: {}\n    hostnames: [a]"), "envoy takes every request"),
    ],
)
def test_a_wrong_field_of_a_service_is_named(config: Path, change: tuple[str, str], message: str) -> None:
    config.write_text(CLUSTER.replace(*change))
    with pytest.raises(InvalidInputError) as caught:
        settings.load()
    assert message in str(caught.value)

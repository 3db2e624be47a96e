from pathlib import Path

import pytest
import yaml

from bulkhead.errors import InvalidInputError
from bulkhead.runtimes.kubernetes import access as module
from bulkhead.runtimes.kubernetes.access import Access, client


@pytest.fixture
def config(tmp_path: Path) -> str:
    clusters = [{"name": name, "cluster": {"server": f"http://{name}.invalid"}} for name in ("a", "b")]
    contexts = [{"name": name, "context": {"cluster": name, "user": "u"}} for name in ("a", "b")]
    document = {
        "clusters": clusters,
        "contexts": contexts,
        "current-context": "a",
        "users": [{"name": "u", "user": {}}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(document))
    return str(tmp_path / "config")


def test_a_file_that_the_launch_names_comes_first(config: str) -> None:
    assert client(Access("gpu", config_file=config), {"gpu": "/other"}).configuration.host == "http://a.invalid"


def test_a_connection_has_the_kubeconfig_of_the_settings(config: str) -> None:
    access = Access("gpu", cluster_context="b")
    assert client(access, {"gpu": config}).configuration.host == "http://b.invalid"


def test_another_has_the_default_one(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", config)
    assert client(Access("gpu"), {}).configuration.host == "http://a.invalid"


def test_in_a_pod_the_service_account_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(client_configuration) -> None:
        client_configuration.host = "https://10.0.0.1"

    monkeypatch.setattr(module.config, "load_incluster_config", load)
    assert client(Access("gpu"), {}).configuration.host == "https://10.0.0.1"


@pytest.mark.parametrize("access", [Access("gpu"), Access("gpu", cluster_context="c"), Access("gpu", in_cluster=True)])
def test_what_does_not_exist_is_named(access: Access, config: str) -> None:
    path = config if access.cluster_context else "/no/such/file"
    with pytest.raises(InvalidInputError, match=r"kubeconfigs\.gpu = .*name a kubeconfig"):
        client(access, {"gpu": path})

"""Whether a cluster is fit for the demo is said before anything is made."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from bulkhead.demo.cluster.manifests import SERVING, DemoImages
from bulkhead.demo.cluster.stack import ClusterStack, take_away
from bulkhead.errors import InvalidInputError, UnavailableError

DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}
IMAGES = DemoImages("localhost/bulkhead-", "1", "postgres:17")


class Listing:
    """A cluster that can be listed. Attributes: namespaces, classes (annotations by name), changes (asked for)."""

    def __init__(self) -> None:
        self.namespaces: list[str] = ["default"]
        self.classes: dict[str, dict[str, str]] = {"disk": DEFAULT}
        self.changes: list[str] = []
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                named = cluster.classes if "storageclasses" in self.path else {key: {} for key in cluster.namespaces}
                items: list[Any] = [{"metadata": {"name": name, "annotations": notes}} for name, notes in named.items()]
                if "storageclasses" in self.path:
                    items = [{**item, "provisioner": "x"} for item in items]
                elif self.path.endswith("/nodes"):
                    items = []
                body = json.dumps({"items": items}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                cluster.changes.append(self.path)
                self.send_error(403)

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listing]:
    made = Listing()
    url = f"http://127.0.0.1:{made.server.server_address[1]}"
    names = {"clusters": [{"name": "c", "cluster": {"server": url}}], "users": [{"name": "u", "user": {}}]}
    contexts = {"contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump({**names, **contexts}))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "as before")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "as before")
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def stack(cluster: Listing, tmp_path: Path) -> Iterator[ClusterStack]:
    made = ClusterStack(tmp_path / "demo", tmp_path / "dag.py", IMAGES, 40.0)
    yield made
    for forward in made._forwards.values():
        forward.close()


def test_a_cluster_that_is_fit_is_left_as_it_was(stack: ClusterStack, cluster: Listing) -> None:
    (stack.folder).mkdir()
    (stack.folder / "old.png").touch()
    stack.prepare()
    assert list(stack.folder.iterdir()) == [] and cluster.changes == []


def test_a_demo_that_is_there_already_is_named_with_its_end(stack: ClusterStack, cluster: Listing) -> None:
    cluster.namespaces.append(SERVING)
    with pytest.raises(InvalidInputError, match=rf"\['{SERVING}'\].*cluster-demo --stop"):
        stack.prepare()
    assert not stack.folder.exists()


def test_a_cluster_without_a_default_storage_class_is_refused_with_those_that_it_has(
    stack: ClusterStack, cluster: Listing
) -> None:
    cluster.classes = {"slow": {}}
    with pytest.raises(InvalidInputError, match=r"\['slow'\]: checkpoints want a volume: mark a StorageClass"):
        stack.prepare()


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    with pytest.raises(InvalidInputError, match="nowhere"):
        ClusterStack(tmp_path / "demo", tmp_path / "dag.py", IMAGES, 40.0)


def test_a_cluster_that_refuses_is_quoted_and_one_without_a_demo_needs_no_end(
    stack: ClusterStack, cluster: Listing
) -> None:
    with pytest.raises(UnavailableError, match="the cluster: Forbidden"):
        stack.bring_up(None)  # type: ignore[arg-type]
    reports: list[str] = []
    take_away(reports.append)
    assert reports == []

"""``make cluster-demo`` on a real cluster, as a person runs it; with a default StorageClass, and nothing left."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from kubernetes import client as k8s

from bulkhead.demo.cluster.manifests import NAMESPACE, SERVING
from tests.fixtures.chart import POSTGRES

pytestmark = pytest.mark.timeout(2400)


def _demo(tmp_path: Path, images: dict[str, str]) -> subprocess.CompletedProcess[str]:
    prefix, _, tag = images["control"].partition("control:")
    program = str(Path(sys.executable).with_name("bulkhead"))
    command = [program, "cluster-demo", "--folder", str(tmp_path / "demo")]
    command += ["--image-prefix", prefix, "--image-tag", tag, "--postgres-image", POSTGRES]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_three_releases_of_a_cluster_end_as_they_should_and_nothing_is_left(
    core: k8s.CoreV1Api, running_nodes: None, images: dict[str, str], tmp_path: Path
) -> None:
    nodes = {node.metadata.name: node.metadata.annotations for node in core.list_node().items}
    ended = _demo(tmp_path, images)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    document = json.loads(ended.stdout.splitlines()[-1])
    assert document["metric"] == "cluster-demo" and document["held"]
    assert [release["result"] for release in document["releases"]] == ["promoted", "rolled_back", "rolled_back"]
    assert document["client_connection_errors"] == 0
    _, bad, _ = document["releases"]
    assert bad["failed"] > 0 and bad["last_failed_s"] < 1
    assert (tmp_path / "demo" / "traffic.png").exists()
    left = {space.metadata.name for space in core.list_namespace().items} & {NAMESPACE, SERVING}
    assert not left
    assert {node.metadata.name for node in core.list_node().items if node.spec.unschedulable} == set()
    for node in core.list_node().items:
        ours = {key for key in node.metadata.annotations or {} if "/demo-" in key}
        assert not ours - set(nodes[node.metadata.name] or {})


def test_an_image_that_is_not_there_is_named_and_nothing_is_left(
    core: k8s.CoreV1Api, running_nodes: None, images: dict[str, str], tmp_path: Path
) -> None:
    ended = _demo(tmp_path, {"control": f"{images['control'].rpartition(':')[0]}:there-is-no-such-tag"})
    assert ended.returncode == 1
    assert "there-is-no-such-tag cannot be pulled" in " ".join(ended.stdout.split())
    assert not {space.metadata.name for space in core.list_namespace().items} & {NAMESPACE, SERVING}

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bulkhead.gpu_tasks import diagnose as module
from bulkhead.gpu_tasks.diagnose import _judged, against_peers, diagnose
from bulkhead.gpu_tasks.diagnostics.checks import Check, Size
from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.pods.outcome import PATH_VARIABLE


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_size", lambda level, kind: Size(0.02, 64, 0.001, 1))


@pytest.mark.usefixtures("small")
def test_a_healthy_machine_passes_with_measurements_of_each_device() -> None:
    found = diagnose("quick", simulated_gpus=2)
    assert found["passed"] and found["wrong"] == {}
    assert [len(device["checks"]) for device in found["devices"]] == [7, 6]  # the all-reduce is of both
    assert found["devices"][0]["uuid"] != found["devices"][1]["uuid"]


@pytest.mark.usefixtures("small")
def test_the_node_is_the_one_that_the_pod_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(module.NODE_VARIABLE, "gpu-7")
    assert diagnose("quick")["node"] == "gpu-7"


@pytest.mark.usefixtures("small")
def test_what_is_wrong_is_told_by_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_checks", lambda device, size: [Check("memory", 1.0, "GB/s", "it lies")])
    found = diagnose("quick")
    assert not found["passed"]
    assert list(found["wrong"].values()) == [["memory: it lies"]]


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (Check("matmul-bfloat16", 700.0, "TFLOPS"), ""),
        (Check("matmul-bfloat16", 300.0, "TFLOPS"), "300.0 TFLOPS, below 50% of the 989 that H100 promises"),
        (Check("matmul-float32", 20.0, "TFLOPS"), "20.0 TFLOPS, below 50% of the 67 that H100 promises"),
        (Check("memory", 1000.0, "GB/s"), "1000.0 GB/s, below 60% of the 3350 that H100 promises"),
        (Check("host-to-device", 50.0, "GB/s"), ""),
        (Check("device-to-host", 3.0, "GB/s"), "3.0 GB/s, below 50% of the 64 that H100 promises"),
    ],
)
def test_measurements_are_compared_with_the_data_sheet(check: Check, message: str) -> None:
    assert _judged(check, "NVIDIA H100 80GB HBM3") == message
    assert _judged(check, "simulated GPU") == ""


def test_a_device_is_compared_with_its_peers() -> None:
    def devices(*speeds: float) -> list[dict[str, object]]:
        return [
            {"uuid": f"GPU-{index}", "name": "H100", "checks": {"memory": speed}} for index, speed in enumerate(speeds)
        ]

    assert against_peers(devices(3000, 3010, 2990, 2500)) == {"GPU-3": ["memory: 2500, the median of 4 peers is 2995"]}
    assert against_peers(devices(3000, 3010, 2800)) == {}
    assert against_peers(devices(3000, 100)) == {}, "of two nobody knows which one is slow"


@pytest.mark.parametrize(("level", "simulated_gpus"), [("deep", 1), ("quick", 0)])
def test_bad_input_is_named(level: str, simulated_gpus: int) -> None:
    with pytest.raises(ConfigError, match=r"level = 'deep'|simulated_gpus = 0"):
        diagnose(level, simulated_gpus=simulated_gpus)


def test_a_wrong_level_leaves_an_outcome(tmp_path: Path) -> None:
    path = tmp_path / "outcome"
    command = [sys.executable, "-m", "bulkhead.gpu_tasks.diagnose", "--level", "deep"]
    ended = subprocess.run(command, env={"PATH": "", PATH_VARIABLE: str(path)}, capture_output=True, check=False)
    assert ended.returncode == 1
    assert json.loads(path.read_text())["failure"]["failure_class"] == "config"

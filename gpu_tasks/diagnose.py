"""``python -m bulkhead.gpu_tasks.diagnose``: test the devices of this pod, log it to MLflow, leave an outcome."""

from __future__ import annotations

import argparse
import os
import socket
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bulkhead.gpu_tasks.entry import run
from bulkhead.gpu_tasks.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from bulkhead.gpu_tasks.diagnostics.checks import Check, Size

NODE_VARIABLE = "BULKHEAD_NODE"
"""Environment variable that names the node that this runs on."""

LEVELS = ("quick", "medium", "long")
PEER_DROP = 0.1
"""Share of the median of its peers that a device may be below."""

_LEAST_PEERS = 3
_KINDS = {"matmul": "matmul", "memory": "memory", "host-to-device": "link", "device-to-host": "link"}


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments and test.

    Args:
        argv: arguments; the process' own by default.
    """
    parser = argparse.ArgumentParser(prog="bulkhead.gpu_tasks.diagnose")
    parser.add_argument("--level", default="quick", help="quick (under 15 s a device), medium (2 minutes), long (15)")
    parser.add_argument("--experiment", default="", help="MLflow experiment; none by default")
    parser.add_argument("--simulated-gpus", type=int, default=1, help="simulated GPUs to test where there is no GPU")
    arguments = parser.parse_args(argv)
    run(lambda: diagnose(arguments.level, arguments.experiment, arguments.simulated_gpus))


def diagnose(level: str, experiment: str = "", simulated_gpus: int = 1) -> Mapping[str, Any]:
    """Test every device that this pod has.

    Args:
        level: ``quick``, ``medium`` or ``long``.
        experiment: MLflow experiment; empty: nothing is logged.
        simulated_gpus: simulated GPUs where there is no GPU.

    Returns:
        ``passed``, ``level``, ``node``, ``devices`` (UUID, name, measurements by check), ``wrong`` (in words, by
        device) and ``run_id`` (of MLflow, or empty).

    Raises:
        ConfigError: an argument is out of range.
    """
    if level not in LEVELS:
        raise ConfigError(f"level = {level!r}: give one of {', '.join(LEVELS)}")
    if simulated_gpus < 1:
        raise ConfigError(f"simulated_gpus = {simulated_gpus}: give at least 1")
    import torch

    from bulkhead.gpu_tasks.diagnostics.collective import all_reduce

    torch.backends.cuda.matmul.allow_tf32 = False
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    count = torch.cuda.device_count() if kind == "cuda" else simulated_gpus
    size = _size(level, kind)
    devices: list[dict[str, Any]] = []
    wrong: dict[str, list[str]] = {}
    for index in range(count):
        device = torch.device(kind, index) if kind == "cuda" else torch.device("cpu")
        uuid, name = _identity(device, index)
        checks = _checks(device, size)
        devices.append({"uuid": uuid, "name": name, "checks": {check.name: _short(check.value) for check in checks}})
        problems = [f"{check.name}: {_judged(check, name)}" for check in checks if _judged(check, name)]
        if problems:
            wrong[uuid] = problems
    if kind == "cuda":  # simulated GPUs share the same cores: the one is slow because of the other
        for uuid, problems in against_peers(devices).items():
            wrong.setdefault(uuid, []).extend(problems)
    if count > 1:
        together = all_reduce(count, kind, 64 if kind == "cuda" else 4, min(size.seconds, 5.0))
        devices[0]["checks"]["all-reduce"] = _short(together.value)
        if together.wrong:
            wrong.setdefault("all", []).append(f"{together.name}: {together.wrong}")
    result = {"passed": not wrong, "level": level, "node": _node(), "devices": devices, "wrong": wrong}
    return {**result, "run_id": _log(experiment, result) if experiment else ""}


def against_peers(devices: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Devices that are slower than the others of the same product beside them.

    Args:
        devices: UUID, name, measurements by check.

    Returns:
        What is wrong, by UUID: a measurement more than ``PEER_DROP`` below the median of at least three devices.
    """
    problems_of: dict[str, list[str]] = {}
    for name in {device["name"] for device in devices}:
        peers = [device for device in devices if device["name"] == name]
        for check in peers[0]["checks"] if len(peers) >= _LEAST_PEERS else ():
            middle = statistics.median(peer["checks"][check] for peer in peers)
            for peer in peers:
                if peer["checks"][check] < (1 - PEER_DROP) * middle:
                    problems = f"{check}: {peer['checks'][check]:g}, the median of {len(peers)} peers is {middle:g}"
                    problems_of.setdefault(peer["uuid"], []).append(problems)
    return problems_of


def _size(level: str, kind: str) -> Size:
    from bulkhead.gpu_tasks.diagnostics.checks import Size

    seconds = {"quick": 1.0, "medium": 15.0, "long": 110.0}[level]
    share = {"quick": 0.2, "medium": 0.9, "long": 0.95}[level]
    if kind == "cuda":
        return Size(seconds, 8192, share, 256)
    return Size(seconds, 256, share / 8, 16)


def _checks(device: torch.device, size: Size) -> list[Check]:
    import torch

    from bulkhead.gpu_tasks.diagnostics.checks import link, matmul, memory

    types = (torch.bfloat16, torch.float16, torch.float32)
    return [*(matmul(device, kind, size) for kind in types), memory(device, size), *link(device, size)]


def _judged(check: Check, product: str) -> str:
    """What is wrong with a measurement, by itself or against the product's data sheet; empty where nothing is."""
    from bulkhead.gpu_tasks.diagnostics.datasheets import SHARES, datasheet

    sheet = datasheet(product)
    if check.wrong or sheet is None:
        return check.wrong
    kind = _KINDS[check.name.split("-bfloat16")[0].split("-float")[0]]
    promised = {"memory": sheet.memory, "link": sheet.link}.get(kind)
    if promised is None:
        promised = {"bfloat16": sheet.bf16, "float16": sheet.fp16, "float32": sheet.fp32}[check.name.split("-")[1]]
    least = SHARES[kind] * promised
    if check.value >= least:
        return ""
    return f"{check.value:.1f} {check.unit}, below {SHARES[kind]:.0%} of the {promised:g} that {sheet.name} promises"


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _node() -> str:
    """In a cluster the pod is told; its own host name is the pod's."""
    return os.environ.get(NODE_VARIABLE) or socket.gethostname()


def _identity(device: torch.device, index: int) -> tuple[str, str]:
    """UUID and product name."""
    import torch

    if device.type != "cuda":
        return f"simulated-gpu-{_node()}-{index}", "simulated GPU"
    properties = torch.cuda.get_device_properties(device)
    return f"GPU-{properties.uuid}", str(properties.name)


def _log(experiment: str, report: Mapping[str, Any]) -> str:
    import mlflow

    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=f"{report['node']} {report['level']}") as active:
        mlflow.set_tags({"node": report["node"], "level": report["level"], "passed": str(report["passed"])})
        for device in report["devices"]:
            mlflow.log_metrics({f"{device['uuid']}/{name}": value for name, value in device["checks"].items()})
        mlflow.log_dict(dict(report), "diagnostic.json")
        return str(active.info.run_id)


if __name__ == "__main__":
    main()

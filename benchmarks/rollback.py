"""``python -m benchmarks.rollback``: how long clients get bad answers, with everything alive and with parts killed.

Clients ask at 200 requests/s through Envoy. A release by a DAG stands at 10 %; at a random moment its server turns
bad, and in the same moment, by scenario, the deploy task's workers, the triggerer, the scheduler, all of Airflow, or
the reconciler that writes Envoy's files is ended by SIGKILL. Two reconcilers run outside Airflow, as in production.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bulkhead.demo.progress import Progress
from bulkhead.demo.stack import AIRFLOW, LocalStack
from bulkhead.demo.story import SERVICE
from bulkhead.demo.traffic import DemoTraffic
from bulkhead.errors import UnavailableError
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.rollout.plan import RETURN
from bulkhead.rollout.revision import RevisionSpec

RATE = 200.0
DAG_ID = "rollback_bench"
BARS = {"verdict_to_last_bad_p95_s": 0.5, "killed_bad_to_last_bad_p95_s": 10.0}
_SERVER = Path(__file__).with_name("turning_server.py")


@dataclass(frozen=True)
class Run:
    """One release that turned bad.

    Attributes:
        verdict_s: from its first bad answer to the verdict.
        last_s: from the verdict to its last bad answer; negative where none came after it.
        total_s: from its first bad answer to its last.
        bad: how many there were.
        errors: connection errors that clients met meanwhile.
    """

    verdict_s: float
    last_s: float
    total_s: float
    bad: int
    errors: int


class Bench:
    """A stack under load."""

    def __init__(self, folder: Path) -> None:
        self.stack = LocalStack(folder, Path(__file__).with_name("dags"))
        self.traffic = DemoTraffic(self.stack.endpoint, RATE)
        self.progress = Progress(Console(stderr=True), self.stack.processes.check)
        self._number = 0

    def start(self) -> None:
        """Bring everything up, with a first revision in service."""
        stack = self.stack
        stack.prepare()
        stack.bring_up(self.progress)
        stack.start_reconciler("standby")
        _register(stack.settings.mlflow_tracking_uri)
        serve = {"command": ["python", self._server, "{port}"], "env": {"NUMBER": "0"}}
        spec = RevisionSpec(SERVICE, SERVICE, "models:/digits/1", "image", serve, model_version="1")
        asked = stack.control.commands.release(spec, RETURN, Request("first", "", "bench"), owner="bench")
        wait, ledger = self.progress.wait, stack.control.ledger
        wait("the first revision", lambda: ledger.rollouts.get(asked.id).phase is Phase.PROMOTED or None)
        wait("Airflow", stack.airflow.healthy)
        wait("the DAG", lambda: stack.airflow.has_dag(DAG_ID))
        self.traffic.start()

    def stop(self) -> None:
        """End everything."""
        self.traffic.stop()
        self.stack.stop(lambda _: None)

    def run(self, kill: Deed, revive: Deed) -> Run:
        """One release that turns bad while something is killed.

        Args:
            kill: ends something, at that moment.
            revive: starts it again, once the release is back.
        """
        stack, ledger, wait = self.stack, self.stack.control.ledger, self.progress.wait
        self._number += 1
        run_id = f"run{self._number}"
        wait("a DAG run", lambda: self._trigger(run_id))
        rollout = wait("the release at 10 %", self._standing)
        wait("the deploy task", lambda: self._deferred(run_id))
        time.sleep(random.uniform(0, 2))  # the random moment
        begin = time.time()
        workload = stack.control.backends(SERVICE).workloads.find(rollout.revision_id)
        assert workload is not None
        urllib.request.urlopen(urllib.request.Request(workload.url("/turn"), b"", method="POST"), timeout=5).close()
        kill(self)
        ended = wait("the rollback", lambda: _ended(ledger.rollouts.get(rollout.id)))
        self.traffic.check()
        answers = self.traffic.between(begin - 1, time.time())
        bad = sorted(
            answer.at + answer.latency_s
            for answer in answers
            if answer.revision == rollout.revision_id and not answer.ok
        )
        errors = sum(answer.error is not None for answer in answers)
        assert ended.phase is Phase.ROLLED_BACK and ended.decided_at is not None, ended.reason
        revive(self)
        verdict = ended.decided_at.timestamp()
        return Run(verdict - bad[0], bad[-1] - verdict, bad[-1] - bad[0], len(bad), errors)

    def _deferred(self, run_id: str) -> bool | None:
        return self.stack.airflow.task_states(DAG_ID, run_id)["deploy"] == "deferred" or None

    def _trigger(self, run_id: str) -> bool | None:
        """Ask for a run; an Airflow on SQLite that has just come back may answer that its database is busy."""
        try:
            self.stack.airflow.trigger(DAG_ID, run_id, {"number": str(self._number), "server": self._server})
        except UnavailableError as error:
            return " 409 " in str(error) or None  # it was asked for before, and heard
        return True

    def _standing(self) -> Rollout | None:
        going = self.stack.control.ledger.rollouts.active_of(SERVICE)
        return going if going is not None and going.phase is Phase.ANALYSING else None

    @property
    def _server(self) -> str:
        # As a pod names it: an absolute path could lie below one of the pod's own mounts.
        return os.path.relpath(_SERVER, self.stack.control.runtime.layout.pods / "default.pod")


Deed = Callable[[Bench], None]
"""What is done to a stack in the middle of a release."""


def _nothing(_: Bench) -> None:
    """Everything stays alive."""


def _kill_worker(bench: Bench) -> None:
    for pid in bench.stack.processes.members("airflow-scheduler")[1:]:
        os.kill(pid, signal.SIGKILL)


def _kill(*components: str) -> Deed:
    def kill(bench: Bench) -> None:
        for name in components:
            bench.stack.processes.kill(f"airflow-{name}")

    return kill


def _kill_writer(bench: Bench) -> None:
    held = bench.stack.control.ledger.services.get(SERVICE).held_by or "//"
    pid = int(held.split("/")[1])
    names = {bench.stack.processes.members(name)[0]: name for name in ("reconciler", "standby")}
    bench.stack.processes.kill(names[pid])


def _revive_with_scheduler(bench: Bench) -> None:
    """LocalExecutor's queue does not outlive the sudden death of a worker that waits at it: it starts again."""
    bench.stack.processes.kill("airflow-scheduler")
    _revive(bench)


def _revive(bench: Bench) -> None:
    stack = bench.stack
    for name in ("reconciler", "standby"):
        if not stack.processes.members(name):
            stack.start_reconciler(name)
    dead = [name for name in AIRFLOW if not stack.processes.members(f"airflow-{name}")]
    stack.start_airflow(dead)
    bench.progress.wait("Airflow to come back", stack.airflow.healthy)


SCENARIOS: dict[str, tuple[Deed, Deed]] = {
    "alive": (_nothing, _nothing),
    "worker": (_kill_worker, _revive_with_scheduler),
    "triggerer": (_kill("triggerer"), _revive),
    "scheduler": (_kill("scheduler"), _revive),
    "airflow": (_kill(*AIRFLOW), _revive),
    "writer": (_kill_writer, _revive),
}
"""What is killed, and how it comes back, by name."""


def _ended(rollout: Rollout) -> Rollout | None:
    return rollout if rollout.phase.ended else None


def _register(uri: str) -> None:
    import mlflow

    class Constant(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return [7]

    mlflow.set_tracking_uri(uri)
    with mlflow.start_run():
        mlflow.pyfunc.log_model(
            name="model", python_model=Constant(), pip_requirements=[], registered_model_name=SERVICE
        )


def summary(runs: list[Run]) -> dict[str, Any]:
    """Figures of a scenario.

    Args:
        runs: of it, at least one.
    """

    def spread(values: list[float]) -> dict[str, float]:
        return {f"p{q}": round(float(np.percentile(values, q)), 3) for q in (50, 95)}

    return {
        "runs": len(runs),
        "bad_to_verdict_s": spread([run.verdict_s for run in runs]),
        "verdict_to_last_bad_s": spread([run.last_s for run in runs]),
        "bad_to_last_bad_s": spread([run.total_s for run in runs]),
        "bad_requests": spread([float(run.bad) for run in runs]),
        "connection_errors": sum(run.errors for run in runs),
    }


def held(scenarios: dict[str, Any]) -> dict[str, bool]:
    """Which bars hold."""
    alive = scenarios["alive"]
    killed = [figures for name, figures in scenarios.items() if name != "alive"]
    return {
        "verdict_to_last_bad": alive["verdict_to_last_bad_s"]["p95"] < BARS["verdict_to_last_bad_p95_s"],
        "killed": all(kill["bad_to_last_bad_s"]["p95"] < BARS["killed_bad_to_last_bad_p95_s"] for kill in killed),
        "no_connection_error": all(scenario["connection_errors"] == 0 for scenario in scenarios.values()),
    }


def main() -> None:
    """Measure, and print one JSON line."""
    parser = argparse.ArgumentParser(prog="benchmarks.rollback")
    parser.add_argument("--runs", type=int, default=30, help="with everything alive")
    parser.add_argument("--killed-runs", type=int, default=30, help="of each other scenario")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    runs_of: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-rollback-") as folder:
        bench = Bench(Path(folder) / "site")
        try:
            bench.start()
            for name, (kill, revive) in SCENARIOS.items():
                count = arguments.runs if name == "alive" else arguments.killed_runs
                for index in range(count):
                    runs_of.setdefault(name, []).append(bench.run(kill, revive))
                    print(f"{name} {index + 1}/{count}: {runs_of[name][-1]}", file=sys.stderr, flush=True)
        finally:
            bench.stop()
    scenarios = {name: summary(runs) for name, runs in runs_of.items()}
    print(json.dumps({"metric": "rollback", "rate": RATE, "scenarios": scenarios, "held": held(scenarios)}))


if __name__ == "__main__":
    main()

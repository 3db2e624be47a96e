"""``python -m benchmarks.goodput``: how much of the paid time is training, under a fixed schedule of faults.

Two ranks on CPUs train the byte-level GPT by a DAG, in a real Airflow, on the local runtime: once without a fault, and
once with all of them. The same job, under the same faults, by those whom it is measured against: plain retries from
zero, and ``torchrun --max-restarts`` with the same checkpoints. These two have no scheduler to wait for: they are begun
anew at once. Neither would notice a hang before gloo's half hour; for them it is ended after ``PATIENCE_S``.

Goodput is the time in steps, each counted once, over the time from the wish to the end. Both are of the same run: a
machine that is slower for a while makes both longer.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from benchmarks.faults import Faults
from benchmarks.useful import Useful
from bulkhead.demo.progress import Progress
from bulkhead.demo.stack import LocalStack
from bulkhead.gpu_tasks.heartbeat import read
from bulkhead.pods.identity import TaskIdentity
from bulkhead.pods.outcome import PATH_VARIABLE, Outcome
from bulkhead.pods.training import CHECKPOINTS_VARIABLE, PROGRESS_VARIABLE

DAG_ID = "goodput_bench"
HANG_S = 5.0
"""So long a phase of a step may last, for the operator's run."""

PATIENCE_S = 30.0
"""After so long a hang is ended by this benchmark, for those that do not notice."""

BARS = {"goodput": 0.90, "against_plain": 1.3, "loss": 1e-3, "detect_s": 2.0, "stall": 0.02}
_POLL_S = 0.05

# The second has torchrun's ranks not share its store: with torch 2.13 and gloo, ranks that are restarted after a
# SIGKILL often never find each other in the shared one.
_TORCHRUN = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def arguments(steps: int, checkpoint_interval: int, hang_s: float) -> list[str]:
    """What ``bulkhead.gpu_tasks.train_gpt`` is told.

    Args:
        checkpoint_interval: steps between two checkpoints.
        hang_s: so long a phase of a step may last, in seconds.
    """
    fixed = {"size": "1m", "batch": 8, "most-bytes": 4_000_000, "experiment": "goodput"}
    options = {**fixed, "steps": steps, "checkpoint-interval": checkpoint_interval, "hang-s": hang_s}
    return [f"--{name}={value}" for name, value in options.items()]


@dataclass(frozen=True)
class Run:
    """One training, to its end.

    Attributes:
        wall_s: from the wish to the end.
        useful_s: of that, in steps, each counted once.
        step: last one.
        loss: of it.
        trained_s: time in steps, of the last process.
        stalled_s: of that, waiting for checkpoints.
        steps: of the last process.
        tries: how often a job was begun, by Airflow or this benchmark.
        detect_s: from a rank's SIGKILL until something was done about it; None without one.
        hang_s: from a hang until something was done about it; None without one.
    """

    wall_s: float
    useful_s: float
    step: int
    loss: float
    trained_s: float
    stalled_s: float
    steps: int
    tries: int
    detect_s: float | None
    hang_s: float | None

    @property
    def goodput(self) -> float:
        """Useful time over paid time."""
        return self.useful_s / self.wall_s


class Job(Protocol):
    """A training that runs, somehow."""

    progress: Path
    checkpoints: Path
    tries: int

    def result(self) -> dict[str, Any] | None:
        """What it left, once it is over; None before. Restarts it where its way is to do so."""


class DagRun:
    """The training by its operator: a DAG run.

    Args:
        stack: with Airflow.
        checkpoint_interval: steps between two checkpoints.
    """

    def __init__(self, stack: LocalStack, name: str, steps: int, checkpoint_interval: int) -> None:
        self._stack, self._name, self.tries = stack, name, 1
        self._task = TaskIdentity(DAG_ID, name, "train")
        self.checkpoints = stack.control.runtime.layout.claims / "checkpoints" / self._task.folder
        self.progress = self.checkpoints / "progress"
        stack.airflow.trigger(DAG_ID, name, {"arguments": arguments(steps, checkpoint_interval, HANG_S)})

    def result(self) -> dict[str, Any] | None:
        """See ``Job``."""
        state = self._stack.airflow.run(DAG_ID, self._name)["state"]
        if state not in ("success", "failed"):
            return None
        if state == "failed":
            raise RuntimeError(self._stack.airflow.log(DAG_ID, self._name, "train")[-5000:])
        runtime = self._stack.control.runtime
        own = [runtime.status(pod.name) for pod in runtime.list(self._task.instance_labels())]
        self.tries = len(own)
        return dict(next(status.outcome.result for status in own if status.outcome.result))


class Retried:
    """The training by a command, restarted for as long as it fails.

    Args:
        checkpoint_interval: steps between two checkpoints.
        restarts: of ``torchrun``.
        zero: whether each try begins from zero.
    """

    def __init__(self, folder: Path, steps: int, checkpoint_interval: int, restarts: int, *, zero: bool) -> None:
        folder.mkdir(parents=True)
        self._folder, self._zero, self.tries = folder, zero, 0
        self.progress, self.checkpoints = folder / "progress", folder / "checkpoints"
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", f"--max-restarts={restarts}"]
        self._command = [
            sys.executable,
            *launcher,
            "-m",
            "bulkhead.gpu_tasks.train_gpt",
            *arguments(steps, checkpoint_interval, 1e6),
        ]
        self._begin()

    def result(self) -> dict[str, Any] | None:
        """See ``Job``."""
        code = self._process.poll()
        if code is None:
            return None
        if code != 0:
            self._begin()
            return None
        outcome = Outcome.decode((self._folder / "message").read_text())
        assert outcome is not None
        return dict(outcome.result)

    def _begin(self) -> None:
        self.tries += 1
        for checkpoint in self.checkpoints.glob("step-*") if self._zero else ():
            shutil.rmtree(checkpoint)
        (self._folder / "message").unlink(missing_ok=True)
        options = {PATH_VARIABLE: "message", CHECKPOINTS_VARIABLE: "checkpoints", PROGRESS_VARIABLE: "progress"}
        environment = {**os.environ, **{name: str(self._folder / file) for name, file in options.items()}}
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, env={**environment, **_TORCHRUN}, stdout=log, stderr=log)


class Bench:
    """A stack, and trainings in it.

    Args:
        ideal_s: so long a training without faults takes, about, in seconds.
        checkpoint_s: between two checkpoints, about, in seconds.
    """

    def __init__(self, folder: Path, ideal_s: float, checkpoint_s: float) -> None:
        self.folder = folder
        self.stack = LocalStack(folder / "site", Path(__file__).with_name("dags"))
        self.progress = Progress(Console(stderr=True), self.stack.processes.check)
        self._ideal_s, self._checkpoint_s = ideal_s, checkpoint_s
        self.steps = self.checkpoint_interval = 0

    def start(self) -> None:
        """Bring everything up, and find out how many steps fit the time."""
        self.stack.prepare()
        self.stack.bring_up(self.progress)
        self.progress.wait("Airflow", self.stack.airflow.healthy)
        self.progress.wait("the DAG", lambda: self.stack.airflow.has_dag(DAG_ID))
        os.environ["MLFLOW_TRACKING_URI"] = self.stack.settings.mlflow_tracking_uri
        tried = self.finish("a first one", Retried(self.folder / "first", 60, 60, 0, zero=True), None)
        step_s = tried.trained_s / tried.steps
        self.checkpoint_interval = max(1, round(self._checkpoint_s / step_s))
        self.steps = round(self._ideal_s / step_s / self.checkpoint_interval) * self.checkpoint_interval

    def dag_run(self, name: str, *, faults: bool) -> Run:
        """One training by its operator.

        Args:
            name: of the DAG run.
            faults: whether there are any.
        """
        return self.finish(
            name, DagRun(self.stack, name, self.steps, self.checkpoint_interval), self._faults() if faults else None
        )

    def retried(self, name: str, restarts: int, *, zero: bool) -> Run:
        """One training by a command, with faults.

        Args:
            restarts: of ``torchrun``.
            zero: whether each try begins from zero; there are no checkpoints then but the last.
        """
        checkpoint_interval = self.steps if zero else self.checkpoint_interval
        job = Retried(self.folder / name, self.steps, checkpoint_interval, restarts, zero=zero)
        return self.finish(name, job, self._faults())

    def finish(self, name: str, job: Job, faults: Faults | None) -> Run:
        """See a training through, and do to it what is due.

        Args:
            job: that was just begun.
            faults: what is done to it; None for nothing.
        """
        begin, useful = time.monotonic(), Useful()
        while (result := job.result()) is None:
            self.stack.processes.check()
            useful.poll(time.monotonic(), read(job.progress).get(0))
            if faults is not None:
                faults.poll(job.progress, job.checkpoints, self.progress.say)
            self.progress.beat(f"{name}, {time.monotonic() - begin:.0f} s so far")
            time.sleep(_POLL_S)  # between two polls at other processes
        wall_s = time.monotonic() - begin
        if faults is not None and faults.left:
            raise RuntimeError(f"{name} was over before every fault: {faults.left} left")
        options = {key: result[key] for key in ("step", "loss", "trained_s", "stalled_s", "steps")}
        detect_s, hang_s = (faults.detected_s, faults.hang_s) if faults is not None else (None, None)
        run = Run(wall_s, useful.seconds, **options, tries=job.tries, detect_s=detect_s, hang_s=hang_s)
        self.progress.say(f"{name}: {run}")
        return run

    def _faults(self) -> Faults:
        return Faults(self._ideal_s, PATIENCE_S, self.stack.processes.members("mlflow"))


def held(runs: dict[str, Run]) -> dict[str, bool]:
    """Which bars hold."""
    ideal, ours = runs["fault_free"], runs["bulkhead"]
    assert ours.detect_s is not None
    return {
        "goodput": ours.goodput / ideal.goodput >= BARS["goodput"],
        "against_plain": ours.goodput / runs["plain"].goodput >= BARS["against_plain"],
        "loss": ideal.step == ours.step and abs(ideal.loss - ours.loss) <= BARS["loss"],
        "detect_s": ours.detect_s < BARS["detect_s"],
        "stall": ideal.stalled_s / ideal.trained_s < BARS["stall"],
    }


def main() -> None:
    """Measure, and print one JSON line."""
    parser = argparse.ArgumentParser(prog="benchmarks.goodput")
    parser.add_argument("--ideal-s", type=float, default=240, help="length of a training without faults, about")
    parser.add_argument("--checkpoint-s", type=float, default=2.5, help="between two checkpoints, about")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-goodput-") as folder:
        bench = Bench(Path(folder), options.ideal_s, options.checkpoint_s)
        try:
            bench.start()
            runs = {
                "fault_free": bench.dag_run("fault-free", faults=False),
                "bulkhead": bench.dag_run("faults", faults=True),
                "torchrun": bench.retried("torchrun", 10, zero=False),
                "plain": bench.retried("plain", 0, zero=True),
            }
        finally:
            bench.stack.stop(lambda _: None)
    ideal = runs["fault_free"]
    print(
        json.dumps(
            {
                "metric": "goodput",
                "steps": bench.steps,
                "every": bench.checkpoint_interval,
                "goodput": {name: round(run.goodput / ideal.goodput, 3) for name, run in runs.items()},
                "useful": {name: round(run.goodput, 3) for name, run in runs.items()},
                "runs": {name: asdict(run) for name, run in runs.items()},
                "held": held(runs),
            }
        )
    )


if __name__ == "__main__":
    main()

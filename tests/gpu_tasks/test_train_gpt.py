"""The byte GPT trained by real ranks: killed, told to end, gone on with by another number of them."""

import argparse
import json
import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from safetensors.torch import load_file

from bulkhead.gpu_tasks import text
from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.gpt import SIZES, Gpt
from bulkhead.gpu_tasks.heartbeat import read
from bulkhead.gpu_tasks.stores.directory import Directory
from bulkhead.gpu_tasks.train_gpt import CHECKED, train
from bulkhead.pods.outcome import PATH_VARIABLE, FailureClass, Outcome
from tests.ports import free_port
from tests.waiting import until

_BYTES = 1_000_000

pytestmark = pytest.mark.faults


class Job:
    """A training as a process, or several under ``torchrun``.

    Args:
        folder: of everything it leaves.
        ranks: how many.
        steps: of the training.
        more: further arguments.
        checked: whether an earlier try has checked the text, which takes many seconds.
    """

    def __init__(self, folder: Path, ranks: int, steps: int, *more: str, checked: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if checked:
            Directory(folder / "checkpoints").write_note(CHECKED, _data_hash())
        self.folder, self.message = folder, folder / "termination-log"
        self.message.unlink(missing_ok=True)
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks)] if ranks > 1 else []
        command = [sys.executable, *launcher, "-m", "bulkhead.gpu_tasks.train_gpt"]
        command += ["--steps", str(steps), "--batch", "4"]
        command += [
            "--most-bytes",
            str(_BYTES),
            "--checkpoint-interval",
            "4",
            "--checkpoints",
            str(folder / "checkpoints"),
        ]
        command += ["--progress", str(folder / "progress"), "--hang-s", "120", *more]
        environment = {**os.environ, PATH_VARIABLE: str(self.message), "OMP_NUM_THREADS": "1"}
        self.log = folder / "log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def end(self) -> Outcome:
        """Wait for it; what it left."""
        self.process.wait(300)
        assert self.message.exists(), self.log.read_text()[-3000:]
        outcome = Outcome.decode(self.message.read_text())
        assert outcome is not None
        return outcome

    def result(self) -> dict[str, Any]:
        """Wait for it; its result."""
        outcome = self.end()
        assert outcome.failure is None, self.log.read_text()[-3000:]
        return dict(outcome.result)

    def at(self, step: int) -> int:
        """Wait until a rank works on a step; the process of the last rank."""

        def there() -> int | None:
            beats = read(self.folder / "progress").values()
            alive = [beat for beat in beats if Path(f"/proc/{beat.pid}").exists()]
            return max(alive, key=lambda beat: beat.rank).pid if any(beat.step >= step for beat in alive) else None

        return until(there, f"step {step}")


@cache
def _data_hash() -> str:
    return text.load(most_bytes=_BYTES).data_hash


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two ranks that nothing interrupts."""
    return Job(tmp_path_factory.mktemp("whole"), 2, 12, checked=False).result()


def test_it_learns(whole: dict[str, Any]) -> None:
    assert (whole["step"], whole["steps"], whole["resumed_from"]) == (12, 12, None)
    assert whole["loss"] < 5.3  # ln 256 is 5.55
    assert whole["checkpoints"] == [3, 0]


def test_a_rank_that_is_killed_costs_no_more_than_since_the_checkpoint(tmp_path: Path, whole: dict[str, Any]) -> None:
    job, checkpoints = Job(tmp_path, 2, 12), tmp_path / "checkpoints"
    # Checkpoints are written beside the training: on a slow disk step 6 is reached before that of step 4 is whole.
    until((checkpoints / "step-0000000004").exists, "the checkpoint of step 4")
    os.kill(job.at(5), signal.SIGKILL)
    assert job.process.wait(240) != 0
    newest = max(int(path.name[-10:]) for path in checkpoints.glob("step-??????????"))
    again = Job(tmp_path, 2, 12).result()
    assert again["resumed_from"] == newest and newest in (4, 8)
    assert again["loss"] == pytest.approx(whole["loss"], abs=1e-6)


def test_weights_that_leave_the_job_are_whole_however_they_were_shared(tmp_path: Path) -> None:
    shared = ("--parallel", "fsdp2", "--weights", str(tmp_path / "weights.safetensors"))
    Job(tmp_path / "job", 2, 2, *shared).result()
    found = load_file(tmp_path / "weights.safetensors")
    model = Gpt(SIZES["1m"])
    assert {name: one.shape for name, one in found.items()} == {n: one.shape for n, one in model.state_dict().items()}
    model.load_state_dict(found)
    assert [path.name for path in tmp_path.glob("*.safetensors*")] == ["weights.safetensors"]


def test_told_to_end_it_is_preempted_with_a_checkpoint_behind_a_url(tmp_path: Path, whole: dict[str, Any]) -> None:
    kept = ("--checkpoints", f"file://{tmp_path}/kept")
    job = Job(tmp_path, 2, 12, *kept)
    job.at(5)
    job.process.send_signal(signal.SIGTERM)
    failure = job.end().failure
    assert failure is not None and failure.failure_class is FailureClass.PREEMPTED
    assert failure.checkpoint is not None and Path(failure.checkpoint.removeprefix("file://")).is_dir()
    again = Job(tmp_path, 2, 12, *kept).result()
    assert again["resumed_from"] == int(failure.checkpoint[-10:]) >= 5
    assert again["loss"] == pytest.approx(whole["loss"], abs=1e-6)


def test_shards_of_two_ranks_are_gone_on_with_by_one(tmp_path: Path, whole: dict[str, Any]) -> None:
    first = Job(tmp_path, 2, 8, "--parallel", "fsdp2").result()
    assert first["step"] == 8
    shards = list((tmp_path / "checkpoints" / "step-0000000008").glob("*.safetensors"))
    assert len(shards) == 2
    again = Job(tmp_path, 1, 12).result()
    assert again["resumed_from"] == 8
    assert 0 < again["loss"] < 5.4


def test_its_metrics_are_in_mlflow(tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    experiment = f"gpt {tmp_path.name}"
    result = Job(tmp_path, 1, 10, "--experiment", experiment, "--flush-s", "240").result()
    found = MlflowClient(mlflow_uri).get_run(result["run_id"])
    assert (found.info.status, found.data.params["steps"]) == ("FINISHED", "10")
    assert found.data.params["data_hash"] == result["data_hash"]
    assert found.data.metrics["loss"] == pytest.approx(result["loss"])
    assert found.data.metrics["samples_per_s"] > 0


def test_without_its_server_it_trains_and_keeps_its_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    result = Job(tmp_path, 1, 10, "--experiment", "gpt").result()
    assert (result["step"], result["run_id"]) == (10, None)
    kept = [json.loads(line) for line in (tmp_path / "checkpoints" / "metrics-left.jsonl").read_text().splitlines()]
    speed = {"samples_per_s", "flops_per_s", "memory_bytes"}
    assert {point["name"] for point in kept} == {"loss", "gradient_norm", "learning_rate"} | speed


def test_too_little_text_is_refused_before_it_trains(tmp_path: Path) -> None:
    for index in range(40):
        (tmp_path / f"module_{index:02}.py").write_text(f"# {index}\n" * 10)
    failure = Job(tmp_path, 1, 4, "--text", str(tmp_path)).end().failure
    assert failure is not None and failure.failure_class is FailureClass.CONFIG
    assert "expect_column_sum_to_be_between on bytes" in failure.message
    assert not list((tmp_path / "checkpoints").glob("step-*"))


def test_without_a_folder_for_its_checkpoints_it_says_who_names_one() -> None:
    with pytest.raises(ConfigError, match="give --checkpoints, or BULKHEAD_CHECKPOINTS"):
        train(argparse.Namespace(checkpoints=None))


def test_a_size_that_is_none_is_named(tmp_path: Path) -> None:
    failure = Job(tmp_path, 1, 4, "--size", "1t").end().failure
    assert failure is not None and failure.failure_class is FailureClass.CONFIG
    assert "size = '1t': give one of 100k, 1m, 10m, 124m, 1b" in failure.message

"""Metrics: in order, none lost while the server is away, and never in the way of the training."""

import json
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient

from bulkhead.gpu_tasks.stores.directory import Directory
from bulkhead.gpu_tasks.tracking import LEFT, Point, RejectedError, Run, Tracker
from tests.ports import free_port


class Server:
    """Takes points, or does not."""

    def __init__(self, up: bool = True) -> None:
        self.up, self.points = up, list[Point]()
        self.asked, self.answers = threading.Event(), threading.Event()
        self.answers.set()

    def __call__(self, points: list[Point]) -> None:
        self.asked.set()
        self.answers.wait()
        if not self.up:
            raise OSError("connection refused")
        if any(point.name == "no:such" for point in points):
            raise RejectedError("invalid name")
        self.points += points


def test_everything_arrives_in_order(tmp_path: Path) -> None:
    server = Server()
    tracker = Tracker(server, Directory(tmp_path))
    for step in range(2000):
        tracker.log(step, {"loss": step / 2})
    assert tracker.close(30) == 0
    assert [point.step for point in server.points] == list(range(2000))
    assert server.points[3].value == 1.5
    assert not (tmp_path / LEFT).exists()


def test_a_server_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    server = Server()
    server.answers.clear()
    tracker = Tracker(server, Directory(tmp_path))
    for step in range(1000):  # would never come back if one of them waited
        tracker.log(step, {"loss": 1.0, "norm": 2.0})
    assert server.asked.wait(240)
    server.answers.set()
    assert tracker.close(30) == 0
    wanted = [(step, name) for step in range(1000) for name in ("loss", "norm")]
    assert [(point.step, point.name) for point in server.points] == wanted


def test_nothing_is_lost_while_the_server_is_away(tmp_path: Path) -> None:
    server = Server(up=False)
    tracker = Tracker(server, Directory(tmp_path))
    for step in range(10):
        tracker.log(step, {"loss": 1.0})
    assert server.asked.wait(240)
    server.up = True
    assert tracker.close(30) == 0
    assert [point.step for point in server.points] == list(range(10))


def test_a_metric_that_is_refused_takes_no_other_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    tracker = Tracker(server, Directory(tmp_path))
    tracker.log(1, {"loss": 1.0, "no:such": 2.0, "norm": 3.0})
    assert tracker.close(30) == 0
    assert [point.name for point in server.points] == ["loss", "norm"]
    assert tracker.rejected == 1 and "MLflow refuses metric no:such of step 1" in caplog.text


def test_what_cannot_be_logged_by_the_end_is_in_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker(Server(up=False), Directory(tmp_path))
    tracker.log(7, {"loss": 1.5})
    assert tracker.close(0.2) == 1
    [line] = (tmp_path / LEFT).read_text().splitlines()
    assert (json.loads(line)["name"], json.loads(line)["value"], json.loads(line)["step"]) == ("loss", 1.5, 7)
    assert "could not be logged" in caplog.text


def test_memory_is_bounded_and_what_is_dropped_is_counted(tmp_path: Path) -> None:
    server = Server(up=False)
    tracker = Tracker(server, Directory(tmp_path), most=10)
    for step in range(25):
        tracker.log(step, {"loss": 1.0})
    assert tracker.dropped == 15
    server.up = True
    assert tracker.close(30) == 0
    assert [point.step for point in server.points][-10:] == list(range(15, 25))


def test_it_reaches_mlflow(tmp_path: Path, mlflow_uri: str) -> None:
    experiment = f"tracking {tmp_path.name}"
    run = Run(experiment, {"size": "1m", "steps": 3}, mlflow_uri)
    assert run.run_id is None
    tracker = Tracker(run, Directory(tmp_path))
    for step in range(3):
        tracker.log(step, {"loss": 3.0 - step, "no\nsuch": 1.0})
    assert tracker.close(60) == 0
    run.finish("KILLED")
    assert run.run_id is not None and tracker.rejected == 3
    client = MlflowClient(mlflow_uri)
    found = client.get_run(run.run_id)
    assert (found.data.params, found.info.status) == ({"size": "1m", "steps": "3"}, "KILLED")
    assert [metric.value for metric in client.get_metric_history(run.run_id, "loss")] == [3.0, 2.0, 1.0]


def test_a_later_try_goes_on_with_the_run_of_the_one_before(tmp_path: Path, mlflow_uri: str) -> None:
    def begin() -> Run:
        return Run("goes on", {"size": "1m"}, mlflow_uri, remember=Directory(tmp_path))

    first, again, client = begin(), begin(), MlflowClient(mlflow_uri)
    first([Point("loss", 2.0, 1, 1)])
    first.finish("KILLED")
    again([Point("loss", 1.0, 2, 2)])
    assert first.run_id is not None and again.run_id == first.run_id
    assert client.get_run(first.run_id).info.status == "RUNNING"
    assert [metric.value for metric in client.get_metric_history(first.run_id, "loss")] == [2.0, 1.0]
    client.delete_run(first.run_id)
    other = begin()
    other([Point("loss", 0.5, 3, 3)])
    assert other.run_id not in (None, first.run_id)
    assert (tmp_path / "mlflow-run").read_text() == other.run_id


def test_where_nobody_listens_it_is_away_and_not_refused() -> None:
    run = Run("none", {}, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(OSError, match=r"refused|Max retries"):
        run([Point("loss", 1.0, 1, 1)])
    run.finish("FINISHED")  # nothing was begun
    assert run.run_id is None

"""What answering costs, of models whose costs are known."""

import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from mlflow.pyfunc import PythonModel

from bulkhead.gpu_tasks.errors import GateError
from bulkhead.gpu_tasks.gate import cost
from bulkhead.gpu_tasks.gate.cost import Rival, measure, memory, size
from bulkhead.gpu_tasks.gate.request import GateRequest

FEATURES = pd.DataFrame({"a": np.arange(50.0)})


class Played:
    """A model that takes so many milliseconds of a clock of its own. Attributes: asked (sizes of its batches)."""

    def __init__(self, clock: "Clock", *milliseconds: float) -> None:
        self._clock, self._milliseconds = clock, milliseconds
        self.asked: list[int] = []
        self.metadata = SimpleNamespace(model_size_bytes=3 * cost.MIB)

    def predict(self, batch: pd.DataFrame) -> Any:
        self._clock.now += self._milliseconds[len(self.asked) % len(self._milliseconds)] / 1000
        self.asked.append(len(batch))
        self._clock.order.append(self)
        return batch["a"]


class Clock:
    """Attributes: now (seconds), order (models that were asked)."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[Played] = []

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(cost, "time", made)
    return made


def _asked(**more: Any) -> GateRequest:
    asked = {"model_name": "m", "data": "a.csv", "target": "y", "metrics": {"f1_score": {"margin": 0.1}}}
    return GateRequest.model_validate({**asked, **more})


def _rival(model: Any, called: str = "candidate", uri: str = "") -> Rival:
    return Rival(uri, model, called)


def test_what_is_not_asked_is_not_measured(clock: Clock) -> None:
    model = Played(clock, 1)
    assert measure(_asked(), FEATURES, _rival(model), None) == ([], []) and not model.asked


def test_latency_is_measured_at_each_size_in_turns_after_a_warm_up(clock: Clock) -> None:
    ours, theirs = Played(clock, 4), Played(clock, *[2] * 18, 10, 10)
    limits = {"latency_p95_ms": {"at_most_times": 3}, "latency_median_ms": {"at_most": 5}}
    asked = _asked(cost=limits, batch_sizes=[1, 7])
    found, timings = measure(asked, FEATURES, _rival(ours), _rival(theirs, "champion version 2"))
    assert [(one.key, round(one.candidate, 6), round(one.champion or 0, 6), one.broken) for one in found] == [
        ("latency_p95_ms_at_1", 4, 10, ""),
        ("latency_p95_ms_at_7", 4, 10, ""),
        ("latency_median_ms_at_1", 4, 2, ""),
        ("latency_median_ms_at_7", 4, 2, ""),
    ]
    assert ours.asked.count(1) == ours.asked.count(7) == len(timings[0].times[0]) + 5 >= 45
    assert [one.batch for one in timings] == [1, 7] and len(timings[0].times) == 2
    pairs = list(zip(clock.order[::2], clock.order[1::2], strict=True))
    assert all(one is not other for one, other in pairs)  # each round has both
    assert {first for first, _ in pairs} == {ours, theirs}  # now one comes first, now the other


@pytest.mark.parametrize(("milliseconds", "rounds"), [(0.001, 500), (100, 100), (10_000, 40)])
def test_it_ends_in_time_but_not_before_it_knows(clock: Clock, milliseconds: float, rounds: int) -> None:
    model = Played(clock, milliseconds)
    measure(_asked(cost={"latency_p95_ms": {"at_most": 5}}, batch_sizes=[1]), FEATURES, _rival(model), None)
    assert abs(len(model.asked) - 5 - rounds) <= 101


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"at_most": 3.9}, r"^latency_p95_ms is 4 for 1 row at once, over at_most 3\.9$"),
        (
            {"at_most": 4.1, "at_most_times": 1.9},
            r"^latency_p95_ms is 4 for 1 row at once, 2 times the 2 of champion version 2, over at_most_times 1\.9$",
        ),
        ({"at_most": 4.1, "at_most_times": 2.1}, r"^$"),
    ],
)
def test_a_limit_that_is_not_kept_is_told(clock: Clock, limit: dict[str, float], message: str) -> None:
    asked = _asked(cost={"latency_p95_ms": limit}, batch_sizes=[1])
    (found,), _ = measure(asked, FEATURES, _rival(Played(clock, 4)), _rival(Played(clock, 2), "champion version 2"))
    assert re.search(message, found.broken)


def test_without_a_champion_only_absolute_limits_count(clock: Clock) -> None:
    asked = _asked(cost={"latency_median_ms": {"at_most_times": 0.1}}, batch_sizes=[1])
    (found,), _ = measure(asked, FEATURES, _rival(Played(clock, 4)), None)
    assert (found.champion, found.broken) == (None, "")


def test_a_batch_that_is_not_answered_refuses(clock: Clock) -> None:
    class Failing:
        def predict(self, batch: pd.DataFrame) -> None:
            raise ValueError("one row is too few")

    asked = _asked(cost={"latency_median_ms": {"at_most": 1}})
    with pytest.raises(GateError, match=r"^candidate does not answer 1 rows at once: ValueError: one row is too few$"):
        measure(asked, FEATURES, _rival(Failing()), None)


def test_batches_are_larger_than_the_data_where_they_have_to_be(clock: Clock) -> None:
    model = Played(clock, 1)
    asked = _asked(cost={"latency_median_ms": {"at_most": 2}}, batch_sizes=[128])
    measure(asked, FEATURES, _rival(model), None)
    assert set(model.asked) == {128}


# Models that are really loaded


class Large(PythonModel):
    """Takes so many MiB when it is loaded, or ends its process."""

    def __init__(self, mib: int) -> None:
        self.mib = mib

    def load_context(self, context: Any) -> None:
        self._held = np.ones(self.mib * cost.MIB // 8) if self.mib else None

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        if not self.mib:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mib == 1:
            raise ValueError("too small")
        return model_input["a"]


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    def save(mib: int) -> str:
        path = tmp_path / str(mib)
        signature = infer_signature(FEATURES, FEATURES["a"])
        mlflow.pyfunc.save_model(str(path), python_model=Large(mib), signature=signature, pip_requirements=[])
        return str(path)

    return save


def test_memory_is_that_of_a_process_with_one_model_alone(saved: Any) -> None:
    small, large = (memory(Rival(saved(mib), None, "candidate"), FEATURES) for mib in (2, 300))
    assert 200 < large - small < 400


@pytest.mark.parametrize(
    ("mib", "message"),
    [
        (0, r"^champion version 1 cannot be loaded alone: its process was ended, as for memory$"),
        (1, r"^champion version 1 does not answer alone: ValueError: too small$"),
    ],
)
def test_a_model_that_does_not_live_alone_is_told(saved: Any, mib: int, message: str) -> None:
    with pytest.raises(GateError, match=message):
        memory(Rival(saved(mib), None, "champion version 1"), FEATURES)


def test_the_size_is_that_of_the_files_where_mlflow_does_not_know_it(saved: Any, tmp_path: Path) -> None:
    assert size(_rival(Played(Clock(), 1))) == 3
    uri = saved(5)
    files = sum(file.stat().st_size for file in Path(uri).rglob("*") if file.is_file())
    unknown = SimpleNamespace(metadata=SimpleNamespace(model_size_bytes=None))
    assert size(_rival(unknown, uri=uri)) == pytest.approx(files / cost.MIB)
    asked = _asked(cost={"size_mib": {"at_most": 2}})
    (found,), _ = measure(asked, FEATURES, _rival(Played(Clock(), 1)), None)
    assert found.broken == "size_mib is 3, over at_most 2"

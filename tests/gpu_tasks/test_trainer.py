"""The trainer: whatever interrupts it, it ends where it would have ended without."""

import itertools
import math
import os
import resource
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bulkhead.gpu_tasks.errors import ConfigError, PreemptedError
from bulkhead.gpu_tasks.guards import GuardAction, GuardPolicy
from bulkhead.gpu_tasks.heartbeat import read
from bulkhead.gpu_tasks.parallel import Ranks
from bulkhead.gpu_tasks.schedule import Schedule
from bulkhead.gpu_tasks.trainer import DivergedError, Result, TrainConfig, Trainer, TrainingSetup
from tests.waiting import until

ALONE = Ranks(0, 0, 1, torch.device("cpu"))
# Squared errors of eight points have heavy tails: what would be a jump of a mean over many is none here.
CALM = GuardPolicy(spike=GuardAction.GO_ON)
CONFIG = TrainConfig(Schedule(0.05, steps=20, warmup=2), batch=8, checkpoint_interval=5, log_interval=1, guards=CALM)


class Line(nn.Module):
    """Fits a line, with dropout, so that random numbers matter too."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.drop, self.out = nn.Linear(2, 16), nn.Dropout(0.2), nn.Linear(16, 1)

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        message = self.out(self.drop(torch.tanh(self.inner(batch[:, :2]))))
        return ((message[:, 0] - batch[:, 2]) ** 2).mean()


class Points:
    """Points of a plane; a test may spoil one batch, or do something when one is asked for."""

    size, data_hash = 50, "points-1"

    def __init__(self) -> None:
        noise = np.random.Generator(np.random.Philox(7))
        inputs = noise.normal(size=(self.size, 2))
        self.rows = np.column_stack([inputs, inputs @ [1.0, -2.0] + 0.5]).astype(np.float32)
        self.asked, self.at = 0, dict[int, Callable[[torch.Tensor], torch.Tensor]]()

    def batch(self, indices: Any) -> torch.Tensor:
        self.asked += 1
        found = torch.from_numpy(self.rows[indices])
        return self.at.get(self.asked, lambda batch: batch)(found)


def _trainer(
    folder: Path, data: Points | None = None, config: TrainConfig = CONFIG, model: str = "line", **more: Any
) -> Trainer:
    def build(ranks: Ranks) -> TrainingSetup:
        adam = lambda parameters: torch.optim.AdamW(parameters, lr=1.0)  # noqa: E731 - the schedule gives the rate
        return TrainingSetup(Line(), adam, data or Points(), {"model": model})

    return Trainer(config, ALONE, build, folder, **more)


def _weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.objective.parameters()])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.Tensor, Result]:
    """A training that nothing interrupts."""
    trainer = _trainer(tmp_path_factory.mktemp("whole"))
    result = trainer.run()
    return _weights(trainer), result


def test_it_learns_and_tells(tmp_path: Path) -> None:
    message: list[tuple[int, float]] = []
    config = replace(CONFIG, schedule=Schedule(0.05, steps=120, warmup=2))
    trainer = _trainer(
        tmp_path, config=config, report_metrics=lambda step, metrics: message.append((step, metrics["loss"]))
    )
    result = trainer.run()
    assert (result.step, result.steps, result.skipped, result.resumed_from) == (120, 120, 0, None)
    assert [step for step, _ in message] == list(range(1, 121))
    assert sum(loss for _, loss in message[-10:]) < sum(loss for _, loss in message[:10]) / 3
    assert result.checkpoints == (24, 0)


@pytest.mark.parametrize("first", [1, 5, 7, 13])
def test_a_training_that_was_killed_ends_bit_by_bit_where_it_would_have(
    tmp_path: Path, whole: tuple[torch.Tensor, Result], first: int
) -> None:
    class KilledError(Exception):
        pass

    def kill(batch: torch.Tensor) -> torch.Tensor:
        raise KilledError

    data = Points()
    data.at[first + 1] = kill
    with pytest.raises(KilledError):
        _trainer(tmp_path, data).run()
    again = _trainer(tmp_path)
    result = again.run()
    assert result.resumed_from == (first // 5 * 5 or None)
    assert torch.equal(_weights(again), whole[0])
    assert result.loss == whole[1].loss


def _tell_to_end(batch: torch.Tensor) -> torch.Tensor:
    os.kill(os.getpid(), signal.SIGTERM)
    return batch


def test_told_to_end_it_saves_and_says_up_to_where(tmp_path: Path, whole: tuple[torch.Tensor, Result]) -> None:
    data, before = Points(), signal.getsignal(signal.SIGTERM)
    data.at[8] = _tell_to_end
    with pytest.raises(PreemptedError, match="told to end at step 8 of 20") as caught:
        _trainer(tmp_path, data).run()
    assert caught.value.checkpoint == str(tmp_path / "step-0000000008")
    assert signal.getsignal(signal.SIGTERM) is before
    again = _trainer(tmp_path)
    assert again.run().resumed_from == 8
    assert torch.equal(_weights(again), whole[0])


def test_told_to_end_while_nothing_can_be_saved_it_names_the_checkpoint_before(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def tell(batch: torch.Tensor) -> torch.Tensor:
        until((tmp_path / "step-0000000005").is_dir, "the save before")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as a full disk: no file grows beyond that
        return _tell_to_end(batch)

    data = Points()
    data.at[8] = tell
    try:
        with pytest.raises(PreemptedError, match="told to end at step 8 of 20; saved as step-0000000005") as caught:
            _trainer(tmp_path, data).run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.checkpoint == str(tmp_path / "step-0000000005")


def test_a_corrupt_newest_checkpoint_costs_steps_and_nothing_else(
    tmp_path: Path, whole: tuple[torch.Tensor, Result]
) -> None:
    _trainer(tmp_path, config=replace(CONFIG, schedule=Schedule(0.05, steps=20, warmup=2))).run()
    for name in ("step-0000000020", "step-0000000015"):
        [file] = (tmp_path / name).glob("*.safetensors")
        file.write_bytes(file.read_bytes()[:-3])
    again = _trainer(tmp_path)
    assert again.run().resumed_from == 10
    assert len(again.checkpoints.refused) == 2
    assert torch.equal(_weights(again), whole[0])


def _spoil(batch: torch.Tensor) -> torch.Tensor:
    return batch * math.nan


def test_a_batch_that_is_no_number_goes_back_and_is_dropped(tmp_path: Path) -> None:
    data = Points()
    data.at = {8: _spoil, 11: _spoil}  # step 8, and the same step again after the return to step 5
    trainer = _trainer(tmp_path, data)
    result = trainer.run()
    assert (result.step, result.rolled_back, result.skipped) == (20, 1, 1)
    assert bool(torch.isfinite(_weights(trainer)).all())
    assert trainer.guard.bad == {8}


def test_it_is_known_after_a_resume_too(tmp_path: Path) -> None:
    data = Points()
    data.at = {8: _spoil, 11: _spoil}
    _trainer(tmp_path, data, replace(CONFIG, schedule=Schedule(0.05, steps=20, warmup=2))).run()
    assert _trainer(tmp_path).checkpoints.newest().state["bad"] == [8]  # type: ignore[union-attr]


def test_without_a_checkpoint_it_goes_on_from_where_it_was(tmp_path: Path) -> None:
    data = Points()
    data.at = {2: _spoil, 3: _spoil}
    result = _trainer(tmp_path, data).run()
    assert (result.step, result.rolled_back, result.skipped) == (20, 1, 1)


def test_guards_may_stop_it(tmp_path: Path) -> None:
    data = Points()
    data.at = {8: _spoil}
    with pytest.raises(DivergedError, match="step 8: loss nan"):
        _trainer(tmp_path, data, replace(CONFIG, guards=GuardPolicy(not_finite=GuardAction.STOP))).run()


def _spoil_gradients(trainer: Trainer, step: int) -> None:
    """Have one parameter's gradient be no number at a step, the loss of which is sound."""
    steps = itertools.count(1)
    bias = next(one for name, one in trainer.objective.named_parameters() if name.endswith("out.bias"))
    bias.register_hook(lambda gradient: gradient * math.nan if next(steps) == step else gradient)


SELDOM = replace(CONFIG, log_interval=100)


@pytest.mark.parametrize("step", [2, 8, 12, 13, 15, 16, 19, 20])
def test_gradients_that_are_no_numbers_leave_nothing_whenever_they_are_seen(tmp_path: Path, step: int) -> None:
    ends = []
    for name, config in (("at once", CONFIG), ("later", SELDOM)):
        trainer = _trainer(tmp_path / name, config=config)
        _spoil_gradients(trainer, step)
        result = trainer.run()
        ends.append(_weights(trainer))
        assert (result.step, result.rolled_back, result.skipped) == (20, 1, 1)
        assert trainer.guard.bad == {step}
    assert bool(torch.isfinite(ends[0]).all()) and torch.equal(*ends)


def test_applied_and_with_nothing_to_return_to_they_end_it(tmp_path: Path) -> None:
    def lose(batch: torch.Tensor) -> torch.Tensor:
        for name in ("step-0000000005", "step-0000000010"):
            until((tmp_path / name).is_dir, "a save, which is written beside the steps")
            shutil.rmtree(tmp_path / name)
        return batch

    data = Points()
    data.at[14] = lose
    trainer = _trainer(tmp_path, data, SELDOM)
    _spoil_gradients(trainer, 13)
    with pytest.raises(DivergedError, match="step 13: gradient norm nan; there is no checkpoint any more"):
        trainer.run()


def test_gradients_that_may_not_be_applied_are_seen_before(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, config=replace(SELDOM, guards=replace(CALM, not_finite=GuardAction.SKIP)))
    _spoil_gradients(trainer, 13)
    assert (trainer.run().skipped, trainer.result.rolled_back) == (1, 0)
    assert bool(torch.isfinite(_weights(trainer)).all())


def test_they_may_stop_it_too(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, config=replace(SELDOM, guards=GuardPolicy(not_finite=GuardAction.STOP)))
    _spoil_gradients(trainer, 3)
    with pytest.raises(DivergedError, match="step 3: gradient norm nan"):
        trainer.run()


def test_what_is_saved_when_it_is_told_to_end_is_never_spoiled(tmp_path: Path) -> None:
    data = Points()
    data.at[13] = _tell_to_end
    trainer = _trainer(tmp_path, data, SELDOM)
    _spoil_gradients(trainer, 13)
    with pytest.raises(PreemptedError, match="told to end at step 11 of 20"):  # back at 10, and one step on
        trainer.run()
    assert bool(torch.isfinite(_weights(trainer)).all())


def test_a_steps_device_is_waited_for_only_where_something_is_told_or_saved(tmp_path: Path) -> None:
    done: list[str] = []

    class Watched(Ranks):
        def mean(self, *numbers: torch.Tensor | float) -> list[float]:
            done.append("norm")
            return super().mean(*numbers)

        def mean_soon(self, *numbers: torch.Tensor | float) -> Callable[[], list[float]]:
            soon = super().mean_soon(*numbers)
            if len(numbers) == 1:
                return soon

            def wait() -> list[float]:
                done.append("loss")
                return soon()

            return wait

    def build(ranks: Ranks) -> TrainingSetup:
        model = Line()
        model.inner.weight.register_hook(lambda _: done.append("backward"))
        return TrainingSetup(model, torch.optim.AdamW, Points(), {})

    config = replace(SELDOM, schedule=Schedule(0.05, steps=30, warmup=2), checkpoint_interval=10)
    Trainer(config, Watched(0, 0, 1, torch.device("cpu")), build, tmp_path).run()
    until_known = ["backward", "loss", "norm"] * 20  # the save of step 10 is waited for at step 20
    assert done == until_known + ["backward", "loss"] * 9 + ["backward", "loss", "norm"]


def test_parts_of_a_batch_add_up_to_it(tmp_path: Path) -> None:
    class Plain(Line):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.0)  # random numbers are drawn part by part

    def build(ranks: Ranks) -> TrainingSetup:
        return TrainingSetup(Plain(), lambda parameters: torch.optim.SGD(parameters, lr=1.0), Points(), {})

    found = []
    for parts in (1, 4):
        trainer = Trainer(replace(CONFIG, grad_accumulation_steps=parts), ALONE, build, tmp_path / str(parts))
        trainer.run()
        found.append(_weights(trainer))
    assert torch.allclose(*found, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"model": "another"}, "'model': 'another'"), ({"config": replace(CONFIG, batch=4)}, "'batch': 4")],
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    _trainer(tmp_path).run()
    with pytest.raises(ConfigError, match=message):
        _trainer(tmp_path, **change).run()


def test_data_that_has_changed_is_refused(tmp_path: Path) -> None:
    _trainer(tmp_path).run()
    data = Points()
    data.data_hash = "points-2"
    with pytest.raises(ConfigError, match=r"points-1.*points-2"):
        _trainer(tmp_path, data).run()


def test_what_does_not_compile_runs_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, whole: tuple[Any, Result]
) -> None:
    def compile_(called: Any) -> Any:
        def fail(batch: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no compiler here")

        return fail

    monkeypatch.setattr(torch, "compile", compile_)
    trainer = _trainer(tmp_path, config=replace(CONFIG, compile=True))
    trainer.run()
    assert "not compiled: RuntimeError: no compiler here" in caplog.text
    assert torch.equal(_weights(trainer), whole[0])


def test_its_progress_can_be_seen(tmp_path: Path) -> None:
    seen: list[tuple[int, str]] = []

    def check(batch: torch.Tensor) -> torch.Tensor:
        beat = read(tmp_path / "progress")[0]
        seen.append((beat.step, beat.phase))
        return batch

    data = Points()
    data.at = {3: check}
    _trainer(tmp_path / "checkpoints", data, progress=tmp_path / "progress").run()
    assert seen == [(3, "data")]
    assert read(tmp_path / "progress")[0].phase == "end"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch": 0}, "batch = 0"),
        ({"max_norm": 0.0}, "max_norm = 0"),
        ({"checkpoint_interval": 0}, "checkpoint_interval = 0"),
        ({"grad_accumulation_steps": 3}, "global batch = 8: give a multiple of the 3"),
        ({"parallel": "zero"}, "parallel = 'zero'"),
    ],
)
def test_what_cannot_be_is_named_before_anything_is_trained(
    tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _trainer(tmp_path, config=replace(CONFIG, **wrong))

"""What only a real GPU shows. Where Airflow is missing: ``pytest --noconftest -c /dev/null --rootdir . tests/gpu``."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from bulkhead.gpu_tasks import text
from bulkhead.gpu_tasks.checkpoint_files import stager
from bulkhead.gpu_tasks.diagnose import diagnose
from bulkhead.gpu_tasks.diagnostics.checks import Size, link, memory
from bulkhead.gpu_tasks.gpt import Gpt, GptConfig
from bulkhead.gpu_tasks.parallel import Ranks
from bulkhead.gpu_tasks.schedule import Schedule
from bulkhead.gpu_tasks.train_gpt import TextData
from bulkhead.gpu_tasks.trainer import TrainConfig, Trainer, TrainingSetup

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="NOT TESTED ON A GPU: this machine has none")

SHORT = Size(seconds=0.5, matmul=4096, memory_share=0.9, copy_mib=256)


def test_a_healthy_device_passes_the_quick_diagnostic() -> None:
    found = diagnose("quick")
    assert found["wrong"] == {} and found["passed"]


def test_most_of_the_memory_is_tested_without_running_out_of_it() -> None:
    free = torch.cuda.mem_get_info()[0]
    found = memory(torch.device("cuda"), SHORT)
    assert found.wrong == ""
    assert found.more["gib"] > 0.8 * free / 1024**3


def test_both_directions_of_the_link_are_measured_with_pinned_memory() -> None:
    there, back = link(torch.device("cuda"), SHORT)
    assert (there.wrong, back.wrong) == ("", "")
    assert back.value > there.value / 2  # from a device to pageable memory it is a fifth


def test_a_checkpoints_copies_are_pinned() -> None:
    copies = stager()
    staged = copies.stage({"weight": torch.ones(1 << 20, device="cuda")})
    assert isinstance(staged, dict)
    assert staged["weight"].is_pinned() and staged["weight"].sum() == 1 << 20
    copies.close()


def test_numbers_are_waited_for_and_not_what_comes_after_them() -> None:
    ranks, many = Ranks(0, 0, 1, torch.device("cuda")), torch.randn(8192, 8192, device="cuda")
    torch.cuda.synchronize()
    soon, after = ranks.mean_soon(torch.ones((), device="cuda"), 3.0), torch.cuda.Event()
    for _ in range(20):
        many = (many @ many).clamp(-1, 1)
    after.record()
    assert soon() == [1.0, 3.0]
    assert not after.query()  # 20 products of that size take tenths of a second
    torch.cuda.synchronize()


def test_between_two_saves_the_host_does_not_wait_for_the_whole_step(tmp_path: Path) -> None:
    class Strict(TextData):
        """What waits for all of the device is an error from step 15 to step 18: the save of step 7 is known then."""

        def batch(self, indices: Any) -> torch.Tensor:
            step = next(steps)
            if step in (15, 19):
                torch.cuda.set_sync_debug_mode("error" if step == 15 else "default")
            return super().batch(indices)

    steps, shape = itertools.count(1), GptConfig(layers=2, heads=2, width=64, block=64)
    data = Strict(text.load(None, 5_000_000), shape.block)
    config = TrainConfig(Schedule(1e-3, 20), batch=4, bf16=True, checkpoint_interval=7, log_interval=100)
    build = lambda _: TrainingSetup(Gpt(shape), torch.optim.AdamW, data, {"gpt": 2})  # noqa: E731
    try:
        assert Trainer(config, Ranks(0, 0, 1, torch.device("cuda")), build, tmp_path).run().step == 20
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("compile", [False, True])
def test_a_training_goes_on_where_it_was(tmp_path: Path, compile: bool) -> None:
    shape = GptConfig(layers=2, heads=2, width=64, block=64)
    data = TextData(text.load(None, 5_000_000), shape.block)

    def train(steps: int) -> Trainer:
        config = TrainConfig(Schedule(1e-3, steps), batch=4, bf16=True, compile=compile, checkpoint_interval=3)
        ranks = Ranks(0, 0, 1, torch.device("cuda"))
        return Trainer(
            config, ranks, lambda _: TrainingSetup(Gpt(shape), torch.optim.AdamW, data, {"gpt": 2}), tmp_path
        )

    assert train(3).run().step == 3
    again = train(6).run()
    assert (again.resumed_from, again.step) == (3, 6)

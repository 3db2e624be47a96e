"""What only a real GPU shows. Where Airflow is missing: ``pytest --noconftest -c /dev/null --rootdir . tests/gpu``."""

from pathlib import Path

import pytest
import torch

from gpu_tasks import text
from gpu_tasks.checkpoint_files import stager
from gpu_tasks.diagnose import diagnose
from gpu_tasks.diagnostics.checks import Size, link, memory
from gpu_tasks.gpt import Gpt, GptConfig
from gpu_tasks.parallel import Ranks
from gpu_tasks.schedule import Schedule
from gpu_tasks.train_gpt import TextData
from gpu_tasks.trainer import Built, TrainConfig, Trainer

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


@pytest.mark.parametrize("compiled", [False, True])
def test_a_training_goes_on_where_it_was(tmp_path: Path, compiled: bool) -> None:
    shape = GptConfig(layers=2, heads=2, width=64, block=64)
    data = TextData(text.load(None, 5_000_000), shape.block)

    def train(steps: int) -> Trainer:
        config = TrainConfig(Schedule(1e-3, steps), batch=4, bf16=True, compiled=compiled, every=3)
        among = Ranks(0, 0, 1, torch.device("cuda"))
        return Trainer(config, among, lambda _: Built(Gpt(shape), torch.optim.AdamW, data, {"gpt": 2}), tmp_path)

    assert train(3).run().step == 3
    again = train(6).run()
    assert (again.resumed_from, again.step) == (3, 6)

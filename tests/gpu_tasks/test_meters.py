import pytest
import torch
from torch import nn

from bulkhead.gpu_tasks.meters import Meter, peak


class Told(nn.Linear):
    """A model that knows its cost."""

    def flops_a_sample(self) -> int:
        return 1000


def _meter(model: nn.Module, times: list[float]) -> Meter:
    return Meter(model, torch.device("cpu"), batch=8, ranks=2, clock=iter(times).__next__)


def test_rates_are_of_all_ranks_since_the_last_look() -> None:
    meter = _meter(Told(1, 1), [0.0, 10.0, 12.0, 13.0])
    meter.begin(100)
    assert meter.read(110)["samples_per_s"] == 10 * 8 / 2
    found = meter.read(115)
    assert (found["samples_per_s"], found["flops_per_s"]) == (5 * 8 / 1, 5 * 8 * 1000)
    assert "mfu" not in found  # no peak is known of a CPU


def test_a_model_that_tells_no_cost_has_no_flops() -> None:
    found = _meter(nn.Linear(1, 1), [0.0, 1.0]).read(1)
    assert set(found) == {"samples_per_s", "memory_bytes"}
    assert 10e6 < found["memory_bytes"] < 100e9


@pytest.mark.parametrize(
    ("name", "flops"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("GeForce GTX 1080", None),
    ],
)
def test_the_peak_follows_from_the_products_name(name: str, flops: float | None) -> None:
    assert peak(name) == flops

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bulkhead.gpu_tasks.diagnostics import checks
from bulkhead.gpu_tasks.diagnostics.checks import Size, link, matmul, memory, sums_wrong

CPU = torch.device("cpu")
SIZE = Size(seconds=0.05, matmul=128, memory_share=0.002, copy_mib=1)
TYPES = (torch.bfloat16, torch.float16, torch.float32)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_healthy_device_gives_right_and_equal_products(dtype: torch.dtype) -> None:
    found = matmul(CPU, dtype, SIZE)
    assert (found.wrong, found.unit) == ("", "TFLOPS")
    assert found.value > 0
    assert found.more["compared"] >= 1


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("seed", range(20))
def test_sound_products_of_any_operands_pass(dtype: torch.dtype, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(96, 96, generator=generator).to(dtype) for _ in range(2))
    assert sums_wrong(left, right, left @ right) == ""


@pytest.mark.parametrize("dtype", TYPES)
def test_a_steadily_wrong_product_is_found_by_its_sums(dtype: torch.dtype) -> None:
    left, right = (torch.rand(64, 64).to(dtype) for _ in range(2))
    wrong = left @ right
    wrong[3, 5] += 64
    assert sums_wrong(left, right, wrong) == "1 of 64 row sums are wrong"
    wrong[7, 7] = float("nan")
    assert "no numbers" in sums_wrong(left, right, wrong)


def test_an_unsteady_device_is_found_by_a_single_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def flipping(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        found = left @ right
        if calls == 3:
            found.view(torch.int32)[0, 0] ^= 1
        return found

    monkeypatch.setattr(checks, "product", flipping)
    found = matmul(CPU, torch.float32, Size(5.0, 64, 0.001, 1))
    assert found.wrong == "product 2 of the same operands differs in 1 places"
    assert found.value == 0.0


def test_memory_holds_its_patterns() -> None:
    found = memory(CPU, SIZE)
    assert (found.wrong, found.more["patterns"] >= 4) == ("", True)
    assert found.value > 0


def test_memory_that_loses_a_bit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    fill = torch.Tensor.fill_

    def losing(self: torch.Tensor, value: int) -> torch.Tensor:
        fill(self, value)
        self[9] ^= 4
        return self

    monkeypatch.setattr(torch.Tensor, "fill_", losing)
    assert memory(CPU, SIZE).wrong == "1 bytes do not hold the pattern 0x00"


def test_most_of_the_memory_can_be_tested_because_little_is_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Compared(TorchDispatchMode):
        most = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = func(*args, **(kwargs or {}))
            if func is torch.ops.aten.ne.Scalar:
                self.most = max(self.most, found.nbytes)
            return found

    monkeypatch.setattr(checks, "_COMPARED", 1 << 16)
    fill = torch.Tensor.fill_

    def losing(self: torch.Tensor, value: int) -> torch.Tensor:
        fill(self, value)
        self[-1] ^= 4
        self[3] ^= 1
        return self

    with Compared() as compared:
        assert memory(CPU, SIZE).wrong == ""
    assert 0 < compared.most <= 1 << 16
    monkeypatch.setattr(torch.Tensor, "fill_", losing)
    assert memory(CPU, SIZE).wrong == "2 bytes do not hold the pattern 0x00"


def test_copies_come_back_as_they_went() -> None:
    there, back = link(CPU, SIZE)
    assert (there.name, back.name, there.wrong, back.wrong) == ("host-to-device", "device-to-host", "", "")
    assert min(there.value, back.value) > 0

from __future__ import annotations

import pytest

from bulkhead.gpu_tasks.diagnostics.datasheets import DATASHEETS, datasheet


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100-SXM4-40GB", "A100-SXM4-40GB"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("Tesla T4", "T4"),
    ],
)
def test_a_product_has_its_own_sheet(driver: str, name: str) -> None:
    found = datasheet(driver)
    assert found is not None
    assert found.name == name


def test_an_unknown_product_has_none() -> None:
    assert datasheet("simulated GPU") is None


def test_no_sheet_hides_a_more_particular_one() -> None:
    for index, one in enumerate(DATASHEETS):
        assert not any(earlier.name in one.name for earlier in DATASHEETS[:index])

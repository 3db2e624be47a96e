"""What vendors promise of their devices: what a measurement is compared with.

Sources: NVIDIA's data sheets of each product, dense figures: Tensor Core TFLOPS without sparsity, FP32 TFLOPS of the
CUDA cores, GPU memory bandwidth, and the host link's bandwidth in one direction.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Datasheet:
    """What is promised of a product.

    Attributes:
        name: part of the name that the driver gives it.
        bf16: TFLOPS of dense BF16 matrix products; 0 where it has none.
        fp16: of FP16.
        fp32: of FP32, without TF32.
        memory: bandwidth in GB/s.
        link: bandwidth to the host in GB/s, in one direction.
    """

    name: str
    bf16: float
    fp16: float
    fp32: float
    memory: float
    link: float


DATASHEETS = (
    Datasheet("B200", 2250, 2250, 75, 7700, 64),
    Datasheet("H200 NVL", 835, 835, 60, 4800, 64),
    Datasheet("H200", 989, 989, 67, 4800, 64),
    Datasheet("H100 PCIe", 756, 756, 51, 2000, 64),
    Datasheet("H100 NVL", 835, 835, 60, 3900, 64),
    Datasheet("H100", 989, 989, 67, 3350, 64),
    Datasheet("A100-SXM4-40GB", 312, 312, 19.5, 1555, 32),
    Datasheet("A100-PCIE-40GB", 312, 312, 19.5, 1555, 32),
    Datasheet("A100", 312, 312, 19.5, 1935, 32),
    Datasheet("A10G", 70, 70, 31.2, 600, 32),
    Datasheet("A10", 125, 125, 31.2, 600, 32),
    Datasheet("L40S", 362, 362, 91.6, 864, 32),
    Datasheet("L40", 181, 181, 90.5, 864, 32),
    Datasheet("L4", 121, 121, 30.3, 300, 32),
    Datasheet("V100", 0, 125, 15.7, 900, 16),
    Datasheet("T4", 0, 65, 8.1, 320, 16),
)
"""The most particular name first."""

SHARES = {"matmul": 0.5, "memory": 0.6, "link": 0.5}
"""Least share of what is promised that a healthy device reaches in a short test like ours, by kind of measurement.

Library kernels at our sizes reach 60 to 80 % of the dense peak; a throttled or narrow device falls well below half.
"""


def datasheet(name: str) -> Datasheet | None:
    """A product's data sheet; None where there is none: then it is measured, and compared with its peers alone.

    Args:
        name: as the driver gives it.
    """
    return next((sheet for sheet in DATASHEETS if sheet.name in name), None)

"""The digits classifier: a small torch CNN."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from gpu_tasks.digits import CLASSES, MAX_PIXEL, Images


class Cnn(nn.Sequential):
    """Two convolutions and a linear layer: 8x8 grey image to ten logits.

    Args:
        channels: of the first convolution; the second has twice as many.
    """

    def __init__(self, channels: int = 16) -> None:
        super().__init__(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.25),
            nn.Linear(2 * channels * 16, CLASSES),
        )


def logits(model: nn.Module, images: Images) -> torch.Tensor:
    """Scale pixels and apply the network.

    Args:
        model: of ``Cnn``'s signature.
        images: shape (n, 64), pixels 0 to 16.

    Returns:
        float32, shape (n, 10).
    """
    return model(torch.from_numpy(np.ascontiguousarray(images)) / MAX_PIXEL)

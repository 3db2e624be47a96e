"""The digits classifier: a small torch CNN."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from gpu_tasks.digits import CLASSES, MAX_PIXEL, PIXELS, Images, Labels


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


class LabelledImages:
    """Images as a trainer's data: each sample is its pixels and then its label.

    Args:
        images: shape (n, 64), pixels 0 to 16.
        labels: shape (n,), 0 to 9.
        data_hash: of the data that they are from.
    """

    def __init__(self, images: Images, labels: Labels, data_hash: str) -> None:
        self._samples = torch.from_numpy(np.column_stack([images, labels]).astype(np.float32))
        self.size, self.data_hash = len(images), data_hash

    def batch(self, indices: npt.NDArray[np.int64]) -> torch.Tensor:
        """Samples, float32, shape (n, 65).

        Args:
            indices: of them, shape (n,).
        """
        return self._samples[torch.from_numpy(indices)]


class Learner(nn.Module):
    """The network as what a trainer trains.

    Args:
        network: to be trained.
    """

    def __init__(self, network: Cnn) -> None:
        super().__init__()
        self.network = network

    def loss(self, samples: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of a batch.

        Args:
            samples: as ``LabelledImages`` gives them.
        """
        return functional.cross_entropy(self.network(samples[:, :PIXELS] / MAX_PIXEL), samples[:, PIXELS].long())

    def accuracy(self, images: Images, labels: Labels) -> float:
        """Share of images that it names right.

        Args:
            images: shape (n, 64).
            labels: shape (n,).
        """
        device = next(self.parameters()).device
        self.eval()
        with torch.inference_mode():
            found = self.network(torch.from_numpy(images).to(device) / MAX_PIXEL).argmax(1)
        self.train()
        return (found == torch.from_numpy(labels).to(device)).float().mean().item()

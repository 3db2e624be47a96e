"""The digits classifier as what a trainer trains, and its data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from bulkhead.gpu_tasks.digits import MAX_PIXEL, PIXELS, Images, Labels
from bulkhead.gpu_tasks.pyfunc_model import Cnn


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
        """
        device = next(self.parameters()).device
        self.eval()
        with torch.inference_mode():
            digits = self.network(torch.from_numpy(images).to(device) / MAX_PIXEL).argmax(1)
        self.train()
        return float((digits == torch.from_numpy(labels).to(device)).float().mean())

"""The handwritten digits that ship with scikit-learn: 1,797 real 8x8 images (UCI, Alpaydin and Kaynak 1998)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

PIXELS = 64
CLASSES = 10
MAX_PIXEL = 16.0

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DigitsSplit:
    """A fixed division into training and test images.

    Attributes:
        train_images: float32, shape (n, 64), pixels 0 to 16.
        train_labels: int64, shape (n,), 0 to 9.
        test_images: likewise.
        test_labels: likewise.
        data_hash: SHA-256 of all images and labels, in the order of the source.
    """

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    data_hash: str


def holdout() -> Any:
    """The test images as the gate takes them: a pandas DataFrame, a column each for 64 pixels, and ``label``."""
    data = load()
    return _frame(data.test_images, data.test_labels)


def training() -> Any:
    """The training images in the same form."""
    data = load()
    return _frame(data.train_images, data.train_labels)


def _frame(images: Images, labels: Labels) -> Any:
    import pandas as pd

    return pd.DataFrame({**{f"pixel_{index:02}": images[:, index] for index in range(PIXELS)}, "label": labels})


def load(test_share: float = 0.25) -> DigitsSplit:
    """Load and divide the data. The division does not depend on a model's seed: models are compared on it.

    Args:
        test_share: share of the images that are held out, per class.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images, labels = images.astype(np.float32), labels.astype(np.int64)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    parts = train_test_split(images, labels, test_size=test_share, random_state=0, stratify=labels)
    return DigitsSplit(parts[0], parts[2], parts[1], parts[3], digest)

"""In which order a training sees its data: a pure function of seed and position, so that a resume is exact.

Nothing is kept but how many samples were seen. The order is global: a job that goes on with another number of ranks,
and the same global batch, sees the same batches.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from bulkhead.gpu_tasks.errors import ConfigError


class Order:
    """The order of a data set's samples, epoch after epoch, each shuffled again.

    Args:
        size: number of samples.
        seed: of the shuffling.

    Raises:
        ConfigError: there are no samples.
    """

    def __init__(self, size: int, seed: int) -> None:
        if size < 1:
            raise ConfigError(f"size = {size}: there is no data to train on")
        self.size, self.seed = size, seed
        self._shuffled = lru_cache(maxsize=2)(self._shuffle)

    def epoch(self, seen: int) -> tuple[int, int]:
        """Epoch and position within it."""
        return divmod(seen, self.size)

    def batch(self, seen: int, count: int) -> npt.NDArray[np.int64]:
        """The next samples.

        Args:
            seen: samples so far, of all ranks together.
            count: how many are wanted.

        Returns:
            Indices, shape (count,); a batch may end in the next epoch.
        """
        parts = []
        while count:
            epoch, position = self.epoch(seen)
            part = self._shuffled(epoch)[position : position + count]
            parts.append(part)
            seen, count = seen + len(part), count - len(part)
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def shard(self, seen: int, count: int, rank: int, ranks: int) -> npt.NDArray[np.int64]:
        """One rank's part of the next global batch.

        Args:
            seen: samples so far, of all ranks together.
            count: of the global batch.
            rank: whose part, from 0.
            ranks: how many there are.

        Returns:
            Indices, shape (count / ranks,).

        Raises:
            ConfigError: the batch cannot be shared evenly.
        """
        if count % ranks:
            raise ConfigError(f"global batch = {count}: give a multiple of the {ranks} ranks")
        each = count // ranks
        return self.batch(seen, count)[rank * each : (rank + 1) * each]

    def _shuffle(self, epoch: int) -> npt.NDArray[np.int64]:
        # Philox is counter-based: (seed, epoch) is its key, and no state goes from one epoch to the next.
        return np.random.Generator(np.random.Philox(key=[self.seed, epoch])).permutation(self.size)

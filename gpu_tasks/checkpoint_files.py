"""Writing a rank's part of a checkpoint while its training goes on beside it, in the same interpreter.

torch's own writer makes one string of all tensors before it writes, and holds the interpreter's lock meanwhile: 3 to 7
seconds for 1.4 GB on a slow machine, in which no kernel is launched. ``safetensors.torch.save_file`` writes from the
tensors' own memory without the lock, since safetensors 0.8. The files are the same, and torch's reader reads them.

Source: ``torch.distributed.checkpoint.filesystem`` and ``hf_storage`` of torch 2.13, whose format this is.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.distributed.checkpoint._hf_utils import (
    CUSTOM_METADATA_KEY,
    DCP_VERSION_KEY,
    FORMAT_KEY,
    FORMAT_VALUE,
    HF_DCP_VERSION,
)
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future


class RankFileWriter(HuggingFaceStorageWriter):
    """Writes each rank's shards into one safetensors file of its own, durably.

    Args:
        folder: for the files; it exists.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), save_distributed=True)
        self._folder = folder

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write what a rank has been assigned, and wait for the disk.

        Args:
            plan: with the items, and the rank's place among all.
            planner: knows where their data is.

        Returns:
            What was written, at once.

        Raises:
            OSError, safetensors.SafetensorError: the file cannot be written.
        """
        tensors, offsets, written = {}, {}, []
        name = f"rank-{plan.storage_data['shard_index']:05d}.safetensors"
        for item in plan.items:
            assert item.tensor_data is not None  # a checkpoint holds nothing but tensors
            tensor = planner.resolve_data(item)
            assert isinstance(tensor, torch.Tensor)
            tensors[item.index.fqn] = tensor.detach().cpu().contiguous()
            offsets[item.index.fqn] = {"saved_offsets": item.tensor_data.chunk.offsets}
            written.append(WriteResult(item.index, tensor.numel() * tensor.element_size(), name))
        if tensors:
            metadata = {CUSTOM_METADATA_KEY: json.dumps(offsets), DCP_VERSION_KEY: str(HF_DCP_VERSION)}
            save_file(tensors, self._folder / name, {**metadata, FORMAT_KEY: FORMAT_VALUE})
            with (self._folder / name).open("rb") as file:
                os.fsync(file.fileno())
        done: Future[list[WriteResult]] = Future()
        done.set_result(written)
        return done


def stager() -> DefaultStager:
    """What copies tensors out of the training's way: into the same memory at each save, pinned where there is a GPU.

    torch's default takes new memory each time, which is most of what a save holds the training up for.
    """
    gpu = torch.cuda.is_available()
    options = StagingOptions(
        use_pinned_memory=gpu, use_shared_memory=False, use_async_staging=False, use_non_blocking_copy=gpu
    )
    return DefaultStager(options)

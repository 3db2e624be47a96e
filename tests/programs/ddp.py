"""A distributed program: every process adds its rank, rank 0 tells the sum. ``python ddp.py [rank that fails]``."""

import os
import sys

import torch
from torch import distributed

from bulkhead.gpu_tasks.entry import run


def job() -> dict[str, int]:
    distributed.init_process_group("gloo")
    rank, total = distributed.get_rank(), torch.tensor([float(distributed.get_rank())])
    distributed.all_reduce(total)
    if len(sys.argv) > 1 and rank == int(sys.argv[1]):
        raise IndexError(f"layer 7 is out of range on rank {rank}")
    if len(sys.argv) > 1:
        distributed.all_reduce(total)  # waits for the rank that failed
    distributed.destroy_process_group()
    return {"sum": int(total.item()), "world": int(os.environ["WORLD_SIZE"])}


run(job)

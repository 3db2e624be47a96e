"""A rank that saves, or reads, a checkpoint; ``torchrun`` starts several. Prints one JSON line on the first rank.

Arguments: folder, what to do (``save``, ``load``, ``forever``), and how many rows the sharded tensor has.
"""

import json
import os
import sys
from itertools import count

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from bulkhead.gpu_tasks.checkpoints import Checkpoints


def tensors(rows: int, fill: bool) -> dict[str, dict[str, torch.Tensor]]:
    """A matrix that ranks share between them, as FSDP2 does, and two that all have whole, as DDP does."""
    whole = torch.arange(rows * 3, dtype=torch.float32).reshape(rows, 3) if fill else torch.zeros(rows, 3)
    if dist.is_initialized():
        whole = distribute_tensor(whole, init_device_mesh("cpu", (dist.get_world_size(),)), [Shard(0)])
    bias = torch.full((5,), 2.5 if fill else 0.0, dtype=torch.bfloat16)
    return {"model": {"weight": whole, "bias": bias}, "optim": {"step": torch.tensor(9.0 if fill else 0.0)}}


def main() -> None:
    where, what, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    checkpoints = Checkpoints(where, {"rows": rows}, keep_latest=2)
    if what == "forever":
        print("saving", flush=True)
        for step in count(1):
            checkpoints.save(step, tensors(rows, fill=True), {"step": step})
    if what == "save":
        checkpoints.save(4, tensors(rows, fill=True), {"lr": 0.5}, wait=True)
        message = vars(checkpoints.counts)
    else:
        manifest = checkpoints.newest()
        found = tensors(rows, fill=False)
        if manifest is None:
            raise SystemExit("there is none")
        checkpoints.load(manifest, found)
        weight = found["model"]["weight"]
        full = weight.full_tensor() if hasattr(weight, "full_tensor") else weight
        right = all(
            torch.equal(one, other)
            for one, other in [
                (full, torch.arange(rows * 3, dtype=torch.float32).reshape(rows, 3)),
                (found["model"]["bias"], tensors(1, fill=True)["model"]["bias"]),
                (found["optim"]["step"], torch.tensor(9.0)),
            ]
        )
        message = {"step": manifest.step, "state": dict(manifest.state), "right": right}
    checkpoints.close()
    if int(os.environ.get("RANK", 0)) == 0:
        print(json.dumps(message), flush=True)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()

"""A rank that makes progress, until it hangs in a way of its own; ``torchrun`` starts several.

Arguments: folder, limit in seconds, the rank that hangs, how (``python``, ``lock``, ``stop``, ``never``), at which
step, and in which phase. The others wait for it in a collective, as ranks do.
"""

import ctypes
import os
import signal
import sys
import threading
from pathlib import Path

import torch
import torch.distributed as dist

from bulkhead.gpu_tasks import hang_watch
from bulkhead.gpu_tasks.heartbeat import Heartbeat


def hang(how: str) -> None:
    """Make no progress any more."""
    if how == "python":
        threading.Event().wait()
    elif how == "lock":
        ctypes.PyDLL(None).sleep(1000)  # unlike CDLL it keeps Python's lock
    elif how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)


def main() -> None:
    folder, limit_s, who, how, when, where = sys.argv[1:]
    rank, join_job = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if join_job > 1:
        dist.init_process_group("gloo")
    heart = Heartbeat(Path(folder), rank)
    watch = hang_watch.start(Path(folder), rank, float(limit_s), first_of_node=rank == 0)
    if watch is not None and how == "never":
        threading.Event().wait(3)  # long enough for the watch to look at what lies in the folder
    for step in range(1, 6):
        for phase in ("forward", "backward"):
            heart.beat(step, phase)
            if (step, rank, phase) == (int(when), int(who), where):
                hang(how)
        if join_job > 1:
            dist.all_reduce(torch.ones(1))
    heart.close()
    if join_job > 1:
        dist.destroy_process_group()
    print("through", flush=True)


if __name__ == "__main__":
    main()

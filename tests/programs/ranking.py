"""A rank that does what it is told in each attempt: ``gpu_tasks.launch tests.programs.ranking '{"0/1": "kill"}'``.

By ``attempt/rank``: ``kill`` and ``segfault`` end it by that signal, ``raise`` by an exception, ``hung`` as the hang
watch does; ``victim`` and ``wait`` wait until they are told to end, and say that another is lost, or that it is saved;
``deaf`` does not end then. What is not named succeeds at once. Every rank prints who it is.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from bulkhead.pods.outcome import Failure, FailureClass, Outcome
from gpu_tasks.entry import PreemptedError, run


def job() -> Mapping[str, Any]:
    rank, attempt = os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]
    print(f"rank {rank} of {os.environ['WORLD_SIZE']}, attempt {attempt}, process {os.getpid()}", flush=True)
    match json.loads(sys.argv[1]).get(f"{attempt}/{rank}"):
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "raise":
            raise ValueError(f"rank {rank} cannot")
        case "hung":
            Outcome(failure=Failure(failure_class=FailureClass.HUNG, message=f"rank {rank} hangs")).write_first()
            os.kill(os.getpid(), signal.SIGKILL)
        case "victim":
            wait()
            raise RuntimeError("Connection closed by peer")
        case "wait":
            wait()
            raise PreemptedError("told to end at step 3", "/checkpoints/step-0000000003")
        case "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print("deaf", flush=True)
            signal.sigwait({signal.SIGUSR1})
    return {"attempt": int(attempt), "imported": "colorsys" in sys.modules}


def wait() -> None:
    """Until told to end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print("waiting", flush=True)
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    run(job)

"""A rank that does what it is told: ``bulkhead.gpu_tasks.launch tests.programs.ranking '{"0/1": "kill"}'``.

By ``attempt/rank``: ``kill`` and ``segfault`` end it by that signal, ``raise`` by an exception, ``hung`` as the hang
watch does; ``victim`` and ``wait`` wait until they are told to end, and say that another is lost, or that it is saved;
``deaf`` does not end then. What is not named succeeds at once. Every rank prints who it is.
"""

import gc
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bulkhead.gpu_tasks.entry import run
from bulkhead.gpu_tasks.errors import PreemptedError
from bulkhead.pods.outcome import Failure, FailureClass, Outcome
from bulkhead.pods.training import CHECKPOINTS_VARIABLE
from tests.waiting import until

PATIENT = ("victim", "wait", "deaf")
"""Deeds that begin with waiting for the end of the other rank."""


def job() -> Mapping[str, Any]:
    rank, attempt = os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]
    print(f"rank {rank} of {os.environ['WORLD_SIZE']}, attempt {attempt}, process {os.getpid()}", flush=True)
    plan = json.loads(sys.argv[1])
    deed = plan.get(f"{attempt}/{rank}")
    if deed not in PATIENT and any(plan.get(f"{attempt}/{other}") in PATIENT for other in "01"):
        until(ready().exists, "the other rank to wait")  # else it would be ended before it can say anything
    match deed:
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
            ready().touch()
            signal.sigwait({signal.SIGUSR1})
    return {
        "attempt": int(attempt),
        "imported": "colorsys" in sys.modules,
        "collects": gc.isenabled() and gc.get_freeze_count() > 0,
    }


def ready() -> Path:
    """File that says that a rank waits."""
    return Path(os.environ[CHECKPOINTS_VARIABLE]) / "ready"


def wait() -> None:
    """Until told to end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print("waiting", flush=True)
    ready().touch()
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    run(job)

"""How a pod's program ends: always with an outcome, whatever happened."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from bulkhead.gpu_tasks import device_faults
from bulkhead.gpu_tasks.errors import ConfigError, GateError, PreemptedError, VoidError
from bulkhead.gpu_tasks.stores.find import last_checkpoint
from bulkhead.pods.outcome import FailureClass, Outcome, failed


def at_least(config: object, prefix: str, **bounds: float) -> None:
    """Refuse fields of a configuration that are too small.

    Args:
        prefix: of their names, as the author knows them.
        bounds: smallest value by field.

    Raises:
        ConfigError: names the first one that is.
    """
    for name, least in bounds.items():
        if getattr(config, name) < least:
            raise ConfigError(f"{prefix}{name} = {getattr(config, name)}: give at least {least:g}")


def run(job: Callable[[], Mapping[str, Any]]) -> None:
    """Run a job, leave its outcome, and exit.

    Under ``torchrun`` (its ``RANK`` is set) every process runs this: rank 0 tells the result, and of those that fail
    the first in each container tells why.

    Args:
        job: returns the small JSON object that becomes the outcome's result.
    """
    rank = os.environ.get("RANK")
    devices = device_faults.listen()
    try:
        result = job()
        if rank in (None, "0"):
            Outcome(result=result).write_first()
    except Exception as error:  # noqa: BLE001 - whatever ended the job is reported; nothing is swallowed
        traceback.print_exc()
        outcome = failed(
            classify(error),
            error,
            evidence=traceback.format_exc()[-1500:],
            rank=None if rank is None else int(rank),
            checkpoint=error.checkpoint if isinstance(error, PreemptedError) else last_checkpoint(),
        )
        assert outcome.failure is not None
        failure = device_faults.named(outcome.failure, devices, device_faults.own_gpu())
        if isinstance(error, VoidError):
            failure = failure.model_copy(update={"kind": error.kind, "device": error.device})
        Outcome(failure=failure).write_first()
        sys.exit(1)


def classify(error: Exception) -> FailureClass:
    """The failure class of an exception.

    Args:
        error: what ended the job.
    """
    match error:
        case GateError():
            return FailureClass.GATE
        case ConfigError():
            return FailureClass.CONFIG
        case VoidError():
            return FailureClass.DEVICE_FAULT
        case PreemptedError():
            return FailureClass.PREEMPTED
        case MemoryError():
            return FailureClass.HOST_OOM
    # Compared by name: importing torch to ask for its class would cost every pod without torch two seconds.
    return FailureClass.GPU_OOM if type(error).__name__ == "OutOfMemoryError" else FailureClass.APPLICATION

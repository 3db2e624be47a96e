"""The outcome: what a container leaves in its termination message.

Kubernetes cuts a termination message at 4,096 bytes (the kubelet's ``MaxContainerTerminationMessageLength``),
and a cut JSON document is no JSON document. So the outcome shortens its own free text until it fits; what
is structural (class, step, references) is never cut. Larger things go to MLflow, by reference.
"""

from __future__ import annotations

import enum
import fcntl
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bulkhead.text import bounded, document, storable

MAX_BYTES = 4096
"""Largest termination message that the kubelet keeps."""

PATH_VARIABLE = "BULKHEAD_TERMINATION_LOG"
"""Environment variable in which the pod spec tells the container where its termination message goes."""

_CUT = "…[cut]"
_LONGEST_TEXT = 1000
_LONGEST_NAME = 300
_TOO_LONG = "it failed, and what it said beside that (result, checkpoint) is too large for a termination message"


class FailureClass(enum.StrEnum):
    """Why a pod failed: said by the container itself, or found by ``bulkhead.pods.failure.classify``."""

    APPLICATION = "application"
    GATE = "gate"
    CONFIG = "config"
    HOST_OOM = "host_oom"
    GPU_OOM = "gpu_oom"
    DEVICE_FAULT = "device_fault"
    NODE_LOST = "node_lost"
    EVICTED = "evicted"
    PREEMPTED = "preempted"
    IMAGE = "image"
    UNSCHEDULABLE = "unschedulable"
    ADMISSION = "admission"
    DEADLINE = "deadline"
    HUNG = "hung"
    CLUSTER_UNREACHABLE = "cluster_unreachable"
    CANCELLED = "cancelled"


class Failure(BaseModel):
    """A failure with its evidence.

    Attributes:
        failure_class: the class that decides what is done about it.
        kind: more exactly, where the class has kinds: ``memory`` of evicted, ``auth`` of image, ``xid-79`` …
        message: for people; shortened when the outcome grows too large.
        exception: qualified type of the Python exception, where there was one.
        evidence: free text (the end of a traceback, a kernel line); shortened first.
        rank: the rank that failed, in a distributed job.
        checkpoint: reference of the last checkpoint to resume from.
        device: UUID of the GPU that failed, where that is known.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    failure_class: FailureClass
    kind: str = ""
    message: str = ""
    exception: str | None = None
    evidence: str = ""
    rank: int | None = None
    checkpoint: str | None = None
    device: str | None = None

    @classmethod
    def named(cls, failure_class: FailureClass, kind: str, message: str, evidence: str) -> Failure:
        """A failure as the cluster's own texts tell it, cut where least is lost: at the message's end, and before the
        termination message of the evidence.

        Args:
            failure_class: see the attributes, as the others.
        """
        cut = _LONGEST_TEXT
        return cls(failure_class=failure_class, kind=kind, message=message[:cut], evidence=evidence[-cut:])

    @field_validator("message", "evidence", "checkpoint")
    @classmethod
    def _storable(cls, text: str | None) -> str | None:
        return text if text is None else storable(text)

    @field_validator("kind", "exception", "device")
    @classmethod
    def _short(cls, text: str | None) -> str | None:
        return text if text is None else bounded(text, _LONGEST_NAME)


class Outcome(BaseModel):
    """A container's termination message, versioned.

    Attributes:
        version: schema version; readers ignore fields that they do not know.
        result: a small JSON object: references (MLflow run, model URI) and headline numbers. Numbers that JSON does not
            have are kept as their names: ``"NaN"``, ``"Infinity"``, ``"-Infinity"``.
        failure: set if and only if the container failed.
        attempt: which start of the container's ranks left it, where they are restarted in place; None for the first.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[1] = 1
    result: Mapping[str, Any] = Field(default_factory=dict)
    failure: Failure | None = None
    attempt: int | None = None

    @field_validator("result")
    @classmethod
    def _storable(cls, result: Mapping[str, Any]) -> Mapping[str, Any]:
        kept: Mapping[str, Any] = document(result, most=None)
        return kept

    def encode(self) -> str:
        """Serialise to at most ``MAX_BYTES`` bytes of UTF-8 JSON, shortening free text where it must.

        Returns:
            The JSON text.

        Raises:
            ValueError: if the result of a success, which is never cut, is too large; store it in MLflow and put
                the reference here instead.
        """
        text = self.model_dump_json(exclude_none=True)
        if _size(text) <= MAX_BYTES:
            return text
        if self.failure is not None:
            for field in ("evidence", "message"):
                text = _fit(self, field)
                if _size(text) <= MAX_BYTES:
                    return text
            # Whatever else it says, what decides about the next try is left.
            shortened = {"checkpoint": None, "evidence": "", "message": _TOO_LONG}
            return Outcome(failure=self.failure.model_copy(update=shortened), attempt=self.attempt).model_dump_json(
                exclude_none=True
            )
        raise ValueError(
            f"outcome.result takes {_size(text)} bytes and at most {MAX_BYTES} fit a termination message: "
            "log it to MLflow and put its reference here"
        )

    def write(self, path: str | Path | None = None) -> None:
        """Write to the termination message file.

        Args:
            path: where; by default what ``PATH_VARIABLE`` says, else Kubernetes' ``/dev/termination-log``.

        Raises:
            OSError: if the file cannot be written.
        """
        target = Path(path or os.environ.get(PATH_VARIABLE, "/dev/termination-log"))
        target.write_text(self.encode(), encoding="utf-8")

    def write_first(self, path: str | Path | None = None) -> bool:
        """Write, unless an outcome with a failure is there: of several processes of a container the first counts.

        A failure of an earlier attempt (``torchrun`` counts them in ``TORCHELASTIC_RESTART_COUNT``) does not.

        Args:
            path: see ``write``.

        Returns:
            Whether it was written.

        Raises:
            OSError: if the file cannot be written.
        """
        target = Path(path or os.environ.get(PATH_VARIABLE, "/dev/termination-log"))
        own = self.model_copy(update={"attempt": int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) or None})
        with target.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            there = self.decode(file.read())
            if there is not None and there.failure is not None and (there.attempt or 0) >= (own.attempt or 0):
                return False
            file.truncate(0)
            file.write(own.encode())
        return True

    @classmethod
    def decode(cls, text: str | None) -> Outcome | None:
        """Read a termination message.

        Args:
            text: the message, or None or empty where the container left none.

        Returns:
            The outcome, or None if the text is not one (a container may write anything there).
        """
        if not text:
            return None
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None


def failed(
    failure_class: FailureClass,
    error: BaseException,
    evidence: str = "",
    rank: int | None = None,
    checkpoint: str | None = None,
) -> Outcome:
    """An outcome that says that an exception ended the job.

    Args:
        error: the exception; its qualified type and text are kept.
        evidence: free text, such as the end of the traceback.
        rank: of the process, in a distributed job.
        checkpoint: that can be resumed from.

    Returns:
        The outcome.
    """
    kind = type(error)
    return Outcome(
        failure=Failure(
            failure_class=failure_class,
            message=str(error) or kind.__name__,
            exception=f"{kind.__module__}.{kind.__qualname__}",
            evidence=evidence,
            rank=rank,
            checkpoint=checkpoint,
        )
    )


def _size(text: str) -> int:
    return len(text.encode("utf-8"))


def _fit(outcome: Outcome, field: str) -> str:
    """Shorten one free-text field to the longest prefix that fits, by bisection."""
    assert outcome.failure is not None
    failure = outcome.failure if field == "evidence" else outcome.failure.model_copy(update={"evidence": ""})
    full: str = getattr(failure, field)

    def render(keep: int) -> str:
        shortened = failure.model_copy(update={field: full[:keep] + _CUT})
        return outcome.model_copy(update={"failure": shortened}).model_dump_json(exclude_none=True)

    return render(_largest(len(full), lambda keep: _size(render(keep)) <= MAX_BYTES))


def _largest(high: int, fits: Callable[[int], bool]) -> int:
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low

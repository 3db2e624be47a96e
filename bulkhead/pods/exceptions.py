"""A failure as an exception, one type a class, so that a retry policy, or an author's own code, can tell them apart."""

from __future__ import annotations

from typing import ClassVar

from bulkhead.errors import BulkheadError
from bulkhead.pods.outcome import Failure, FailureClass


class PodFailedError(BulkheadError):
    """A pod failed.

    Args:
        failure: why, with the evidence.
        node: that it ran on, or an empty string.
    """

    remedy: ClassVar[str] = ""
    """What a person does about it, where no other try would end better."""

    def __init__(self, pod: str, failure: Failure, node: str = "") -> None:
        self.pod, self.failure, self.node = pod, failure, node
        kind = f"/{failure.kind}" if failure.kind else ""
        where = f" on node {node}" if node else ""
        then = f"; next: {self.remedy}" if self.remedy else ""
        super().__init__(f"pod {pod} failed ({failure.failure_class}{kind}){where}: {failure.message}{then}")


class ApplicationFailedError(PodFailedError):
    """The program itself failed."""


class GateRefusedError(PodFailedError):
    """The evaluate gate refused the candidate."""

    remedy = "train again, or change the gate's limits; nothing was released, and what serves goes on"


class PodConfigError(PodFailedError):
    """The pod cannot run as it was asked for: a missing secret, a bad command, a volume."""

    remedy = "mend what it names, and clear the task"


class HostOutOfMemoryError(PodFailedError):
    """A container was over its memory limit."""


class GpuOutOfMemoryError(PodFailedError):
    """The program asked for more GPU memory than there was."""

    remedy = "make its batches smaller, or ask for GPUs with more memory"


class DeviceFaultError(PodFailedError):
    """A GPU or its link is at fault."""


class NodeLostError(PodFailedError):
    """The node went away, or cannot be reached."""


class PodEvictedError(PodFailedError):
    """The node, or its drain, evicted the pod."""


class PodPreemptedError(PodFailedError):
    """The pod had to make room: a higher priority, a spot node's end."""


class ImageUnavailableError(PodFailedError):
    """The image could not be pulled."""


class PodUnschedulableError(PodFailedError):
    """No node takes the pod."""


class PodRefusedError(PodFailedError):
    """Admission, or a policy, refused the pod."""

    remedy = "ask for what the policy allows, or have it changed"


class PodDeadlineError(PodFailedError):
    """The pod ran into its deadline."""

    remedy = "raise its deadline, or make its work shorter"


class PodHungError(PodFailedError):
    """The pod made no progress."""


class ClusterUnreachableError(PodFailedError):
    """The cluster did not answer."""


class PodCancelledError(PodFailedError):
    """The pod was ended from outside."""


TYPES: dict[FailureClass, type[PodFailedError]] = {
    FailureClass.APPLICATION: ApplicationFailedError,
    FailureClass.GATE: GateRefusedError,
    FailureClass.CONFIG: PodConfigError,
    FailureClass.HOST_OOM: HostOutOfMemoryError,
    FailureClass.GPU_OOM: GpuOutOfMemoryError,
    FailureClass.DEVICE_FAULT: DeviceFaultError,
    FailureClass.NODE_LOST: NodeLostError,
    FailureClass.EVICTED: PodEvictedError,
    FailureClass.PREEMPTED: PodPreemptedError,
    FailureClass.IMAGE: ImageUnavailableError,
    FailureClass.UNSCHEDULABLE: PodUnschedulableError,
    FailureClass.ADMISSION: PodRefusedError,
    FailureClass.DEADLINE: PodDeadlineError,
    FailureClass.HUNG: PodHungError,
    FailureClass.CLUSTER_UNREACHABLE: ClusterUnreachableError,
    FailureClass.CANCELLED: PodCancelledError,
}
"""The exception of each class."""


def error(pod: str, failure: Failure, node: str = "") -> PodFailedError:
    """The exception that says so.

    Args:
        node: that it ran on, or an empty string.
    """
    return TYPES[failure.failure_class](pod, failure, node)

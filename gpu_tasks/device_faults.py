"""Which GPU failed a job, as its driver tells: Xids from NVML, while the job still knows what it had the GPU do."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bulkhead.gpu_tasks.errors import ConfigError, GateError, VoidError
from bulkhead.gpu_tasks.timeouts import within
from bulkhead.health.faults import Fault, faults
from bulkhead.health.sources.nvml import NvmlSource
from bulkhead.pods import device_texts, reasons
from bulkhead.pods.outcome import Failure, FailureClass
from bulkhead.xids import Attribution

_MAY_BE = (FailureClass.APPLICATION, FailureClass.HUNG)
"""How a program sees that its device has failed: an exception, or a call that does not come back."""

_PATIENCE_S = 5.0
"""The driver of a GPU that has fallen off may not answer."""

_HARDWARE = (Attribution.DEVICE, Attribution.LINK, Attribution.UNKNOWN)


def listen() -> NvmlSource | None:
    """Have the driver remember Xids from now on, for ``named``; None where there is no GPU, or no driver to ask."""
    try:
        source = NvmlSource()
    except ImportError:
        return None
    if source.poll(time.time()).failed:
        source.close()
        return None
    return source


def own_gpu() -> str | None:
    """UUID of the GPU that this process computes on, as NVML has it; None where it uses none, or cannot tell."""
    torch = sys.modules.get("torch")  # a program that has not imported it has no device
    if torch is None or not torch.cuda.is_initialized():
        return None
    try:
        return f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
    except RuntimeError:  # after some faults CUDA answers nothing any more
        return None


def named(failure: Failure, source: NvmlSource | None, own: str | None) -> Failure:
    """A failure with the device that has caused it, if one has.

    An Xid whose fault is the device's, or is not known, decides; one that is the program's own (31: it went out of
    bounds) does not. Without Xids the error's text decides, as it does outside of the pod.

    Args:
        failure: as the program saw it.
        source: of ``listen``; it has listened since before the failure.
        own: UUID of the process' own GPU; None if that is not known: then any that the process can see may be it.
            Another one is named only where this process says no more than that it has lost a peer.

    Returns:
        The same, or one of the class ``device_fault`` with its kind (``xid-79``) and the device's UUID.
    """
    if failure.failure_class not in _MAY_BE:
        return failure
    by_device = _by_device(source)
    mine = {own: by_device[own]} if own is not None and own in by_device else {}
    suspects = mine if mine or (own is not None and not reasons.is_victim(failure)) else by_device
    if suspects:
        uuid, kind, words = _first(suspects)
        return _fault(failure, kind, uuid, f"{failure.message.rstrip()}; {words}")
    said = device_texts.device(f"{failure.message}\n{failure.evidence}")
    if said is not None and said[0] is FailureClass.DEVICE_FAULT:
        where = f" (on {own})" if own is not None else ""
        return _fault(failure, said[1], own, f"{failure.message.rstrip()}{where}")
    return failure


@contextmanager
def voided(what: str) -> Iterator[None]:
    """Void what is computed inside if a device fails meanwhile: whether it ends well, badly, or with wrong numbers.

    Args:
        what: is computed, for people.

    Raises:
        VoidError: this process' own GPU has failed, or one that it sees where its own is not known; or it has
            ended with an error whose text is of a device that failed.
    """
    source = listen()
    try:
        yield
    except (GateError, ConfigError) as error:  # other errors are named by ``named``
        _void(what, source, str(error), error)
        raise
    else:
        _void(what, source, "", None)
    finally:
        if source is not None:
            source.close()


def _void(what: str, source: NvmlSource | None, text: str, error: Exception | None) -> None:
    own, by_device = own_gpu(), _by_device(source)
    suspects = by_device if own is None else {uuid: fault for uuid, fault in by_device.items() if uuid == own}
    if suspects:
        uuid, kind, said = _first(suspects)
        raise VoidError(f"{what} is void: {said}", kind, uuid) from error
    by_text = device_texts.device(text)
    if by_text is not None and by_text[0] is FailureClass.DEVICE_FAULT:
        raise VoidError(f"{what} is void: {text}", by_text[1], own) from error


def _first(suspects: Mapping[str, Fault]) -> tuple[str, str, str]:
    """Of devices that have failed the one that did first: its UUID, the failure's kind, and a sentence."""
    uuid, fault = min(suspects.items(), key=lambda suspect: suspect[1].at)
    numbers = ", ".join(str(number) for number in (fault.xid.number, *fault.others))
    said = f"{uuid} has reported Xid {numbers} ({fault.xid.description}); to be done: {fault.action}"
    return uuid, f"xid-{fault.xid.number}", said


def _by_device(source: NvmlSource | None) -> Mapping[str, Fault]:
    """The first hardware fault of each GPU since ``listen``."""
    if source is None:
        return {}
    snapshot = within(_PATIENCE_S, lambda: source.poll(time.time()), "what the driver says of the GPUs")
    fault_of: dict[str, Fault] = {}
    for uuid, events in (snapshot.xids if snapshot is not None else {}).items():
        own = [fault for fault in faults(events) if fault.xid.attribution in _HARDWARE]
        if own:
            fault_of[uuid] = own[0]
    return fault_of


def _fault(failure: Failure, kind: str, device: str | None, message: str) -> Failure:
    named = {"failure_class": FailureClass.DEVICE_FAULT, "kind": kind, "device": device, "message": message}
    return failure.model_copy(update=named)

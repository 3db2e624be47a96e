"""A job's failure, and the GPU that has caused it, or has not."""

from types import SimpleNamespace

import pynvml
import pytest

from bulkhead.gpu_tasks.device_faults import listen, named, own_gpu, voided
from bulkhead.gpu_tasks.errors import ConfigError, GateError, VoidError
from bulkhead.health.sources.nvml import NvmlSource
from bulkhead.pods.outcome import Failure, FailureClass
from tests.fixtures.nvml import Library

LAUNCH = "CUDA error: unspecified launch failure"
PLAIN = Failure(failure_class=FailureClass.APPLICATION, message="RuntimeError: it broke", rank=1)
VICTIM = Failure(failure_class=FailureClass.APPLICATION, message="ncclRemoteError: remote process exited")


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def source(library: Library) -> NvmlSource:
    """That has begun to listen."""
    source = NvmlSource(library, "here")
    source.poll(0.0)
    return source


def _xid(number: int, device: int = 1) -> SimpleNamespace:
    return SimpleNamespace(device=device, eventData=number)


def test_an_xid_of_its_own_gpu_decides(library: Library, source: NvmlSource) -> None:
    library.events = [_xid(48)]
    failure = named(PLAIN, source, "GPU-1")
    assert (failure.failure_class, failure.kind, failure.device) == (FailureClass.DEVICE_FAULT, "xid-48", "GPU-1")
    assert failure.message.startswith("RuntimeError: it broke; GPU-1 has reported Xid 48 (")
    assert failure.rank == 1


def test_a_gpu_that_has_fallen_off_is_named(library: Library, source: NvmlSource) -> None:
    library.lost = {0}
    failure = named(PLAIN.model_copy(update={"failure_class": FailureClass.HUNG}), source, None)
    assert (failure.failure_class, failure.kind, failure.device) == (FailureClass.DEVICE_FAULT, "xid-79", "GPU-0")


@pytest.mark.parametrize("number", [13, 31, 43, 45])
def test_the_programs_own_xids_do_not_blame_the_device(library: Library, source: NvmlSource, number: int) -> None:
    library.events = [_xid(number)]
    failure = PLAIN.model_copy(update={"message": "CUDA error: an illegal memory access was encountered"})
    assert named(failure, source, "GPU-1") == failure


def test_another_ranks_gpu_is_blamed_only_by_who_has_lost_that_rank(library: Library, source: NvmlSource) -> None:
    library.events = [_xid(79, device=0)]
    assert named(PLAIN, source, "GPU-1") == PLAIN
    library.events = [_xid(79, device=0)]
    assert named(VICTIM, source, "GPU-1").device == "GPU-0"


def test_xids_from_before_the_job_are_not_its_own(library: Library) -> None:
    source = NvmlSource(library, "here")
    source.poll(0.0)  # NVML tells of nothing that was before
    assert named(PLAIN, source, "GPU-1") == PLAIN


def test_without_xids_the_text_decides(source: NvmlSource) -> None:
    failure = named(PLAIN.model_copy(update={"message": LAUNCH}), source, "GPU-1")
    assert (failure.failure_class, failure.kind) == (FailureClass.DEVICE_FAULT, "launch-failure")
    assert (failure.device, failure.message) == ("GPU-1", f"{LAUNCH} (on GPU-1)")
    alone = named(PLAIN.model_copy(update={"message": LAUNCH}), None, None)
    assert (alone.failure_class, alone.device) == (FailureClass.DEVICE_FAULT, None)


@pytest.mark.parametrize("known", sorted(set(FailureClass) - {FailureClass.APPLICATION, FailureClass.HUNG}))
def test_what_the_program_knows_for_sure_stays(library: Library, source: NvmlSource, known: FailureClass) -> None:
    library.events = [_xid(79)]
    failure = Failure(failure_class=known, message=LAUNCH)
    assert named(failure, source, "GPU-1") == failure


def test_a_driver_that_fails_meanwhile_changes_nothing(library: Library, source: NvmlSource) -> None:
    library.broken = {"nvmlDeviceGetCount": pynvml.NVML_ERROR_UNKNOWN}
    assert named(PLAIN, source, "GPU-1") == PLAIN


def test_a_machine_without_a_driver_has_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr("bulkhead.health.sources.nvml.import_module", lambda name: library)
    assert listen() is not None
    library.broken = {"nvmlInit": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND}
    assert listen() is None
    monkeypatch.setattr("bulkhead.health.sources.nvml.import_module", _missing)
    assert listen() is None


def _missing(name: str) -> None:
    raise ImportError(name)


def test_a_process_without_cuda_has_no_gpu() -> None:
    assert own_gpu() is None


# What is computed while a device fails


@pytest.fixture
def driver(library: Library, monkeypatch: pytest.MonkeyPatch) -> Library:
    """A library that this process has."""
    monkeypatch.setattr("bulkhead.health.sources.nvml.import_module", lambda name: library)
    return library


def test_what_ended_well_while_a_device_failed_is_void(driver: Library) -> None:
    message = r"^the evaluation is void: GPU-1 has reported Xid 48 \("
    with pytest.raises(VoidError, match=message) as raised, voided("the evaluation"):
        driver.events = [_xid(48)]
    assert (raised.value.kind, raised.value.device) == ("xid-48", "GPU-1")


def test_so_is_a_refusal(driver: Library) -> None:
    with pytest.raises(VoidError, match="Xid 79"), voided("the evaluation"):
        driver.events = [_xid(79)]
        raise GateError("accuracy_score is 0.1")


@pytest.mark.parametrize("error", [GateError, ConfigError])
def test_without_a_driver_the_text_of_a_refusal_decides(error: type[Exception]) -> None:
    message = f"^the evaluation is void: candidate: {LAUNCH}$"
    with pytest.raises(VoidError, match=message) as raised, voided("the evaluation"):
        raise error(f"candidate: {LAUNCH}")
    assert (raised.value.kind, raised.value.device) == ("launch-failure", None)


def test_only_its_own_gpu_counts_where_it_is_known(driver: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkhead.gpu_tasks.device_faults.own_gpu", lambda: "GPU-0")
    with voided("the evaluation"):
        driver.events = [_xid(79, device=1)]


@pytest.mark.parametrize("number", [13, 31, 43])
def test_what_the_program_did_itself_voids_nothing(driver: Library, number: int) -> None:
    with pytest.raises(GateError, match="worse"), voided("the evaluation"):
        driver.events = [_xid(number)]
        raise GateError("it is worse")


def test_other_errors_are_named_elsewhere(driver: Library) -> None:
    with pytest.raises(RuntimeError, match="unspecified"), voided("the evaluation"):
        driver.events = [_xid(79)]
        raise RuntimeError(LAUNCH)


def test_what_happened_before_voids_nothing(driver: Library) -> None:
    with voided("the evaluation"):
        pass

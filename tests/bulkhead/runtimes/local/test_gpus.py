from pathlib import Path

import pytest

from bulkhead.errors import InvalidInputError
from bulkhead.runtimes.local import gpus
from bulkhead.runtimes.local.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    made.make()
    return made


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_nvml_uuids", lambda: ["GPU-a", "GPU-b"])


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_nvml_uuids", list)


def test_without_a_gpu_a_request_is_an_error_that_names_the_way_out(no_gpu: None) -> None:
    with pytest.raises(InvalidInputError, match=r"nvidia\.com/gpu.*0 GPU\(s\).*simulated_gpus"):
        gpus.check_request(1, simulated_gpus=0)


def test_simulated_gpus_serve_only_where_they_were_asked_for(no_gpu: None) -> None:
    gpus.check_request(2, simulated_gpus=2)
    with pytest.raises(InvalidInputError):
        gpus.check_request(3, simulated_gpus=2)


def test_real_gpus_come_before_simulated_gpus(two_gpus: None) -> None:
    assert gpus.devices(simulated_gpus=4) == ["GPU-a", "GPU-b"]


def test_one_holder_a_device(two_gpus: None, layout: Layout) -> None:
    with gpus.try_hold(layout, 1, 0) as first, gpus.try_hold(layout, 1, 0) as second:
        assert (first, second) == (["GPU-a"], ["GPU-b"])
        with gpus.try_hold(layout, 1, 0) as third:
            assert third is None
    with gpus.try_hold(layout, 2, 0) as both:
        assert both == ["GPU-a", "GPU-b"]


def test_all_or_none(two_gpus: None, layout: Layout) -> None:
    with gpus.try_hold(layout, 1, 0):
        with gpus.try_hold(layout, 2, 0) as both:
            assert both is None
        with gpus.try_hold(layout, 1, 0) as other:
            assert other == ["GPU-b"]


def test_no_request_holds_nothing(two_gpus: None, layout: Layout) -> None:
    with gpus.try_hold(layout, 0, 0) as held:
        assert held == []


def test_the_program_sees_its_own_devices_alone() -> None:
    assert gpus.environment(["GPU-b"]) == {
        "CUDA_VISIBLE_DEVICES": "GPU-b",
        "NVIDIA_VISIBLE_DEVICES": "GPU-b",
        "BULKHEAD_DEVICES": "GPU-b",
    }


def test_a_simulated_gpu_is_no_cuda_device() -> None:
    seen = gpus.environment(["simulated-gpu-0"])
    assert (seen["CUDA_VISIBLE_DEVICES"], seen["NVIDIA_VISIBLE_DEVICES"]) == ("", "void")
    assert seen["BULKHEAD_DEVICES"] == "simulated-gpu-0"

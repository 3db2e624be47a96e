from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

from bulkhead.gpu_tasks.checkpoint_files import RankFileWriter, stager


def _tensors(value: float) -> dict[str, torch.Tensor]:
    whole = torch.full((8, 3), value)
    return {"weight": whole, "turned": whole.clone().t(), "step": torch.tensor(value), "bytes": torch.arange(5).byte()}


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_torchs_own_reader_reads_what_was_never_one_string(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_string(*_: object, **__: object) -> bytes:
        raise AssertionError("this holds the interpreter's lock for seconds")

    monkeypatch.setattr(safetensors.torch, "save", one_string)
    monkeypatch.setattr(safetensors.torch, "_tobytes", one_string, raising=False)  # of safetensors before 0.8
    written = _tensors(7.0)
    dcp.save(dict(written), storage_writer=RankFileWriter(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["rank-00001.safetensors"]
    read = {name: torch.zeros_like(one) for name, one in written.items()}
    dcp.load(read, storage_reader=HuggingFaceStorageReader(str(tmp_path)))
    assert all(torch.equal(read[name], one) for name, one in written.items())


def test_each_save_copies_into_the_memory_of_the_one_before() -> None:
    copies, tensors = stager(), _tensors(1.0)
    first = copies.stage(dict(tensors))
    assert isinstance(first, dict)
    place = first["weight"].data_ptr()
    tensors["weight"].fill_(2.0)
    assert first["weight"].max() == 1.0
    second = copies.stage(dict(tensors))
    assert isinstance(second, dict)
    assert second["weight"].data_ptr() == place != tensors["weight"].data_ptr()
    assert second["weight"].min() == 2.0
    copies.close()

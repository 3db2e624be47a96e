import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.pods.outcome import MAX_BYTES, PATH_VARIABLE, Failure, FailureClass, Outcome, failed
from bulkhead.text import storable
from tests.hostile import TEXT

_text = st.text(max_size=6000) | TEXT


@given(evidence=_text, message=_text, step=st.integers(0, 10**9))
def test_any_failure_fits_a_termination_message_and_keeps_its_structure(evidence: str, message: str, step: int) -> None:
    failure = Failure(
        failure_class=FailureClass.DEVICE_FAULT, message=message, evidence=evidence, rank=3, checkpoint=f"step-{step}"
    )
    text = Outcome(result={"step": step}, failure=failure).encode()
    assert len(text.encode()) <= MAX_BYTES
    read = Outcome.decode(text)
    assert read is not None and read.failure is not None
    assert (read.result, read.failure.rank, read.failure.checkpoint) == ({"step": step}, 3, f"step-{step}")
    assert read.failure.failure_class is FailureClass.DEVICE_FAULT


@given(evidence=_text, message=_text)
def test_shortened_text_is_a_prefix_and_evidence_goes_first(evidence: str, message: str) -> None:
    full = Outcome(failure=Failure(failure_class=FailureClass.APPLICATION, message=message, evidence=evidence))
    read = Outcome.decode(full.encode())
    assert read is not None and read.failure is not None
    assert storable(message).startswith(read.failure.message.removesuffix("…[cut]"))
    assert storable(evidence).startswith(read.failure.evidence.removesuffix("…[cut]"))
    if read.failure.message != storable(message):
        assert read.failure.evidence == ""


@given(message=TEXT, evidence=TEXT, kind=TEXT, checkpoint=TEXT, exception=TEXT, said=TEXT)
def test_whatever_a_program_says_its_class_arrives(
    message: str, evidence: str, kind: str, checkpoint: str, exception: str, said: str
) -> None:
    failure = Failure(
        failure_class=FailureClass.PREEMPTED,
        kind=kind,
        message=message,
        evidence=evidence,
        exception=exception,
        checkpoint=checkpoint,
        rank=3,
    )
    text = Outcome(result={said: said}, failure=failure).encode()
    assert len(text.encode()) <= MAX_BYTES
    read = Outcome.decode(text)
    assert read is not None and read.failure is not None
    assert (read.failure.failure_class, read.failure.rank) == (FailureClass.PREEMPTED, 3)


def test_a_file_name_of_another_encoding_costs_its_one_letter() -> None:
    failure = Failure(failure_class=FailureClass.CONFIG, message="cannot read caf\udce9.jpg", checkpoint="step-7")
    read = Outcome.decode(Outcome(failure=failure).encode())
    assert read is not None and read.failure is not None
    assert (read.failure.message, read.failure.checkpoint) == ("cannot read caf\ufffd.jpg", "step-7")


def test_a_number_that_json_does_not_have_is_kept_as_its_name() -> None:
    left = Outcome.decode(Outcome(result={"loss": float("nan"), "best": [float("-inf"), 1.5]}).encode())
    assert left is not None and left.result == {"loss": "NaN", "best": ["-Infinity", 1.5]}


def test_what_fits_is_not_shortened() -> None:
    outcome = Outcome(result={"accuracy": 0.98}, failure=Failure(failure_class=FailureClass.HUNG, evidence="e" * 3000))
    assert Outcome.decode(outcome.encode()) == outcome


def test_a_result_that_is_too_large_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"outcome\.result takes \d+ bytes .* log it to MLflow"):
        Outcome(result={"predictions": "9" * 5000}).encode()


@pytest.mark.parametrize("text", [None, "", "Segmentation fault", "[]", '{"version": 2}', '{"failure": {}}'])
def test_a_termination_message_that_is_no_outcome_is_none(text: str | None) -> None:
    assert Outcome.decode(text) is None


def test_fields_of_a_later_writer_are_ignored() -> None:
    assert Outcome.decode('{"version": 1, "result": {"a": 1}, "colour": "red"}') == Outcome(result={"a": 1})


def test_it_is_written_where_the_pod_spec_said(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "termination-log"))
    Outcome(result={"run_id": "r"}).write()
    assert json.loads((tmp_path / "termination-log").read_text()) == {"version": 1, "result": {"run_id": "r"}}


def test_an_exception_keeps_its_type_and_text() -> None:
    outcome = failed(FailureClass.CONFIG, KeyError("epochs"), evidence="line 3")
    assert outcome.failure is not None
    assert (outcome.failure.exception, outcome.failure.message) == ("builtins.KeyError", "'epochs'")


def test_an_exception_without_text_is_named() -> None:
    outcome = failed(FailureClass.HOST_OOM, MemoryError())
    assert outcome.failure is not None and outcome.failure.message == "MemoryError"


def test_a_failure_of_an_earlier_attempt_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Failure(failure_class=FailureClass.APPLICATION, message="killed")
    assert Outcome(failure=failure).write_first(tmp_path / "message")
    assert not Outcome(result={"loss": 1.0}).write_first(tmp_path / "message")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert Outcome(failure=failure).write_first(tmp_path / "message")
    assert not Outcome(result={"loss": 1.0}).write_first(tmp_path / "message")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    assert Outcome(result={"loss": 1.0}).write_first(tmp_path / "message")
    assert Outcome.decode((tmp_path / "message").read_text()) == Outcome(result={"loss": 1.0}, attempt=2)

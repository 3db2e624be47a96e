"""Suites of Great Expectations: the user's as JSON or as a function, and what the model's signature says."""

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow.models import infer_signature
from mlflow.models.signature import ModelSignature
from mlflow.types import ColSpec, Schema

from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.gate.checks import check
from tests import team

FRAME = team.holdout()
SIGNATURE = infer_signature(FRAME.drop(columns=["left"]))


def _json(folder: Path, document: Any) -> str:
    path = folder / "suite.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def _expects(low: int) -> dict[str, Any]:
    expectation = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "age", "min_value": low}}
    return {"name": "customers", "expectations": [expectation]}


def test_a_suite_as_json_is_kept_or_not(tmp_path: Path) -> None:
    report = check(FRAME, _json(tmp_path, _expects(18)), None, "left")
    assert (report.passed, report.failed) == (1, []) and report.details["success"] is True
    (failed,) = check(FRAME, _json(tmp_path, _expects(40)), None, "left").failed
    assert failed.startswith("expect_column_values_to_be_between on age: saw [")


def test_a_suite_as_a_function_is_kept_or_not() -> None:
    assert check(FRAME, "tests.team:suite", None, "left").failed == []
    report = check(FRAME, "tests.team:strict_suite", None, "left")
    assert report.passed == 0 and len(report.failed) == 2
    assert "expect_column_to_exist on tenure" in report.failed[1]


def test_without_one_the_signature_says_what_there_has_to_be() -> None:
    assert check(FRAME, None, SIGNATURE, "left").passed == 7
    missing = check(FRAME.drop(columns=["spend"]), None, SIGNATURE, "left").failed
    assert any(sentence.startswith("expect_column_to_exist on spend") for sentence in missing)
    holes = check(FRAME.assign(age=FRAME["age"].where(FRAME["age"] > 20)), None, SIGNATURE, "left").failed
    assert holes[0].startswith("expect_column_values_to_not_be_null on age")


def test_what_is_optional_may_be_missing() -> None:
    signature = ModelSignature(Schema([ColSpec("long", "age"), ColSpec("double", "tenure", required=False)]))
    assert check(FRAME, None, signature, "left").failed == []


@pytest.mark.parametrize("signature", [None, infer_signature(FRAME[["age", "spend"]].to_numpy())])
def test_of_a_model_that_says_nothing_the_target_is_checked(signature: Any) -> None:
    assert check(FRAME, None, signature, "left").passed == 1


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", r"cannot be read: JSONDecodeError"),
        ({"name": "customers"}, r"no suite of Great Expectations: 'expectations'"),
        (
            {"expectations": [{"type": "expect_the_impossible", "kwargs": {}}]},
            r"knows no such expectation: .*expect_the_impo",
        ),
        ({"expectations": []}, r"it holds no expectation"),
    ],
)
def test_what_is_no_suite_is_refused(document: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        check(FRAME, _json(tmp_path, document), None, "left")


@pytest.mark.parametrize(
    ("source", "message"), [("/nowhere/s.json", "FileNotFound"), ("tests.team:no_suite", "no expect")]
)
def test_a_suite_that_is_not_there_is_refused(source: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(FRAME, source, None, "left")

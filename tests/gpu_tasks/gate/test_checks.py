"""Suites of Great Expectations: the user's as JSON or as a function, and what the model's signature says."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from mlflow.models.signature import ModelSignature
from mlflow.types import ColSpec, Schema

from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.gate.checks import check
from tests import team

FRAME = team.holdout()
SIGNATURE = infer_signature(FRAME.drop(columns=["left"]))


def _model(signature: Any = None, example: Any = None) -> Any:
    return SimpleNamespace(metadata=SimpleNamespace(signature=signature), input_example=example)


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
    model = _model(SIGNATURE)
    assert check(FRAME, None, model, "left").passed == 9
    missing = check(FRAME.drop(columns=["spend"]), None, model, "left").failed
    assert any(sentence.startswith("expect_column_to_exist on spend") for sentence in missing)
    holes = check(FRAME.assign(age=FRAME["age"].where(FRAME["age"] > 20)), None, model, "left").failed
    assert holes[0].startswith("expect_column_values_to_not_be_null on age")


@pytest.mark.parametrize(
    "wrong", [["many"] * 400, [np.inf] + [1.0] * 399, [None] + [1.0] * 399, pd.Series(["1"] * 400, dtype=object)]
)
@pytest.mark.parametrize("model", [_model(SIGNATURE), _model(None, FRAME.head(2))])
def test_a_number_is_one_by_the_signature_or_by_the_input_example(model: Any, wrong: Any) -> None:
    for right in (FRAME["spend"], FRAME["spend"].astype("float32"), FRAME["age"].astype("Int64"), [True] * 400):
        assert check(FRAME.assign(spend=right), None, model, "left").failed == []
    failed = check(FRAME.assign(spend=wrong), None, model, "left").failed
    assert failed and all(" on spend: " in sentence for sentence in failed)


def test_what_is_true_or_false_is_one_of_the_two() -> None:
    frame = FRAME.assign(known=True)
    for model in (_model(infer_signature(frame[["known"]])), _model(None, frame[["known"]].head(2))):
        assert check(frame, None, model, "left").failed == []
        (failed,) = check(FRAME.assign(known="yes"), None, model, "left").failed
        assert failed.startswith("expect_column_values_to_be_in_set on known: saw ['yes'")


def test_an_example_says_what_there_has_to_be_where_nothing_is_missing_in_it() -> None:
    example = FRAME.head(2)[["age", "spend"]].assign(tenure=[None, 3.0])
    assert check(FRAME, None, _model(None, example), "left").failed == []
    failed = check(FRAME.drop(columns=["age"]), None, _model(None, example), "left").failed
    assert any(sentence.startswith("expect_column_to_exist on age") for sentence in failed)


def test_what_is_optional_may_be_missing() -> None:
    signature = ModelSignature(Schema([ColSpec("long", "age"), ColSpec("double", "tenure", required=False)]))
    assert check(FRAME, None, _model(signature), "left").failed == []


@pytest.mark.parametrize("signature", [None, infer_signature(FRAME[["age", "spend"]].to_numpy())])
@pytest.mark.parametrize("example", [None, FRAME[["age", "spend"]].to_numpy(), {"age": 3}])
def test_of_a_model_that_says_nothing_the_target_is_checked(signature: Any, example: Any) -> None:
    assert check(FRAME, None, _model(signature, example), "left").passed == 1


def test_the_data_docs_show_what_failed_and_run_no_script() -> None:
    name = "<script>alert(1)</script>"
    page = check(FRAME.assign(**{name: 1}), "tests.team:strict_suite", None, "left").page
    assert "tenure" in page and "<html" in page
    head = page[page.index("<head>") :]
    assert head.startswith('<head><meta http-equiv="Content-Security-Policy" content="default-src \'none\'; ')
    assert "script-src" not in head[: head.index(">", 10)]


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

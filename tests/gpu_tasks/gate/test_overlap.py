"""Rows that a candidate was trained on do not judge it."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from bulkhead.gpu_tasks.errors import ConfigError, GateError
from bulkhead.gpu_tasks.gate.data import Holdout, load
from bulkhead.gpu_tasks.gate.logged_data import LoggedData
from bulkhead.gpu_tasks.gate.overlap import refuse_overlap, shared
from bulkhead.gpu_tasks.gate.request import GateRequest
from tests import team

HOLDOUT = load("tests.team:holdout", "left")
FRAME = HOLDOUT.frame
OTHERS = FRAME.assign(spend=FRAME["spend"] + 0.5)


def _request(**more: Any) -> GateRequest:
    asked = {
        "model_name": "churn",
        "data": "tests.team:holdout",
        "target": "left",
        "metrics": {"f1_score": {"margin": 1}},
    }
    return GateRequest.model_validate({**asked, **more})


def _logged(frame: pd.DataFrame, source: str = "", context: str = "training") -> LoggedData:
    return LoggedData("customers", mlflow.data.from_pandas(frame).digest, source, context)


def _written(frame: pd.DataFrame, path: Path) -> str:
    frame.to_parquet(path)
    return str(path)


def test_rows_are_the_same_whatever_types_keep_them() -> None:
    features = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"], "c": [True, False, True]})
    kept = pd.DataFrame(
        {"b": pd.Categorical(["x", "q"]), "c": [1.0, 1.0], "a": np.array([1, 9], dtype="int8"), "label": [0, 1]}
    )
    assert shared(features, kept) == pytest.approx(1 / 3)
    assert shared(features, kept.assign(a=[1.5, 9])) == 0
    assert shared(features, kept[["label"]]) is None
    lists = pd.DataFrame({"a": [[1, 2], np.array([3])]}, dtype=object)
    assert shared(lists, pd.DataFrame({"a": [[3], [4]]})) == 0.5


@pytest.mark.parametrize(
    "kept",
    [
        pd.Series([0.1, 7.0, 3.0], dtype="float32"),
        pd.Categorical([0.1, 7.0, 3.0]),
        pd.Series([0.1, 7.0, None], dtype="Float64"),
        pd.Series([0.1, 7.0, 3.0], dtype=object),
    ],
)
def test_a_number_is_the_same_in_whatever_precision_it_is_kept(kept: Any) -> None:
    features = pd.DataFrame({"a": [0.1, 7.0, 8.0]})
    assert shared(features, pd.DataFrame({"a": kept})) == pytest.approx(2 / 3)
    assert shared(pd.DataFrame({"a": kept}).head(2), features) == 1
    large = pd.DataFrame({"a": [2**40, 2**40 + 2]})
    assert shared(large.head(1), large.tail(1)) == 0  # which single precision could not tell apart


def test_nothing_known_is_said() -> None:
    for none in ([], [_logged(OTHERS)], [_logged(FRAME, context="eval")]):
        found = refuse_overlap(_request(), HOLDOUT, none)
        assert found.share is None and found.evidence()["training_overlap"].startswith("not known: ")


def test_a_training_on_these_very_rows_is_told_by_mlflows_digest() -> None:
    for frame in (FRAME, HOLDOUT.features):
        with pytest.raises(GateError, match=r"^400 of 400 rows of data = 'tests\.team:holdout' are in what the "):
            refuse_overlap(_request(), HOLDOUT, [_logged(frame)])


def test_a_training_on_some_of_the_rows_is_told_by_its_file(tmp_path: Path) -> None:
    some = pd.concat([OTHERS, FRAME.head(3)])
    data = _logged(some, _written(some, tmp_path / "train.parquet"))
    with pytest.raises(GateError, match=r"^3 of 400 rows .* \(customers@\w+\): .* say most_overlap=0\.01$"):
        refuse_overlap(_request(), HOLDOUT, [_logged(OTHERS), data])
    assert refuse_overlap(_request(most_overlap=0.01), HOLDOUT, [data]).evidence() == {"training_overlap": 0.0075}
    apart = _logged(OTHERS, _written(OTHERS, tmp_path / "apart.parquet"))
    assert refuse_overlap(_request(), HOLDOUT, [apart]).evidence() == {"training_overlap": 0.0}


def test_a_file_that_is_gone_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert refuse_overlap(_request(), HOLDOUT, [_logged(OTHERS, "/nowhere/train.csv")]).share is None
    assert "not known: source of customers@" in capsys.readouterr().out


def test_the_training_data_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = _request(training_data=_written(OTHERS, tmp_path / "train.parquet"))
    assert refuse_overlap(named, HOLDOUT, [_logged(FRAME)]).share == 0  # it counts more than what was logged
    with pytest.raises(GateError, match=r"400 of 400 rows .* say most_overlap=1"):
        refuse_overlap(_request(training_data="tests.team:holdout"), HOLDOUT, [])
    with pytest.raises(ConfigError, match=r"^training_data = '/nowhere/t\.csv': cannot be read: "):
        refuse_overlap(_request(training_data="/nowhere/t.csv"), HOLDOUT, [])
    monkeypatch.setattr(team, "nothing", lambda: pd.DataFrame({"x": [1]}))
    with pytest.raises(ConfigError, match=r"they have no column of the data's; they have x$"):
        refuse_overlap(_request(training_data="tests.team:nothing"), HOLDOUT, [])


def test_a_label_that_was_corrected_makes_no_other_row() -> None:
    relabelled = Holdout(HOLDOUT.features, ~HOLDOUT.targets, FRAME.assign(left=~FRAME["left"]), "d")
    with pytest.raises(GateError, match="400 of 400"):
        refuse_overlap(_request(training_data="tests.team:holdout"), relabelled, [])

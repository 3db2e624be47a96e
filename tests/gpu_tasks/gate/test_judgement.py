"""The verdict on a candidate: limits, slices and the champion together."""

from typing import Any

import numpy as np
import pytest

from bulkhead.gpu_tasks.errors import ConfigError, GateError
from bulkhead.gpu_tasks.gate.answers import ModelAnswers
from bulkhead.gpu_tasks.gate.data import load
from bulkhead.gpu_tasks.gate.judgement import GateJudgement, Measured, judge
from bulkhead.gpu_tasks.gate.request import GateRequest
from bulkhead.pods.outcome import Outcome

HOLDOUT = load("tests.team:holdout", "left")
LEFT = HOLDOUT.targets
COST = "tests.team:cost"


def _answers(*wrong: int) -> ModelAnswers:
    """Of a model that is wrong about these rows."""
    values = LEFT.copy()
    values[list(wrong)] = ~values[list(wrong)]
    return ModelAnswers(values, np.where(values, 0.8, 0.2) + 0.001 * np.arange(400) / 400)


def _judge(
    metrics: dict[str, Any], candidate: ModelAnswers, champion: ModelAnswers | None = None, **more: Any
) -> GateJudgement:
    asked = {"model_name": "churn", "data": "tests.team:holdout", "target": "left", "metrics": metrics, **more}
    return judge(GateRequest.model_validate(asked), HOLDOUT, candidate, champion, "champion version 3")


def test_the_first_model_is_held_to_its_limits_alone() -> None:
    found = _judge({"accuracy_score": {"at_least": 0.9, "margin": 0.02}}, _answers(1, 2))
    assert found.refusals == [] and found.compared == []
    assert found.evidence() == {
        "accuracy_score": 0.995,
        "champion": "none: the first model is held to limits alone",
    }


def test_a_limit_that_is_not_kept_refuses_with_its_numbers() -> None:
    wrong = _answers(*range(100))
    found = _judge({"accuracy_score": {"at_least": 0.9}, COST: {"at_most": 0.1, "greater_is_better": False}}, wrong)
    assert found.refusals == [
        "accuracy_score is 0.75 on 400 rows, under at_least 0.9",
        "cost is 0.5 on 400 rows, over at_most 0.1",
    ]
    assert found.numbers() == {"accuracy_score": 0.75, "cost": 0.5}


def test_a_candidate_is_compared_on_each_metric_and_slice() -> None:
    metrics = {"accuracy_score": {"margin": 0.05}, COST: {"margin": 0.3, "greater_is_better": False}}
    found = _judge(metrics, _answers(0, 1), _answers(2, 3), slices=["region"])
    assert found.refusals == []
    assert [(one.comparison.name, one.rows) for one in found.compared] == [
        *(
            ("accuracy_score", 400),
            ("accuracy_score of region = north", 200),
            ("accuracy_score of region = south", 200),
        ),
        *(("cost", 400), ("cost of region = north", 200), ("cost of region = south", 200)),
    ]
    numbers = found.numbers()
    assert (numbers["champion_accuracy_score"], numbers["accuracy_score_difference"]) == (0.995, 0.0)
    assert numbers["accuracy_score_difference_low"] < 0 < numbers["cost_p_worse_by_margin"] < 0.05
    assert found.evidence()["champion"] == "version 3"


def test_a_candidate_that_is_worse_in_one_slice_is_refused_there() -> None:
    north = range(0, 80, 2)
    found = _judge(
        {"accuracy_score": {"at_least": 0.85, "margin": 0.05}}, _answers(*north), _answers(), slices=["region"]
    )
    limit, whole, in_the_north = found.refusals
    assert limit == "accuracy_score of region = north is 0.8 on 200 rows, under at_least 0.85"
    assert whole.startswith("accuracy_score 0.9 against 1 of champion version 3 on 400 rows: worse by more than")
    assert in_the_north.startswith(
        "accuracy_score of region = north 0.8 against 1 of champion version 3 on 200 rows: wo"
    )


def test_three_reasons_are_told_and_how_many_more_there_are() -> None:
    found = _judge({"accuracy_score": {"at_least": 0.9}}, _answers(*range(400)), slices=["spend"])
    assert len(found.refusals) == 4 and found.refusals[-1] == "and 2 more, in the run's gate.json"


def test_slices_with_too_few_rows_are_named_and_not_judged() -> None:
    found = _judge({"accuracy_score": {"at_least": 0.9}}, _answers(), slices=["tests.team:by_age"], least_rows=100)
    assert [one.slice_name for one in found.measured] == ["", "old"]
    assert found.too_small == ["young: 73 rows"] and found.evidence()["slices_too_small"] == 1


def test_of_the_area_under_the_curve_each_slice_has_its_own() -> None:
    from sklearn.metrics import roc_auc_score

    answers = ModelAnswers(LEFT, np.random.default_rng(0).random(400) + 0.3 * LEFT)
    found = _judge({"roc_auc": {"at_least": 0.5}}, answers, slices=["tests.team:by_age"], least_rows=50)
    old = HOLDOUT.frame["age"] >= 60
    values = {one.slice_name: one.value for one in found.measured}
    assert values["old"] == pytest.approx(roc_auc_score(LEFT[old], answers.probabilities[old]))  # type: ignore[index]
    assert _judge({"roc_auc": {"margin": 0.2}}, answers, answers, slices=["tests.team:by_age"]).refusals == []


def test_the_evidence_of_many_metrics_fits_an_outcome() -> None:
    measured = [Measured(f"metric_{number}", "", 400, number / 7, "") for number in range(200)]
    evidence = GateJudgement(measured, [], "", ["small"]).evidence()
    assert evidence["more"] == "in the run's gate.json" and evidence["metric_3"] == 3 / 7
    assert evidence["slices_too_small"] == 1 and "metric_199" not in evidence
    assert len(Outcome(result={**evidence, "model_uri": "m" * 500, "run_id": "r" * 32}).encode()) < 4096


def test_a_slice_in_which_a_metric_means_nothing_is_named() -> None:
    with pytest.raises(GateError, match=r"'roc_auc' wants rows of both classes: .* \(of region = south, candidate\)"):
        _judge({"roc_auc": {"at_least": 0.5}}, _answers(), slices=["region"])


def test_everything_goes_to_mlflow() -> None:
    metrics = {"accuracy_score": {"margin": 0.05}}
    found = _judge(metrics, _answers(1), _answers(2), slices=["region"], least_rows=201).details("d1")
    assert (found["passed"], found["champion"], found["data_hash"]) == (True, "champion version 3", "d1")
    assert found["slices_too_small"] == ["region = north: 200 rows", "region = south: 200 rows"]
    (compared,) = found["compared"]
    assert compared["verdict"] == "not-worse" and compared["sentence"].startswith(
        "accuracy_score 0.9975 against 0.9975"
    )
    assert found["measured"][0] == {
        "metric": "accuracy_score",
        "slice_name": "",
        "rows": 400,
        "value": 0.9975,
        "broken": "",
    }


@pytest.mark.parametrize(
    ("metrics", "answers", "error", "message"),
    [
        (
            {"log_loss": {"at_most": 1}},
            ModelAnswers(LEFT, None),
            ConfigError,
            r"log_loss wants probabilities, and the cand",
        ),
        (
            {"tests.team:broken_cost": {"at_most": 1, "greater_is_better": False}},
            _answers(),
            GateError,
            r"broken_cost of the candidate cannot be computed: KeyError: 'price'",
        ),
        (
            {"mean_absolute_error": {"at_most": 1}},
            ModelAnswers(np.array(["a"] * 400), None),
            GateError,
            r"mean_absolute_error of the candidate cannot be computed: ",
        ),
        (
            {"mean_absolute_error": {"at_most": 1}},
            ModelAnswers(np.full(400, np.nan), None),
            GateError,
            r"mean_absolute_error is nan on 400 rows: it has to be a number",
        ),
        (
            {"tests.team:price": {"at_most": 1, "greater_is_better": False}},
            _answers(),
            ConfigError,
            r"no function price",
        ),
    ],
)
def test_a_metric_that_cannot_be_computed_is_refused(
    metrics: dict[str, Any], answers: ModelAnswers, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _judge(metrics, answers)

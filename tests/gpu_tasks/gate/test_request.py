"""What the gate may be asked; tests/operators/test_mistakes.py has the whole table of what it may not."""

import pytest
from pydantic import ValidationError

from bulkhead.gpu_tasks.gate.metrics import METRICS
from bulkhead.gpu_tasks.gate.request import NAMES, TEXT_NAMES, GateRequest, is_function

RUN = f"runs:/{'0af9' * 8}/customers"
ASKED = {"model_name": "churn", "data": "a.csv", "target": "left", "metrics": {"roc_auc": {"margin": 0.1}}}


def test_it_knows_the_names_of_all_metrics() -> None:
    assert sorted(METRICS) == list(NAMES)


@pytest.mark.parametrize(
    "data", ["a.parquet", "/mnt/a.csv", "s3://me@bucket/a.jsonl", "a.npz", "my_team.data:holdout", RUN, f"{RUN}.csv"]
)
def test_data_are_a_file_or_a_function(data: str) -> None:
    assert GateRequest.model_validate({**ASKED, "data": data}).data == data


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("a.b:c", True), ("a:b", True), ("s3://a:b", False), ("a:b:c", False), ("a b:c", False), (":c", False)],
)
def test_a_function_is_told_by_its_colon(text: str, is_one: bool) -> None:
    assert is_function(text) == is_one


def test_it_comes_out_of_json_as_it_went_in() -> None:
    asked = GateRequest.model_validate(
        {**ASKED, "metrics": {"my.metrics:cost": {"at_most": 3, "superiority": True, "greater_is_better": False}}}
    )
    assert GateRequest.model_validate_json(asked.model_dump_json()) == asked
    assert asked.metrics["my.metrics:cost"].compares


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"metrics": {"accuracy": {"margin": 0.1}}}, r"'accuracy' is not known: give one of accuracy_score, "),
        ({"metrics": {"a:b": {"margin": 0.1}}}, r"'a:b': say greater_is_better"),
        (
            {"metrics": {"roc_auc": {"margin": 0.1, "greater_is_better": True}}},
            r"'roc_auc': leave greater_is_better out",
        ),
        ({"metrics": {"roc_auc": {}}}, r"it asks nothing: give margin, superiority, at_least or at_most"),
        ({"metrics": {"roc_auc": {"margin": 0, "superiority": True}}}, r"give either a margin or superiority"),
        ({"metrics": {"roc_auc": {"at_least": 0.9, "at_most": 0.8}}}, r"no model keeps both"),
        ({"data": "s3://me:secret@bucket/a.csv"}, r"leave the password out"),
        ({"checks": "suite.yaml"}, r"give a file that ends in \.json, or package\.module:function"),
        ({"slices": ["region", "region"]}, r"a slice is named twice"),
        ({"metrics": {"precision_at_0": {"margin": 0.1}}}, r"'precision_at_0' is not known: .* precision_at_5, recall"),
        (
            {"metrics": {"recall_at_5": {"margin": 0.1}, "f1_score": {"margin": 0.1}}},
            r"'recall_at_5' is of models that answer with lists, and 'f1_score' is not: leave one out",
        ),
        (
            {
                "metrics": {
                    "a.b:cost": {"margin": 1, "greater_is_better": False},
                    "a.c:cost": {"margin": 1, "greater_is_better": False},
                }
            },
            r"'a\.b:cost': another metric is called 'cost' as well; name one of them otherwise",
        ),
        (
            {
                "metrics": {
                    "roc_auc": {"margin": 1},
                    "a.c:roc_auc": {"margin": 1, "greater_is_better": False},
                }
            },
            r"'roc_auc': another metric is called 'roc_auc' as well",
        ),
        ({"training_data": "train.xlsx"}, r"give a file that ends in \.parquet or "),
        ({"training_data": "s3://me:secret@bucket/a.csv"}, r"leave the password out"),
        ({"cost": {"price": {"at_most": 1}}}, r"'price' is not known: give one of latency_median_ms, "),
        ({"cost": {"size_mib": {}}}, r"it asks nothing: give at_most or at_most_times"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_remedy(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GateRequest.model_validate({**ASKED, **wrong})


@pytest.mark.parametrize("name", [*NAMES, *TEXT_NAMES, "precision_at_1", "recall_at_10", "ndcg_at_9999"])
def test_a_known_metric_needs_no_direction(name: str) -> None:
    GateRequest.model_validate({**ASKED, "metrics": {name: {"margin": 0.1}}})


def test_lists_go_with_a_metric_of_ones_own() -> None:
    own = {"margin": 0.1, "greater_is_better": True}
    asked = {**ASKED, "metrics": {"recall_at_5": {"margin": 0.1}, "my.metrics:diversity": own}}
    assert list(GateRequest.model_validate(asked).metrics) == ["recall_at_5", "my.metrics:diversity"]

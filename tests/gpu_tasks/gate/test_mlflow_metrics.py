"""Metrics that MLflow computes, against MLflow's own evaluation."""

from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.gate.mlflow_metrics import metric

FOUND = np.empty(3, dtype=object)
FOUND[:] = [["a", "b", "c"], ["d", "e"], []]
RELEVANT = np.empty(3, dtype=object)
RELEVANT[:] = [["a", "c"], np.array(["x", "e"]), []]


@pytest.mark.parametrize("name", ["precision_at_1", "precision_at_2", "recall_at_2", "recall_at_30", "ndcg_at_3"])
def test_a_retriever_is_judged_as_mlflow_does(name: str, mlflow_uri: str) -> None:
    mlflow.set_tracking_uri(mlflow_uri)
    mine = metric(name)
    values = mine.contributions(RELEVANT, FOUND)
    assert values.shape == (3, 1) and mine.lists and mine.greater_is_better
    frame = pd.DataFrame({"found": FOUND, "relevant": [list(one) for one in RELEVANT]})
    with mlflow.start_run():
        kind, _, k = name.rpartition("_at_")
        theirs = mlflow.models.evaluate(
            data=frame,
            predictions="found",
            targets="relevant",
            extra_metrics=[getattr(mlflow.metrics, f"{kind}_at_k")(int(k))],
            evaluators="default",
        )
    assert float(mine.value(values.mean(axis=0))) == pytest.approx(theirs.metrics[f"{name}/mean"])


@pytest.mark.parametrize(
    ("found", "relevant"), [([[1, 2], [3, 4]], [[1], [4]]), (np.array([["a", "b"], ["c", "d"]]), [["a"], ["c"]])]
)
def test_documents_go_by_numbers_or_by_names(found: Any, relevant: Any) -> None:
    rows = np.empty(2, dtype=object)
    rows[:] = [list(one) for one in found]
    values = metric("precision_at_1").contributions(np.array(relevant, dtype=object), rows)
    assert set(values.ravel()) <= {0.0, 1.0} and values[0, 0] == 1.0


@pytest.mark.parametrize(
    ("name", "greater_is_better"), [("rouge1", True), ("toxicity", False), ("ari_grade_level", False)]
)
def test_what_the_image_lacks_is_told_in_mlflows_words(name: str, greater_is_better: bool) -> None:
    mine, words = metric(name), np.array(["a b", "c d"])
    assert (mine.greater_is_better, mine.lists) == (greater_is_better, False)
    with pytest.raises(ConfigError, match=rf"^metrics: '{name}' cannot be computed in this pod: Failed to "):
        mine.contributions(words, words)


def test_what_is_no_list_is_told() -> None:
    words = np.array(["a b", "c d"], dtype=object)
    with pytest.raises(ConfigError, match=r"'precision_at_2' cannot be computed .*non-arraylike"):
        metric("precision_at_2").contributions(words, words)

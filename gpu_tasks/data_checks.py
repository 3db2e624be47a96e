"""The data, checked with Great Expectations: schema, ranges, class balance, nulls, duplicates, leakage."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpu_tasks.digits import CLASSES, MAX_PIXEL, PIXELS, Split

_MAX_DIVERGENCE = 0.02
"""Of the classes' shares from equal ones (Kullback-Leibler, in nats): one class at half its share gives 0.016."""


@dataclass(frozen=True)
class Report:
    """What the checks found.

    Attributes:
        passed: number of expectations that held.
        failed: a sentence for each that did not.
        details: Great Expectations' own result, for MLflow.
    """

    passed: int
    failed: list[str]
    details: Mapping[str, Any]


def check(data: Split) -> Report:
    """Check both parts of the data.

    Args:
        data: what is trained and tested on.

    Returns:
        The report. All expectations are evaluated, also after one has failed.
    """
    import great_expectations as gx

    frame = _frame(data)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    batch = (
        context.data_sources.add_pandas("digits")
        .add_dataframe_asset("images")
        .add_batch_definition_whole_dataframe("all")
        .get_batch({"dataframe": frame})
    )
    suite = gx.ExpectationSuite(name="digits", expectations=_expectations(gx.expectations))
    result = batch.validate(suite)
    failed = [_sentence(one) for one in result.results if not one.success]
    return Report(len(result.results) - len(failed), failed, result.to_json_dict())


def _frame(data: Split) -> Any:
    """One row an image: pixels, label, part, a digest of the pixels, and whether the other part has it too."""
    import numpy as np
    import pandas as pd

    images = np.concatenate([data.train_images, data.test_images])
    columns = {f"pixel_{index:02}": images[:, index] for index in range(images.shape[1])}
    frame = pd.DataFrame(columns)
    frame["label"] = np.concatenate([data.train_labels, data.test_labels])
    frame["part"] = ["train"] * len(data.train_images) + ["test"] * len(data.test_images)
    frame["digest"] = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    parts = frame.groupby("digest")["part"].nunique()
    frame["in_both_parts"] = frame["digest"].map(parts) > 1
    return frame


def _expectations(gxe: Any) -> list[Any]:
    pixels = [f"pixel_{index:02}" for index in range(PIXELS)]
    columns = [*pixels, "label", "part", "digest", "in_both_parts"]
    checks = [
        gxe.ExpectTableColumnsToMatchSet(column_set=columns, exact_match=True),
        gxe.ExpectTableRowCountToBeBetween(min_value=1000),
        gxe.ExpectColumnValuesToNotBeNull(column="label"),
        gxe.ExpectColumnDistinctValuesToEqualSet(column="label", value_set=list(range(CLASSES))),
        gxe.ExpectColumnValuesToBeUnique(column="digest"),
        gxe.ExpectColumnDistinctValuesToBeInSet(column="in_both_parts", value_set=[False]),
        gxe.ExpectColumnKLDivergenceToBeLessThan(
            column="label",
            partition_object={"values": list(range(CLASSES)), "weights": [1 / CLASSES] * CLASSES},
            threshold=_MAX_DIVERGENCE,
        ),
    ]
    for pixel in pixels:
        checks.append(gxe.ExpectColumnValuesToNotBeNull(column=pixel))
        checks.append(gxe.ExpectColumnValuesToBeBetween(column=pixel, min_value=0, max_value=MAX_PIXEL))
    return checks


def _sentence(one: Any) -> str:
    settings = one.expectation_config
    column = settings.kwargs.get("column", "table")
    seen = one.result.get("partial_unexpected_list") or one.result.get("observed_value")
    return f"{settings.type} on {column}: saw {str(seen)[:120]}"

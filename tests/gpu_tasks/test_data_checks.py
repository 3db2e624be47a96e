"""Great Expectations on the real data, and on data with each defect that the suite is there for."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gpu_tasks import digits
from gpu_tasks.data_checks import check
from gpu_tasks.digits import Split

DATA = digits.load()


def _with_image(data: Split, pixel: float) -> Split:
    images = data.train_images.copy()
    images[0, 5] = pixel
    return replace(data, train_images=images)


def _unbalanced(data: Split) -> Split:
    keep = ~((data.train_labels == 3) & (np.arange(len(data.train_labels)) % 5 != 0))
    return replace(data, train_images=data.train_images[keep], train_labels=data.train_labels[keep])


def test_the_real_data_passes_every_check() -> None:
    report = check(DATA)
    assert report.failed == []
    assert report.passed == 7 + 2 * digits.PIXELS
    assert report.details["success"] is True


@pytest.mark.parametrize(
    ("defect", "named"),
    [
        (lambda data: _with_image(data, 17.0), "expect_column_values_to_be_between on pixel_05: saw [17.0]"),
        (lambda data: _with_image(data, -1.0), "expect_column_values_to_be_between on pixel_05"),
        (lambda data: _with_image(data, float("nan")), "expect_column_values_to_not_be_null on pixel_05"),
        (
            lambda data: replace(data, train_labels=np.where(data.train_labels == 9, 10, data.train_labels)),
            "expect_column_distinct_values_to_equal_set on label",
        ),
        (
            lambda data: replace(
                data,
                test_images=np.concatenate([data.test_images, data.train_images[:1]]),
                test_labels=np.concatenate([data.test_labels, data.train_labels[:1]]),
            ),
            "expect_column_distinct_values_to_be_in_set on in_both_parts",
        ),
        (
            lambda data: replace(
                data,
                train_images=np.concatenate([data.train_images, data.train_images[:1]]),
                train_labels=np.concatenate([data.train_labels, data.train_labels[:1]]),
            ),
            "expect_column_values_to_be_unique on digest",
        ),
        (_unbalanced, "expect_column_kl_divergence_to_be_less_than on label"),
        (
            lambda data: replace(data, train_images=data.train_images[:100], train_labels=data.train_labels[:100]),
            "expect_table_row_count_to_be_between on table",
        ),
        (
            lambda data: replace(data, train_images=data.train_images[:, :60], test_images=data.test_images[:, :60]),
            "expect_table_columns_to_match_set on table",
        ),
    ],
)
def test_a_defect_is_named(defect: Callable[[Split], Split], named: str) -> None:
    report = check(defect(DATA))
    assert any(sentence.startswith(named) for sentence in report.failed), report.failed

"""Great Expectations on the real data, and on data with each defect that the suite is there for."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from bulkhead.gpu_tasks import digits
from bulkhead.gpu_tasks.data_checks import check_digits, check_text
from bulkhead.gpu_tasks.digits import DigitsSplit
from bulkhead.gpu_tasks.text import Text
from bulkhead.gpu_tasks.text import load as load_text

DATA = digits.load()


def _with_image(data: DigitsSplit, pixel: float) -> DigitsSplit:
    images = data.train_images.copy()
    images[0, 5] = pixel
    return replace(data, train_images=images)


def _unbalanced(data: DigitsSplit) -> DigitsSplit:
    keep = ~((data.train_labels == 3) & (np.arange(len(data.train_labels)) % 5 != 0))
    return replace(data, train_images=data.train_images[keep], train_labels=data.train_labels[keep])


def test_the_real_data_passes_every_check() -> None:
    report = check_digits(DATA)
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
def test_a_defect_is_named(defect: Callable[[DigitsSplit], DigitsSplit], named: str) -> None:
    report = check_digits(defect(DATA))
    assert any(sentence.startswith(named) for sentence in report.failed), report.failed


def _text(files: Mapping[str, tuple[bool, bytes]]) -> Text:
    parts = {which: b"".join(body for held, body in files.values() if held is which) for which in (False, True)}
    train, validation = (np.frombuffer(parts[which], dtype=np.uint8) for which in (False, True))
    return Text(train, validation, "hash", tuple((name, held, len(body)) for name, (held, body) in files.items()))


SOUND = {f"{number}.py": (number % 10 == 0, f"# {number}\n".encode() * 1000) for number in range(100)}


def test_the_standard_library_passes_every_check() -> None:
    report = check_text(load_text())
    assert (report.failed, report.passed) == ([], 7)


def test_a_text_is_taken_apart_as_it_was_put_together() -> None:
    assert {name: (held, body) for name, held, body in _text(SOUND).bodies()} == SOUND


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (dict(list(SOUND.items())[:15]), "expect_column_sum_to_be_between on bytes"),
        ({**SOUND, "copy.py": (True, SOUND["1.py"][1])}, "expect_column_values_to_be_in_set on in_both_parts"),
        ({**SOUND, **{f"{n}.bin": (False, bytes([255, n])) for n in range(9)}}, "be_in_set on readable: saw [False"),
    ],
)
def test_a_defect_of_a_text_is_named(files: Mapping[str, tuple[bool, bytes]], named: str) -> None:
    report = check_text(_text(files))
    assert len(report.failed) == 1 and named in report.failed[0]

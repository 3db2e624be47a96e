"""Data checked with Great Expectations before anything is trained on it."""

from __future__ import annotations

import hashlib
from typing import Any

from bulkhead.gpu_tasks.digits import CLASSES, MAX_PIXEL, PIXELS, DigitsSplit
from bulkhead.gpu_tasks.gate.checks import Report, validate
from bulkhead.gpu_tasks.text import Text

_LEAST_BYTES = 100_000
"""Of a text; with less, even the smallest model only learns it by heart."""

_TRIVIAL = 200
"""Bytes of a file that may well be there twice: an empty ``__init__.py``, a licence."""

_MAX_DIVERGENCE = 0.02
"""Of the classes' shares from equal ones (Kullback-Leibler, in nats): one class at half its share gives 0.016."""


def check_digits(data: DigitsSplit) -> Report:
    """Check both parts of the digits: schema, ranges, class balance, nulls, duplicates, leakage.

    Args:
        data: what is trained and tested on.

    Returns:
        The report. All expectations are evaluated, also after one has failed.
    """
    import great_expectations.expectations as gxe

    return validate("digits", _digits_frame(data), _digits_expectations(gxe))


def digits_suite() -> list[Any]:
    """What the held-out digits have to be: of the gate's data, ``bulkhead.gpu_tasks.digits:holdout``.

    Returns:
        Expectations of Great Expectations.
    """
    import great_expectations.expectations as gxe

    return _held_out_expectations(gxe)


def _held_out_expectations(gxe: Any) -> list[Any]:
    pixels = [f"pixel_{index:02}" for index in range(PIXELS)]
    return [
        gxe.ExpectTableColumnsToMatchSet(column_set=[*pixels, "label"], exact_match=True),
        gxe.ExpectTableRowCountToBeBetween(min_value=300),
        gxe.ExpectColumnDistinctValuesToEqualSet(column="label", value_set=list(range(CLASSES))),
        *(gxe.ExpectColumnValuesToBeBetween(column=name, min_value=0, max_value=MAX_PIXEL) for name in pixels),
    ]


def check_text(source: Text) -> Report:
    """Check a text, file by file: that there are enough, that they are text, and that none is in both parts.

    Args:
        source: what is trained and validated on.

    Returns:
        The report.
    """
    import great_expectations.expectations as gxe

    return validate("text", _text_frame(source), _text_expectations(gxe))


def _digits_frame(data: DigitsSplit) -> Any:
    """One row an image: pixels, label, part, a digest of the pixels, and whether the other part has it too."""
    import numpy as np
    import pandas as pd

    images = np.concatenate([data.train_images, data.test_images])
    columns = {f"pixel_{index:02}": images[:, index] for index in range(images.shape[1])}
    frame = pd.DataFrame(columns)
    frame["label"] = np.concatenate([data.train_labels, data.test_labels])
    frame["part"] = ["train"] * len(data.train_images) + ["test"] * len(data.test_images)
    frame["digest"] = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    frame["in_both_parts"] = _in_both_parts(frame)
    return frame


def _in_both_parts(frame: Any) -> Any:
    """By row, whether both parts have what is in it, as its digest tells."""
    return frame["digest"].map(frame.groupby("digest")["part"].nunique()) > 1


def _digits_expectations(gxe: Any) -> list[Any]:
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


def _text_frame(source: Text) -> Any:
    """One row a file: its name, part and bytes, whether it is UTF-8, and whether the other part has the same bytes."""
    import pandas as pd

    frame = pd.DataFrame([_described(name, held_out, body) for name, held_out, body in source.bodies()])
    frame["in_both_parts"] = _in_both_parts(frame) & (frame["bytes"] > _TRIVIAL)
    return frame


def _described(name: str, held_out: bool, body: bytes) -> dict[str, Any]:
    try:
        body.decode()
    except UnicodeDecodeError:
        readable = False
    else:
        readable = b"\0" not in body
    digest = hashlib.sha256(body).hexdigest()
    part = "validation" if held_out else "train"
    return {"name": name, "part": part, "bytes": len(body), "readable": readable, "digest": digest}


def _text_expectations(gxe: Any) -> list[Any]:
    columns = ["name", "part", "bytes", "readable", "digest", "in_both_parts"]
    return [
        gxe.ExpectTableColumnsToMatchSet(column_set=columns, exact_match=True),
        gxe.ExpectColumnValuesToNotBeNull(column="name"),
        gxe.ExpectColumnValuesToBeUnique(column="name"),
        gxe.ExpectColumnDistinctValuesToEqualSet(column="part", value_set=["train", "validation"]),
        gxe.ExpectColumnSumToBeBetween(column="bytes", min_value=_LEAST_BYTES),
        # The standard library has files that are not UTF-8 on purpose: its own tests of encodings.
        gxe.ExpectColumnValuesToBeInSet(column="readable", value_set=[True], mostly=0.98),
        gxe.ExpectColumnValuesToBeInSet(column="in_both_parts", value_set=[False], mostly=0.995),
    ]

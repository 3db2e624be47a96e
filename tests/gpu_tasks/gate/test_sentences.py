"""What people are told of a comparison."""

import pytest

from bulkhead.gpu_tasks.gate.comparison import Comparison, ComparisonResult, ComparisonVerdict
from bulkhead.gpu_tasks.gate.metrics import of
from bulkhead.gpu_tasks.gate.sentences import sentence

NUMBERS = "(difference -0.0110, between -0.0300 and +0.0080)"


def _said(verdict: ComparisonVerdict, rows_needed: int | None = None, superiority: bool = False) -> str:
    comparison = Comparison(of("f1_score"), None, None, 0.02, superiority, "region = north")  # type: ignore[arg-type]
    found = ComparisonResult(comparison, verdict, 400, 0.9, 0.911, -0.03, 0.008, 0.2, 0.4, rows_needed)
    said = sentence(found, "champion version 3")
    begin = "f1_score of region = north 0.9 against 0.911 of champion version 3 on 400 rows: "
    assert said.startswith(begin)
    return said.removeprefix(begin)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (_said(ComparisonVerdict.NOT_WORSE), f"not worse by the margin of 0.02 {NUMBERS}"),
        (_said(ComparisonVerdict.BETTER, superiority=True), f"better {NUMBERS}"),
        (_said(ComparisonVerdict.WORSE), f"worse by more than the margin of 0.02 {NUMBERS}"),
        (_said(ComparisonVerdict.WORSE, superiority=True), f"not better {NUMBERS}"),
        (
            _said(ComparisonVerdict.TOO_LITTLE_DATA, 1200),
            f"too little data to tell whether it keeps the margin of 0.02 {NUMBERS}; about 1200 rows of data "
            "would do for a model that is as good as the champion",
        ),
        (
            _said(ComparisonVerdict.TOO_LITTLE_DATA, 1200, superiority=True),
            f"too little data to tell whether it is better {NUMBERS}; about 1200 rows of data would do for a model "
            "that is as much better as it seems",
        ),
        (
            _said(ComparisonVerdict.TOO_LITTLE_DATA, superiority=True),
            f"too little data to tell whether it is better {NUMBERS}; no number of rows would show it, as far as these "
            "say",
        ),
    ],
)
def test_it_says_what_was_found_and_what_can_be_done(said: str, expected: str) -> None:
    assert said == expected

"""The page that people look at."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from bulkhead.gate_overrides import GateOverride, override
from bulkhead.gpu_tasks.gate.answers import ModelAnswers
from bulkhead.gpu_tasks.gate.data import load
from bulkhead.gpu_tasks.gate.judgement import GateJudgement, Measured, judge
from bulkhead.gpu_tasks.gate.report import report
from bulkhead.gpu_tasks.gate.request import GateRequest
from bulkhead.gpu_tasks.gate.verdict import GateVerdict, decide
from tests.hostile import TEXT

HOLDOUT = load("tests.team:holdout", "left")
LEFT = HOLDOUT.targets
ASKED: dict[str, Any] = {
    "model_name": "churn",
    "data": "tests.team:holdout",
    "target": "left",
    "metrics": {
        "accuracy_score": {"at_least": 0.9, "margin": 0.05},
        "tests.team:cost": {"margin": 0.3, "greater_is_better": False},
    },
    "slices": ["region"],
}


def _verdict(judgement: GateJudgement, override: GateOverride | None = None) -> GateVerdict:
    return decide(judgement.refusals, override, datetime.now(UTC))


class Page(HTMLParser):
    """What a browser sees. Attributes: tags (in order), open (not closed yet), text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _answers(wrong: int) -> ModelAnswers:
    return ModelAnswers(np.where(np.arange(400) < wrong, ~LEFT, LEFT), None)


def _page(candidate: int, champion: int | None, **more: Any) -> Page:
    request = GateRequest.model_validate({**ASKED, **more})
    theirs = None if champion is None else _answers(champion)
    found = judge(request, HOLDOUT, _answers(candidate), theirs, "champion version 3")
    page = Page(report(found, request, "models:/m-1", "d1", 7, _verdict(found)))
    assert page.open == []
    return page


def test_a_model_that_passes_is_told_so_in_the_first_sentence() -> None:
    page = _page(2, 2)
    assert (
        "The candidate for churn passes: it keeps every limit, and is not worse than champion version 3." in page.text
    )
    assert "Candidate models:/m-1, against champion version 3, on 400 rows of tests.team:holdout" in page.text
    assert "accuracy_score: candidate less champion (larger is better)" in page.text
    assert "cost: candidate less champion (smaller is better)" in page.text
    assert page.tags.count("svg") == 2 and page.tags.count("circle") == 6
    assert "Not judged" not in page.text


def test_one_that_is_refused_is_told_why() -> None:
    page = _page(60, 2)
    assert "The candidate for churn is refused: accuracy_score is 0.85 on 400 rows, under at_least 0.9." in page.text
    assert "worse: -0.145, between " in page.text


@pytest.mark.parametrize("word", ["the feed was <b>late</b>", "mended"])
def test_one_that_a_person_lets_pass_is_told_so_with_the_reasons_against_it(word: str) -> None:
    request, now = GateRequest.model_validate(ASKED), datetime.now(UTC)
    found = judge(request, HOLDOUT, _answers(60), _answers(2), "champion version 3")
    override_by = override("ada", word, now, now + timedelta(hours=1))
    page = Page(report(found, request, "models:/m-1", "d1", 7, _verdict(found, override_by)))
    assert "The candidate for churn is refused, and passes by a person's word: ada lets it pass until" in page.text
    assert word in page.text and "b" not in page.tags
    assert "accuracy_score is 0.85 on 400 rows, under at_least 0.9" in page.text


def test_the_first_model_has_nothing_to_be_compared_with() -> None:
    page = _page(2, None, slices=["tests.team:by_age"], least_rows=100)
    assert "and there is no champion to compare with." in page.text and "svg" not in page.tags
    assert "Not judged: slices of fewer than 100 rows" in page.text and "young: 73 rows" in page.text


def test_models_that_are_alike_have_a_plot_too() -> None:
    assert _page(0, 0, metrics={"accuracy_score": {"superiority": True}}).tags.count("svg") == 1


@given(TEXT)
def test_names_are_text_and_never_markup(hostile: str) -> None:
    request = GateRequest.model_construct(
        **{**ASKED, "model_name": hostile, "data": hostile, "metrics": {}, "alpha": 0.05}
    )
    judged = GateJudgement([Measured(hostile, hostile, 3, 0.5, hostile)], [], hostile, [hostile])
    page = Page(report(judged, request, hostile, hostile, 1, _verdict(judged)))
    assert page.open == []
    assert set(page.tags) <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "ul", "li", "p", "code"),
        *("table", "tr", "th", "td"),
    }


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
def test_a_slice_of_that_name_runs_nothing(name: str) -> None:
    request = GateRequest.model_validate(ASKED)
    found = judge(request, HOLDOUT, _answers(2), _answers(2), name)
    assert not {"script", "img"} & set(Page(report(found, request, name, name, 1, _verdict(found))).tags)

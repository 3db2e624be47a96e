"""Pictures of the report: that they are those which fit, and hold nothing that is markup."""

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bulkhead.gpu_tasks.gate.answers import GateAnswers, ModelAnswers
from bulkhead.gpu_tasks.gate.cost import Timing
from bulkhead.gpu_tasks.gate.plots import plots

RNG = np.random.default_rng(0)
CLASSES = RNG.integers(0, 3, 400)
NUMBERS = RNG.normal(size=3_000)


def _titles(targets: Any, ours: ModelAnswers, theirs: ModelAnswers | None = None, *timings: Timing) -> list[str]:
    found = plots(targets, GateAnswers(ours, theirs, timings))
    for one in found:
        tree = ElementTree.fromstring(one.svg)
        assert tree.tag == "{http://www.w3.org/2000/svg}svg" and len(one.svg) < 500_000
        assert not [node for node in tree.iter() if node.tag.endswith(("script", "foreignObject"))]
    assert plots(targets, GateAnswers(ours, theirs, timings)) == found  # the same each time
    return [one.title.partition(":")[0].partition(",")[0] for one in found]


def _text(targets: Any, answers: ModelAnswers) -> str:
    (plot,) = plots(targets, GateAnswers(answers, None, ()))
    return " ".join(ElementTree.fromstring(plot.svg).itertext())


@pytest.mark.parametrize("rival", [None, ModelAnswers(CLASSES, None)])
def test_classes_are_confused(rival: ModelAnswers | None) -> None:
    assert _titles(CLASSES, ModelAnswers((CLASSES + 1) % 3, None), rival) == ["Confusion"]


@pytest.mark.parametrize("rival", [None, ModelAnswers(NUMBERS, None)])
def test_numbers_have_residuals(rival: ModelAnswers | None) -> None:
    assert _titles(NUMBERS, ModelAnswers(NUMBERS + 0.1, None), rival) == ["Residuals"]
    assert plots(NUMBERS, GateAnswers(ModelAnswers(NUMBERS, None), rival, ()))[0].title.endswith("1000 rows of 3000")


def test_probabilities_are_calibrated_of_two_classes_and_of_more() -> None:
    probabilities = RNG.dirichlet(np.ones(3), 400)
    assert _titles(CLASSES, ModelAnswers(probabilities.argmax(axis=1), probabilities)) == ["Confusion", "Calibration"]
    two = RNG.random(400)
    for told in (two, np.stack([1 - two, two], axis=1)):
        assert _titles(CLASSES > 1, ModelAnswers(two > 0.5, told)) == ["Confusion", "Calibration"]
    constant = np.full(400, 0.5)
    assert _titles(CLASSES > 1, ModelAnswers(constant > 0.5, constant)) == ["Confusion", "Calibration"]
    many = np.arange(300)
    assert _titles(many, ModelAnswers(many, RNG.dirichlet(np.ones(300), 300))) == ["Calibration"]


def test_latencies_of_both_are_drawn() -> None:
    timings = [Timing(size, [RNG.random(40), RNG.random(40)]) for size in (1, 32)]
    assert _titles(CLASSES, ModelAnswers(CLASSES, None), None, *timings) == ["Confusion", "Latency"]


def test_words_are_confused_where_they_are_few_and_never_markup_or_formulas() -> None:
    words = np.array(["<b>&", "$x^2$", "plain"], dtype=object)[CLASSES]
    shown = _text(words, ModelAnswers(words, None))
    assert "<b>&" in shown and "$x^2$" in shown
    sentences = np.array([f"sentence {number}" for number in range(400)], dtype=object)
    assert _titles(sentences, ModelAnswers(sentences, None)) == []


def test_kinds_that_differ_are_confused_all_the_same() -> None:
    assert _titles(CLASSES, ModelAnswers(np.array(["a", "b", "c"], dtype=object)[CLASSES], None)) == ["Confusion"]


KINDS = st.sampled_from(
    [np.bool_, np.int8, np.int64, np.uint8, np.float32, np.float64, np.dtype("U3"), np.dtype("M8[s]")]
)
ANSWERED = arrays.arrays(KINDS, 12)
SURE = st.none() | arrays.arrays(np.float64, st.sampled_from([12, (12, 2), (12, 4)]))


@settings(max_examples=30, deadline=None)
@given(ANSWERED, ANSWERED, st.none() | ANSWERED, SURE)
def test_no_picture_undoes_an_evaluation_whatever_was_answered(
    targets: Any, ours: Any, theirs: Any, probabilities: Any
) -> None:
    rival = None if theirs is None else ModelAnswers(theirs, probabilities)
    plots(targets, GateAnswers(ModelAnswers(ours, probabilities), rival, ()))


def test_lists_have_no_picture() -> None:
    lists = np.empty(400, dtype=object)
    lists[:] = [[1, 2]] * 400
    assert _titles(lists, ModelAnswers(lists, None)) == []

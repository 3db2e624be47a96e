"""What models of all kinds answer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bulkhead.gpu_tasks.errors import GateError
from bulkhead.gpu_tasks.gate.answers import ask

FEATURES = pd.DataFrame({"a": [0.1, 0.6, 0.9]})
TARGETS = np.array([0, 1, 1])


class Model:
    def __init__(self, predict: Callable[[pd.DataFrame], Any], raw: Any = None) -> None:
        self.predict, self._raw = predict, raw

    def get_raw_model(self) -> Any:
        if self._raw is None:
            raise NotImplementedError("`get_raw_model` is not implemented by the underlying model")
        return self._raw


@pytest.mark.parametrize(
    "answer",
    [
        [0, 1, 1],
        np.array([0, 1, 1]),
        np.array([[0], [1], [1]]),
        pd.Series([0, 1, 1]),
        pd.DataFrame({"predicted": [0, 1, 1]}),
    ],
)
def test_a_class_a_row_is_that_whatever_holds_it(answer: Any) -> None:
    found = ask(Model(lambda _: answer), FEATURES, TARGETS, "candidate")
    assert found.values.tolist() == [0, 1, 1] and found.probabilities is None


def test_probabilities_by_class_are_classes_too() -> None:
    found = ask(Model(lambda _: [[0.7, 0.3], [0.4, 0.6], [0.2, 0.8]]), FEATURES, TARGETS, "candidate")
    assert found.values.tolist() == [0, 1, 1]
    assert found.probabilities is not None and found.probabilities.shape == (3, 2)


def test_numbers_between_0_and_1_are_probabilities_of_two_classes() -> None:
    model = Model(lambda frame: frame["a"].to_numpy())
    found = ask(model, FEATURES, TARGETS, "candidate")
    assert found.values.tolist() == [0, 1, 1]
    assert found.probabilities is not None and found.probabilities.tolist() == [0.1, 0.6, 0.9]
    of_numbers = ask(model, FEATURES, np.array([0.2, 0.5, 1.0]), "candidate")
    assert of_numbers.values.tolist() == [0.1, 0.6, 0.9] and of_numbers.probabilities is None
    certain = ask(Model(lambda _: [0.0, 1.0, 1.0]), FEATURES, TARGETS, "candidate")
    assert certain.values.tolist() == [0, 1, 1] and certain.probabilities is None


def test_a_model_of_scikit_learns_kind_is_asked_for_its_probabilities() -> None:
    class Raw:
        def predict_proba(self, features: pd.DataFrame) -> Any:
            return [[0.9, 0.1]] * len(features)

    model = Model(lambda _: [0, 0, 0], Raw())
    found = ask(model, FEATURES, TARGETS, "candidate", probabilities=True)
    assert found.probabilities is not None and found.probabilities.tolist() == [[0.9, 0.1]] * 3
    assert ask(model, FEATURES, TARGETS, "candidate").probabilities is None
    without = ask(Model(lambda _: [0, 0, 0]), FEATURES, TARGETS, "candidate", probabilities=True)
    assert without.probabilities is None


def test_one_whose_probabilities_cannot_be_had_is_refused() -> None:
    class Raw:
        def predict_proba(self, features: pd.DataFrame) -> Any:
            raise ValueError("not fitted")

    with pytest.raises(GateError, match=r"champion does not answer these data: ValueError: not fitted"):
        ask(Model(lambda _: [0, 0, 0], Raw()), FEATURES, TARGETS, "champion", probabilities=True)


def _raises(_: Any) -> Any:
    raise KeyError("age")


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        (_raises, r"candidate does not answer these data: KeyError: 'age'"),
        (lambda _: [0, 1], r"candidate answered 2 rows of 3"),
        (
            lambda _: np.random.default_rng().random(3) + 2,
            r"candidate answers the same rows differently when asked again",
        ),
    ],
)
def test_a_model_that_cannot_be_judged_is_refused(predict: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(GateError, match=message):
        ask(Model(predict), FEATURES, TARGETS, "candidate")


def test_numbers_that_differ_by_their_rounding_alone_are_the_same() -> None:
    answers = iter([[0.2, 1.5, 2.5], [0.2, 1.5 + 1e-7, 2.5]])
    assert ask(Model(lambda _: next(answers)), FEATURES, TARGETS, "candidate").values.tolist() == [0.2, 1.5, 2.5]
    classes = iter([[1, 2, 3], [1, 2, 4]])
    with pytest.raises(GateError, match="differently"):
        ask(Model(lambda _: next(classes)), FEATURES, TARGETS, "candidate")


def test_what_is_no_number_twice_is_the_same_twice() -> None:
    found = ask(Model(lambda _: [np.nan, 1.5, 2.5]), FEATURES, TARGETS, "candidate")
    assert np.isnan(found.values[0])
    assert ask(Model(lambda _: ["a", "b", "b"]), FEATURES, TARGETS, "candidate").values.tolist() == ["a", "b", "b"]

"""Looking into a model's answers: are they usable, what do they predict, do two of them agree."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any

from bulkhead.gpu_tasks.traffic import NO_ANSWER, named

_MOST_CATEGORIES = 64
_MOST_CHARACTERS = 64
_MOST_ERRORS, _LONGEST_ERROR = 32, 200
_BINS = 4
"""Bins of a number: so many for each factor of e, from the inverse hyperbolic sine, which also knows zero and signs."""

_CLOSE = 1e-3
"""Two numbers that differ by less than this share of the larger one are the same prediction."""

OTHER = "other"
"""The category of everything beyond the first 64."""


def read(body: bytes) -> list[Any] | None:
    """The predictions in an answer.

    Args:
        body: of the answer: ``{"predictions": [...]}`` as MLflow and TensorFlow Serving give it, ``{"outputs":
            [{"data": [...]}]}`` as the Open Inference Protocol has it, or any other JSON, which is one prediction.

    Returns:
        One value a prediction; None if the answer is not usable: not JSON, empty, or with a null, NaN or infinity.
    """
    try:
        document = json.loads(body)
    except ValueError:
        return None
    predictions = _predictions(document)
    return predictions if predictions and all(_usable(prediction) for prediction in predictions) else None


def category(prediction: Any) -> str:
    """What a prediction counts as.

    Args:
        prediction: one value of ``read``.

    Returns:
        A class label as it is, the place of the highest of several scores, the bin of a number, or a digest of
        anything else.
    """
    match prediction:
        case bool() | int():
            return str(prediction)[:_MOST_CHARACTERS]
        case float():
            return f"bin {math.floor(_BINS * math.asinh(prediction))}"
        case str() if len(prediction) <= _MOST_CHARACTERS:
            return prediction
        case list() if len(prediction) > 1 and all(isinstance(score, int | float) for score in prediction):
            return f"#{max(range(len(prediction)), key=prediction.__getitem__)}"
        case [only]:
            return category(only)
    canonical = json.dumps(prediction, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def agree(ours: list[Any], theirs: list[Any]) -> bool:
    """Whether two answers to the same request predict the same.

    Args:
        ours: of ``read``.
        theirs: of ``read``.
    """
    return len(ours) == len(theirs) and all(_same(a, b) for a, b in zip(ours, theirs, strict=True))


class PredictionTally:
    """Counts answers. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen = self._invalid = self._compared = self._agreed = 0
        self._categories: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()

    def add(self, predictions: list[Any] | None) -> None:
        """Count an answer.

        Args:
            predictions: of ``read``.
        """
        with self._lock:
            self._seen += 1
            self._invalid += predictions is None
            self._count(category(prediction) for prediction in predictions or ())

    def fail(self, status: int, text: str) -> None:
        """Count what was said in place of an answer; a redirection or the like says nothing of that kind.

        Args:
            status: of HTTP, not 2xx, or ``NO_ANSWER``.
            text: for people; its first line is kept.
        """
        if status < 400 and status != NO_ANSWER:
            return
        said = f"{named(status)} {text.strip().partition(chr(10))[0][:_LONGEST_ERROR]}".strip()
        with self._lock:
            counted = said in self._errors or len(self._errors) < _MOST_ERRORS - 1
            self._errors[said if counted else OTHER] += 1

    def compare(self, ours: list[Any], theirs: list[Any]) -> None:
        """Count whether an answer agrees with another to the same request.

        Args:
            ours: of ``read``.
            theirs: of ``read``.
        """
        with self._lock:
            self._compared += 1
            self._agreed += agree(ours, theirs)

    def document(self) -> dict[str, Any]:
        """The counts, in the form of ``bulkhead.metrics.counters.AnswersDocument``."""
        with self._lock:
            return {
                "seen": self._seen,
                "invalid": self._invalid,
                "categories": dict(self._categories),
                "compared": self._compared,
                "agreed": self._agreed,
                "errors": dict(self._errors),
            }

    def _count(self, names: Iterable[str]) -> None:
        for name in names:
            counted = name in self._categories or len(self._categories) < _MOST_CATEGORIES - 1
            self._categories[name if counted else OTHER] += 1


def _predictions(document: Any) -> list[Any]:
    if isinstance(document, dict):
        if isinstance(listed := document.get("predictions"), list):
            return listed
        if isinstance(outputs := document.get("outputs"), list):
            data = [output.get("data") if isinstance(output, dict) else None for output in outputs]
            return [value for values in data for value in (values if isinstance(values, list) else [None])]
    return document if isinstance(document, list) else [document]


def _usable(value: Any) -> bool:
    match value:
        case None:
            return False
        case float():
            return math.isfinite(value)
        case list():
            return bool(value) and all(_usable(element) for element in value)
        case dict():
            return bool(value) and all(_usable(element) for element in value.values())
    return True


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool) or isinstance(a, str) or isinstance(b, str):
        return bool(a == b)
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=_CLOSE, abs_tol=1e-9)
    return category(a) == category(b)

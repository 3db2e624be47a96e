"""The verdict on a candidate: every metric, on all rows and on each slice, against its limits and the champion."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bulkhead.arguments import is_function
from bulkhead.gpu_tasks.errors import ConfigError, GateError
from bulkhead.gpu_tasks.functions import function
from bulkhead.gpu_tasks.gate import mlflow_metrics
from bulkhead.gpu_tasks.gate.answers import ModelAnswers
from bulkhead.gpu_tasks.gate.comparison import Comparison, ComparisonResult, ComparisonVerdict, compare
from bulkhead.gpu_tasks.gate.cost import Costed
from bulkhead.gpu_tasks.gate.data import Holdout
from bulkhead.gpu_tasks.gate.metrics import METRICS, Metric, by_row
from bulkhead.gpu_tasks.gate.request import AT_K, GateRequest, MetricRequest
from bulkhead.gpu_tasks.gate.resampling import Array
from bulkhead.gpu_tasks.gate.sentences import sentence
from bulkhead.gpu_tasks.gate.slices import Slice, cut

_MOST_SENTENCES = 3
"""Reasons that a refusal names; all of them stand in ``gate.json``."""

_MOST_BYTES = 2000
"""Of the evidence: a termination message holds 4,096, with where the model comes from."""


@dataclass(frozen=True)
class Measured:
    """A metric of the candidate.

    Attributes:
        metric: its name.
        slice_name: empty for all rows.
        rows: how many.
        value: of the metric.
        broken: the limit that it does not keep, for people; empty where it keeps all.
    """

    metric: str
    slice_name: str
    rows: int
    value: float
    broken: str


@dataclass(frozen=True)
class GateJudgement:
    """What was found.

    Attributes:
        measured: of all rows and of each slice.
        compared: with the champion, likewise; empty for the first model.
        champion: how it is called; empty for the first model.
        too_small: slices with too few rows to judge.
        costs: of answering.
        lost: why there is a champion and nothing to compare with; empty where that is not so.
    """

    measured: Sequence[Measured]
    compared: Sequence[ComparisonResult]
    champion: str
    too_small: Sequence[str]
    costs: Sequence[Costed] = ()
    lost: str = ""

    @property
    def refusals(self) -> list[str]:
        """Why the candidate is refused, what is surest first, all rows before slices; empty where it passes."""
        broken = [measurement.broken for measurement in self.measured if measurement.broken]
        order = {ComparisonVerdict.WORSE: 0, ComparisonVerdict.TOO_LITTLE_DATA: 1}
        failed = [result for result in self.compared if not result.passed]
        failed.sort(key=lambda result: (order[result.verdict], bool(result.comparison.slice_name), -result.p))
        costly = [cost.broken for cost in self.costs if cost.broken]
        said = [*broken, *(sentence(result, self.champion) for result in failed), *costly]
        more = len(said) - _MOST_SENTENCES
        return said if more <= 0 else [*said[:_MOST_SENTENCES], f"and {more} more, in the run's gate.json"]

    def evidence(self) -> dict[str, Any]:
        """What goes with the revision: of many metrics only as many numbers as fit a pod's outcome."""
        none = f"none: {self.lost or 'the first model is held to limits alone'}"
        document: dict[str, Any] = {"champion": self.champion.removeprefix("champion ") or none}
        if self.too_small:
            document["slices_too_small"] = len(self.too_small)
        for name, value in self.numbers().items():
            if len(json.dumps({**document, name: value})) > _MOST_BYTES:
                return {**document, "more": "in the run's gate.json"}
            document[name] = value
        return document

    def numbers(self) -> dict[str, float]:
        """Metrics on all rows, how they compare, and costs."""
        value_of = {
            measurement.metric: measurement.value for measurement in self.measured if not measurement.slice_name
        }
        for result in self.compared:
            if not result.comparison.slice_name:
                name = result.comparison.metric.name
                value_of |= {f"champion_{name}": result.champion, f"{name}_difference": result.difference}
                value_of |= {f"{name}_difference_low": result.low, f"{name}_p_worse_by_margin": result.p}
        for cost in self.costs:
            value_of[cost.key] = cost.candidate
            if cost.champion is not None:
                value_of[f"champion_{cost.key}"] = cost.champion
        return value_of

    def details(self, digest: str) -> dict[str, Any]:
        """Everything, for MLflow.

        Args:
            digest: of the data.
        """
        return {
            "passed": not self.refusals,
            "champion": self.champion,
            "champion_lost": self.lost,
            "data_hash": digest,
            "measured": [vars(measurement) for measurement in self.measured],
            "compared": [_as_document(result, self.champion) for result in self.compared],
            "slices_too_small": list(self.too_small),
            "costs": [vars(cost) for cost in self.costs],
        }


def judge(
    request: GateRequest,
    holdout: Holdout,
    candidate: ModelAnswers,
    champion: ModelAnswers | None,
    called: str,
    costs: Sequence[Costed] = (),
) -> GateJudgement:
    """Judge a candidate.

    Args:
        request: what is asked.
        holdout: the rows.
        candidate: what it answers to them.
        champion: what the champion answers; None where there is none.
        called: the champion, for people.
        costs: of answering.

    Returns:
        The judgement.

    Raises:
        GateError: a metric is not a number, or the answers are not what it takes.
        ConfigError: a metric or a slice of the user's cannot be used.
    """
    slices = cut(holdout.frame, request.slices)
    large = [piece for piece in slices if piece.rows >= request.least_rows]
    measured: list[Measured] = []
    family: list[Comparison] = []
    for name, asked in request.metrics.items():
        metric = _metric(name, asked)
        rival = champion if asked.compares else None
        ours = theirs = None
        for part in (None, *large):
            if ours is None or metric.relative:
                ours = _contributions(metric, holdout.targets, candidate, part, "candidate")
                theirs = None if rival is None else _contributions(metric, holdout.targets, rival, part, called)
            measured.append(_measured(metric, asked, ours, part))
            if theirs is not None:
                within, part_name = (part.within, part.name) if part else (None, "")
                limits = (asked.margin or 0.0, asked.superiority)
                family.append(Comparison(metric, ours, theirs, *limits, part_name, within))
    compared = compare(family, request.alpha)
    too_small = [f"{piece.name}: {piece.rows} rows" for piece in slices if piece.rows < request.least_rows]
    return GateJudgement(measured, compared, called if champion is not None else "", too_small, costs)


def wants_probabilities(request: GateRequest) -> bool:
    """Whether a metric is asked for that takes probabilities."""
    return any(METRICS[name].probabilities for name in request.metrics if name in METRICS)


def wants_lists(request: GateRequest) -> bool:
    """Whether a metric is asked for that takes a list a row."""
    return any(AT_K.fullmatch(name) for name in request.metrics)


def _metric(name: str, asked: MetricRequest) -> Metric:
    if not is_function(name):
        return METRICS[name] if name in METRICS else mlflow_metrics.metric(name)
    assert asked.greater_is_better is not None  # the request was checked
    return by_row(name.partition(":")[2], function("metrics", name), asked.greater_is_better)


def _contributions(metric: Metric, targets: Array, answers: ModelAnswers, part: Slice | None, whose: str) -> Array:
    predictions = answers.probabilities if metric.probabilities else answers.values
    if predictions is None:
        raise ConfigError(f"metrics: {metric.name} wants probabilities, and the {whose} gives none; leave it out")
    try:
        if part is None:
            return metric.contributions(targets, predictions)
        inside = metric.contributions(targets[part.within], predictions[part.within])
    except GateError as wrong:
        raise GateError(f"{wrong} (of {part.name if part else 'all'}, {whose})") from wrong
    except (TypeError, ValueError, ArithmeticError, LookupError) as wrong:  # of what a function of the user's meets
        raise GateError(f"{metric.name} of the {whose} cannot be computed: {type(wrong).__name__}: {wrong}") from wrong
    spread = np.zeros((len(targets), inside.shape[1]))
    spread[part.within] = inside
    return spread


def _measured(metric: Metric, asked: MetricRequest, contributions: Array, part: Slice | None) -> Measured:
    inside = contributions if part is None else contributions[part.within]
    value, name = float(metric.value(inside.mean(axis=0))), part.name if part else ""
    said = f"{metric.name} of {name}" if name else metric.name
    said = f"{said} is {value:.4g} on {len(inside)} rows"
    broken = ""
    if not math.isfinite(value):
        raise GateError(f"{said}: it has to be a number")
    if asked.at_least is not None and value < asked.at_least:
        broken = f"{said}, under at_least {asked.at_least:g}"
    if asked.at_most is not None and value > asked.at_most:
        broken = f"{said}, over at_most {asked.at_most:g}"
    return Measured(metric.name, name, len(inside), value, broken)


def _as_document(result: ComparisonResult, champion: str) -> dict[str, Any]:
    return {
        "metric": result.comparison.metric.name,
        "slice": result.comparison.slice_name,
        "rows": result.rows,
        "verdict": result.verdict.value,
        "candidate": result.candidate,
        "champion": result.champion,
        "difference": result.difference,
        "low": result.low,
        "high": result.high,
        "p": result.p,
        "adjusted_p": result.adjusted_p,
        "rows_needed": result.rows_needed,
        "sentence": sentence(result, champion),
    }

"""What the gate is asked: the data, the metrics and their limits, the slices; checked when the DAG is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from bulkhead.arguments import is_function
from bulkhead.pods.training import user_with_password

NAMES = (
    "accuracy_score",
    "brier_score_loss",
    "exact_match",
    "f1_score",
    "log_loss",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "perplexity",
    "precision_score",
    "r2_score",
    "recall_score",
    "roc_auc",
    "root_mean_squared_error",
)
"""Metrics that are known by name: MLflow's, and ``perplexity``, of a model that tells the next token."""

TEXT_NAMES = (
    "rouge1",
    "rouge2",
    "rougeL",
    "rougeLsum",
    "bleu",
    "toxicity",
    "flesch_kincaid_grade_level",
    "ari_grade_level",
)
"""Likewise, of models that answer in words; MLflow computes them."""

AT_K = re.compile(r"(precision|recall|ndcg)_at_([1-9]\d{0,3})")
"""Likewise, of models that answer with a list, of documents for instance, the best first; MLflow
computes them as well."""

REPORT = "gate.html"
"""Artifact of the run that logged the model: the page that people look at."""

ENDINGS = (".parquet", ".csv", ".jsonl", ".npz")
"""Of files of data."""

LOGGED = re.compile(r"runs:/[0-9a-f]{32}/[^/]+")
"""A dataset that an MLflow run has logged (``mlflow.log_input``), by its name."""

COSTS = ("latency_median_ms", "latency_p95_ms", "memory_mib", "size_mib")
"""What answering costs: milliseconds a batch, the most memory that a process with the model needs (of the host, and of
the GPU), and the size of its files."""


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("give a number")
    return value


Number = Annotated[float, BeforeValidator(_number)]


class MetricRequest(BaseModel):
    """What a metric has to keep.

    Attributes:
        at_least: smallest value, on all rows and on each slice; None for none.
        at_most: largest value, likewise.
        margin: by so much, in the metric's own unit, it may be worse than the champion's; None for not to compare.
        superiority: whether it has to be better than the champion's, in place of a margin.
        greater_is_better: direction of a metric of one's own (``package.module:function``); of others it is known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    at_least: Number | None = None
    at_most: Number | None = None
    margin: Number | None = Field(None, ge=0)
    superiority: bool = False
    greater_is_better: bool | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> MetricRequest:
        if self.at_least is None and self.at_most is None and not self.compares:
            raise ValueError("it asks nothing: give margin, superiority, at_least or at_most")
        if self.superiority and self.margin is not None:
            raise ValueError("give either a margin or superiority, not both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError("at_least is more than at_most: no model keeps both")
        return self

    @property
    def compares(self) -> bool:
        """Whether the champion's is compared with."""
        return self.margin is not None or self.superiority


class CostRequest(BaseModel):
    """What a cost has to keep.

    Attributes:
        at_most: largest value, in the unit of its name; None for none.
        at_most_times: likewise as a multiple of the champion's, measured in turns with it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    at_most: Number | None = Field(None, gt=0)
    at_most_times: Number | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _asks_something(self) -> CostRequest:
        if self.at_most is None and self.at_most_times is None:
            raise ValueError("it asks nothing: give at_most or at_most_times")
        return self


class GateRequest(BaseModel):
    """What the gate is asked.

    Attributes:
        model_name: registered model, whose champion is the rival.
        data: a file (.parquet, .csv, .jsonl, .npz) by its path, a URL that fsspec knows, or as an artifact of an MLflow
            run (``runs:/RUN/path.parquet``); a dataset that a run has logged (``runs:/RUN/NAME``); or
            ``package.module:function``, which returns a pandas DataFrame.
        target: column of what is true.
        training_data: what the candidate was trained on, named in the same way; None for what its run has logged.
        most_overlap: largest share of the rows that may be among those it was trained on.
        metrics: by name, or by ``package.module:function`` for one of one's own: it takes targets and predictions, and
            returns one number a row.
        slices: columns whose values are judged each for itself (numbers of many values by quartiles), and functions,
            which take the data and return masks by name.
        least_rows: of a slice that is judged.
        checks: Great Expectations' suite of the data: a JSON file, or ``package.module:function``, which returns
            expectations; None for what the model's signature says.
        first: what becomes of a model without a champion: ``allow`` it, if it keeps the limits; ``approve``: refuse it
            until a person lets it pass (``bulkhead gate override``); ``refuse`` it.
        lost_champion: what becomes of it where the champion no longer loads: ``refuse`` it, or hold it to its limits
            alone, as a ``first`` model.
        alpha: probability that a model passes which is worse by a margin.
        cost: what answering may cost, by one of ``COSTS``.
        batch_sizes: rows of a request, for each of which latency is measured and held to its limits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model_name: str = Field(min_length=1)
    data: str
    target: str = Field(min_length=1)
    training_data: str | None = None
    most_overlap: Number = Field(0.0, ge=0, lt=1)
    metrics: Mapping[str, MetricRequest] = Field(min_length=1)
    slices: tuple[str, ...] = ()
    least_rows: Annotated[int, BeforeValidator(_number)] = Field(50, ge=1)
    checks: str | None = None
    first: Literal["allow", "approve", "refuse"] = "allow"
    lost_champion: Literal["refuse", "first"] = "refuse"
    alpha: Number = Field(0.05, gt=0, lt=0.5)
    cost: Mapping[str, CostRequest] = Field(default_factory=dict)
    batch_sizes: tuple[Annotated[int, BeforeValidator(_number), Field(ge=1)], ...] = Field((1, 32), min_length=1)

    @field_validator("data", "training_data")
    @classmethod
    def _readable(cls, source: str | None) -> str | None:
        return source if source is None or LOGGED.fullmatch(source) else _checked(source, ENDINGS)

    @field_validator("checks")
    @classmethod
    def _suite(cls, source: str | None) -> str | None:
        return None if source is None else _checked(source, (".json",))

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: Mapping[str, MetricRequest]) -> Mapping[str, MetricRequest]:
        for name, asked in metrics.items():
            own = is_function(name)
            if not own and name not in (*NAMES, *TEXT_NAMES) and not AT_K.fullmatch(name):
                raise ValueError(
                    f"{name!r} is not known: give one of {', '.join((*NAMES, *TEXT_NAMES))}, precision_at_5, "
                    "recall_at_5 or ndcg_at_5 (or another number), or package.module:function"
                )
            if own != (asked.greater_is_better is not None):
                remedy = "say greater_is_better" if own else "leave greater_is_better out: it is known"
                raise ValueError(f"{name!r}: {remedy}")
        _check_together(list(metrics))
        return metrics

    @field_validator("cost")
    @classmethod
    def _costs(cls, cost: Mapping[str, CostRequest]) -> Mapping[str, CostRequest]:
        for name in cost:
            if name not in COSTS:
                raise ValueError(f"{name!r} is not known: give one of {', '.join(COSTS)}")
        return cost

    @field_validator("slices")
    @classmethod
    def _named(cls, slices: tuple[str, ...]) -> tuple[str, ...]:
        for name in slices:
            if not name.strip():
                raise ValueError("a column without a name: leave it out")
        if len(set(slices)) < len(slices):
            raise ValueError("a slice is named twice: leave one out")
        return slices


def _check_together(names: list[str]) -> None:
    """Refuse metrics that no model has at once, and two of one name in the evidence."""
    built_in = [name for name in names if not is_function(name)]
    lists = [name for name in built_in if AT_K.fullmatch(name)]
    if lists and len(lists) < len(built_in):
        other = next(name for name in built_in if name not in lists)
        raise ValueError(f"{lists[0]!r} is of models that answer with lists, and {other!r} is not: leave one out")
    short = [name.rpartition(":")[2] for name in names]
    for name, called in zip(names, short, strict=True):
        if short.count(called) > 1:
            raise ValueError(f"{name!r}: another metric is called {called!r} as well; name one of them otherwise")


def _checked(source: str, endings: tuple[str, ...]) -> str:
    if is_function(source):
        return source
    if not source.endswith(endings):
        raise ValueError(f"give a file that ends in {' or '.join(endings)}, or package.module:function")
    if user_with_password(source) is not None:  # it would stand in the pod's command
        raise ValueError("leave the password out; give it by a secret, or a service account")
    return source

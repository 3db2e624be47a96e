"""What the gate is asked: the data, the metrics and their limits, the slices; checked when the DAG is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from bulkhead.arguments import is_function
from bulkhead.pods.training import user_with_password

NAMES = (
    "accuracy_score",
    "brier_score_loss",
    "f1_score",
    "log_loss",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "precision_score",
    "r2_score",
    "recall_score",
    "roc_auc",
    "root_mean_squared_error",
)
"""Metrics that are known by name: MLflow's."""

ENDINGS = (".parquet", ".csv", ".jsonl", ".npz")
"""Of files of data."""


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


class GateRequest(BaseModel):
    """What the gate is asked.

    Attributes:
        model_name: registered model, whose champion is the rival.
        data: a file (.parquet, .csv, .jsonl, .npz) by its path or a URL that fsspec knows, or
            ``package.module:function``, which returns a pandas DataFrame.
        target: column of what is true.
        metrics: by name, or by ``package.module:function`` for one of one's own: it takes targets and predictions, and
            returns one number a row.
        slices: columns whose values are judged each for itself (numbers of many values by quartiles), and functions,
            which take the data and return masks by name.
        least_rows: of a slice that is judged.
        checks: Great Expectations' suite of the data: a JSON file, or ``package.module:function``, which returns
            expectations; None for what the model's signature says.
        first: what becomes of a model without a champion: ``allow`` it, if it keeps the limits; ``approve``: refuse it
            until a person lets it pass (``bulkhead gate override``); ``refuse`` it.
        alpha: probability that a model passes which is worse by a margin.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model_name: str = Field(min_length=1)
    data: str
    target: str = Field(min_length=1)
    metrics: Mapping[str, MetricRequest] = Field(min_length=1)
    slices: tuple[str, ...] = ()
    least_rows: Annotated[int, BeforeValidator(_number)] = Field(50, ge=1)
    checks: str | None = None
    first: Literal["allow", "approve", "refuse"] = "allow"
    alpha: Number = Field(0.05, gt=0, lt=0.5)

    @field_validator("data")
    @classmethod
    def _readable(cls, source: str) -> str:
        return _checked(source, ENDINGS)

    @field_validator("checks")
    @classmethod
    def _suite(cls, source: str | None) -> str | None:
        return None if source is None else _checked(source, (".json",))

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: Mapping[str, MetricRequest]) -> Mapping[str, MetricRequest]:
        for name, asked in metrics.items():
            own = is_function(name)
            if not own and name not in NAMES:
                raise ValueError(f"{name!r} is not known: give one of {', '.join(NAMES)}, or package.module:function")
            if own != (asked.greater_is_better is not None):
                remedy = "say greater_is_better" if own else "leave greater_is_better out: it is known"
                raise ValueError(f"{name!r}: {remedy}")
        return metrics

    @field_validator("slices")
    @classmethod
    def _named(cls, slices: tuple[str, ...]) -> tuple[str, ...]:
        for name in slices:
            if not name.strip():
                raise ValueError("a column without a name: leave it out")
        if len(set(slices)) < len(slices):
            raise ValueError("a slice is named twice: leave one out")
        return slices


def _checked(source: str, endings: tuple[str, ...]) -> str:
    if is_function(source):
        return source
    if not source.endswith(endings):
        raise ValueError(f"give a file that ends in {' or '.join(endings)}, or package.module:function")
    if user_with_password(source) is not None:  # it would stand in the pod's command
        raise ValueError("leave the password out; give it by a secret, or a service account")
    return source

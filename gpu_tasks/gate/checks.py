"""Data checked by Great Expectations before anything is judged by it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bulkhead.arguments import is_function
from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.functions import function
from bulkhead.gpu_tasks.gate.files import read

_LARGEST = sys.float_info.max

_POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'unsafe-inline' https:; font-src https:; img-src data:\">"
)
"""Names of columns stand in the library's page as they are: so no script may run in it, theirs included."""


@dataclass(frozen=True)
class Report:
    """What the checks found.

    Attributes:
        passed: number of expectations that held.
        failed: a sentence for each that did not.
        result: Great Expectations' own.
    """

    passed: int
    failed: list[str]
    result: Any

    @property
    def details(self) -> Mapping[str, Any]:
        """The result as JSON has it, for MLflow."""
        details: Mapping[str, Any] = self.result.to_json_dict()
        return details

    @property
    def page(self) -> str:
        """The library's Data Docs of the result, HTML."""
        from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
        from great_expectations.render.view.view import DefaultJinjaPageView

        document = ValidationResultsPageRenderer(run_info_at_end=True).render(self.result)
        head, tag, rest = str(DefaultJinjaPageView().render(document)).partition("<head>")
        return f"{head}{tag}{_POLICY}{rest}" if tag else f"{_POLICY}{head}"


def check(frame: pd.DataFrame, source: str | None, model: Any, target: str) -> Report:
    """Check the data, by a suite of the user's or by what the model says of its inputs.

    Args:
        frame: the data.
        source: see ``GateRequest.checks``.
        model: loaded by ``mlflow.pyfunc``.
        target: column of what is true.

    Returns:
        The report.

    Raises:
        ConfigError: the suite cannot be read, or is none.
    """
    return validate("holdout", frame, expected_by(model, target) if source is None else _suite(source))


def validate(name: str, frame: pd.DataFrame, expectations: Sequence[Any]) -> Report:
    """Validate a frame.

    Args:
        name: of the suite, for Great Expectations.
        frame: the data.
        expectations: of Great Expectations, as objects or as its configurations.

    Returns:
        The report. All expectations are evaluated, also after one has failed.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = (
        context.data_sources.add_pandas(name)
        .add_dataframe_asset(name)
        .add_batch_definition_whole_dataframe("all")
        .get_batch({"dataframe": frame})
    )
    result = batch.validate(gx.ExpectationSuite(name=name, expectations=list(expectations)))
    failed = [_sentence(validated) for validated in result.results if not validated.success]
    return Report(len(result.results) - len(failed), failed, result)


def expected_by(model: Any, target: str) -> list[Any]:
    """What a model says of its inputs: by its signature, else by its input example; and that every row has a target.

    Args:
        model: loaded by ``mlflow.pyfunc``.
        target: column of what is true.

    Returns:
        Expectations of Great Expectations.
    """
    import great_expectations.expectations

    gxe: Any = great_expectations.expectations
    checks: list[Any] = [gxe.ExpectColumnValuesToNotBeNull(column=target)]
    for name, kind, required in _columns(model):
        if required:
            checks.append(gxe.ExpectColumnToExist(column=name))
            checks.append(gxe.ExpectColumnValuesToNotBeNull(column=name))
            if kind == "number":  # one, and a finite one, whatever type the data keep it as
                checks.append(gxe.ExpectColumnValuesToBeBetween(column=name, min_value=-_LARGEST, max_value=_LARGEST))
            elif kind == "boolean":
                checks.append(gxe.ExpectColumnValuesToBeInSet(column=name, value_set=[False, True]))
    return checks


def _columns(model: Any) -> list[tuple[str, str, bool]]:
    """Of each column that a model takes: name, kind (``number``, ``boolean`` or another), and whether it is needed."""
    inputs = getattr(model.metadata.signature, "inputs", None)
    if inputs is not None and inputs.has_input_names():
        return [(column.name, _kind(column), getattr(column, "required", True)) for column in inputs.inputs]
    example = getattr(model, "input_example", None)
    if not isinstance(example, pd.DataFrame):
        return []
    complete = example.notna().all()
    return [(str(name), _kind_of(example[name]), bool(complete[name])) for name in example.columns]


def _kind(column: Any) -> str:
    """Of a column of a signature; a tensor has a type of numpy's."""
    kind = getattr(column.type, "name", "")
    return "number" if kind in ("integer", "long", "float", "double") else kind


def _kind_of(column: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(column):
        return "boolean"
    return "number" if pd.api.types.is_numeric_dtype(column) else ""


def _suite(source: str) -> list[Any]:
    suite = function("checks", source)() if is_function(source) else _from_file(source)
    expectations = getattr(suite, "expectations", suite)
    if not isinstance(expectations, list | tuple) or not expectations:
        raise ConfigError(f"checks = {source!r}: it holds no expectation; give a suite of Great Expectations")
    return list(expectations)


def _from_file(source: str) -> Any:
    import great_expectations as gx

    try:
        document = json.loads(read("checks", source))
    except ValueError as wrong:
        raise ConfigError(f"checks = {source!r}: cannot be read: {type(wrong).__name__}: {wrong}") from wrong
    try:
        # One by one: of a suite the library leaves out what it does not know, and only logs that.
        suites = [gx.ExpectationSuite(name="holdout", expectations=[config]) for config in document["expectations"]]
    except Exception as wrong:  # of many kinds, as the library meets what is no suite
        raise ConfigError(f"checks = {source!r}: no suite of Great Expectations: {wrong}") from wrong
    for suite, expectation in zip(suites, document["expectations"], strict=True):
        if not suite.expectations:
            raise ConfigError(f"checks = {source!r}: Great Expectations knows no such expectation: {expectation}")
    return [suite.expectations[0] for suite in suites]


def _sentence(outcome: Any) -> str:
    settings = outcome.expectation_config
    column = settings.kwargs.get("column", "table")
    seen = outcome.result.get("partial_unexpected_list") or outcome.result.get("observed_value")
    raised = next(iter((outcome.exception_info or {}).values()), None) if seen is None else None
    if isinstance(raised, Mapping) and raised.get("exception_message"):
        return f"{settings.type} on {column}: {str(raised['exception_message'])[:200]}"
    return f"{settings.type} on {column}: saw {str(seen)[:120]}"

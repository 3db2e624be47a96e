"""Data checked by Great Expectations before anything is judged by it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bulkhead.arguments import is_function
from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.functions import function
from bulkhead.gpu_tasks.gate.files import read


@dataclass(frozen=True)
class Report:
    """What the checks found.

    Attributes:
        passed: number of expectations that held.
        failed: a sentence for each that did not.
        details: Great Expectations' own result, for MLflow.
    """

    passed: int
    failed: list[str]
    details: Mapping[str, Any]


def check(frame: pd.DataFrame, source: str | None, signature: Any, target: str) -> Report:
    """Check the data, by a suite of the user's or by the model's signature.

    Args:
        frame: the data.
        source: see ``GateRequest.checks``.
        signature: the model's, of MLflow; None where it was logged without one.
        target: column of what is true.

    Returns:
        The report.

    Raises:
        ConfigError: the suite cannot be read, or is none.
    """
    import great_expectations.expectations as gxe

    return validate("holdout", frame, _by_signature(gxe, signature, target) if source is None else _suite(source))


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
    failed = [_sentence(one) for one in result.results if not one.success]
    return Report(len(result.results) - len(failed), failed, result.to_json_dict())


def _by_signature(gxe: Any, signature: Any, target: str) -> list[Any]:
    """What the model's signature says of its inputs, and that every row has a target."""
    inputs = getattr(signature, "inputs", None)
    columns = inputs.inputs if inputs is not None and inputs.has_input_names() else []
    checks: list[Any] = [gxe.ExpectColumnValuesToNotBeNull(column=target)]
    for column in columns:
        if getattr(column, "required", True):
            checks.append(gxe.ExpectColumnToExist(column=column.name))
            checks.append(gxe.ExpectColumnValuesToNotBeNull(column=column.name))
    return checks


def _suite(source: str) -> list[Any]:
    found = function("checks", source)() if is_function(source) else _from_file(source)
    expectations = getattr(found, "expectations", found)
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
        suites = [gx.ExpectationSuite(name="holdout", expectations=[one]) for one in document["expectations"]]
    except Exception as wrong:  # of many kinds, as the library meets what is no suite
        raise ConfigError(f"checks = {source!r}: no suite of Great Expectations: {wrong}") from wrong
    for suite, expectation in zip(suites, document["expectations"], strict=True):
        if not suite.expectations:
            raise ConfigError(f"checks = {source!r}: Great Expectations knows no such expectation: {expectation}")
    return [suite.expectations[0] for suite in suites]


def _sentence(one: Any) -> str:
    settings = one.expectation_config
    column = settings.kwargs.get("column", "table")
    seen = one.result.get("partial_unexpected_list") or one.result.get("observed_value")
    raised = next(iter((one.exception_info or {}).values()), None) if seen is None else None
    if isinstance(raised, Mapping) and raised.get("exception_message"):
        return f"{settings.type} on {column}: {str(raised['exception_message'])[:200]}"
    return f"{settings.type} on {column}: saw {str(seen)[:120]}"

"""``python -m bulkhead.gpu_tasks.evaluate``: the gate. Data checks first, then limits, then the champion."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bulkhead.gate_overrides import GateOverride
from bulkhead.gpu_tasks.entry import run
from bulkhead.gpu_tasks.errors import ConfigError, GateError
from bulkhead.gpu_tasks.gate.request import GateRequest
from bulkhead.gpu_tasks.gate.verdict import GateVerdict, decide
from bulkhead.pods.training import training_data

if TYPE_CHECKING:
    from bulkhead.gpu_tasks.gate.judgement import GateJudgement

ISOLATED_TAG = "bulkhead.isolated"
"""Tag of a model that is isolated, and why; ``bulkhead.registries.mlflow`` writes it."""

_LOGGED = re.compile(r"models:/(m-[0-9a-f]+)")
_VERSION = re.compile(r"models:/([^/@]+)/(\d+)")
_OF_RUN = re.compile(r"runs:/([0-9a-f]+)/.+")


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from.

    Attributes:
        run_id: MLflow run that logged it; the evidence is kept there.
        experiment_id: of the run.
        tags: of the model.
        training_data: that its run has logged; empty where it has not.
    """

    run_id: str
    experiment_id: str
    tags: Mapping[str, str]
    training_data: str = ""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments and evaluate.

    Args:
        argv: arguments; the process' own by default.
    """
    parser = argparse.ArgumentParser(prog="bulkhead.gpu_tasks.evaluate")
    parser.add_argument("--model-uri", required=True, help="models:/m-…, models:/NAME/VERSION or runs:/RUN/PATH")
    parser.add_argument("--request", required=True, help="what is asked: bulkhead.gpu_tasks.gate.request, as JSON")
    parser.add_argument("--override", help="a person's word that it may pass: bulkhead.gate_overrides, as JSON")
    given = parser.parse_args(argv)
    override = GateOverride.model_validate_json(given.override) if given.override else None
    run(lambda: evaluate(given.model_uri, GateRequest.model_validate_json(given.request), override))


def evaluate(model_uri: str, request: GateRequest, override: GateOverride | None = None) -> Mapping[str, Any]:
    """Evaluate a candidate; the verdict and its numbers go to MLflow whether it passes or not.

    Args:
        model_uri: ``models:/m-…``, ``models:/NAME/VERSION`` or ``runs:/RUN/PATH``.
        request: what is asked.
        override: a person's word that it may pass although it is refused; None for none.

    Returns:
        The evidence: metrics, differences to the champion with their lower confidence bounds, data checks.

    Raises:
        GateError: the candidate is refused; the text says why.
        ConfigError: the data, a function or the model cannot be used; the text says why.
    """
    import mlflow

    client = mlflow.MlflowClient()
    source = source_of(client, model_uri)
    try:
        _refuse_isolated(model_uri, source)
        evidence = _judged(client, model_uri, source, request, override)
    except GateError as error:
        client.set_tag(source.run_id, "bulkhead.gate", "refused")
        client.set_tag(source.run_id, "bulkhead.gate.reason", str(error))
        raise
    client.set_tag(source.run_id, "bulkhead.gate", "overridden" if "overridden" in evidence else "passed")
    return {**evidence, "model_uri": model_uri, "run_id": source.run_id, "experiment_id": source.experiment_id}


def source_of(client: Any, model_uri: str) -> ModelSource:
    """Find out where a model comes from.

    Args:
        client: of MLflow.
        model_uri: see ``evaluate``.

    Raises:
        ConfigError: the URI is of another kind, or the model was logged outside of a run.
    """
    tags: Mapping[str, str] = {}
    if found := _LOGGED.fullmatch(model_uri):
        logged = client.get_logged_model(found[1])
        run_id, tags = logged.source_run_id, logged.tags
    elif found := _VERSION.fullmatch(model_uri):
        version = client.get_model_version(found[1], found[2])
        run_id, tags = version.run_id, version.tags
    elif found := _OF_RUN.fullmatch(model_uri):
        run_id = found[1]
    else:
        raise ConfigError(f"model_uri = {model_uri!r}: give models:/m-…, models:/NAME/VERSION or runs:/RUN/PATH")
    if not run_id:
        raise ConfigError(
            f"model_uri = {model_uri!r}: logged outside of a run, which keeps the evidence; log it in one"
        )
    run = client.get_run(run_id)
    return ModelSource(run_id, run.info.experiment_id, tags, training_data(run))


def _refuse_isolated(model_uri: str, source: ModelSource) -> None:
    if (reason := source.tags.get(ISOLATED_TAG)) is not None:
        raise GateError(f"model {model_uri} is isolated: {reason}; run 'bulkhead unisolate' once that is mended")


def _judged(
    client: Any, model_uri: str, source: ModelSource, request: GateRequest, override: GateOverride | None
) -> dict[str, Any]:
    """The evidence, of a candidate that passes."""
    import mlflow

    from bulkhead.gpu_tasks.gate import answers, checks, data
    from bulkhead.gpu_tasks.gate.judgement import judge, wants_probabilities
    from bulkhead.gpu_tasks.gate.report import report

    holdout = data.load(request.data, request.target)
    candidate = mlflow.pyfunc.load_model(model_uri)
    checked = checks.check(holdout.frame, request.checks, candidate.metadata.signature, request.target)
    client.log_dict(source.run_id, checked.details, "data_checks.json")
    if checked.failed:
        raise GateError(f"data checks failed: {'; '.join(checked.failed)}")
    champion = _champion(client, request)  # before the candidate answers, which may take long
    probabilities = wants_probabilities(request)
    ours = answers.ask(candidate, holdout.features, holdout.targets, "candidate", probabilities)
    called, theirs = _called(champion), None
    if champion is not None:
        loaded = _loaded(champion)
        theirs = answers.ask(loaded, holdout.features, holdout.targets, called, probabilities)
    judgement = judge(request, holdout, ours, theirs, called)
    verdict = _verdict(judgement, request, model_uri, override)
    client.log_dict(source.run_id, {**judgement.details(holdout.digest), **verdict.details()}, "gate.json")
    page = report(judgement, request, model_uri, holdout.digest, checked.passed, verdict)
    client.log_text(source.run_id, page, "gate.html")
    _log(client, source.run_id, judgement)
    if not verdict.passed:
        raise GateError("; ".join(verdict.refusals))
    return {
        **judgement.evidence(),
        **verdict.evidence(),
        "data_hash": holdout.digest,
        "data_checks": checked.passed,
        **({"training_data": source.training_data} if source.training_data else {}),
    }


def _verdict(
    judgement: GateJudgement, request: GateRequest, model_uri: str, override: GateOverride | None
) -> GateVerdict:
    refusals = list(judgement.refusals)
    if request.first == "approve" and not judgement.champion:
        refusals.append(
            f"{request.model_name} has no champion to compare with, and a first model is approved by a person: "
            f"bulkhead gate override {model_uri} --reason TEXT"
        )
    return decide(refusals, override, datetime.now(UTC))


def _log(client: Any, run_id: str, judgement: GateJudgement) -> None:
    for name, value in judgement.numbers().items():
        client.log_metric(run_id, f"gate_{name}", value)


def _champion(client: Any, request: GateRequest) -> Any:
    """The registered version that serves; None for the first model, where that is allowed."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(request.model_name, "champion")
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
    if request.first == "refuse":
        remedy = "give one the alias 'champion', or say first='allow'"
        raise GateError(f"{request.model_name} has no champion to compare with: {remedy}")
    return None


def _called(champion: Any) -> str:
    return f"champion version {champion.version}" if champion is not None else ""


def _loaded(champion: Any) -> Any:
    import mlflow

    try:
        return mlflow.pyfunc.load_model(champion.source)
    except Exception as wrong:  # whatever a model's own code or its registry raises
        remedy = "mend it, or give the alias 'champion' to a version that loads"
        raise GateError(f"{_called(champion)} does not load: {type(wrong).__name__}: {wrong}; {remedy}") from wrong


if __name__ == "__main__":
    main()

"""``python -m bulkhead.gpu_tasks.evaluate``: the gate. Data checks first, then limits, then the champion."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bulkhead.gate_overrides import GateOverride
from bulkhead.gpu_tasks.device_faults import voided
from bulkhead.gpu_tasks.entry import run
from bulkhead.gpu_tasks.errors import GateError, VoidError
from bulkhead.gpu_tasks.gate.model_source import ModelSource, source_of
from bulkhead.gpu_tasks.gate.request import REPORT, GateRequest
from bulkhead.gpu_tasks.gate.verdict import GateVerdict, decide

if TYPE_CHECKING:
    from bulkhead.gpu_tasks.gate.answers import GateAnswers, ModelAnswers
    from bulkhead.gpu_tasks.gate.cost import Rival
    from bulkhead.gpu_tasks.gate.data import Holdout
    from bulkhead.gpu_tasks.gate.judgement import GateJudgement

ISOLATED_TAG = "bulkhead.isolated"
"""Tag of a model that is isolated, and why; ``bulkhead.registries.mlflow`` writes it."""

_LONGEST_LOST = 300


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
        VoidError: a device failed under the evaluation: whatever came out says nothing of the candidate.
    """
    import mlflow

    client = mlflow.MlflowClient()
    source = source_of(client, model_uri)
    try:
        _refuse_isolated(model_uri, source)
        evidence = _judged(client, model_uri, source, request, override)
    except (GateError, VoidError) as error:
        client.set_tag(source.run_id, "bulkhead.gate", "void" if isinstance(error, VoidError) else "refused")
        client.set_tag(source.run_id, "bulkhead.gate.reason", str(error))
        raise
    client.set_tag(source.run_id, "bulkhead.gate", "overridden" if "overridden" in evidence else "passed")
    return {**evidence, "model_uri": model_uri, "run_id": source.run_id, "experiment_id": source.experiment_id}


def _refuse_isolated(model_uri: str, source: ModelSource) -> None:
    if (reason := source.tags.get(ISOLATED_TAG)) is not None:
        raise GateError(f"model {model_uri} is isolated: {reason}; run 'bulkhead unisolate' once that is mended")


def _judged(
    client: Any, model_uri: str, source: ModelSource, request: GateRequest, override: GateOverride | None
) -> dict[str, Any]:
    """The evidence, of a candidate that passes."""
    import mlflow

    from bulkhead.gpu_tasks.gate import data
    from bulkhead.gpu_tasks.gate.cost import Rival
    from bulkhead.gpu_tasks.gate.overlap import refuse_overlap
    from bulkhead.gpu_tasks.gate.plots import plots
    from bulkhead.gpu_tasks.gate.report import report

    holdout = data.load(request.data, request.target)
    candidate = Rival(model_uri, mlflow.pyfunc.load_model(model_uri), "candidate")
    kept = _checked(client, source, holdout, request, candidate.model)
    overlap = refuse_overlap(request, holdout, source.logged)
    champion, lost = _champion(client, request)  # before the candidate answers, which may take long
    judgement, answered = _answered(request, holdout, candidate, champion)
    judgement = replace(judgement, lost=lost)
    verdict = _verdict(judgement, request, model_uri, override)
    client.log_dict(source.run_id, {**judgement.details(holdout.digest), **verdict.details()}, "gate.json")
    pictures = plots(holdout.targets, answered)
    page = report(judgement, request, model_uri, holdout.digest, kept, verdict, pictures)
    client.log_text(source.run_id, page, REPORT)
    for name, value in judgement.numbers().items():
        client.log_metric(source.run_id, f"gate_{name}", value)
    if not verdict.passed:
        raise GateError("; ".join(verdict.refusals))
    return {
        **judgement.evidence(),
        **verdict.evidence(),
        **overlap.evidence(),
        "data_hash": holdout.digest,
        "data_checks": kept,
        **({"training_data": source.training_data} if source.training_data else {}),
    }


def _checked(client: Any, source: ModelSource, holdout: Holdout, request: GateRequest, model: Any) -> int:
    """How many checks the data have kept, which is all of them."""
    from bulkhead.gpu_tasks.gate import checks

    checked = checks.check(holdout.frame, request.checks, model, request.target)
    client.log_dict(source.run_id, checked.details, "data_checks.json")
    client.log_text(source.run_id, checked.page, "data_docs.html")
    if checked.failed:
        raise GateError(f"data checks failed: {'; '.join(checked.failed)}")
    return checked.passed


def _answered(
    request: GateRequest, holdout: Holdout, candidate: Rival, champion: Rival | None
) -> tuple[GateJudgement, GateAnswers]:
    """The judgement, and the answers that it is of. A device that fails meanwhile voids both."""
    from bulkhead.gpu_tasks.gate import answers, cost
    from bulkhead.gpu_tasks.gate.judgement import judge, wants_lists, wants_probabilities

    def ask(rival: Rival) -> ModelAnswers:
        formats = wants_probabilities(request), wants_lists(request)
        return answers.ask(rival.model, holdout.features, holdout.targets, rival.called, *formats)

    with voided("the evaluation"):
        ours, theirs = ask(candidate), ask(champion) if champion is not None else None
        costs, timings = cost.measure(request, holdout.features, candidate, champion)
    called = champion.called if champion is not None else ""
    return judge(request, holdout, ours, theirs, called, costs), answers.GateAnswers(ours, theirs, timings)


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


def _champion(client: Any, request: GateRequest) -> tuple[Rival | None, str]:
    """The registered version that serves, and None for the first model, where that is allowed; why it is lost."""
    import mlflow
    from mlflow.exceptions import MlflowException

    from bulkhead.gpu_tasks.gate.cost import Rival

    try:
        champion = client.get_model_version_by_alias(request.model_name, "champion")
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        if request.first == "refuse":
            remedy = "give one the alias 'champion', or say first='allow'"
            raise GateError(f"{request.model_name} has no champion to compare with: {remedy}") from error
        return None, ""
    called = f"champion version {champion.version}"
    try:
        return Rival(champion.source, mlflow.pyfunc.load_model(champion.source), called), ""
    except Exception as wrong:  # whatever a model's own code or its registry raises
        lost = f"{called} does not load: {type(wrong).__name__}: {wrong}"
        if "refuse" in (request.lost_champion, request.first):
            remedy = "mend it, give the alias 'champion' to a version that loads, or say lost_champion='first'"
            raise GateError(f"{lost}; {remedy}") from wrong
        return None, lost[:_LONGEST_LOST]


if __name__ == "__main__":
    main()

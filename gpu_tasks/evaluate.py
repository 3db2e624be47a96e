"""``python -m bulkhead.gpu_tasks.evaluate``: the gate. Data checks first, then thresholds, then the champion."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bulkhead.gpu_tasks.entry import run
from bulkhead.gpu_tasks.errors import GateError

ISOLATED_TAG = "bulkhead.isolated"
"""Tag of a model that is isolated, and why; ``bulkhead.registries.mlflow`` writes it."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments and evaluate.

    Args:
        argv: arguments; the process' own by default.
    """
    parser = argparse.ArgumentParser(prog="bulkhead.gpu_tasks.evaluate")
    parser.add_argument("--model-uri", required=True)
    parser.add_argument("--run-id", required=True, help="MLflow run of the training")
    parser.add_argument("--data-hash", required=True, help="hash of the data that it was trained on")
    parser.add_argument("--model-name", required=True, help="registered model, whose champion is the rival")
    parser.add_argument("--min-accuracy", type=_share, default=0.97)
    parser.add_argument("--margin", type=_share, default=0.02, help="how much worse than the champion is still fine")
    arguments = parser.parse_args(argv)
    run(lambda: evaluate(**vars(arguments)))


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: give a share from 0 to 1")
    return value


def evaluate(
    model_uri: str, run_id: str, data_hash: str, model_name: str, min_accuracy: float, margin: float
) -> Mapping[str, Any]:
    """Evaluate a candidate; the verdict and its numbers go to MLflow whether it passes or not.

    Args:
        run_id: MLflow run of its training; the evaluation is logged there.
        data_hash: of the data that it was trained on.
        min_accuracy: threshold on the test images.
        margin: non-inferiority margin against the champion, as a difference of accuracies; see ``gate.comparison``.

    Returns:
        The evidence: accuracy, difference to the champion with its lower confidence bound, data checks.

    Raises:
        GateError: the candidate is refused; the text says why.
    """
    import mlflow

    from bulkhead.gpu_tasks import data_checks, digits

    data = digits.load()
    client = mlflow.MlflowClient()
    try:
        refuse_isolated(client, model_uri)
        if data.data_hash != data_hash:
            raise GateError(f"data hash {data.data_hash[:12]} is not the one trained on, {data_hash[:12]}: train again")
        report = data_checks.check_digits(data)
        client.log_dict(run_id, report.details, "data_checks.json")
        if report.failed:
            raise GateError(f"data checks failed: {'; '.join(report.failed)}")
        evidence = _compare(model_uri, model_name, data, min_accuracy, margin)
    except GateError as error:
        client.set_tag(run_id, "bulkhead.gate", "refused")
        client.set_tag(run_id, "bulkhead.gate.reason", str(error))
        raise
    for name, value in evidence.items():
        if isinstance(value, float):
            client.log_metric(run_id, f"gate_{name}", value)
    client.set_tag(run_id, "bulkhead.gate", "passed")
    experiment_id = client.get_run(run_id).info.experiment_id
    trained = {"model_uri": model_uri, "run_id": run_id, "experiment_id": experiment_id, "data_hash": data_hash}
    return {**evidence, **trained, "data_checks": report.passed}


def refuse_isolated(client: Any, model_uri: str) -> None:
    """Refuse a model that is isolated.

    Args:
        model_uri: of a logged model (``models:/m-…``) or a registered version (``models:/NAME/VERSION``).

    Raises:
        GateError: it is; the text says why.
    """
    tags: Mapping[str, str] = {}
    if found := re.match(r"^models:/(m-[0-9a-f]+)$", model_uri):
        tags = client.get_logged_model(found[1]).tags
    elif found := re.match(r"^models:/([^/@]+)/(\d+)$", model_uri):
        tags = client.get_model_version(found[1], found[2]).tags
    if (reason := tags.get(ISOLATED_TAG)) is not None:
        raise GateError(f"model {model_uri} is isolated: {reason}; run 'bulkhead unisolate' once that is mended")


def _compare(model_uri: str, model_name: str, data: Any, min_accuracy: float, margin: float) -> dict[str, Any]:
    import mlflow
    import numpy as np

    from bulkhead.gpu_tasks.gate.comparison import Comparison, compare
    from bulkhead.gpu_tasks.gate.metrics import METRICS
    from bulkhead.gpu_tasks.gate.sentences import sentence

    correct = _correct(mlflow.pyfunc.load_model(model_uri), data)
    accuracy = float(correct.mean())
    if not accuracy >= min_accuracy:  # "not >=" so that a NaN is refused too
        raise GateError(f"accuracy {accuracy:.4f} on {len(correct)} test images is under min_accuracy {min_accuracy}")
    champion = _champion(model_name)
    if champion is None:
        return {"accuracy": accuracy, "champion": "none: the first model is held to the threshold alone"}
    rival = _correct(mlflow.pyfunc.load_model(champion.source), data)
    ours, theirs = (np.asarray(right, dtype=float)[:, None] for right in (correct, rival))
    (result,) = compare([Comparison(METRICS["accuracy_score"], ours, theirs, margin)])
    if not result.passed:
        raise GateError(sentence(result, f"champion version {champion.version}"))
    return {
        "accuracy": accuracy,
        "champion": f"version {champion.version}",
        "champion_accuracy": result.champion,
        "difference": result.difference,
        "difference_low": result.low,
        "p_worse_by_margin": result.p,
    }


def _correct(model: Any, data: Any) -> Any:
    import numpy as np

    return np.asarray(model.predict(data.test_images)) == data.test_labels


def _champion(model_name: str) -> Any:
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        return mlflow.MlflowClient().get_model_version_by_alias(model_name, "champion")
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


if __name__ == "__main__":
    main()

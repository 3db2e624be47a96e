"""Pages of MLflow's web UI."""

from __future__ import annotations

from urllib.parse import quote

from bulkhead.registries.uris import logged_model, registered_version


def run_page(ui: str, experiment_id: str, run_id: str) -> str:
    """The page of a run.

    Args:
        ui: address of MLflow's UI; empty where it has none.
        experiment_id: of the run's experiment; empty where it is not known.
        run_id: of the run; empty where it is not known.

    Returns:
        Its URL; empty where something is missing.
    """
    if not (ui and experiment_id and run_id):
        return ""
    return f"{ui}/#/experiments/{quote(experiment_id, '')}/runs/{quote(run_id, '')}"


def artifact_page(run: str, path: str) -> str:
    """The page of an artifact.

    Args:
        run: page of its run; empty where there is none.
        path: of the artifact in the run.

    Returns:
        Its URL; empty where the run has no page.
    """
    return f"{run}/artifacts/{quote(path)}" if run else ""


def model_page(ui: str, model_uri: str, experiment_id: str = "", name: str = "", version: str | None = None) -> str:
    """The page of a model version; of a logged model that is not registered yet, its own.

    Args:
        ui: see ``run_page``.
        model_uri: where the model lies.
        experiment_id: see ``run_page``.
        version: in the registry; None where it is not registered yet.

    Returns:
        Its URL; empty where there is no such page.
    """
    if registered := registered_version(model_uri):
        name, version = registered
    if ui and name and version:
        return f"{ui}/#/models/{quote(name, '')}/versions/{quote(version, '')}"
    logged = logged_model(model_uri)
    return f"{ui}/#/experiments/{quote(experiment_id, '')}/models/{logged}" if ui and experiment_id and logged else ""

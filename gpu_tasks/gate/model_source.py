"""Where a model comes from, and what its training has logged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.gate.logged_data import LoggedData, logged
from bulkhead.pods.training import training_data

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
        training_data: that its run has logged, for people; empty where it has not.
        logged: the same, one by one.
    """

    run_id: str
    experiment_id: str
    tags: Mapping[str, str]
    training_data: str = ""
    logged: Sequence[LoggedData] = ()


def source_of(client: Any, model_uri: str) -> ModelSource:
    """Find out where a model comes from.

    Args:
        client: of MLflow.
        model_uri: ``models:/m-…``, ``models:/NAME/VERSION`` or ``runs:/RUN/PATH``.

    Raises:
        ConfigError: the URI is of another kind, or the model was logged outside of a run.
    """
    tags: Mapping[str, str] = {}
    if uri := _LOGGED.fullmatch(model_uri):
        model = client.get_logged_model(uri[1])
        run_id, tags = model.source_run_id, model.tags
    elif uri := _VERSION.fullmatch(model_uri):
        version = client.get_model_version(uri[1], uri[2])
        run_id, tags = version.run_id, version.tags
    elif uri := _OF_RUN.fullmatch(model_uri):
        run_id = uri[1]
    else:
        raise ConfigError(f"model_uri = {model_uri!r}: give models:/m-…, models:/NAME/VERSION or runs:/RUN/PATH")
    if not run_id:
        raise ConfigError(
            f"model_uri = {model_uri!r}: logged outside of a run, which keeps the evidence; log it in one"
        )
    run = client.get_run(run_id)
    return ModelSource(run_id, run.info.experiment_id, tags, training_data(run), logged(run))

"""Data that MLflow runs have logged by ``mlflow.log_input``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.gate.request import ENDINGS

_CONTEXT = "mlflow.data.context"
"""Tag in which MLflow keeps what a run has used data for."""


@dataclass(frozen=True)
class LoggedData:
    """Data that a run has logged.

    Attributes:
        name: of them.
        digest: MLflow's.
        source: file that they were read from, by its path or URL; empty where that is not known, or is no file of
            ``request.ENDINGS``.
        context: for which the run has used them, for instance ``training``; empty where it has not said.
    """

    name: str
    digest: str
    source: str
    context: str

    @property
    def trained_on(self) -> bool:
        """Whether a model was trained on them, as far as the run has said."""
        return not self.context or self.context.startswith("train")


def logged(run: Any) -> Sequence[LoggedData]:
    """What a run has logged.

    Args:
        run: of MLflow's client.
    """
    return [_read(dataset_input) for dataset_input in (run.inputs.dataset_inputs if run.inputs is not None else ())]


def source_of(field: str, uri: str) -> str:
    """The file that logged data were read from.

    Args:
        field: where their name stands, for errors.
        uri: ``runs:/RUN/NAME``.

    Raises:
        ConfigError: there is no such run, it has not logged such data, or their file is not known.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    run_id, name = uri.removeprefix("runs:/").split("/", 1)
    try:
        inputs = logged(mlflow.MlflowClient().get_run(run_id))
    except MlflowException as wrong:
        if wrong.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise ConfigError(f"{field} = {uri!r}: MLflow has no run {run_id}") from wrong
    mine = [data for data in inputs if data.name == name]
    if not mine:
        names = ", ".join(sorted({data.name for data in inputs})) or "none"
        raise ConfigError(f"{field} = {uri!r}: the run has logged no data of this name; it has logged {names}")
    if not mine[0].source:
        raise ConfigError(
            f"{field} = {uri!r}: its file is not known, or none of {', '.join(ENDINGS)}; say from where when it is "
            "logged (mlflow.data.from_pandas(frame, source='s3://…/rows.parquet')), or give the file itself"
        )
    return mine[0].source


def _read(used: Any) -> LoggedData:
    context = next((tag.value for tag in used.tags if tag.key == _CONTEXT), "")
    try:
        source = json.loads(used.dataset.source)
    except ValueError:  # another program may write what it likes there
        source = {}
    path = (source.get("uri") or source.get("url") or "") if isinstance(source, dict) else ""
    readable = isinstance(path, str) and path.endswith(ENDINGS)
    return LoggedData(used.dataset.name, used.dataset.digest, path if readable else "", context)

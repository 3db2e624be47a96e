"""Reading what a user names by its path or URL."""

from __future__ import annotations

import tempfile
from pathlib import Path

import fsspec

from bulkhead.gpu_tasks.errors import ConfigError

_OF_MLFLOW = ("runs:/", "models:/", "mlflow-artifacts:/")


def read(field: str, source: str) -> bytes:
    """Read a file.

    Args:
        field: where its name stands, for errors.
        source: its path, a URL that fsspec knows, or an artifact of MLflow's (``runs:/RUN/path``).

    Raises:
        ConfigError: it cannot be read; the text names the field and why.
    """
    if source.startswith(_OF_MLFLOW):
        return _artifact(field, source)
    try:
        with fsspec.open(source, "rb") as file:
            content: bytes = file.read()
    except (OSError, ImportError, ValueError) as away:  # fsspec raises the latter two for a protocol it does not serve
        raise ConfigError(f"{field} = {source!r}: cannot be read: {type(away).__name__}: {away}") from away
    return content


def _artifact(field: str, source: str) -> bytes:
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        with tempfile.TemporaryDirectory() as folder:
            return Path(mlflow.artifacts.download_artifacts(source, dst_path=folder)).read_bytes()
    except (MlflowException, OSError) as away:
        raise ConfigError(f"{field} = {source!r}: cannot be read: {type(away).__name__}: {away}") from away

"""What an MLflow model URI names."""

from __future__ import annotations

import re

_LOGGED = re.compile(r"^models:/(m-[0-9a-f]+)$")
_REGISTERED = re.compile(r"^models:/([^/@]+)/(\d+)$")


def logged_model(model_uri: str) -> str | None:
    """The id of a logged model; None where the URI names something else, for instance a registered version."""
    match = _LOGGED.match(model_uri)
    return match[1] if match else None


def registered_version(model_uri: str) -> tuple[str, str] | None:
    """Name and version of a registered model; None where the URI names something else."""
    match = _REGISTERED.match(model_uri)
    return (match[1], match[2]) if match else None

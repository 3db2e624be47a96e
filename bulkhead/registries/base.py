"""What every registry does."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol


class Registry(Protocol):
    """What a rollout needs of a model registry; ``bulkhead.registries.mlflow`` documents the methods."""

    def register(self, model_name: str, model_uri: str, revision: str) -> str:
        """Register a version for a revision, once."""

    def check(self, model_name: str, version: str) -> None:
        """Raise NotFoundError unless the version exists."""

    def forbid(self, model_uri: str, model_name: str, version: str | None, reason: str) -> None:
        """Tag a model as isolated."""

    def allow(self, model_uri: str, model_name: str, version: str | None) -> None:
        """Take that back."""

    def keep(self, name: str, files: Mapping[str, str]) -> str:
        """Keep evidence, once a name."""

    def measured(self, model_name: str, version: str, names: Collection[str], since: datetime) -> dict[str, float]:
        """The latest values of a model's metrics."""

    def champion(self, model_name: str) -> str | None:
        """The version that the champion alias names."""

    def point(self, model_name: str, version: str | None, service: str, generation: int) -> None:
        """Make the champion alias name a version."""

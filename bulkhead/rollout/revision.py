"""Revisions: immutable deployables of a service."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bulkhead import arguments
from bulkhead.errors import InvalidInputError
from bulkhead.text import unkept
from bulkhead.workloads.serving import parse_serve

_LONGEST_MODEL_NAME = 256


def check_model_name(field: str, value: Any) -> None:
    """Refuse what MLflow's registry takes for no name.

    Args:
        field: name of it, as its author wrote it.

    Raises:
        InvalidInputError: it is empty, no text, or too long.
    """
    arguments.text(field, value)
    if len(value) > _LONGEST_MODEL_NAME:
        raise InvalidInputError(field, value, f"MLflow's registry takes at most {_LONGEST_MODEL_NAME} characters")


@dataclass(frozen=True)
class RevisionSpec:
    """What makes up a revision.

    Attributes:
        service: whose.
        model_name: registered model in MLflow.
        model_uri: where the model lies, for instance ``models:/m-…`` or ``runs:/…/model``.
        image: container image that serves it.
        serve: how it is to be served: the fields of ``bulkhead.workloads.serving.ServeSpec``.
        evidence: what speaks for it: evaluation metrics, data hash.
        model_version: version in the registry where it is registered already; it must exist.
    """

    service: str
    model_name: str
    model_uri: str
    image: str
    serve: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    model_version: str | None = None

    def __post_init__(self) -> None:
        arguments.service("revision.service", self.service)
        for name in ("model_name", "model_uri", "image"):
            if not getattr(self, name):
                raise InvalidInputError(f"revision.{name}", getattr(self, name), "must not be empty")
        for name in ("model_name", "model_uri", "image", "model_version", "serve"):
            if (bad := unkept(f"revision.{name}", getattr(self, name))) is not None:
                raise InvalidInputError(*bad)
        check_model_name("revision.model_name", self.model_name)
        parse_serve(self.serve)

    @property
    def id(self) -> str:
        """``<service>-<8 hex digits>``: a digest of what is deployed, so that equal deployables are one revision."""
        deployable = [self.model_name, self.model_uri, self.image, self.serve, self.model_version]
        digest = hashlib.sha256(json.dumps(deployable, sort_keys=True, default=str).encode()).hexdigest()
        return f"{self.service}-{digest[:8]}"

    def columns(self) -> dict[str, Any]:
        """As the ledger's table has it."""
        return {
            "id": self.id,
            "service": self.service,
            "model_name": self.model_name,
            "model_uri": self.model_uri,
            "model_version": self.model_version,
            "image": self.image,
            "serve": dict(self.serve),
            "evidence": dict(self.evidence),
        }

"""Naming a secret without holding it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SecretRef:
    """A reference to one key of a Kubernetes Secret; the value itself is never held here.

    Attributes:
        name: the Secret.
        key: the key in it.
    """

    name: str
    key: str

"""How far a revision is isolated."""

from __future__ import annotations

import enum


class IsolationLevel(enum.StrEnum):
    """How far a revision is isolated. Each includes ``TRAFFIC``; ``MODEL`` can be added to any.

    ``DEVICE`` and ``NODE`` ask for a quarantine of what its pods run on, within the fleet's budget.
    """

    TRAFFIC = "traffic"
    """It has no traffic, and is refused any."""

    NETWORK = "network"
    """Nothing reaches its pods, and they reach nothing."""

    POD = "pod"
    """Its pods are orphaned by what would replace them, evidence is taken, and they are kept for inspection."""

    DEVICE = "device"
    """The devices under its pods are kept away from work."""

    NODE = "node"
    """The nodes under its pods are."""

    MODEL = "model"
    """Its model is tagged in the registry, and refused for any other revision and by the evaluate gate."""


DEFAULT = (IsolationLevel.TRAFFIC, IsolationLevel.MODEL)
"""What "isolate" means by default."""

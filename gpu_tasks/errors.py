"""How a job ends badly, where it knows why."""

from __future__ import annotations


class GateError(Exception):
    """The evaluate gate refused the candidate. The text says why, with the numbers."""


class PreemptedError(Exception):
    """The job was told to end, and has saved what it had. The text says up to which step.

    Args:
        message: for people.
        checkpoint: where it can be resumed from; None if it had nothing to save.
    """

    def __init__(self, message: str, checkpoint: str | None) -> None:
        super().__init__(message)
        self.checkpoint = checkpoint


class ConfigError(Exception):
    """The job was told something impossible. The text names it and the remedy."""

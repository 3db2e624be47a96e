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


class VoidError(Exception):
    """A device failed under the job, so that what it computed counts for nothing. The text says which, and how.

    Args:
        message: for people.
        kind: of ``Failure``, for instance ``xid-79``.
        device: UUID of the GPU; None if that is not known.
    """

    def __init__(self, message: str, kind: str, device: str | None) -> None:
        super().__init__(message)
        self.kind, self.device = kind, device

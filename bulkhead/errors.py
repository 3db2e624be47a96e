"""The errors a person meets: each names the thing, its value, and what to do about it.

::

    BulkheadError
    ├─ InvalidInputError     refused before anything was changed; in a rollout's step: it is rolled back
    │  └─ UnsupportedError
    ├─ NotFoundError         as InvalidInputError
    ├─ ConflictError         another writer holds it; the caller decides
    │  └─ BusyError
    ├─ FencedError           another writer has moved on: the next pass reads again, nothing is retried
    ├─ RefusedError          trying again does not mend it: a rollout on its way forward is rolled back
    └─ UnavailableError      tried again with back-off; on the way forward until the plan's timeout, on the way back
    for ever
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bulkhead.text import bounded

if TYPE_CHECKING:
    from pydantic import ValidationError

_LONGEST_VALUE = 500
"""Characters that are shown of an offending value."""


class BulkheadError(Exception):
    """Base of every error that this package raises on purpose."""


class InvalidInputError(BulkheadError, ValueError):
    """Input that was refused before anything was changed.

    Args:
        field: dotted name of the offending field, as its author wrote it.
        value: the offending value, shown by ``repr``.
        remedy: one sentence that says what would be accepted.
    """

    def __init__(self, field: str, value: Any, remedy: str) -> None:
        self.field, self.value, self.remedy = field, value, remedy
        super().__init__(f"{field} = {bounded(repr(value), _LONGEST_VALUE)}: {remedy}")


def first_invalid(error: ValidationError, *where: str) -> InvalidInputError:
    """A model's complaint as the project's error.

    Args:
        where: names in front of the field's own.

    Returns:
        The error about the first offending field.
    """
    return _as_invalid_input(error.errors()[0], where)


def first_known(error: ValidationError, is_open: Callable[[Any], bool], *where: str) -> InvalidInputError | None:
    """A model's complaint about what is known of its input already.

    Args:
        is_open: whether a value, or one in it, will be known only later.
        where: names in front of the field's own.

    Returns:
        The error about the first offending field that stays one whatever the open values turn out to be; None where
        there is none.
    """
    for detail in error.errors():
        if detail["type"] == "extra_forbidden" or not is_open(detail["input"]):
            return _as_invalid_input(detail, where)
    return None


def _as_invalid_input(error: Mapping[str, Any], where: Sequence[str]) -> InvalidInputError:
    field = ".".join(str(part) for part in (*where, *error["loc"]))
    return InvalidInputError(field, error["input"], error["msg"].removeprefix("Value error, "))


class UnsupportedError(InvalidInputError):
    """A valid request that this runtime cannot serve (for instance a second container, locally)."""


class NotFoundError(BulkheadError, LookupError):
    """A named thing (service, revision, pod, model version) that does not exist."""


class ConflictError(BulkheadError):
    """Another writer holds what was asked for; the message names the holder."""


class BusyError(ConflictError):
    """A service has a rollout in progress already.

    Args:
        text: names the service, the holder and the remedy.
        rollout_id: the holder's id in the ledger.
        key: the holder's idempotency key, so that a caller can tell whether the holder is its own.
    """

    def __init__(self, text: str, rollout_id: int, key: str) -> None:
        self.rollout_id, self.key = rollout_id, key
        super().__init__(text)


class FencedError(BulkheadError):
    """A write that carries an older fence than the world already has: a zombie's. Never retried."""


class RefusedError(BulkheadError):
    """A cluster or a database that refuses what was asked of it: access, admission, quota, an unknown kind, a value."""


class UnavailableError(BulkheadError):
    """A dependency (Envoy, MLflow, the ledger) did not answer. Retried by the reconciler."""

"""Kubernetes quantities: ``2``, ``500m``, ``2Gi``."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from bulkhead.errors import InvalidInputError

QUANTITY = "give a positive Kubernetes quantity such as '2' or '2Gi'"
"""The remedy for what is none."""


def scale(memory: str | None, factor: float) -> str | None:
    """A memory limit, grown.

    Args:
        memory: a Kubernetes quantity, or None for no limit.
        factor: at least 1.

    Returns:
        A quantity in whole bytes; ``memory`` itself where nothing changes, or where it is no quantity (``build``
        refuses that by name).
    """
    if memory is None or factor == 1.0:
        return memory
    try:
        return str(int(_parsed(memory) * Decimal(factor)))
    except ValueError:
        return memory


def is_quantity(value: Any) -> bool:
    """Whether a value is a positive Kubernetes quantity."""
    try:
        return isinstance(value, str) and _parsed(value) > 0
    except ValueError:
        return False


def check_quantity(field: str, value: Any) -> None:
    """Refuse what is no positive Kubernetes quantity; None, for no limit, is taken.

    Args:
        field: name of it, as its author wrote it.

    Raises:
        InvalidInputError: it is none.
    """
    if value is not None and not is_quantity(value):
        raise InvalidInputError(field, value, QUANTITY)


def _parsed(value: str) -> Decimal:
    """A quantity as a number.

    Raises:
        ValueError: it is none.
    """
    from kubernetes.utils.quantity import parse_quantity  # 40 MB, which what only reads the ledger does without

    return Decimal(parse_quantity(value))

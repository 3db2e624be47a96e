"""Kubernetes quantities, without the Kubernetes client: the supervisor must stay small."""

from __future__ import annotations

from decimal import Decimal

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    **{letter: Decimal(10 ** (3 * power)) for power, letter in enumerate("MGTPE", start=2)},
    **{f"{letter}i": Decimal(1024**power) for power, letter in enumerate("KMGTPE", start=1)},
}


def parse(quantity: str) -> Decimal:
    """The number that a quantity stands for.

    Source: Kubernetes API conventions, ``resource.Quantity`` (decimal and binary SI suffixes, exponents).

    Args:
        quantity: for instance ``"500m"``, ``"2Gi"``, ``"1e3"``.

    Returns:
        Cores, bytes, or a plain count.

    Raises:
        decimal.InvalidOperation: if it is no quantity.
    """
    for length in (2, 1):
        if quantity[-length:] in _SUFFIXES:
            return Decimal(quantity[:-length]) * _SUFFIXES[quantity[-length:]]
    return Decimal(quantity)

"""
What a weight is worth: which ones can be used, and how they are summed without drift.

Weights come from somebody else's table, so any Python value a driver returns may arrive here. An ``int`` and a
``Decimal`` count as what they are. A ``float`` counts as the decimal number it prints as (0.1 is one tenth), so that
0.1 + 0.2 is no heavier than 0.3. Everything else (NULL, NaN, infinity, a negative number, text, a number too large for
the inventory's NUMERIC(38,9)) is *unusable*: it is never an error by itself, since one bad row must not stop a job.
"""

from __future__ import annotations

import decimal
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, TypeAlias

Weight: TypeAlias = "int | float | Decimal | None"
"""What a meta table holds: any number, or nothing."""

ExactWeight: TypeAlias = "int | Decimal"
"""A usable weight, or a sum of such, without rounding."""

CEILING = 10**29
"""Weights and sums stay below this, because the inventory stores NUMERIC(38,9): 29 digits before the point."""

# Sums of float-born decimals have long tails (5e-324 has 1,074 places); rounding in the 28 digits of the default
# context is the drift we promise not to have, and trapping Inexact turns a surprise into an error instead of a wrong
# sum.
_PLACES = 1100
_EXACT = decimal.Context(prec=3000, traps=[decimal.InvalidOperation, decimal.Inexact])


def exact_weight(weight: object) -> ExactWeight | None:
    """
    The value of `weight` without rounding, or None if it is unusable.

    >>> exact_weight(3), exact_weight(0.1), exact_weight(-1), exact_weight(float("nan"))
    (3, Decimal('0.1'), None, None)
    """
    if isinstance(weight, float):
        weight = Decimal(float.__repr__(weight))
    if isinstance(weight, int):
        return int(weight) if 0 <= weight < CEILING else None
    if isinstance(weight, Decimal) and weight.is_finite() and 0 <= weight < CEILING and _places(weight) <= _PLACES:
        return weight
    return None


def add(left: ExactWeight, right: ExactWeight) -> ExactWeight:
    """
    The exact sum of two usable weights.

    >>> add(Decimal("0.1"), Decimal("0.2"))
    Decimal('0.3')
    """
    if isinstance(left, int) and isinstance(right, int):
        return left + right
    return _EXACT.add(Decimal(left), Decimal(right))


def total_weight(weights: Iterable[object]) -> ExactWeight | None:
    """
    The exact sum, or None if one of the weights is unusable or the sum does not fit the inventory.

    >>> total_weight([1, Decimal("0.5")]), total_weight([1, None]), total_weight([])
    (Decimal('1.5'), None, 0)
    """
    values: list[Any] = list(weights)
    if set(map(type, values)) <= {int} and min(values, default=0) >= 0:
        return _fitting(sum(values))
    total: ExactWeight = 0
    for value in values:
        weight = exact_weight(value)
        if weight is None:
            return None
        total = add(total, weight)
    return _fitting(total)


def weight_text(weight: object) -> str:
    """
    One spelling per value, whatever type a driver gave it: 5, 5.0 and Decimal('5.00') are all ``5``.

    >>> weight_text(5.0), weight_text(Decimal("5.10")), weight_text(None)
    ('5', '5.1', '')
    """
    if weight is None:
        return ""
    if isinstance(weight, float):
        weight = Decimal(float.__repr__(weight))
    if not isinstance(weight, Decimal) or not weight.is_finite():
        return str(weight)
    text = format(abs(weight) if weight.is_zero() else weight, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _places(weight: Decimal) -> int:
    """
    Digits after the point.
    """
    return -int(weight.as_tuple().exponent)


def _fitting(total: ExactWeight) -> ExactWeight | None:
    return total if total < CEILING else None

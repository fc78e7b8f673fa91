"""
Lengths of time as people are told of them: `told` in a sentence, `spelled` in a table where figures are compared. Pure.
"""

from __future__ import annotations

from datetime import timedelta

_DAY, _HOUR, _MINUTE = 86_400, 3_600, 60


def told(time: timedelta, places: int = 0) -> str:
    """
    In the largest unit of which there are two; only seconds have decimal places.

    >>> told(timedelta(seconds=90)), told(timedelta(minutes=90)), told(timedelta(hours=47)), told(timedelta(days=3))
    ('90 s', '90 min', '47 h', '3 days')
    >>> told(timedelta(seconds=1.5), places=1)
    '1.5 s'
    """
    seconds = time.total_seconds()
    for unit, size in (("days", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.{places}f} s"


def spelled(time: timedelta) -> str:
    """
    In two units at most, cut off and not rounded; below a minute with three digits.

    >>> spelled(timedelta(seconds=0.25)), spelled(timedelta(seconds=75)), spelled(timedelta(seconds=7300))
    ('0.25 s', '1 min 15 s', '2 h 1 min')
    >>> spelled(timedelta(seconds=200_000))
    '2 d 7 h'
    """
    seconds = time.total_seconds()
    for unit, size, smaller, part in (("d", _DAY, "h", _HOUR), ("h", _HOUR, "min", _MINUTE), ("min", _MINUTE, "s", 1)):
        if seconds >= size:
            rest = int(seconds % size // part)
            return f"{int(seconds // size)} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds:.3g} s"

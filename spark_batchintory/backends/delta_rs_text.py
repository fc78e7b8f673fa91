"""
Values as text in the SQL of delta-rs (DataFusion), which no content can break out of.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any


def literal(value: Any) -> str:
    """
    A value as an expression: None, int, text, or a naive `datetime` in microseconds.

    >>> literal("it's"), literal(7), literal(None)
    ("'it''s'", '7', 'NULL')
    >>> literal(datetime(2026, 1, 2))
    "arrow_cast('2026-01-02 00:00:00', 'Timestamp(Microsecond, None)')"
    """
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, datetime):  # TIMESTAMP '…' would be in nanoseconds, which end in 2262
        return f"arrow_cast('{value.isoformat(sep=' ')}', 'Timestamp(Microsecond, None)')"
    if isinstance(value, str):
        return f"'{value.replace(chr(39), chr(39) * 2)}'"  # nothing else has a meaning between quotes
    raise TypeError(f"no literal for a value of type {type(value).__name__}")

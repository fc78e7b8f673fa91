"""
What one value of an answer becomes in JSON, in a DataFrame and in a printed table; `answers` has the rule for each.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

from spark_batchintory.weights import weight_text


def json_value(value: Any) -> Any:
    """
    The value in JSON's types. JSON has no NaN and no infinity: they become null.
    """
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, datetime):
        return f"{value.isoformat()}Z"
    if isinstance(value, float | Decimal):
        return _json_number(value)
    if isinstance(value, Mapping):
        return {str(key): json_value(part) for key, part in value.items()}
    if is_dataclass(value):
        return {part.name: json_value(getattr(value, part.name)) for part in fields(value)}
    return [json_value(part) for part in value] if isinstance(value, Iterable) else str(value)


def _json_number(value: float | Decimal) -> int | float | None:
    if not math.isfinite(value):
        return None
    return int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else float(value)


def spark_value(value: Any, kind: str) -> Any:
    """
    The value as Spark takes it for a column of this type in its DDL.
    """
    plain = value.value if isinstance(value, Enum) else value
    if plain is None or kind in ("BIGINT", "INT", "BOOLEAN"):
        return plain
    if kind == "DOUBLE":
        return float(plain)
    if kind == "TIMESTAMP":
        # With a zone, or Spark would take it for local time.
        return plain.replace(tzinfo=timezone.utc)
    if kind == "STRING":
        return plain if isinstance(plain, str) else json.dumps(json_value(plain))
    return list(plain)


def text_of(value: Any) -> str:
    """
    The value as people read it in a table.
    """
    plain = value.value if isinstance(value, Enum) else value
    if plain is None or (isinstance(plain, Sequence) and not plain):
        return "-"
    if isinstance(plain, str):
        return plain
    if isinstance(plain, bool):
        return "yes" if plain else "no"
    if isinstance(plain, datetime):
        return f"{plain.isoformat(timespec='seconds')}Z"
    if isinstance(plain, int | float | Decimal):
        return weight_text(plain)
    return json.dumps(json_value(plain))

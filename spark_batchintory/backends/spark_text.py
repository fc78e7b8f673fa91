"""
Values and names as Spark SQL text, which no content can break out of.

`spark.sql(text, args=…)` fails for every statement where Delta's extension is loaded (Spark 4.1 and 4.2:
UNBOUND_SQL_PARAMETER), so values are spelled. How a quoted string is read depends on settings
(``spark.sql.parser.escapedStringLiterals``); therefore plain words are quoted and everything else is spelled in
hexadecimal, which means the same in each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

_PLAIN = re.compile(r"[A-Za-z0-9 _.,:;/=+@-]*")
_PART = re.compile(r"`((?:[^`]|``)+)`|([^.`]+)")


def literal(value: Any) -> str:
    """
    A value as an expression: None, bool, int, Decimal, text, or a naive `datetime` (TIMESTAMP_NTZ).

    >>> literal("it's"), literal("plain"), literal(7), literal(None)
    ("CAST(X'69742773' AS STRING)", "'plain'", '7L', 'NULL')
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return f"{value}L" if value != -(2**63) else "(-9223372036854775807L - 1L)"
    if isinstance(value, Decimal):
        return f"CAST('{value:f}' AS DECIMAL(38,9))"
    if isinstance(value, datetime):
        return f"TIMESTAMP_NTZ '{value.isoformat(sep=' ')}'"
    if isinstance(value, str):
        return _text(value)
    raise TypeError(f"no literal for a value of type {type(value).__name__}")


def _text(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return f"'{value}'"
    return f"CAST(X'{value.encode('utf-8').hex().upper()}' AS STRING)"


def literals(values: Iterable[Any]) -> str:
    """
    Values with commas between them.
    """
    return ", ".join(map(literal, values))


def name_of(*parts: str) -> str:
    """
    An identifier of one or more parts, quoted.

    >>> name_of("main", "odd`name")
    '`main`.`odd``name`'
    """
    return ".".join(f"`{part.replace('`', '``')}`" for part in parts)


def parts_of(name: str) -> tuple[str, ...]:
    """
    The parts of a dotted name, of which some may be quoted already.

    >>> parts_of("main.`my.schema`.files")
    ('main', 'my.schema', 'files')
    """
    return tuple(quoted.replace("``", "`") if quoted else plain for quoted, plain in _PART.findall(name))

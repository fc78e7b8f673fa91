"""
A filter as text: what can be told of it without the system that reads it.
"""

from __future__ import annotations

import re

from ..errors import ConfigurationError
from ..meta import MetaTable, is_column, is_column_text

_COMMENTS = r"--[^\n]*|/\*.*?\*/"
_ESCAPED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`"
_NOT_CODE = {
    "sqlite": re.compile(rf"'[^']*'|\"[^\"]*\"|`[^`]*`|\[[^\]]*\]|{_COMMENTS}", re.DOTALL),
    "postgresql": re.compile(rf"'[^']*'|\"[^\"]*\"|\$(\w*)\$.*?\$\1\$|{_COMMENTS}", re.DOTALL),
    "mysql": re.compile(rf"{_ESCAPED}|#[^\n]*|{_COMMENTS}", re.DOTALL),
    "spark": re.compile(rf"{_ESCAPED}|{_COMMENTS}", re.DOTALL),
}
_NOT_CODE["mariadb"] = _NOT_CODE["mysql"]


def refuse_other_kind(table: MetaTable, *, in_spark: bool) -> None:
    """
    Refuse what only the other kind of system can read: a Spark `Column`, or an expression of SQLAlchemy.
    """
    condition = table.filter
    if condition is None or isinstance(condition, str) or is_column(condition) is in_spark:
        return
    given, wanted = (
        ("an expression of SQLAlchemy", "a Spark Column") if in_spark else ("a Spark Column", "a SQLAlchemy expression")
    )
    raise ConfigurationError(
        f"meta_filter is {given}, which cannot be read where meta table {table.name!r} lies: "
        f"give {wanted} or a SQL condition as text"
    )


def refuse_unbalanced(table: MetaTable, condition: str, language: str) -> None:
    """
    Refuse ``1=1) OR (1=1``, which would take our own conditions on the uid out of force; quotes and comments aside.

    The text of a `Column` is refused too, since there is nothing to read it with.

    Parameters
    ----------
    language
        Name of the SQL it is in: ``sqlite``, ``postgresql``, ``mysql``, ``mariadb`` or ``spark``.
    """
    if is_column_text(condition):
        raise ConfigurationError(
            f"the job's filter of meta table {table.name!r} is a Spark Column, which only the call has that passes it: "
            "its text cannot be read again. Pass meta_filter as text, with accept_change=True, where this is wanted"
        )
    depth = 0
    for sign in re.findall(r"[()]", _NOT_CODE[language].sub(" ", condition)):
        depth += 1 if sign == "(" else -1
        if depth < 0:
            break
    if depth:
        raise ConfigurationError(
            f"meta_filter {condition[:200]!r} of meta table {table.name!r} is no condition of its own: its "
            "parentheses do not match"
        )

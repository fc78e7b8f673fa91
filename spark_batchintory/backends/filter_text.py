"""
A filter as text: what can be told of it without the system that reads it.
"""

from __future__ import annotations

import re

from ..errors import ConfigurationError
from ..meta import MetaTable

_COMMENTS = r"--[^\n]*|/\*.*?\*/"
_ESCAPED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`"
_NOT_CODE = {
    "sqlite": re.compile(rf"'[^']*'|\"[^\"]*\"|`[^`]*`|\[[^\]]*\]|{_COMMENTS}", re.DOTALL),
    "postgresql": re.compile(rf"'[^']*'|\"[^\"]*\"|\$(\w*)\$.*?\$\1\$|{_COMMENTS}", re.DOTALL),
    "mysql": re.compile(rf"{_ESCAPED}|#[^\n]*|{_COMMENTS}", re.DOTALL),
    "spark": re.compile(rf"{_ESCAPED}|{_COMMENTS}", re.DOTALL),
}
_NOT_CODE["mariadb"] = _NOT_CODE["mysql"]


def refuse_unbalanced(table: MetaTable, condition: str, language: str) -> None:
    """
    Refuse ``1=1) OR (1=1``, which would take our own conditions on the uid out of force; quotes and comments aside.

    Parameters
    ----------
    language
        Name of the SQL it is in: ``sqlite``, ``postgresql``, ``mysql``, ``mariadb`` or ``spark``.
    """
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

"""
Delta tables that several processes make at once through Spark: one of them makes it, all go on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

from ..errors import ClaimConflict, ConfigurationError, InventoryUnavailable
from ..retrying import persistently
from . import spark_errors

T = TypeVar("T")

_PATIENCE = timedelta(seconds=5)
"""How long another process may take to make a table, between its folder and its first commit."""


def together(make: Callable[[], T], otherwise: str) -> T:
    """
    What `make` returns, tried again while another process may be making the table.

    Raises
    ------
    ConfigurationError
        With the text `otherwise`: the folder of the table still holds files and no table, so they are somebody else's.
    """
    try:
        return persistently(make, patience=_PATIENCE)
    except InventoryUnavailable as error:
        if isinstance(error.__cause__, ClaimConflict):
            raise ConfigurationError(otherwise) from error
        raise


def create(session: Any, statements: Iterable[str], doing: str) -> None:
    """
    Run ``CREATE TABLE IF NOT EXISTS`` statements; that another process was quicker is no error.

    Raises
    ------
    ClaimConflict
        The folder holds files and is no table, or not yet: see `together`.
    """
    try:
        for statement in statements:
            session.sql(statement).collect()
    except Exception as error:  # Spark's have no class in common; see spark_errors
        text = spark_errors.told(error)
        if "NON_EMPTY_LOCATION" in text:  # somebody else's files, or another process is at it right now
            raise ClaimConflict(f"{doing}: {spark_errors.first_line(error)}") from error
        if not (spark_errors.is_conflict(text) or "ALREADY_EXISTS" in text):
            raise spark_errors.translated(error, doing) from error

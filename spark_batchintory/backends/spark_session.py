"""
The Spark session that Delta inventories and Spark meta tables work in: the caller's, or the active one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ConfigurationError, MissingDependencyError

Sessions = Callable[[], Any]
"""Returns the session to work in, whenever it is asked."""


def sessions(given: Any) -> Sessions:
    """
    What returns `given`, or, if that is None, the session that is active when it is asked.
    """
    return active_session if given is None else lambda: given


def active_session() -> Any:
    """
    The active session, classic or Connect.

    Raises
    ------
    MissingDependencyError
        There is no pyspark.
    ConfigurationError
        There is no session.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MissingDependencyError.of("pyspark", "spark", "a Delta inventory, or a meta table in Spark,") from error
    session = SparkSession.getActiveSession()
    if session is None:
        raise ConfigurationError(
            "there is no Spark session here: start one, or pass it as open_inventory(…, spark=spark)"
        )
    return session

"""
What Spark says when it is asked: whose reader this is, which error, which folder relative paths lie in.

The public methods do not say it on every version, classic and Connect; how it is found out is kept in one place.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import uuid4

from .errors import ConfigurationError

if TYPE_CHECKING:
    from pyspark.sql import DataFrameReader, SparkSession


def session_of(reader: DataFrameReader) -> SparkSession:
    """
    The session behind a reader; classic and Connect keep it under different names.
    """
    for name in ("_spark", "_client"):
        session: SparkSession | None = getattr(reader, name, None)
        if hasattr(session, "createDataFrame"):
            assert session is not None
            return session
    raise ConfigurationError(
        f"{type(reader).__name__} shows no session; use bi.reader(spark) with spark.read of pyspark 3.5 or later"
    )


def condition(error: BaseException) -> str | None:
    """
    The name of Spark's error condition, if `error` has one (getErrorClass until pyspark 4).

    Over Connect 3.5 it stands in the message alone, in brackets.
    """
    ask = getattr(error, "getCondition", None) or getattr(error, "getErrorClass", None)
    if ask is None:
        return None
    try:
        told: str | None = ask()
    except Exception:  # an older Spark, or one whose JVM is gone
        return None
    shown = re.match(r"\[([A-Z_]+)[].]", str(error))
    return told if told is not None or shown is None else shown[1]


def working_directory(session: SparkSession) -> str:
    """
    Where Spark looks for relative paths, with scheme and a slash at the end: it says so when it finds nothing there.
    """
    name = f"_batchintory-{uuid4().hex}"
    cause: Exception | None = None
    try:
        _ = session.read.format("binaryFile").load(name).schema
    except Exception as error:  # the one we asked for, in whatever class of Spark
        parameters: dict[str, str] = getattr(error, "getMessageParameters", dict)() or {}
        shown = re.search(rf"Path does not exist: (.*/{name})", str(error))
        path: str = parameters.get("path", shown[1] if shown else "")
        if path.endswith(f"/{name}"):
            return path.removesuffix(name)
        cause = error
    raise ConfigurationError("Spark does not say where items without a scheme lie, so give root=") from cause

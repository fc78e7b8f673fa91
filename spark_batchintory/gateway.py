"""
Many paths to and from a classic session's JVM at once.

Over pyspark's gateway every text of a list is a call of its own, 0.1 ms each: 50,000 paths take 5 seconds, one text
that holds them all 0.07. Where there is no gateway (Spark Connect), or it does not let us (clusters that restrict which
classes may be called), the public methods do the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameReader

_APART = "\0"  # in no path
_MANY = 500

_log = logging.getLogger(__name__)


def load(reader: DataFrameReader, paths: Sequence[str]) -> DataFrame:
    """
    ``reader.load(paths)``, analysed: classic Spark does that at once, a Connect server when it is asked for the schema.
    """
    texts = _java_texts(reader, paths)
    frame = reader.load(list(paths)) if texts is None else reader._df(reader._jreader.load(texts))
    if not hasattr(frame, "_jdf"):
        _ = frame.schema
    return frame


def input_files(frame: DataFrame) -> list[str]:
    """
    ``frame.inputFiles()``.
    """
    java_frame = getattr(frame, "_jdf", None)
    if java_frame is None:
        return frame.inputFiles()
    found = java_frame.inputFiles()
    try:
        text: str = frame.sparkSession._jvm.java.lang.String.join(_APART, found)  # type: ignore[union-attr]  # or it fails
    except Exception as error:  # the gateway's own kind: py4j is not ours to import
        _log.debug("paths come from the JVM one by one: %s", error)
        return list(found)
    return text.split(_APART) if text else []


def _java_texts(reader: Any, paths: Sequence[str]) -> Any:
    """
    An array of the JVM that holds `paths`; None where it has to be made one by one.
    """
    if len(paths) < _MANY or not hasattr(reader, "_jreader"):
        return None
    try:
        return reader._spark._jvm.java.util.regex.Pattern.compile(_APART).split(_APART.join(paths))
    except Exception as error:  # the gateway's own kind, see above
        _log.debug("paths go to the JVM one by one: %s", error)
        return None

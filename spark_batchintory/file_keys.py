"""
Which file a row comes from: a column with the decoded path, by which rows are kept or credited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

KEY = "_batchintory_file"
"""Name of the column, in no result, that holds the decoded path of a row's file."""

_RAW = "_batchintory_raw"
# Read by SQL, so without a backslash: what that means there depends on spark.sql.parser.escapedStringLiterals.
# url_decode takes "+" for a blank, which a path does not.
_DECODED = f"regexp_replace(url_decode(replace({_RAW}, '+', '%2B')), '^([A-Za-z][A-Za-z0-9+.-]*):///', '$1:/') AS {KEY}"


def with_key(frame: DataFrame) -> DataFrame:
    """
    `frame` with one more column, `KEY`: the decoded path of the file each row comes from.
    """
    # metadataColumn (pyspark 4) finds the hidden column also where the data has one of its name.
    metadata: Column = frame.metadataColumn("_metadata") if hasattr(frame, "metadataColumn") else frame["_metadata"]
    return frame.select("*", metadata.getField("file_path").alias(_RAW)).selectExpr("*", _DECODED).drop(_RAW)

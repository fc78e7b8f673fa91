"""
Columns of ours as a DataFrame, the quickest way this Spark has.

With Arrow, from pyspark 4.0 on, they go to Spark as they are; before, as a row object per row, a hundred times slower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Columns = Mapping[str, tuple[str, Sequence[Any]]]
"""
By name, the type as Spark's SQL calls it (LONG, INT, DOUBLE, STRING or TIMESTAMP_LTZ) and the values.

Not TIMESTAMP: in a session with spark.sql.timestampType=TIMESTAMP_NTZ that word means a time without zone.
"""


def frame_of(spark: SparkSession, columns: Columns) -> DataFrame:
    """
    The columns in their order, the rows in theirs; all of one length.
    """
    if (table := _arrow_table(columns)) is not None:
        with suppress(ImportError):  # an Arrow that this Spark does not take
            return spark.createDataFrame(table)
    rows = list(zip(*(values for _, values in columns.values()), strict=True))
    return spark.createDataFrame(rows, ", ".join(f"{name} {kind}" for name, (kind, _) in columns.items()))


def _arrow_table(columns: Columns) -> Any:
    """
    None where Spark or Arrow is too old, there is no Arrow, or no row: Spark takes no empty one.
    """
    import pyspark

    if not next(iter(columns.values()))[1]:
        return None
    if int(pyspark.__version__.partition(".")[0]) < 4 or find_spec("pyarrow") is None:
        return None
    import pyarrow as pa

    kinds = {
        "LONG": pa.int64(),
        "INT": pa.int32(),
        "DOUBLE": pa.float64(),
        "STRING": pa.string(),
        "TIMESTAMP_LTZ": pa.timestamp("us", tz="UTC"),
    }
    arrays = [pa.array(values, kinds[kind]) for kind, values in columns.values()]
    return pa.table(arrays, names=list(columns))

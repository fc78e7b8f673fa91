"""
What goes to delta-rs and comes from it, by way of Arrow: columns, and the records that a query finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InventoryUnavailable
from .delta_queries import select_records
from .delta_rows import Record
from .delta_rs_text import literal
from .delta_table import Where

TABLE = "records"
"""The name of the table in a query."""


def records(table: Any, where: Where) -> list[Record]:
    """
    Some records, in this version of the table.
    """
    return selected(table, select_records(TABLE, where, literal))


def selected(table: Any, query: str) -> list[Record]:
    """
    What a query on one version of the table finds, from the files that statistics and partitions cannot rule out.

    Through delta-rs' own reader: Arrow's would read with threads that call back into Python, and abort a process that
    ends meanwhile.
    """
    import pyarrow as pa
    from deltalake import QueryBuilder
    from deltalake.exceptions import DeltaError

    try:
        batches = QueryBuilder().register(TABLE, table).execute(query)
        # Not pa.table(…), which loads pandas where that is installed, to see whether it was given some.
        rows: list[Record] = pa.RecordBatchReader.from_stream(batches).read_all().to_pylist()
    except (OSError, DeltaError) as error:
        raise InventoryUnavailable(f"reading {table.table_uri!r}: {error}") from error
    return rows


def arrow_schema(columns: Mapping[str, str]) -> Any:
    """
    Columns, by name and type in the spelling of Spark, as Arrow has them.
    """
    import pyarrow as pa

    types = {
        "STRING": pa.string(),
        "BIGINT": pa.int64(),
        "INT": pa.int32(),
        "TIMESTAMP_NTZ": pa.timestamp("us"),
        "DECIMAL(38,9)": pa.decimal128(38, 9),
    }
    return pa.schema([pa.field(name, types[kind]) for name, kind in columns.items()])


def delta_schema(columns: Mapping[str, str]) -> Any:
    """
    The same as Delta has them.
    """
    import deltalake

    return deltalake.Schema.from_arrow(arrow_schema(columns))

"""
Answers as DataFrames.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from spark_batchintory.answers import batches_answer
from spark_batchintory.batch import BatchRow, Kind, Status

ROW = BatchRow(
    job_id=1,
    meta_table="files",
    job="bronze",
    batch_id_start=1,
    batch_id_end=3,
    batch_count=3,
    batch_weight=Decimal("0.5"),
    status=Status.RUNNING,
    kind=Kind.RANGE,
    uids="r:1-3",
    digest="",
    processing_start=datetime(2024, 2, 29, 12, 0, 0, 5),  # noqa: DTZ001  # naive UTC, as in the inventory
    job_result_item={"rows": 1},
    replaces=(7,),
)


def test_a_dataframe_has_its_types_also_without_rows(spark):
    """
    Behaviour: ids are BIGINT, weights DOUBLE, times instants; an empty answer has the same schema.
    """
    full, empty = batches_answer([ROW]).to_df(spark), batches_answer([]).to_df(spark)

    assert full.schema == empty.schema
    types = dict(full.dtypes)
    assert [types[name] for name in ("id", "batch_weight", "processing_start", "replaces")] == [
        "bigint",
        "double",
        "timestamp",
        "array<bigint>",
    ]
    (row,) = full.collect()
    found = (row.batch_weight, row.job_result_item, row.status, row.replaces)
    assert found == (0.5, '{"rows": 1}', "running", [7])
    times = full.selectExpr("string(processing_start)").collect()
    assert [time for (time,) in times] == ["2024-02-29 12:00:00.000005"]
    assert empty.count() == 0

"""
What type checkers say of the calls that users write; `make check` has mypy and pyright read this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from typing_extensions import assert_type

import spark_batchintory as bi
from spark_batchintory.batch import PlannedBatch
from spark_batchintory.processing import Summary
from spark_batchintory.reading import BatchintoryReader


def acquiring(inventory: bi.Inventory) -> None:
    batch = inventory.acquire_batch("job", "files", batch_weight=250)
    assert_type(batch, bi.Batch | None)
    assert batch is not None
    assert_type(batch.uids, list[int])
    assert_type(batch.items, list[str])
    assert_type(batch.token, str | None)
    for uid, item, _weight in batch:
        assert_type(uid, int)
        assert_type(item, str)
    with batch as held:
        assert_type(held, bi.Batch)
        batch.succeeded(result={"rows": 1})


def reading(spark: SparkSession, batch: bi.Batch, planned: PlannedBatch) -> None:
    reader = bi.reader(spark).schema("id LONG").option("header", True).options(sep=";").format("csv")
    assert_type(reader, BatchintoryReader)
    assert_type(reader.batchintory(batch, provenance=True, missing_files="skip"), DataFrame)
    assert_type(bi.reader(spark).batchintory(planned, format="json"), DataFrame)
    assert_type(bi.reader(spark).batchintory(17, format="json", root="s3a://bucket"), DataFrame)
    assert_type(batch.to_df(spark), DataFrame)
    assert_type(batch.load(spark, "json", schema="id LONG"), DataFrame)


def mistakes(spark: SparkSession, batch: bi.Batch) -> None:
    # Each is refused by both: mypy by its code, which it wants to be needed, and pyright likewise.
    bi.reader(spark).batchintory(batch, missing_files="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    bi.reader(spark).batchintory("17")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    # The method that is put on pyspark's own reader is there at run time only.
    spark.read.batchintory(batch)  # type: ignore[attr-defined]  # pyright: ignore


def processing(inventory: bi.Inventory) -> None:
    def work(batch: bi.Batch) -> dict[str, Any]:
        return {"items": len(batch)}

    assert_type(inventory.process(work, "job", "files"), Summary)
    assert_type(inventory.acquire_batches("job", "files"), Iterator[bi.Batch])

"""
A driver with a JVM of its own: both die of SIGKILL with three batches in hand, each of them at another point.

Started by `test_exactly_once` as ``python -m tests.spark.doomed_driver``; what it is told comes as JSON.

=========  =========================================================================================
job        when the driver dies
=========  =========================================================================================
``once``   its append to the sink is committed, the batch has not succeeded
``twice``  the first of two appends is committed, to the one table and to the first of two
``files``  the first of three tasks has written its file, the second is at it
=========  =========================================================================================
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

import spark_batchintory as bi

ROWS = "uid LONG"
SLEEP = "if(uid % 3 = 2, reflect('java.lang.Thread', 'sleep', 120000L), '')"


def rows_of(spark: Any, batch: Any) -> Any:
    """
    What is in the files of a batch.
    """
    return spark.read.schema(ROWS).batchintory(batch, format="json")


def append(rows: Any, batch: Any, path: Any, write: int = 0) -> None:
    """
    The append that README and docs show.
    """
    rows.write.format("delta").options(**batch.delta_options(write)).mode("append").save(str(path))


def acquired(inventory: Any, job: str, lease: float = 60) -> Any:
    """
    The next three files; nobody beats for them.
    """
    return inventory.acquire_batch(job, "files", batch_count=3, lease=lease, heartbeat=False)


def main(connection: str, meta: str, place: str, jobs: list[str], settings: dict[str, str]) -> None:
    """
    Write as far as the table above says, and die.
    """
    spark = _session(settings)
    inventory = bi.open_inventory(connection, meta=meta, spark=spark)
    batches = {job: acquired(inventory, job, lease=0.5) for job in jobs}
    for job, batch in batches.items():
        BEGINNINGS[job](spark, batch, Path(place))
    for process in (*psutil.Process().children(recursive=True), psutil.Process()):  # or the JVM would tidy up
        process.send_signal(signal.SIGKILL)


def _session(settings: dict[str, str]) -> Any:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder
    builder = (builder.remote if os.environ.get("SPARK_API_MODE") == "connect" else builder.master)("local[1]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def _write(spark: Any, batch: Any, place: Path) -> None:
    append(rows_of(spark, batch).coalesce(1), batch, place / "once")


def _write_first(spark: Any, batch: Any, place: Path) -> None:
    for name in ("twice", "first"):
        append(rows_of(spark, batch).coalesce(1), batch, place / name)


def _write_half(spark: Any, batch: Any, place: Path) -> None:
    """
    Return as soon as one task of a write is done, and the next one hangs.
    """
    path = batch.output_path(str(place / "files"))
    rows = rows_of(spark, batch).repartitionByRange(3, "uid").selectExpr("uid", f"{SLEEP} AS slept")
    threading.Thread(target=lambda: rows.write.parquet(path), daemon=True).start()
    deadline = time.monotonic() + 60
    while not list(Path(path).glob("_temporary/0/task_*/*.parquet")):
        assert time.monotonic() < deadline, "no task of the write ends"
        time.sleep(0.02)


BEGINNINGS = {"once": _write, "twice": _write_first, "files": _write_half}
JOBS = tuple(BEGINNINGS)

if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))

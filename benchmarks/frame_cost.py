"""
What the DataFrames of large batches cost: the time of one with a million paths, the memory of one over 50,000 files.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.databases import META_COLS, make_meta_table, sqlite_folder
from benchmarks.delta_session import delta_session
from benchmarks.load_time import DEFAULT, OURS, contenders, landing
from benchmarks.timing import Sample, alternate, timed

__all__ = ["FRAME", "Held", "frame_times", "load_memory"]

READ, FRAME, ROWS = "items of the batch", "spark.read.batchintory(batch)", "spark.createDataFrame(list of Rows)"
_MB = 2**20


def frame_times(*, items: int, rounds: int) -> dict[str, Sample]:
    """
    Seconds until a batch of so many items is listed, is a DataFrame by the library, and by a list of Rows.
    """
    import spark_batchintory as bi

    with delta_session() as (spark, _), sqlite_folder() as folder:
        conn = f"sqlite:///{folder / 'i.db'}"
        make_meta_table(conn, "files", items)
        inventory = bi.open_inventory(conn)
        how = {"batch_count": items, "heartbeat": False, "meta_table_cols": META_COLS}
        batch_id = inventory.acquire_batch("daily", "files", **how).id

        def fresh() -> Any:
            return inventory.read_batch(batch_id)

        def rows() -> Any:
            from pyspark.sql import Row

            made = [Row(uid=item.uid, file_name=item.item, weight=float(item.weight)) for item in fresh()]
            return spark.createDataFrame(made, "uid LONG, file_name STRING, weight DOUBLE")

        work: dict[str, Callable[[], Any]] = {
            READ: lambda: list(fresh()),
            FRAME: lambda: spark.read.batchintory(fresh()),
            ROWS: rows,
        }
        return alternate({name: partial(timed, one) for name, one in work.items()}, rounds)


@dataclass(frozen=True, slots=True)
class Held:
    """
    Megabytes that a DataFrame holds, in the JVM and in this process.
    """

    jvm: float
    python: float

    @property
    def held(self) -> float:
        """
        Both together.
        """
        return self.jvm + self.python


def load_memory(*, paths: int) -> dict[str, Held]:
    """
    What a frame over so many files holds, by who made it.
    """
    with delta_session() as (spark, folder):
        given = landing(spark, folder, paths)
        for make in contenders(spark, given[:10]).values():  # what is loaded once and for all is nobody's
            _ = make().schema
        makers = contenders(spark, given)
        return {name: _held(spark, makers[name]) for name in (OURS, DEFAULT)}


def _held(spark: Any, make: Callable[[], Any]) -> Held:
    jvm, python = _heap(spark), _size()
    frame = make()
    _ = frame.schema
    return Held(_heap(spark) - jvm, _size() - python)


def _heap(spark: Any) -> float:
    gc.collect()
    runtime = spark._jvm.java.lang.Runtime.getRuntime()
    for _ in range(3):  # a first one only finds what weak references held
        spark._jvm.java.lang.System.gc()
    return float(runtime.totalMemory() - runtime.freeMemory()) / _MB


def _size() -> float:
    resident = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(resident) * 4096 / _MB

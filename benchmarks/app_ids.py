"""
What an append costs a sink that remembers many batches: each write with `delta_options()` leaves an entry in the log of
the table, and Delta carries all of them along (docs/sinks.md).

The entries are put there by one commit that is written by hand. Every second commit writes a checkpoint, so that both
kinds are measured; the tables take turns within one run.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from pathlib import Path
from typing import Any

from benchmarks.delta_session import delta_session
from benchmarks.timing import Sample, timed

__all__ = ["CHECKPOINT", "PLAIN", "app_id_times"]

PLAIN, CHECKPOINT = "append", "append that writes a checkpoint"
WARM_UP = 2

_PROPERTIES = "'delta.checkpointInterval' = '2'"


def _sink(spark: Any, path: Path, entries: int) -> Path:
    """
    A table of one column that remembers so many batches, as `delta_options()` name them.
    """
    spark.sql(f"CREATE TABLE delta.`{path}` (id BIGINT) USING delta TBLPROPERTIES ({_PROPERTIES})")
    now, inventory = int(time.time() * 1000), uuid.uuid4()
    facts = {"timestamp": now, "operation": "WRITE", "operationParameters": {}, "isBlindAppend": True}
    actions: list[dict[str, Any]] = [{"commitInfo": facts}]
    actions += [
        {"txn": {"appId": f"batchintory-{inventory}-{n}-{n:016x}", "version": 1, "lastUpdated": now}}
        for n in range(entries)
    ]
    (path / "_delta_log" / f"{1:020d}.json").write_text("\n".join(map(json.dumps, actions)))
    return path


def _append(spark: Any, path: Path) -> float:
    """
    Seconds of an append of one row, by a batch of its own.
    """
    rows, options = spark.range(1).coalesce(1), {"txnAppId": str(uuid.uuid4()), "txnVersion": "1"}
    return timed(lambda: rows.write.format("delta").options(**options).mode("append").save(str(path)))


def _pair(spark: Any, path: Path) -> dict[str, float]:
    """
    The next two appends, of which the second writes a checkpoint.
    """
    seconds = {}
    for kind in (CHECKPOINT, PLAIN):  # the table was made by the commits 0 and 1
        seconds[kind] = _append(spark, path)
    last = json.loads((path / "_delta_log" / "_last_checkpoint").read_text())["version"]
    assert last == len(list((path / "_delta_log").glob("[0-9]*.json"))) - 2, "the first of both wrote it"
    return seconds


def app_id_times(sizes: tuple[int, ...], rounds: int) -> dict[tuple[str, int], Sample]:
    """
    Seconds of one append, by kind of commit and number of entries.
    """
    drawn, figures = random.Random(0), {(kind, size): [] for size in sizes for kind in (PLAIN, CHECKPOINT)}
    with delta_session(spark__sql__shuffle__partitions="1") as (spark, folder):
        sinks = {size: _sink(spark, folder / f"of_{size}", size) for size in sizes}
        for number in range(-WARM_UP, rounds):
            for size, path in drawn.sample(sorted(sinks.items()), len(sinks)):
                seconds = _pair(spark, path)
                if number >= 0:
                    for kind, value in seconds.items():
                        figures[kind, size].append(value)
    return {key: Sample(tuple(values)) for key, values in figures.items()}

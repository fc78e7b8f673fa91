"""
1,000 new files in a folder that holds many: acquire, load and count, against Spark's own file-source stream.

The stream runs once with ``availableNow`` from a checkpoint that knows the old files, and reads what is new. Beside
them a plain read of the same 1,000 files with a bounded listing, which neither can do without.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.delta_session import delta_session
from benchmarks.load_time import SCHEMA
from benchmarks.timing import Sample, alternate, timed

__all__ = ["NEW", "OURS", "PLAIN", "STREAM", "stream_times"]

STREAM, OURS, PLAIN = "file-source stream", "acquire, load, count", "plain read, bounded listing"
NEW = 1_000
_LAST = 10
_THRESHOLD = "spark.sql.sources.parallelPartitionDiscovery.threshold"


class _Folder:
    """
    A folder of old files, a checkpoint and a meta table that know them, and 1,000 new ones in both.
    """

    def __init__(self, spark: Any, place: Path, old: int) -> None:
        import spark_batchintory as bi
        from spark_batchintory.listing import listing_tasks

        self._spark, self._place = spark, place
        self._landing = place / "landing"
        self._landing.mkdir(parents=True)
        spark.range(10).coalesce(1).write.parquet(str(place / "one"))
        (self._one,) = (place / "one").glob("part-*.parquet")
        with listing_tasks(spark, 16):  # it is not measured, and would take minutes
            # In two runs: a stream that begins anew lists the files of its last batch again, which must not be all.
            for first, end in ((0, old - _LAST), (old - _LAST, old)):
                self._link(first, end)
                assert self._stream(place / "primed") == 10 * (end - first)
        self._link(old, old + NEW)
        self._new = [f"file:{self._path(number)}" for number in range(old, old + NEW)]
        with sqlite3.connect(place / "meta.db") as db:
            db.execute("CREATE TABLE files (uid INTEGER PRIMARY KEY, item TEXT, weight INTEGER)")
            rows = [(n + 1, f"file:{self._path(n)}") for n in range(old + NEW)]
            db.executemany("INSERT INTO files VALUES (?, ?, 1)", rows)
        self._inventory = bi.open_inventory(f"sqlite:///{place / 'meta.db'}")
        self._old = old
        self._runs = 0

    def _path(self, number: int) -> Path:
        return self._landing / f"f{number:06}.parquet"

    def _link(self, first: int, end: int) -> None:
        for number in range(first, end):
            os.link(self._one, self._path(number))

    def _stream(self, checkpoint: Path) -> int:
        """
        The number of rows that the stream finds new.
        """
        stream = self._spark.readStream.schema(SCHEMA).parquet(str(self._landing))
        sink = stream.writeStream.format("noop").option("checkpointLocation", str(checkpoint))
        query = sink.trigger(availableNow=True).start()
        query.awaitTermination()
        return sum(progress["numInputRows"] for progress in query.recentProgress)

    def stream(self) -> float:
        """
        Milliseconds of one run from a copy of the primed checkpoint.
        """
        self._runs += 1
        checkpoint = self._place / f"checkpoint{self._runs}"
        shutil.copytree(self._place / "primed", checkpoint)
        rows: list[int] = []
        milliseconds = timed(lambda: rows.append(self._stream(checkpoint))) * 1e3
        assert rows == [10 * NEW]
        return milliseconds

    def ours(self) -> float:
        """
        Milliseconds of one batch of a job that begins after the old files.
        """
        self._runs += 1
        return timed(partial(self._work, f"job{self._runs}")) * 1e3

    def _work(self, job: str) -> None:
        batch = self._inventory.acquire_batch(job, "files", batch_id_min=self._old + 1, heartbeat=False)
        with batch:
            rows = self._spark.read.schema(SCHEMA).batchintory(batch, format="parquet").count()
        assert rows == 10 * NEW

    def plain(self) -> float:
        """
        Milliseconds of reading the new files by name.
        """
        return timed(self._read) * 1e3

    def _read(self) -> None:
        self._spark.conf.set(_THRESHOLD, str(10**9))
        assert self._spark.read.schema(SCHEMA).parquet(*self._new).count() == 10 * NEW
        self._spark.conf.unset(_THRESHOLD)


def stream_times(*, sizes: tuple[int, ...], rounds: int) -> dict[int, dict[str, Sample]]:
    """
    Milliseconds of each contender, by number of old files in the folder.
    """
    times = {}
    with delta_session() as (spark, folder):
        for old in sizes:
            place = _Folder(spark, folder / f"{old}", old)
            turns: dict[str, Callable[[], float]] = {STREAM: place.stream, OURS: place.ours, PLAIN: place.plain}
            times[old] = alternate(turns, rounds)
    return times

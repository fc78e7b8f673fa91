"""
What a claim and an end cost on a Delta inventory through Spark, against the statements Delta cannot do without.

The bare ones run on a table of the same columns, partitions and properties, in a session of the same confs: an
insert-only ``MERGE`` of one row, and an ``UPDATE`` of it. The history of the long table is written through delta-rs,
whose commits take milliseconds, and read by Spark as any other.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.databases import META_COLS
from benchmarks.delta_session import delta_session
from benchmarks.timing import Sample, alternate, timed

__all__ = [
    "ACQUIRE",
    "AGAINST",
    "FINISH",
    "FULL",
    "HOW",
    "NEW",
    "Crew",
    "Job",
    "crew_at_work",
    "in_turn",
    "measure",
    "pair",
    "write_history",
]

ACQUIRE, FINISH = "acquire", "finish"
MERGE, UPDATE = "bare MERGE", "bare UPDATE"
AGAINST = ((ACQUIRE, MERGE, 2.0), (FINISH, UPDATE, 1.5))
"""What is measured, against what, and the target."""

NEW, FULL = "empty inventory", "long history"
HOW = {"batch_count": 10, "heartbeat": False, "meta_table_cols": META_COLS}
"""How a batch is acquired here."""

_KEPT = "delta.deletedFileRetentionDuration"
_DAY = 24 * 60 * 60
_META = "SELECT id, concat('/landing/', id, '.json') AS item, 1L AS weight FROM range(1, 1000000)"


class _Bare:
    """
    The bare statements, on a table that looks like an inventory.
    """

    def __init__(self, session: Any, place: str) -> None:
        from spark_batchintory.backends.delta_rows import COLUMNS, PARTITIONED_BY
        from spark_batchintory.backends.delta_table import properties_of

        self._sql = session.sql
        self._place = place
        self._numbers = itertools.count(1)
        self._last = 0
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        properties = ", ".join(f"'{name}' = '{value}'" for name, value in properties_of("spark", "bare").items())
        self._sql(
            f"CREATE TABLE {place} ({columns}) USING delta PARTITIONED BY ({', '.join(PARTITIONED_BY)}) "
            f"TBLPROPERTIES ({properties})"
        ).collect()

    def merge(self) -> None:
        """
        Insert one row, unless somebody was there before.
        """
        n = self._last = next(self._numbers)
        row = f"SELECT 'k' AS job_key, 'open' AS record, {n}L AS id, {5 * n}L AS lo, {5 * n + 4}L AS hi"
        self._sql(
            f"MERGE INTO {self._place} AS t USING ({row}) AS s ON t.job_key = 'k' AND t.batch_id_end >= {5 * n}L "
            "WHEN NOT MATCHED THEN INSERT (job_key, record, id, batch_id_start, batch_id_end) "
            "VALUES (s.job_key, s.record, s.id, s.lo, s.hi)"
        ).collect()

    def update(self) -> None:
        """
        Change the row inserted last.
        """
        where = f"job_key = 'k' AND record = 'open' AND id = {self._last}L"
        self._sql(f"UPDATE {self._place} SET status = 'done' WHERE {where}").collect()


class Job:
    """
    One job on an inventory of its own, which holds one batch at a time.
    """

    def __init__(self, inventory: Any) -> None:
        self._inventory = inventory
        self._batch: Any = None

    def acquire(self) -> None:
        """
        Claim ten items.
        """
        self._batch = self._inventory.acquire_batch("daily", "files", **HOW)

    def finish(self) -> None:
        """
        End what was claimed.
        """
        self._batch.succeeded()


def write_history(path: Path, commits: int) -> None:
    """
    So many commits of the job's past: claims and ends in turn, through delta-rs.

    They are as if a day old: the table knows no more of the files that they deleted, and its log begins with its last
    checkpoint, as each hundredth commit of delta-rs and each tenth of Spark leaves it.
    """
    import deltalake

    from spark_batchintory.backends.delta_inventory import DeltaInventory
    from spark_batchintory.backends.delta_rs import RsDeltaTable
    from spark_batchintory.batch import JobKey
    from spark_batchintory.testing import steps

    backend, key = DeltaInventory(RsDeltaTable(str(path))), JobKey("files", "daily")
    backend.prepare()
    for _ in range(commits // 2):
        steps.succeed(backend, steps.claim(backend, key))
    kept = deltalake.DeltaTable(path).metadata().configuration[_KEPT]
    for how_long in ("interval 0 seconds", kept):
        deltalake.DeltaTable(path).alter.set_table_properties({_KEPT: how_long})
        deltalake.DeltaTable(path).create_checkpoint()
    yesterday = time.time() - _DAY
    for commit in (path / "_delta_log").iterdir():
        os.utime(commit, times=(yesterday, yesterday))
    deltalake.DeltaTable(path).cleanup_metadata()


def measure(*, commits: int, rounds: int) -> dict[tuple[str, str], Sample]:
    """
    Milliseconds of each contender, by what it did and on which table.
    """
    import spark_batchintory as bi
    from spark_batchintory.backends.spark_session import SMALL_COMMITS

    with delta_session() as (spark, folder):
        spark.sql(_META).createOrReplaceTempView("files")
        write_history(folder / "full", commits)
        bi.open_inventory(f"delta+rs:{folder / 'full'}").maintain(engine="spark")
        own = spark.newSession()
        for name, value in SMALL_COMMITS.items():
            own.conf.set(name, value)
        bare = _Bare(own, f"delta.`{folder}/bare`")
        jobs = {
            place: Job(bi.open_inventory(f"delta:{folder / name}", spark=spark))
            for place, name in ((NEW, "new"), (FULL, "full"))
        }
        pairs: dict[str, Callable[[], dict[tuple[str, str], float]]] = {
            MERGE: partial(pair, MERGE, bare.merge, UPDATE, bare.update, "")
        }
        pairs |= {place: partial(pair, ACQUIRE, job.acquire, FINISH, job.finish, place) for place, job in jobs.items()}
        return in_turn(pairs, rounds)


def pair(first: str, begin: Callable[[], None], second: str, end: Callable[[], None], place: str) -> Any:
    """
    Milliseconds of a beginning and its end, by what they are and where.
    """
    return {(first, place): timed(begin) * 1e3, (second, place): timed(end) * 1e3}


def in_turn(pairs: Any, rounds: int) -> dict[tuple[str, str], Sample]:
    """
    Figures of functions that return several each, as `pair`.
    """
    figures: dict[tuple[str, str], list[float]] = {}

    def kept(pair: Callable[[], dict[tuple[str, str], float]]) -> float:
        for key, value in pair().items():
            figures.setdefault(key, []).append(value)
        return 0.0

    alternate({name: partial(kept, pair) for name, pair in pairs.items()}, rounds, warm_up=3)
    return {key: Sample(tuple(values[3:])) for key, values in figures.items()}


@dataclass(slots=True)
class Crew:
    """
    What four threads did.
    """

    batches: int = 0
    seconds: float = 0.0
    commits: int = 0
    tries: int = 0
    uids: list[int] = field(default_factory=list)


def crew_at_work(*, batches: int, workers: int = 4, prefetch: int = 10) -> Crew:
    """
    Threads of one JVM that acquire and end batches on one job; each uid is checked to be in one of them.
    """
    import spark_batchintory as bi

    crew = Crew()
    with delta_session() as (spark, folder):
        spark.sql(_META).createOrReplaceTempView("files")
        inventory = bi.open_inventory(f"delta:{folder}/inventory", spark=spark)
        how = {**HOW, "workers": workers, "prefetch": prefetch}
        inventory.process(lambda batch: None, "warm", "files", iterations=10, **how)
        table, write = inventory.backend._table, inventory.backend._table.write

        def counted(turn: Any) -> None:
            crew.tries += 1
            write(turn)
            crew.commits += 1

        table.write = counted
        begin = time.perf_counter()
        summary = inventory.process(
            lambda batch: crew.uids.extend(batch.uids), "daily", "files", iterations=batches, **how
        )
        crew.seconds, crew.batches = time.perf_counter() - begin, summary.succeeded
    assert sorted(crew.uids) == list(range(1, 10 * crew.batches + 1)), "every uid in one batch"
    return crew

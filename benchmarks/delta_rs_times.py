"""
What a claim and an end cost on a Delta inventory through delta-rs, against its bare merge, and four processes on one.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.databases import make_meta_table, sqlite_folder
from benchmarks.delta_times import ACQUIRE, FINISH, FULL, HOW, NEW, Job, in_turn, pair, write_history
from benchmarks.timing import Sample, timed

__all__ = ["MERGE", "SPARK", "Processes", "measure", "processes_at_work"]

MERGE, SPARK = "bare merge of delta-rs", "through Spark"
_FILES = 1_000_000


class _Bare:
    """
    An insert-only merge of one row into a table that looks like an inventory.
    """

    def __init__(self, path: Path) -> None:
        import deltalake

        from spark_batchintory.backends.delta_rs import RsDeltaTable

        RsDeltaTable(str(path)).prepare()
        self._table = deltalake.DeltaTable(path)
        self._last = 0

    def merge(self) -> None:
        """
        Insert one row, unless somebody was there before.
        """
        import pyarrow as pa

        self._last += 1
        n = self._last
        row = pa.table({"job_key": ["k"], "record": ["open"], "id": [n], "batch_id_start": [n], "batch_id_end": [n]})
        here = f"t.job_key = 'k' AND t.record = 'open' AND t.batch_id_end >= {n}"
        merger = self._table.merge(row, predicate=here, source_alias="s", target_alias="t")
        merger.when_not_matched_insert(updates={name: f"s.{name}" for name in row.column_names}).execute()


def measure(*, commits: int, rounds: int, spark_rounds: int) -> dict[tuple[str, str], Sample]:
    """
    Milliseconds of each contender, by what it did and where.

    Spark is slower by an order, and comes after the others: its JVM would take their cores.
    """
    import spark_batchintory as bi

    with sqlite_folder() as folder:
        meta = f"sqlite:///{folder / 'files.db'}"
        make_meta_table(meta, "files", _FILES)
        write_history(folder / "full", commits)
        bare = _Bare(folder / "bare")
        jobs = {
            place: Job(bi.open_inventory(f"delta+rs:{folder / name}", meta))
            for place, name in ((NEW, "new"), (FULL, "full"))
        }
        pairs: dict[str, Callable[[], Any]] = {MERGE: lambda: {(MERGE, ""): timed(bare.merge) * 1e3}}
        pairs |= {place: partial(pair, ACQUIRE, job.acquire, FINISH, job.finish, place) for place, job in jobs.items()}
        return in_turn(pairs, rounds) | _through_spark(meta, spark_rounds)


def _through_spark(meta: str, rounds: int) -> dict[tuple[str, str], Sample]:
    import spark_batchintory as bi
    from benchmarks.delta_session import delta_session

    with delta_session() as (spark, folder):
        job = Job(bi.open_inventory(f"delta:{folder / 'new'}", meta, spark=spark))
        return in_turn({SPARK: partial(pair, ACQUIRE, job.acquire, FINISH, job.finish, SPARK)}, rounds)


@dataclass(frozen=True, slots=True)
class Processes:
    """
    What several processes did on one job: claims, and turns (claims and ends), the tries of these, and their time.
    """

    claims: int
    turns: int
    tries: int
    seconds: float


def processes_at_work(*, claims: int, ends: bool, processes: int = 4) -> Processes:
    """
    Each acquires ten items, until together they made so many claims; every uid is in one of them.

    With `ends` each also ends its batch before it acquires the next; without, all stay running.
    """
    with sqlite_folder() as folder:
        meta = f"sqlite:///{folder / 'files.db'}"
        make_meta_table(meta, "files", 10 * claims)
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(processes)
        work = partial(_work, f"delta+rs:{folder / 'inventory'}", meta, ends)
        with ProcessPoolExecutor(processes, context, initializer=_meet, initargs=(barrier,)) as pool:
            runs = list(pool.map(work, range(processes)))
    uids = sorted(uid for run in runs for uid in run[0])
    assert uids == list(range(1, 10 * claims + 1)), "every uid in one batch"
    seconds = max(run[3] for run in runs) - min(run[2] for run in runs)
    return Processes(claims, claims * (1 + ends), sum(run[1] for run in runs), seconds)


def _meet(barrier: Any) -> None:
    global _barrier  # a process of a pool is given nothing else before its first work
    _barrier = barrier


def _work(conn: str, meta: str, ends: bool, number: int) -> tuple[list[int], int, float, float]:
    """
    The uids of a process, its tries, and from when to when it was at work.
    """
    import spark_batchintory as bi

    uids: list[int] = []
    tries = 0
    with bi.open_inventory(conn, meta) as inventory:
        inventory.acquire_batch(f"warm {number}", "files", **HOW).succeeded()
        table = inventory.backend._table
        write = table.write

        def counted(turn: Any) -> None:
            nonlocal tries
            tries += 1
            write(turn)

        table.write = counted
        _barrier.wait()
        begin = time.monotonic()
        while (batch := inventory.acquire_batch("daily", "files", **HOW)) is not None:
            uids += batch.uids
            if ends:
                batch.succeeded()
        return uids, tries, begin, time.monotonic()

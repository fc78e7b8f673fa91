"""
Memory that one very large batch takes in the process that acquired it, and the seconds until its items are in hand.

Each figure is of a process of its own that does nothing else: how much it grew, and how large it was at most.
"""

from __future__ import annotations

import gc
import multiprocessing
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.databases import META_COLS, make_meta_table
from spark_batchintory.testing.servers import fresh_database, postgres_server

__all__ = ["Taken", "memory_of_batches"]

META_TABLE, MB = "assets", 2**20


@dataclass(frozen=True, slots=True)
class Taken:
    """
    Megabytes that a batch with its items holds, and that the process grew by at most; seconds that acquiring took.
    """

    held: float
    peak: float
    seconds: float


def _size() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096 / MB


def _acquire(url: str, items: int) -> Taken:
    import spark_batchintory as bi

    with bi.open_inventory(url) as inventory:
        how = {"meta_table_cols": META_COLS, "heartbeat": False}
        for job, count in (("warm-up", 10), ("large", items)):
            before, begin = _size(), time.perf_counter()
            batch = inventory.acquire_batch(f"{job} {items}", META_TABLE, batch_count=count, **how)
            assert len(batch.items) == count
            seconds, held = time.perf_counter() - begin, _size() - before
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
            batch.succeeded()
        return Taken(held, max(held, peak), seconds)  # the two counters of the kernel do not quite agree


def memory_of_batches(sizes: tuple[int, ...]) -> dict[int, Taken]:
    """
    By number of items, in one batch on PostgreSQL.
    """
    with postgres_server() as server:
        url = fresh_database(server)
        make_meta_table(url, META_TABLE, max(sizes))
        taken = {}
        for items in sizes:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                taken[items] = pool.apply(_acquire, (url, items))
        return taken

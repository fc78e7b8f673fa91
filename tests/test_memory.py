"""
Memory stays flat, whatever a process has acquired before: batches, beats, warnings and inventories leave nothing.

Counted in blocks of memory that Python has given out, after a warm-up: whatever is kept for each acquire is a block for
each at least, what is made once (caches, compiled statements) is not. The bound of one block for ten acquires is far
above the noise. Blocks of more than 512 bytes are not counted so; the process must not grow by more than `RESIDENT`.
"""

from __future__ import annotations

import gc
import itertools
import logging
import statistics
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from datetime import timedelta

import psutil
import pytest

import spark_batchintory as bi
from spark_batchintory import tending
from spark_batchintory.lease import Heart
from spark_batchintory.testing.clock import NOON

from .leftovers import resources
from .stage import Stage

ACQUIRES = {"sqlite": 10_000, "postgresql": 3_800, "mariadb": 3_800}
BLOCKS_EACH = 0.1
CACHED_AFTER = 1_100
"""Calls after which Python 3.10 has given a function the cache of its globals (two blocks, at the 1,024th)."""
RESIDENT = 12_000_000


@pytest.fixture
def stage(sql_url: str) -> Iterator[Stage]:
    """
    An empty database of each kind in turn, and a log that keeps no records.
    """
    log = logging.getLogger("spark_batchintory")
    level, log.level = log.level, logging.CRITICAL
    log.setLevel(logging.CRITICAL)
    with Stage(sql_url) as stage:
        yield stage
    log.setLevel(level)


def growth(work: Callable[[int], object], times: int, *, warm: int | None = None) -> float:
    """
    Blocks that each further call of `work` leaves behind, after so many, or a tenth of them, for warming up.

    The median of three stretches: a leak shows in each, what is made or dropped once in one of them. A stretch must be
    long beside what a driver keeps for a while, which is a hundred blocks with MariaDB's.
    """
    warm = times // 10 if warm is None else warm
    stretch = (times - warm) // 3
    for number in range(warm):
        work(number)
    seen = [held()]
    for first in (warm, warm + stretch, warm + 2 * stretch):
        for number in range(first, first + stretch):
            work(number)
        seen.append(held())
    assert seen[-1][1] - seen[0][1] < RESIDENT
    return statistics.median((after - before) / stretch for (before, _), (after, _) in itertools.pairwise(seen))


def held() -> tuple[int, int]:
    """
    Blocks that are in use and not waiting to be collected, and bytes of the process.
    """
    gc.collect()
    return sys.getallocatedblocks(), psutil.Process().memory_info().rss


def cycle(stage: Stage) -> tuple[bi.Inventory, Callable[[int], object]]:
    """
    An inventory, and one round of what a worker does for ever: acquire, end as it may be, and now and then find
    nothing.
    """
    stage.files(range(1, 11))
    inventory = stage.open(RETRY_DELAY=1e-6)
    largest = max(ACQUIRES.values())
    for first in range(11, largest + 1, 1000):
        stage.add(*range(first, min(first + 1000, largest + 1)))

    def work(number: int) -> None:
        batch = inventory.acquire_batch("daily", "files", batch_count=1, job_identifier=f"run {number}", max_attempts=2)
        assert batch is not None
        if number % 50 == 1:
            batch.failed("boom")
            stage.clock.advance(timedelta(seconds=1))
        elif number % 50 == 2:
            batch.give_back()
        else:
            batch.succeeded({"rows": number})

    return inventory, work


@pytest.mark.timeout(900)  # 10,000 commits wait for the disk
def test_acquires_leave_nothing(stage):
    """
    P6: 10,000 acquires and ends (3,800 on the servers) keep memory flat, with heartbeats, retries and looks.
    """
    inventory, work = cycle(stage)
    assert growth(work, ACQUIRES[stage.kind], warm=CACHED_AFTER) < BLOCKS_EACH
    assert inventory.held() == []
    assert len(inventory._held) == len(inventory._heart._pulses) == 0


def test_what_is_kept_for_each_acquire_is_seen(tmp_path):
    """
    The measurement itself: 200 bytes that are kept for each acquire are ten times the bound.
    """
    kept: list[bytes] = []
    with Stage(f"sqlite:///{tmp_path / 'test.db'}") as stage:
        _, work = cycle(stage)
        assert growth(lambda number: (work(number), kept.append(bytes(167))), 1_000) > 0.9


def test_other_jobs_filters_and_bounds_leave_little(tmp_path):
    """
    P6: statements are compiled per table, columns and filter, not per job, bound or limit.
    """
    with Stage(f"sqlite:///{tmp_path / 'test.db'}") as stage:
        stage.files(range(1, 50))
        inventory = stage.open()

        def work(number: int) -> None:
            limits = {"batch_weight": number % 7 + 1, "batch_id_max": number % 40 + 1, "lease": number + 1}
            batch = inventory.acquire_batch(f"job {number}", "files", meta_filter="uid > 0", **limits)
            assert batch.uids
            batch.succeeded()

        # Names of the last 1,024 jobs are remembered as checked.
        assert growth(work, 2_600, warm=CACHED_AFTER) < BLOCKS_EACH


def test_held_and_forgotten_batches_leave_nothing(tmp_path):
    """
    Lease: a batch that nobody refers to any more leaves neither a pulse nor a place among those held.
    """
    with Stage(f"sqlite:///{tmp_path / 'test.db'}") as stage:
        stage.files(range(1, 301))
        inventory = stage.open()
        heart = inventory._heart
        batches = [inventory.acquire_batch("daily", "files", batch_count=1, lease=1) for _ in range(300)]
        assert len(inventory.held()) == len(heart._pulses) == 300
        gone = [weakref.ref(batch) for batch in batches]
        del batches
        (thread,) = [one for one in threading.enumerate() if one.name == "batchintory-heart"]
        thread.join(timeout=60)  # it finds that nobody is left, and ends
        gc.collect()
        assert not thread.is_alive()
        assert [one for one in gone if one() is not None] == []
        assert inventory.held() == []
        assert len(heart._pulses) == 0


def test_a_forgotten_batch_is_beaten_for_no_more():
    """
    Lease: on a real thread: beats come while somebody has the batch, and none after the last reference is gone.
    """
    beaten = threading.Semaphore(0)

    def beat(batch_id, token, lease):
        beaten.release()
        return NOON

    class Held:
        def lease_extended(self, until):
            pass

    heart, batch = Heart(beat), Held()
    heart.keep(batch, 1, "token", timedelta(milliseconds=25), timedelta(days=1))
    (thread,) = [one for one in threading.enumerate() if one.name == "batchintory-heart"]
    assert all(beaten.acquire(timeout=60) for _ in range(3))
    gone = weakref.ref(batch)
    del batch
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert gone() is None
    assert heart._pulses == {}


def test_warnings_are_remembered_within_bounds(tmp_path):
    """
    P6: what was warned of is kept per inventory, a thousand at most, and goes with it.
    """
    with Stage(f"sqlite:///{tmp_path / 'test.db'}") as stage:
        backend = stage.open().backend
        for number in range(5_000):
            tending._warn_once(backend, "a row is gone", (number, "missing"))
        assert len(tending._told[backend]) == tending._MANY
        gone = weakref.ref(backend)
        stage._opened.pop().close()
        del backend
        gc.collect()
        assert gone() is None
        assert [one for one in tending._told if one is None] == []


def test_a_thousand_inventories_leave_nothing(tmp_path):
    """
    API: opened, used and closed a thousand times: no thread, no descriptor, and less than a block each.
    """
    with Stage(f"sqlite:///{tmp_path / 'test.db'}") as stage:
        stage.files(range(1, 1_201))
    url, before = stage.url, resources()

    def work(number: int) -> None:
        with bi.open_inventory(url) as inventory:
            batch = inventory.acquire_batch("daily", "files", batch_count=1)
            assert batch.uids
            batch.succeeded()

    assert growth(work, 1_000) < 10 * BLOCKS_EACH
    assert {one for one in resources() - before if not isinstance(one, int)} == set()

"""
What the tests of late items ask of a job: its gaps, its late batches, and whether all that was committed is done.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from spark_batchintory.testing.servers import drop_database, fresh_database
from spark_batchintory.uids import UidSet

from .stage import Stage

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


def fresh(server_url: str) -> Iterator[Stage]:
    """
    An empty database of a server, gone afterwards.
    """
    url = fresh_database(server_url)
    with Stage(url) as stage:
        yield stage
    drop_database(url)


def acquire(inventory: Any, **arguments: Any) -> Any:
    """
    The next batch of the job these tests are about.
    """
    return inventory.acquire_batch("daily", "files", **{"heartbeat": False, **arguments})


def gaps(inventory: Any) -> list[tuple[int, int, str | None]]:
    """
    Where they are, and what they were closed as.
    """
    return [(gap.uid_from, gap.uid_to, gap.closed_as) for gap in inventory.gaps("daily")]


def open_gaps(inventory: Any) -> list[Any]:
    """
    Those that may still fill.
    """
    return [gap for gap in inventory.gaps("daily") if gap.closed is None]


def late(inventory: Any) -> list[list[int]]:
    """
    The uids of each late batch, whatever became of it.
    """
    return [list(UidSet.decode(row.uids)) for row in inventory.batches("daily") if row.kind.value == "late"]


def flat(handed: list[list[int]]) -> list[int]:
    """
    All uids of some batches in order, as often as they were handed out.
    """
    return sorted(uid for uids in handed for uid in uids)


def idle(inventory: Any, times: int = 4, **arguments: Any) -> None:
    """
    Acquire so often, and find nothing.
    """
    assert [acquire(inventory, **arguments) for _ in range(times)] == [None] * times


def settle(inventory: Any, acquires: int = 4, **arguments: Any) -> int:
    """
    Acquire until no gap is open, finding nothing; how often that was.
    """
    for number in range(acquires):
        if not open_gaps(inventory):
            return number
        idle(inventory, 1, **arguments)
    assert not open_gaps(inventory)
    return acquires


def assert_all_is_done(stage: Stage, inventory: Any, job: str = "daily", table: str = "files") -> None:
    """
    P1, P2: every uid of the meta table is in exactly one batch, which succeeded; ranges tile; an audit finds nothing.
    """
    assert sorted(stage.handed_out(job)) == stage.rows(f"SELECT uid FROM {table} ORDER BY uid")
    assert stage.rows("SELECT DISTINCT status FROM inventory WHERE job = :job", job=job) == ["succeeded"]
    stage.assert_tiled(job)
    assert inventory.audit(job).clean
    assert_gaps_are_counted(stage, job)


def assert_gaps_are_counted(stage: Stage, job: str = "daily") -> None:
    """
    P6: the job's row knows how many gaps are open, which decides whether an acquire looks at them.
    """
    counted = "SELECT COUNT(*) FROM inventory_gap AS gap WHERE gap.job_id = known.id AND gap.closed IS NULL"
    for known, there in stage.rows(
        f"SELECT open_gaps, ({counted}) FROM inventory_job AS known WHERE job = :job", job=job
    ):
        assert known == there


def peak_of(work: Callable[[], Any]) -> int:
    """
    Bytes of Python objects that were alive at once while `work` was done.
    """
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

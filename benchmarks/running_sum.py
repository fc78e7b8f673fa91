"""
A planner that sums the weights of everything that is pending and takes the rows under the limit, beside our acquire.

So Hudi's incremental source cuts a commit by `--source-limit`: a window over what is new, in order, and the rows whose
running sum is under the limit (`IncrSourceHelper`, HUDI-6629). As SQL it is ten lines, and right; but the window is
computed for the whole backlog, since nothing tells the database that the sum only grows.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks.contenders import OURS, Session, open_session
from benchmarks.databases import connect_postgres, make_meta_table
from benchmarks.timing import Sample, alternate, timed
from spark_batchintory.testing.servers import fresh_database, postgres_server

__all__ = ["RUNNING_SUM", "planning_times"]

RUNNING_SUM = "running SUM, plan only"
BATCH_WEIGHT = 2000  # items weigh 1, 2 and 3 in turn
SLOW_ROWS, SLOW_EVERY = 1_000_000, 6  # from so many rows on it takes a second and more
JOB = "planning"
_PLAN = """
SELECT id, item, weight
FROM (
    SELECT id, item, weight, SUM(weight) OVER (ORDER BY id) AS running
    FROM {meta_table}
    WHERE id > %s
) AS pending
WHERE running <= %s
ORDER BY id
"""


class RunningSum:
    """
    One worker that plans so, and keeps its frontier in memory: it records nothing.
    """

    def __init__(self, url: str, meta_table: str) -> None:
        self._connection: Any = connect_postgres(url)
        self._query = _PLAN.format(meta_table=meta_table)
        self._frontier = 0

    def plan(self, weight: int) -> int:
        """
        Read the next items up to `weight`; how many there are.
        """
        rows = self._connection.execute(self._query, (self._frontier, weight)).fetchall()
        self._connection.commit()
        self._frontier = rows[-1][0]
        return len(rows)

    def close(self) -> None:
        """
        Give the connection back.
        """
        self._connection.close()


def _plan(planner: RunningSum) -> float:
    counts: list[int] = []
    seconds = timed(lambda: counts.append(planner.plan(BATCH_WEIGHT)))
    _check(RUNNING_SUM, counts[0])
    return seconds * 1e3


def _acquire(session: Session) -> float:
    batches: list[Any] = []
    seconds = timed(lambda: batches.append(session.acquire(JOB, weight=BATCH_WEIGHT)))
    _check(OURS, batches[0].count)
    batches[0].succeeded()
    return seconds * 1e3


def _check(contender: str, count: int) -> None:
    if not 995 <= count <= 1000:
        raise RuntimeError(f"{contender} planned {count} items instead of about 1,000")


def planning_times(*, sizes: tuple[int, ...], rounds: int) -> dict[tuple[str, int], Sample]:
    """
    Milliseconds until about 1,000 items are in hand, by contender and rows of the backlog when it begins.
    """
    with postgres_server() as server, ExitStack() as stack:
        url = fresh_database(server)
        turns: dict[tuple[str, int], Callable[[], float]] = {}
        for rows in sizes:
            table = f"assets_{rows}"
            make_meta_table(url, table, rows)
            session, planner = open_session(OURS, url, table), RunningSum(url, table)
            stack.callback(session.close)
            stack.callback(planner.close)
            turns[OURS, rows], turns[RUNNING_SUM, rows] = partial(_acquire, session), partial(_plan, planner)
        slow = {turn: SLOW_EVERY for turn in turns if turn[0] == RUNNING_SUM and turn[1] >= SLOW_ROWS}
        return alternate(turns, rounds, warm_up=2, every=slow)

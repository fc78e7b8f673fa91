"""
One acquire of about 1,000 items by weight from small and large meta tables: ours, the floor and the ancestor, in turn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from benchmarks.ancestor import Ancestor
from benchmarks.contenders import Session, open_session
from benchmarks.databases import make_meta_table
from benchmarks.timing import Sample, alternate, timed
from spark_batchintory.testing.servers import fresh_database, postgres_server

__all__ = ["ANCESTOR", "AcquireTimes", "acquire_times"]

ANCESTOR = "pybatchintory 0.0.8"
ANCESTOR_EVERY = 10  # it takes seconds
BATCH_WEIGHT = 2000  # items weigh 1, 2 and 3 in turn
LEAST_ITEMS, MOST_ITEMS = 995, 1000
JOB = "acquire"


@dataclass(frozen=True, slots=True)
class AcquireTimes:
    """
    Milliseconds of one acquire by contender and number of meta rows, and the versions the ancestor ran with.
    """

    samples: dict[tuple[str, int], Sample]
    ancestor_versions: str | None


def _check(contender: str, count: int) -> None:
    if not LEAST_ITEMS <= count <= MOST_ITEMS:
        raise RuntimeError(f"{contender} brought {count} items instead of about {MOST_ITEMS}")


def _acquire(session: Session, contender: str) -> float:
    """
    Milliseconds until the items of the next batch are in hand; finishing it is not timed.
    """
    batches = []
    seconds = timed(lambda: batches.append(session.acquire(JOB, weight=BATCH_WEIGHT)))
    (batch,) = batches
    _check(contender, 0 if batch is None else batch.count)
    assert batch is not None
    batch.succeeded()
    return seconds * 1e3


def _acquire_as_ancestor(ancestor: Ancestor, table: str) -> float:
    seconds, count = ancestor.acquire(table, BATCH_WEIGHT)
    _check(ANCESTOR, count)
    return seconds * 1e3


def _table(rows: int) -> str:
    return f"assets_{rows}"


@contextmanager
def _sessions(url: str, contenders: Sequence[str], sizes: Sequence[int]) -> Iterator[dict[tuple[str, int], Session]]:
    with contextlib.ExitStack() as stack:
        sessions = {}
        for name in contenders:
            for rows in sizes:
                sessions[name, rows] = open_session(name, url, _table(rows))
                stack.callback(sessions[name, rows].close)
        yield sessions


def _measure(url: str, contenders: Sequence[str], sizes: Sequence[int], rounds: int) -> AcquireTimes:
    with contextlib.ExitStack() as stack:
        turns: dict[tuple[str, int], Callable[[], float]] = {}
        sessions = stack.enter_context(_sessions(url, [name for name in contenders if name != ANCESTOR], sizes))
        for (name, rows), session in sessions.items():
            turns[name, rows] = partial(_acquire, session, name)
        ancestor = stack.enter_context(Ancestor(url)) if ANCESTOR in contenders else None
        if ancestor is not None:
            for rows in sizes:
                turns[ANCESTOR, rows] = partial(_acquire_as_ancestor, ancestor, _table(rows))
        seldom = {turn: ANCESTOR_EVERY for turn in turns if turn[0] == ANCESTOR}
        samples = alternate(turns, rounds, warm_up=3, every=seldom)
        return AcquireTimes(samples, ancestor.versions if ancestor else None)


def acquire_times(contenders: Sequence[str], *, sizes: Sequence[int], rounds: int) -> AcquireTimes:
    """
    Time `rounds` acquires of every contender (a tenth of it for the ancestor) from a meta table of each size.
    """
    if (rounds + 3) * MOST_ITEMS > min(sizes):
        raise ValueError(f"{rounds} rounds need a meta table of more than {min(sizes)} rows")
    with postgres_server() as server:
        url = fresh_database(server)
        for rows in sizes:
            make_meta_table(url, _table(rows), rows)
        return _measure(url, contenders, sizes, rounds)

"""
One acquire that rescues a batch whose lease is over against one that claims a new range, of as many items, in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from benchmarks.contenders import OurSession, Session
from benchmarks.databases import make_meta_table
from benchmarks.finish_time import databases
from benchmarks.timing import Sample, alternate, timed

__all__ = ["CLAIM", "RESCUE", "rescue_times"]

CLAIM, RESCUE = "claim", "rescue"
META_TABLE, WARM_UP = "assets", 10
SIZES = (10, 1000)

_EXPIRE = sa.text("UPDATE inventory SET due_at = '2001-01-01 00:00:00' WHERE status = 'running'")


def _timed_acquire(session: Session, job: str, items: int, attempt: int) -> float:
    batches = []
    seconds = timed(lambda: batches.append(session.acquire(job, count=items)))
    (batch,) = batches
    assert batch is not None
    assert batch.count == items
    assert getattr(batch, "attempt", attempt) == attempt
    batch.succeeded()
    return seconds * 1e3


def _claim(session: Session, job: str, items: int) -> float:
    return _timed_acquire(session, job, items, 1)


def _rescue(session: Session, dead: OurSession, engine: sa.Engine, job: str, items: int) -> float:
    batch = dead.acquire(job, count=items)
    assert batch is not None
    del batch  # the worker is gone, and nobody beats for it
    with engine.begin() as connection:
        connection.execute(_EXPIRE)
    return _timed_acquire(session, job, items, 2)


def _measure(url: str, rounds: int) -> dict[tuple[str, int], Sample]:
    make_meta_table(url, META_TABLE, 2 * (rounds + WARM_UP) * max(SIZES))
    engine = sa.create_engine(url, poolclass=NullPool)
    with ExitStack() as stack:
        session, dead = OurSession(url, META_TABLE), OurSession(url, META_TABLE)
        stack.callback(session.close)
        stack.callback(dead.close)
        turns: dict[tuple[str, int], Callable[[], float]] = {}
        for items in SIZES:
            job = f"{items} items"
            turns[CLAIM, items] = partial(_claim, session, job, items)
            turns[RESCUE, items] = partial(_rescue, session, dead, engine, job, items)
        return alternate(turns, rounds, warm_up=WARM_UP)


def rescue_times(rounds: int) -> dict[str, dict[tuple[str, int], Sample]]:
    """
    Milliseconds of one acquire by database, what it does, and number of items.
    """
    with databases() as urls:
        return {kind: _measure(url, rounds) for kind, url in urls.items()}

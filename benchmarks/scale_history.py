"""
One acquire and one end of a job with a short history and with a very long one, in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

from benchmarks.contenders import OURS, Session, open_session
from benchmarks.databases import make_meta_table
from benchmarks.long_history import write_history
from benchmarks.timing import Sample, alternate, timed
from spark_batchintory.testing.servers import fresh_database, postgres_server

__all__ = ["ACQUIRE", "FINISH", "history_times", "history_times_at"]

ACQUIRE, FINISH = "acquire", "succeeded()"
JOB, META_TABLE = "history", "assets"
ITEMS, WIDTH, WARM_UP = 10, 1, 10


def _open(url: str, batches: int, rounds: int) -> Session:
    """
    A session on a job with so many succeeded batches, and enough rows for so many rounds.
    """
    make_meta_table(url, META_TABLE, WIDTH * batches + 2 * (rounds + WARM_UP) * ITEMS)
    session = open_session(OURS, url, META_TABLE)
    batch = session.acquire(JOB, count=WIDTH)
    assert batch is not None
    batch.succeeded()
    write_history(url, batches=batches, width=WIDTH)
    return session


def _acquire(session: Session, what: str) -> float:
    """
    Milliseconds of one acquire of ten items, or of the end of such a batch.
    """
    batches = []
    acquired = timed(lambda: batches.append(session.acquire(JOB, count=ITEMS)))
    finished = timed(batches[0].succeeded)
    return {ACQUIRE: acquired, FINISH: finished}[what] * 1e3


def history_times_at(urls: Mapping[int, str], rounds: int) -> dict[tuple[str, int], Sample]:
    """
    Milliseconds in these empty databases, one for each number of batches.
    """
    with ExitStack() as stack:
        turns: dict[tuple[str, int], Callable[[], float]] = {}
        for batches, url in urls.items():
            session = _open(url, batches, rounds)
            stack.callback(session.close)
            turns.update({(what, batches): partial(_acquire, session, what) for what in (ACQUIRE, FINISH)})
        return alternate(turns, rounds, warm_up=WARM_UP)


def history_times(*, sizes: tuple[int, ...], rounds: int) -> dict[tuple[str, int], Sample]:
    """
    Milliseconds on PostgreSQL, by what is done and how many batches the job has.
    """
    with postgres_server() as server:
        return history_times_at({batches: fresh_database(server) for batches in sizes}, rounds)
